"""Keeps segment ids from training to training, by matching today's segments with the champion's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from features.categories import OTHER, SEPARATOR
from features.interests import SHARE_PREFIX
from models.disclosure import significant
from models.identity import (
    Identities,
    Verdict,
    first_identities,
    last_number,
    match_segments,
    numbered_id,
    with_unused,
)
from models.name_continuity import ManualName
from models.scorer import NOISE, Ints, facet_column
from models.segment_names import Naming, Texts
from models.segmentation import FittedClusters
from models.segments import Segment
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of
from pipeline.config.params import Params
from pipeline.profiles.build import Profiles
from pipeline.profiles.shop import load_shop
from pipeline.report.terminal import counted
from pipeline.segmentation import sanity_checks
from pipeline.stores import mlflow_runs, model_registry
from pipeline.stores.mlflow_runs import LINEAGE, RunStore
from pipeline.stores.store_errors import TrackingError

MIN_SHARED_INTERESTS = 0.5
"""A champion with a smaller share of its interests in today's profile had another shop or another category tree."""


@dataclass(frozen=True, slots=True)
class LineageRow:
    """A segment in one training: a `models.identity.Transition`, and the names it had then.

    Attributes
    ----------
    as_of : str
        As in ``2025-11-01 00:00``, UTC.
    name, names : str, mapping, optional
        In the language of the training, and by language; None for a segment that no longer exists. Old rows may have
        no ``names``.
    """

    as_of: str
    run_id: str
    facet: str
    segment_id: str
    verdict: Verdict
    is_here: bool
    jaccard: float | None
    related: tuple[str, ...]
    name: str | None = None
    names: Texts | None = None

    def as_dict(self) -> dict[str, Any]:
        """A row of lineage.json; without names if there are none."""
        row = {**asdict(self), "related": list(self.related)}
        return {key: value for key, value in row.items() if value is not None or key not in ("name", "names")}

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> LineageRow:
        """Read what `as_dict` made."""
        known = {field.name: row[field.name] for field in fields(LineageRow) if field.name in row}
        return LineageRow(**{**known, "related": tuple(row["related"])})


@dataclass(frozen=True)
class SegmentIdentity:
    """The ids of today's segments, matched with the champion's.

    Attributes
    ----------
    ids : dict of int to str
        Cluster -> segment_id.
    lineage : tuple of LineageRow
        The champion's lineage and this training.
    champion_names : dict of str to Naming
        segment_id -> the champion's naming of a segment that survived.
    given_names : dict of str to str
        segment_id -> the name given by hand to a segment that survived.
    lost_names : tuple of ManualName
        Names given by hand to segments of the champion that are gone.
    note : str
        What became of the champion's segments, in words; empty if there is no champion.
    """

    ids: dict[int, str]
    lineage: tuple[LineageRow, ...]
    champion_names: dict[str, Naming]
    given_names: dict[str, str]
    note: str
    lost_names: tuple[ManualName, ...] = ()


@dataclass(frozen=True)
class Champion:
    """The champion, and the segments it assigns today's customers to. Earlier assignments are not stored.

    Attributes
    ----------
    run_id, uri : str
    segment_ids : dict of str to object array of shape (n,)
        By facet; None for customers in no cluster. Empty if the champion cannot be applied to today's profiles.
    doubt : str
        Why it cannot be applied, or why it may be another shop's; else empty.
    """

    run_id: str
    uri: str
    segment_ids: dict[str, np.ndarray]
    doubt: str

    def starts(self, facet: Facet) -> dict[str, Ints]:
        """Starts for `models.clusterers.fit_kmeans`; none if the champion may be another shop's."""
        if facet.name not in self.segment_ids or self.doubt:
            return {}
        return {f"The champion's segments of {facet.name}": pd.factorize(self.segment_ids[facet.name], sort=True)[0]}


def champion_assignments(store: RunStore, profiles: Profiles, params: Params) -> Champion | None:
    """The champion's segments of today's customers; None if there is no champion."""
    run_id = model_registry.champion_run(store)
    if run_id is None:
        return None
    try:
        model = model_registry.load_model(store, params.tracking.champion_uri)
        _, trained = load_shop(model.shop_folder, params.folder)
        predicted = model.predict(with_model_columns(profiles.table, model.columns))
    except (UserError, OSError) as error:
        return Champion(run_id, params.tracking.champion_uri, {}, str(error))
    segment_ids = {facet.name: _clustered_ids(predicted, facet) for facet in facets_of(trained)}
    return Champion(model.run_id, model.uri, segment_ids, sanity_checks.check_champion_source(params, trained))


