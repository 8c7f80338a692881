"""Segments keep their ids from training to training: today's are matched with those of the champion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from features.categories import OTHER
from features.interests import SHARE_PREFIX
from models.identity import Identities, first_identities, match_segments
from models.scorer import NOISE
from models.segmentation import FittedClusters
from pipeline import tracking
from pipeline.params import Params, UserError
from pipeline.profiles import Profiles, load_shop

LINEAGE = "lineage.json"
MIN_SHARED_INTERESTS = 0.5
"""Of the champion's interests; below, it was trained on another shop, or on a tree of other categories."""


def identify(
    mlflow: Any, profiles: Profiles, fitted: FittedClusters, params: Params, *, run_id: str
) -> tuple[Identities, list[dict[str, Any]], str]:
    """Ids of today's clusters, the lineage of all trainings up to this one, and a note.

    The champion's model is asked where it would put today's customers: nothing of who was where is kept.
    """
    clusters = set(fitted.labels.tolist()) - {NOISE}
    first = first_identities(clusters)
    alone = _stamped(first, params, run_id)
    uri = f"models:/{params.tracking.model_name}@champion"
    if not clusters or not tracking.has_champion(mlflow, params):
        return first, alone, ""
    try:
        champion = tracking.load_model(mlflow, uri)
        shop, _ = load_shop(champion.shop_folder, params.folder)
        profile = _as_known_to(profiles.table, [column.name for column in shop.spec.columns()])
        predicted = champion.predict(profile[[*(column.name for column in shop.spec.columns()), "lifecycle_stage"]])
    except (UserError, OSError) as error:
        return (
            first,
            _stamped(first, params, run_id),
            f"Segments are numbered anew, not matched with the champion: {error}",
        )
    earlier = tracking.read_lineage(mlflow, champion.run_id, LINEAGE)
    old = predicted.segment_id.to_numpy(dtype=object, copy=True)
    old[~predicted.cluster_id.notna().to_numpy() | (predicted.cluster_id == NOISE).fillna(True).to_numpy()] = None
    new = np.full(len(profile), -1, dtype=np.int64)
    new[fitted.is_clustered] = fitted.labels
    last = [row["segment_id"] for row in earlier if row["run_id"] == champion.run_id and row["is_here"]]
    found = match_segments(
        old,
        new,
        old_ids={*last, *(one for one in old if one is not None)},
        used_ids=[row["segment_id"] for row in earlier],
        min_jaccard=params.identity.min_jaccard,
        min_part=params.identity.min_part,
    )
    return found, [*earlier, *_stamped(found, params, run_id)], ""


def _stamped(found: Identities, params: Params, run_id: str) -> list[dict[str, Any]]:
    return [{"as_of": f"{params.as_of:%Y-%m-%d %H:%M}", "run_id": run_id, **row} for row in found.lineage]


def _as_known_to(profile: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Profiles with the champion's columns: interests it does not know are part of its OTHER.

    Raises
    ------
    UserError
        It knows too little of what there is.
    """
    interests = [name for name in columns if name.startswith(SHARE_PREFIX)]
    known = [name for name in interests if name in profile]
    if len(known) < MIN_SHARED_INTERESTS * len(interests):
        raise UserError(f"it knows {len(interests)} categories, of which this log has {len(known)}.")
    missing = {name: 0.0 for name in columns if name not in profile}
    filled = profile.assign(**missing)
    other = SHARE_PREFIX + OTHER
    rest = 1.0 - filled[[name for name in interests if name != other]].sum(axis=1)
    return filled.assign(**{other: rest.clip(lower=0.0)})
