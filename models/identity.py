"""Match new segments with old ones, so segment ids survive retraining."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:  # the scorer imports MLflow, which takes a second and a half
    from models.scorer import Floats, Ints

RULE_GROUP_PREFIX = "standing-"
"""Prefix of the segment_id of a rule-based group, before its lifecycle stage."""


Verdict = Literal["survived", "new", "split", "merged", "gone"]


@dataclass(frozen=True, slots=True)
class Transition:
    """What became of an old segment, or where a new one comes from.

    Attributes
    ----------
    is_here : bool
        False for an old segment that no longer exists.
    jaccard : float, optional
        With the old segment of the same id.
    related : tuple of str
        The old or new ids that share most customers with the segment.
    """

    segment_id: str
    verdict: Verdict
    is_here: bool = True
    jaccard: float | None = None
    related: tuple[str, ...] = ()


@dataclass(frozen=True)
class Identities:
    """The fate of the old segments and the origin of the new ones.

    Attributes
    ----------
    ids : dict of int to str
        Cluster -> segment_id.
    transitions : tuple of Transition
        One per new segment, and one per old segment that no longer exists.
    """

    ids: dict[int, str]
    transitions: tuple[Transition, ...]


def numbered_id(prefix: str, number: int) -> str:
    """A segment_id, such as s07."""
    return f"{prefix}{number:02}"


def last_number(ids: Iterable[str], prefix: str) -> int:
    """The highest number among ids with a prefix, such as s07; 0 without such ids."""
    numbers = (segment_id.removeprefix(prefix) for segment_id in ids if segment_id.startswith(prefix))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def first_identities(clusters: Iterable[int], *, prefix: str, after: int = 0) -> Identities:
    """Ids for a first training: s01, s02, ... in the order of ``clusters``, starting after the number ``after``."""
    ids = {cluster: numbered_id(prefix, number) for number, cluster in enumerate(clusters, start=after + 1)}
    return Identities(ids, tuple(Transition(segment_id, "new") for segment_id in ids.values()))


def with_unused(ids: dict[int, str], clusters: Iterable[int], *, prefix: str, after: int) -> dict[int, str]:
    """``ids``, plus new ids for clusters that have no customers now, numbered after ``after`` and all of ``ids``."""
    start = max(after, last_number(ids.values(), prefix)) + 1
    unused = enumerate(sorted(set(clusters) - set(ids)), start=start)
    return ids | {cluster: numbered_id(prefix, number) for number, cluster in unused}


def match_segments(
    old: np.ndarray,
    new: Ints,
    *,
    old_ids: Iterable[str],
    used_ids: Iterable[str],
    prefix: str,
    min_jaccard: float,
    min_part: float,
) -> Identities:
    """Give each cluster the id of the old segment it continues, or an id that was never used.

    Clusters and old segments are paired to maximise the sum of the Jaccard indexes of their customers, over pairs that
    reach ``min_jaccard``. The verdicts follow MONIC: survived (the pair holds), split (most of an old segment went into
    several), merged (most of several segments went into one), gone and new.

    Parameters
    ----------
    old : object array of shape (n,)
        The old model's segment_id of each current customer; None for a customer in no cluster.
    new : int array of shape (n,)
        The new cluster of each customer; -1 for a customer in no cluster.
    old_ids : iterable of str
        Segments of the old model, including those now empty.
    used_ids : iterable of str
        Ids used in any earlier training; they are never given to another segment.
    prefix : str
        Prefix of new ids.
    min_part : float, 0..1
        A segment's customers count as most of it from this share.

    References
    ----------
    Spiliopoulou, Ntoutsi, Theodoridis and Schult, MONIC: modeling and monitoring cluster transitions, KDD (2006).
    """
    overlap = _overlap(old, new, old_ids)
    return _named_clusters(overlap, used_ids, prefix, min_jaccard=min_jaccard, min_part=min_part)


@dataclass(frozen=True)
class Overlap:
    """How the customers of old segments and new clusters overlap; arrays of shape (n_old, n_new), shares 0..1.

    Attributes
    ----------
    names, clusters : list of str, list of int
        Old segments and new clusters, sorted.
    share_of_old, share_of_new : float
        Shared customers, as a share of the old segment and of the new cluster.
    """

    names: list[str]
    clusters: list[int]
    jaccard: Floats
    share_of_old: Floats
    share_of_new: Floats

    def continued(self, min_jaccard: float) -> dict[int, int]:
        """Column -> row of the pairs that maximise the sum of the Jaccard indexes."""
        # Two pairs below the minimum must not outweigh one valid pair.
        is_pair = self.jaccard >= min_jaccard
        rows, columns = linear_sum_assignment(self.jaccard * is_pair, maximize=True) if is_pair.size else ((), ())
        return {int(column): int(row) for row, column in zip(rows, columns, strict=True) if is_pair[row, column]}


def _overlap(old: np.ndarray, new: Ints, old_ids: Iterable[str]) -> Overlap:
    shared = pd.crosstab(pd.Series(old, name="old"), pd.Series(new, name="new")).drop(columns=-1, errors="ignore")
    before, after = pd.Series(old).value_counts(), pd.Series(new[new >= 0]).value_counts()
    names, clusters = sorted(set(old_ids)), sorted(int(cluster) for cluster in after.index)
    counts = shared.reindex(index=names, columns=clusters, fill_value=0).to_numpy(np.float64)
    sizes = before.reindex(names, fill_value=0).to_numpy(np.float64)[:, None], after[clusters].to_numpy()[None, :]
    jaccard = counts / np.maximum(sizes[0] + sizes[1] - counts, 1.0)
    return Overlap(names, clusters, jaccard, counts / np.maximum(sizes[0], 1.0), counts / np.maximum(sizes[1], 1.0))


def _named_clusters(
    overlap: Overlap, used_ids: Iterable[str], prefix: str, *, min_jaccard: float, min_part: float
) -> Identities:
    names, clusters = overlap.names, overlap.clusters
    continued = overlap.continued(min_jaccard)
    share_of_old, share_of_new = overlap.share_of_old, overlap.share_of_new
    number = last_number({*used_ids, *names}, prefix)
    ids: dict[int, str] = {}
    transitions = []
    for column, cluster in enumerate(clusters):
        ancestors = tuple(names[row] for row in np.flatnonzero(share_of_old[:, column] >= min_part))
        sources = tuple(names[row] for row in np.flatnonzero(share_of_new[:, column] >= min_part))
        related = ancestors or sources
        if column in continued:
            row = continued[column]
            ids[cluster] = names[row]
            jaccard = float(overlap.jaccard[row, column])
            transitions.append(Transition(names[row], "survived", jaccard=jaccard, related=related))
            continue
        number += 1
        ids[cluster] = numbered_id(prefix, number)
        verdict: Verdict = "merged" if len(ancestors) > 1 else "split" if sources else "new"
        transitions.append(Transition(ids[cluster], verdict, related=related))
    for row, name in enumerate(names):
        if row in continued.values():
            continue
        targets = tuple(ids[clusters[column]] for column in np.flatnonzero(share_of_old[row] >= min_part))
        parts = tuple(ids[clusters[column]] for column in np.flatnonzero(share_of_new[row] >= min_part))
        verdict = "merged" if targets else "split" if len(parts) > 1 else "gone"
        transitions.append(Transition(name, verdict, is_here=False, related=targets or parts))
    return Identities(ids, tuple(transitions))