def _clustered_ids(predicted: pd.DataFrame, facet: Facet) -> np.ndarray:
    """segment_id of each customer in a facet; None for customers in no cluster."""
    clusters = predicted[facet_column("cluster_id", facet.column_prefix)]
    ids = predicted[facet_column("segment_id", facet.column_prefix)].to_numpy(dtype=object, copy=True)
    ids[(clusters.isna() | (clusters == NOISE)).to_numpy(bool)] = None
    return ids


def identify(
    store: RunStore, champion: Champion | None, fitted: FittedClusters, params: Params, facet: Facet, *, run_id: str
) -> SegmentIdentity:
    """Match the clusters of a facet with the champion's segments, and give new numbers to the others."""
    prefix = facet.identity.id_prefix
    with mlflow_runs.one_at_a_time(params):  # or two trainings would give the same number to different segments
        last = model_registry.last_segment_number(store, prefix)
        identity = _match_with_champion(store, champion, fitted, params, facet, run_id, last=last)
        taken = max(last, last_number((row.segment_id for row in identity.lineage), prefix))
        identity = replace(identity, ids=with_unused(identity.ids, fitted.model_clusters, prefix=prefix, after=taken))
        model_registry.record_last_segment_number(store, prefix, last_number(identity.ids.values(), prefix))
    return identity


def _match_with_champion(
    store: RunStore,
    champion: Champion | None,
    fitted: FittedClusters,
    params: Params,
    facet: Facet,
    run_id: str,
    *,
    last: int,
) -> SegmentIdentity:
    clusters, prefix = _numbering_order(fitted, facet), facet.identity.id_prefix
    if champion is None:
        first = first_identities(clusters, prefix=prefix, after=last)
        return SegmentIdentity(first.ids, _with_run(first, params, facet, run_id), {}, {}, "")
    earlier, damage = earlier_lineage(store, champion.run_id, facet)
    used = {row.segment_id for row in earlier} | {numbered_id(prefix, last)}
    old = champion.segment_ids.get(facet.name)
    if old is None:
        renumbered = first_identities(clusters, prefix=prefix, after=last_number(used, prefix))
        reason = champion.doubt or f"it has no facet {facet.name}."
        note = f"Segments of {facet.name} get new numbers and are not matched with the champion: {reason}{damage}"
        return SegmentIdentity(renumbered.ids, _with_run(renumbered, params, facet, run_id), {}, {}, note)
    new = np.full(len(old), -1, dtype=np.int64)
    new[fitted.is_clustered] = fitted.labels
    champion_ids = {row.segment_id for row in earlier if row.run_id == champion.run_id and row.is_here}
    matched = match_segments(
        old,
        new,
        old_ids=champion_ids | {segment_id for segment_id in old if segment_id is not None},
        used_ids=used,
        prefix=prefix,
        min_jaccard=params.identity.min_jaccard,
        min_part=params.identity.min_part,
    )
    survived = {row.segment_id for row in matched.transitions if row.verdict == "survived"}
    champion_names = {
        row["segment_id"]: Naming.from_dict(row)
        for row in mlflow_runs.read_run(store, champion.run_id).summary.get("segments", [])
        if "names_by_figures" in row
    }
    given_names = model_registry.given_names(store)
    changes = _changes_text(matched)
    return SegmentIdentity(
        ids=matched.ids,
        lineage=(*earlier, *_with_run(matched, params, facet, run_id)),
        champion_names={segment_id: naming for segment_id, naming in champion_names.items() if segment_id in survived},
        given_names={segment_id: name for segment_id, name in given_names.items() if segment_id in survived},
        lost_names=_lost_names(matched, champion_names, given_names),
        note=f"Compared with the champion ({champion.uri}), {facet.name}: {changes}{damage}{champion.doubt}",
    )


def _lost_names(
    matched: Identities, champion_names: Mapping[str, Naming], given_names: Mapping[str, str]
) -> tuple[ManualName, ...]:
    """The manual names of the champion's segments that are gone."""
    new_ids = {row.segment_id for row in matched.transitions if row.is_here and row.verdict != "survived"}
    return tuple(
        ManualName(
            row.segment_id,
            given_names[row.segment_id],
            champion_names.get(row.segment_id),
            tuple(segment_id for segment_id in row.related if segment_id in new_ids),
        )
        for row in matched.transitions
        if not row.is_here and row.segment_id in given_names
    )


