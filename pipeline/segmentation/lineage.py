"""Segments keep their ids from training to training: today's are matched with those of the champion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from features.categories import OTHER, SEPARATOR
from features.interests import SHARE_PREFIX
from models.identity import Identities, first_identities, last_number, match_segments, numbered_id, with_unused
from models.scorer import NOISE, Ints, facet_column
from models.segmentation import FittedClusters, input_columns
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of
from pipeline.config.params import Params
from pipeline.profiles.build import Profiles
from pipeline.profiles.shop import load_shop
from pipeline.report.terminal import counted
from pipeline.segmentation import sanity_checks
from pipeline.stores import mlflow_runs, model_registry
from pipeline.stores.mlflow_runs import LINEAGE

MIN_SHARED_INTERESTS = 0.5
"""Of the champion's interests; below, it was trained on another shop, or on a tree of other categories."""


@dataclass(frozen=True)
class Identified:
    """Today's segments beside the champion's.

    Attributes
    ----------
    ids : dict of int to str
        Cluster -> segment_id.
    lineage : list of dict
        Rows of `models.identity.Identities`, with as_of and run_id, of the champion's line and this training.
    names : dict of str to dict
        Of the segments that survived: what the champion's report says of them.
    given : dict of str to str
        Of the segments that survived: the name that was given by hand.
    note : str
        What became of the champion's segments, in words; empty where there is none.
    """

    ids: dict[int, str]
    lineage: list[dict[str, Any]]
    names: dict[str, dict[str, Any]]
    given: dict[str, str]
    note: str


@dataclass(frozen=True)
class Champion:
    """The champion, and where it would put today's customers: nothing of who was where is kept.

    Attributes
    ----------
    run_id, uri : str
    segment_ids : dict of str to object array of shape (n,)
        By facet; None for customers who are in no segment of clusters. Empty where it cannot say.
    doubt : str
        Why it cannot, or why it may be another shop's; else empty.
    """

    run_id: str
    uri: str
    segment_ids: dict[str, np.ndarray]
    doubt: str

    def starts(self, facet: Facet) -> dict[str, Ints]:
        """For `models.clusterers.fit_kmeans`; none where it may not be of this shop."""
        if facet.name not in self.segment_ids or self.doubt:
            return {}
        return {f"The champion's segments of {facet.name}": pd.factorize(self.segment_ids[facet.name], sort=True)[0]}


def ask_champion(mlflow: Any, profiles: Profiles, params: Params) -> Champion | None:
    """The champion's segments of today's customers; None where there is no champion."""
    run_id = model_registry.champion_run(mlflow, params)
    if run_id is None:
        return None
    try:
        model = model_registry.load_model(mlflow, params.tracking.champion_uri)
        shop, trained = load_shop(model.shop_folder, params.folder)
        predicted = model.predict(_as_known_to(profiles.table, input_columns(shop.spec.columns())))
    except (UserError, OSError) as error:
        return Champion(run_id, params.tracking.champion_uri, {}, str(error))
    found = {facet.name: _clustered_ids(predicted, facet) for facet in facets_of(trained)}
    return Champion(model.run_id, model.uri, found, sanity_checks.of_champion(params, trained))


def _clustered_ids(predicted: pd.DataFrame, facet: Facet) -> np.ndarray:
    """segment_id of each customer in a facet, None for those in no cluster."""
    clusters = predicted[facet_column("cluster_id", facet.column_prefix)]
    ids = predicted[facet_column("segment_id", facet.column_prefix)].to_numpy(dtype=object, copy=True)
    ids[(clusters.isna() | (clusters == NOISE)).to_numpy(bool)] = None
    return ids


def identify(
    mlflow: Any, champion: Champion | None, fitted: FittedClusters, params: Params, facet: Facet, *, run_id: str
) -> Identified:
    """Which segment of the champion each of today's clusters of a facet is."""
    prefix = facet.identity.id_prefix
    with mlflow_runs.one_at_a_time(params):  # or two trainings would give the same number to different segments
        last = model_registry.last_segment(mlflow, params, prefix)
        known = _compared(mlflow, champion, fitted, params, facet, run_id, last=last)
        taken = max(last, last_number((row["segment_id"] for row in known.lineage), prefix))
        known = replace(known, ids=with_unused(known.ids, fitted.model_clusters, prefix=prefix, after=taken))
        model_registry.note_last_segment(mlflow, params, prefix, last_number(known.ids.values(), prefix))
    return known


