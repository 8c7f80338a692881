"""How customers flow from the segments of one model to those of another: both are asked about the same customers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from models.identity import STANDING, match_segments
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.ingest.source import Source, read_source
from pipeline.profiles.build import Progress, build_profiles
from pipeline.profiles.shop import load_shop
from pipeline.stores import model_registry
from pipeline.stores.database import connect


def flows(
    mlflow: Any, params: Params, runs: Sequence[str], *, are_akin: Sequence[bool], progress: Progress
) -> tuple[list[dict[str, Any]], str | None]:
    """`flow_table` from each run's model to the next one's, over the customers of the source at ``params.as_of``.

    Parameters
    ----------
    are_akin : sequence of bool, one less than runs
        Whether a run and the next are of one line of trainings, in which an id is a segment's for good.

    Returns
    -------
    (list of dict, str or None)
        One less than runs; or none, and why.
    """
    try:
        models = [
            f"models:/{params.tracking.model_name}/{model_registry.version_of_run(mlflow, params, run)[1]}"
            for run in runs
        ]
        with connect(params.engine, folder=params.path(params.outputs.folder)) as con:
            progress("reading and checking")
            source = read_source(con, params, rejected_path=None)
            assigned = []
            for model in models:
                progress(f"scoring with {model}")
                assigned.append(_assigned(con, source, params, model_registry.load_model(mlflow, model)))
    except UserError as error:
        return [], str(error)
    min_group, min_jaccard = params.naming.min_group, params.identity.min_jaccard
    pairs = zip(pairwise(assigned), are_akin, strict=True)
    return [
        flow_table(one, other, min_group=min_group, min_jaccard=None if akin else min_jaccard)
        for (one, other), akin in pairs
    ], None


def _assigned(con: Any, source: Source, params: Params, model: model_registry.LoadedModel) -> pd.Series:
    """customer_id -> segment_id, by profiles with the model's own columns and weights."""
    shop, trained = load_shop(model.shop_folder, params.folder)
    profiles = build_profiles(con, source, trained.model_copy(update={"as_of": params.as_of}), shop=shop).table
    return pd.Series(model.predict(profiles).segment_id.to_numpy(dtype=object), index=profiles.customer_id)


def flow_table(
    before: pd.Series, after: pd.Series, *, min_group: int, min_jaccard: float | None = None
) -> dict[str, Any]:
    """How many customers went from each segment to each; aggregates alone.

    Parameters
    ----------
    before, after : Series
        customer_id -> segment_id. Customers that one model alone knows are left out, and those that both group by rule.
    min_group : int
        Flows of fewer customers are counted, not shown.
    min_jaccard : float, optional
        Where ids are of different lines: the share of customers in common from which segments are the same.

    Returns
    -------
    dict
        customer_count; by_rule_count: left out, as both group them by rule; same: segment after -> the same one before;
        stayed_share: in the same segment; agreement: adjusted Rand index (Hubert and Arabie, 1985); hidden_count: flows
        not shown; flows: origin, destination, customer_count, the largest first.
    """
    both = pd.concat({"origin": before, "destination": after}, axis=1, join="inner")
    is_by_rule = both.origin.str.startswith(STANDING) & both.destination.str.startswith(STANDING)
    both = both[~is_by_rule.astype(bool)]
    counts = both.groupby(["origin", "destination"]).size().rename("customer_count").reset_index()
    same = {one: one for one in set(both.origin) & set(both.destination)}
    if min_jaccard is not None:
        same = {one: one for one in same if one.startswith(STANDING)} | _alike(both, min_jaccard)
    shown = counts[counts.customer_count >= min_group]
    order = shown.sort_values(["customer_count", "origin", "destination"], ascending=[False, True, True])
    return {
        "customer_count": len(both),
        "by_rule_count": int(is_by_rule.sum()),
        "same": same,
        "stayed_share": float((both.origin == both.destination.map(same)).mean()) if len(both) else 0.0,
        "agreement": float(adjusted_rand_score(both.origin, both.destination)),
        "hidden_count": len(counts) - len(shown),
        "flows": order.astype({"customer_count": int}).to_dict("records"),
    }


def _alike(both: pd.DataFrame, min_jaccard: float) -> dict[str, str]:
    """Segment after -> segment before, of those that share customers enough to be the same."""
    before = np.array([None if one.startswith(STANDING) else one for one in both.origin], dtype=object)
    names = sorted({one for one in both.destination if not one.startswith(STANDING)})
    places = {one: place for place, one in enumerate(names)}
    found = match_segments(
        before,
        np.array([places.get(one, -1) for one in both.destination], dtype=np.int64),
        old_ids={one for one in before if one is not None},
        used_ids=(),
        prefix="",
        min_jaccard=min_jaccard,
        min_part=1.0,
    )
    survived = {row["segment_id"] for row in found.lineage if row["verdict"] == "survived"}
    return {names[place]: one for place, one in found.ids.items() if one in survived}