def _numbering_order(fitted: FittedClusters, facet: Facet) -> list[int]:
    """The clusters that have customers: by size or, if named by interests, by their leading category.

    Clusters of interests are often similar in size, so another seed would number them differently.
    """
    clusters = sorted(set(fitted.labels.tolist()) - {NOISE})
    if not facet.is_named_by_interests:
        return clusters
    # The last column of the rule's space is the evidence, which is not a category.
    space = fitted.space[:, :-1] if fitted.algorithm == "rule" else fitted.space
    centres = {cluster: space[fitted.labels == cluster].mean(axis=0) for cluster in clusters}
    return sorted(clusters, key=lambda cluster: (int(np.argmax(centres[cluster])), cluster))


def earlier_lineage(store: RunStore, run_id: str, facet: Facet) -> tuple[tuple[LineageRow, ...], str]:
    """The champion's lineage of a facet, and a warning if its file is damaged."""
    try:
        rows = mlflow_runs.read_lineage(store, run_id, LINEAGE)
        return tuple(LineageRow.from_dict(row) for row in rows if row["facet"] == facet.name), ""
    except TrackingError as error:
        return (), (
            f" Warning: {error} The history of segments up to that training is lost. Ids and names are kept, because "
            "they come from the champion's model."
        )


def with_names(lineage: Sequence[LineageRow], segments: Sequence[Segment], language: str) -> tuple[LineageRow, ...]:
    """Add segment names, in every language, to the rows of the last training; earlier rows already have theirs."""
    names = {segment.segment_id: segment.names for segment in segments}
    last = lineage[-1].run_id if lineage else None
    return tuple(
        replace(row, name=names[row.segment_id].shown(language), names=names[row.segment_id].in_languages())
        if row.run_id == last and row.is_here
        else row
        for row in lineage
    )


def _changes_text(identities: Identities) -> str:
    changed = [row for row in identities.transitions if row.verdict != "survived"]
    same = len(identities.transitions) - len(changed)
    parts = [f"{counted(same, 'segment')} {'is' if same == 1 else 'are'} the same"]
    for row in changed:
        related = " and ".join(row.related)
        change = {
            ("new", True): f"is new, closest to {related}" if related else "is new",
            ("split", True): f"is a part of {related}",
            ("merged", True): f"combines {related}",
            ("gone", False): "is gone",
            ("split", False): f"was split into {related}",
            ("merged", False): f"was merged into {related}",
        }[row.verdict, row.is_here]
        parts.append(f"{row.segment_id} {change}")
    return "; ".join(parts) + "."


def _with_run(identities: Identities, params: Params, facet: Facet, run_id: str) -> tuple[LineageRow, ...]:
    as_of = f"{params.as_of:%Y-%m-%d %H:%M}"
    return tuple(
        LineageRow(*(as_of, run_id, facet.name, row.segment_id, row.verdict), row.is_here, jaccard, row.related)
        for row in identities.transitions
        for jaccard in (None if row.jaccard is None else significant(row.jaccard),)
    )


def with_model_columns(profile: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Profiles with the columns of the champion's model.

    A category that is now divided into subcategories is their sum. Interests that the model does not know are added to
    its OTHER. Any other column that no longer exists is null.

    Raises
    ------
    UserError
        Too few of the model's categories are in the profiles.
    """
    interests = [name for name in columns if name.startswith(SHARE_PREFIX)]
    current = [str(name) for name in profile]
    parts = {
        name: [column for column in current if column == name or column.startswith(name + SEPARATOR)]
        for name in interests
    }
    known = [name for name in interests if parts[name]]
    if len(known) < MIN_SHARED_INTERESTS * len(interests):
        raise UserError(f"it knows {len(interests)} categories, but this log has only {len(known)} of them.")
    other = SHARE_PREFIX + OTHER
    shares = pd.DataFrame(
        {name: profile[parts[name]].sum(axis=1) for name in interests if name != other}, profile.index
    )
    if other in interests:
        shares[other] = (1.0 - shares.sum(axis=1)).clip(lower=0.0)
    missing = {name: np.nan for name in columns if name not in profile and name not in interests}
    return profile.drop(columns=shares.columns, errors="ignore").join(shares).assign(**missing)