def _compared(
    mlflow: Any,
    champion: Champion | None,
    fitted: FittedClusters,
    params: Params,
    facet: Facet,
    run_id: str,
    *,
    last: int,
) -> Identified:
    clusters, prefix = _in_order(fitted, facet), facet.identity.id_prefix
    if champion is None:
        first = first_identities(clusters, prefix=prefix, after=last)
        return Identified(first.ids, _stamped(first, params, facet, run_id), {}, {}, "")
    earlier, damage = _read_lineage(mlflow, champion.run_id, facet)
    used = {row["segment_id"] for row in earlier} | {numbered_id(prefix, last)}
    old = champion.segment_ids.get(facet.name)
    if old is None:
        anew = first_identities(clusters, prefix=prefix, after=last_number(used, prefix))
        why = champion.doubt or f"it has no facet {facet.name}."
        note = f"Segments of {facet.name} are numbered anew, not matched with the champion: {why}{damage}"
        return Identified(anew.ids, _stamped(anew, params, facet, run_id), {}, {}, note)
    new = np.full(len(old), -1, dtype=np.int64)
    new[fitted.is_clustered] = fitted.labels
    of_champion = {row["segment_id"] for row in earlier if row["run_id"] == champion.run_id and row["is_here"]}
    found = match_segments(
        old,
        new,
        old_ids=of_champion | {one for one in old if one is not None},
        used_ids=used,
        prefix=prefix,
        min_jaccard=params.identity.min_jaccard,
        min_part=params.identity.min_part,
    )
    survived = {row["segment_id"] for row in found.lineage if row["verdict"] == "survived"}
    champion_rows = mlflow_runs.read_run(mlflow, champion.run_id)[2].get("segments", [])
    names = {one["segment_id"]: one for one in champion_rows if "names_by_figures" in one}
    return Identified(
        ids=found.ids,
        lineage=[*earlier, *_stamped(found, params, facet, run_id)],
        names={segment_id: one for segment_id, one in names.items() if segment_id in survived},
        given={one: name for one, name in model_registry.given_names(mlflow, params).items() if one in survived},
        note=f"Compared with the champion ({champion.uri}), {facet.name}: {_in_words(found)}{damage}{champion.doubt}",
    )


def _in_order(fitted: FittedClusters, facet: Facet) -> list[int]:
    """The clusters that hold somebody: by size, or those of interests by the category that they turn to most.

    Many interests are about as large, and another seed would number them otherwise.
    """
    found = sorted(set(fitted.labels.tolist()) - {NOISE})
    if not facet.names_interests:
        return found
    # The space of the rule ends in the evidence, which is no category.
    space = fitted.space[:, :-1] if fitted.algorithm == "rule" else fitted.space
    centres = {cluster: space[fitted.labels == cluster].mean(axis=0) for cluster in found}
    return sorted(found, key=lambda cluster: (int(np.argmax(centres[cluster])), cluster))


def _read_lineage(mlflow: Any, run_id: str, facet: Facet) -> tuple[list[dict[str, Any]], str]:
    """The champion's line of a facet so far, and a warning where its file is damaged."""
    try:
        rows = mlflow_runs.read_lineage(mlflow, run_id, LINEAGE)
        return [row for row in rows if row["facet"] == facet.name], ""
    except mlflow_runs.TrackingError as error:
        return [], (
            f" Warning: {error} What became of segments in the trainings up to it is lost; ids and names are not, as "
            "they go by the champion's model."
        )


def with_names(lineage: list[dict[str, Any]], table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the last training with what its segments are called, in every language; earlier rows have their names."""
    called = {one["segment_id"]: {"name": one["name"], "names": one["names"]} for one in table}
    last = lineage[-1]["run_id"] if lineage else None
    return [
        {**row, **called[row["segment_id"]]} if row["run_id"] == last and row["is_here"] else row for row in lineage
    ]


def _in_words(found: Identities) -> str:
    changed = [row for row in found.lineage if row["verdict"] != "survived"]
    same = len(found.lineage) - len(changed)
    told = [f"{counted(same, 'segment')} {'is' if same == 1 else 'are'} the same"]
    for row in changed:
        akin = " and ".join(row["akin"])
        how = {
            ("new", True): f"is new, nearest to {akin}" if akin else "is new",
            ("split", True): f"is a part of {akin}",
            ("merged", True): f"holds {akin}",
            ("gone", False): "is gone",
            ("split", False): f"fell into {akin}",
            ("merged", False): f"went into {akin}",
        }[row["verdict"], row["is_here"]]
        told.append(f"{row['segment_id']} {how}")
    return "; ".join(told) + "."


def _stamped(found: Identities, params: Params, facet: Facet, run_id: str) -> list[dict[str, Any]]:
    stamp = {"as_of": f"{params.as_of:%Y-%m-%d %H:%M}", "run_id": run_id, "facet": facet.name}
    return [{**stamp, **row} for row in found.lineage]


def _as_known_to(profile: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Profiles with the champion's columns.

    A category it knows as a whole, and today is known by its parts, is their sum; interests it does not know are part
    of its OTHER; any other column that is no more is missing.

    Raises
    ------
    UserError
        It knows too little of what there is.
    """
    interests = [name for name in columns if name.startswith(SHARE_PREFIX)]
    today = [str(name) for name in profile]
    parts = {name: [one for one in today if one == name or one.startswith(name + SEPARATOR)] for name in interests}
    known = [name for name in interests if parts[name]]
    if len(known) < MIN_SHARED_INTERESTS * len(interests):
        raise UserError(f"it knows {len(interests)} categories, of which this log has {len(known)}.")
    other = SHARE_PREFIX + OTHER
    shares = pd.DataFrame(
        {name: profile[parts[name]].sum(axis=1) for name in interests if name != other}, profile.index
    )
    if other in interests:
        shares[other] = (1.0 - shares.sum(axis=1)).clip(lower=0.0)
    missing = {name: np.nan for name in columns if name not in profile and name not in interests}
    return profile.drop(columns=shares.columns, errors="ignore").join(shares).assign(**missing)
