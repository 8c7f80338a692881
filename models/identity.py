"""Which new segment is which old one: ids that survive a retraining."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Ints

STANDING = "standing-"
"""What the segment_id of those begins with who are not clustered, before their lifecycle stage."""


@dataclass(frozen=True)
class Identities:
    """What became of the old segments, and where the new ones come from.

    Attributes
    ----------
    ids : dict of int to str
        Cluster -> segment_id.
    lineage : list of dict
        A row per new segment, and per old one that is no more (not is_here): segment_id, verdict, jaccard (with the old
        one of the same id; None where there is none), and akin (old or new ids that share most customers with it).
    """

    ids: dict[int, str]
    lineage: list[dict[str, Any]]


def numbered_id(prefix: str, number: int) -> str:
    """A segment_id, such as s07."""
    return f"{prefix}{number:02}"


def last_number(ids: Iterable[str], prefix: str) -> int:
    """The highest number among ids with a prefix, such as s07; 0 where there is none."""
    numbers = (one.removeprefix(prefix) for one in ids if one.startswith(prefix))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def first_identities(clusters: Iterable[int], *, prefix: str, after: int = 0) -> Identities:
    """Ids where there is nothing to compare with: s01, s02, ... in the order given, past the number ``after``."""
    ids = {cluster: numbered_id(prefix, number) for number, cluster in enumerate(clusters, start=after + 1)}
    return Identities(ids, [_row(segment_id, "new", None, []) for segment_id in ids.values()])


def with_unused(ids: dict[int, str], clusters: Iterable[int], *, prefix: str, after: int) -> dict[int, str]:
    """``ids``, and numbers past ``after`` and all of them for the clusters of a model that nobody is in now."""
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
    """Give each cluster the id of the old segment it continues, or one that was never used.

    Clusters and old segments are paired so that the Jaccards of their customers add up to the most, of the pairs that
    reach ``min_jaccard``. The verdicts are those of MONIC: survived (the pair holds), split (most of an old segment
    went into several), merged (most of several came into one), gone and new.

    Parameters
    ----------
    old : object array of shape (n,)
        The old model's segment_id of today's customers; None for who is in no segment of clusters.
    new : int array of shape (n,)
        Their clusters now; -1 for who is in none.
    old_ids : iterable of str
        Segments of the old model, those of nobody today among them.
    used_ids : iterable of str
        Of all trainings so far: none is given to another segment.
    prefix : str
        What new ids begin with.
    min_part : float, 0..1
        Share of a segment's customers that counts as most of it.

    References
    ----------
    Spiliopoulou, Ntoutsi, Theodoridis and Schult, MONIC: modeling and monitoring cluster transitions, KDD (2006).
    """
    shared = pd.crosstab(pd.Series(old, name="old"), pd.Series(new, name="new")).drop(columns=-1, errors="ignore")
    before, after = pd.Series(old).value_counts(), pd.Series(new[new >= 0]).value_counts()
    names, clusters = sorted(set(old_ids)), sorted(int(cluster) for cluster in after.index)
    counts = shared.reindex(index=names, columns=clusters, fill_value=0).to_numpy(np.float64)
    sizes = before.reindex(names, fill_value=0).to_numpy(np.float64)[:, None], after[clusters].to_numpy()[None, :]
    jaccard = counts / np.maximum(sizes[0] + sizes[1] - counts, 1.0)
    # Two pairs that are none must not outweigh one that is.
    is_pair = jaccard >= min_jaccard
    pairs = zip(*linear_sum_assignment(jaccard * is_pair, maximize=True), strict=True) if counts.size else ()
    continued = {column: row for row, column in pairs if is_pair[row, column]}
    went, came = counts / np.maximum(sizes[0], 1.0), counts / np.maximum(sizes[1], 1.0)

    fresh = last_number({*used_ids, *names}, prefix)
    ids, lineage = {}, []
    for column, cluster in enumerate(clusters):
        ancestors = [names[row] for row in np.flatnonzero(went[:, column] >= min_part)]
        sources = [names[row] for row in np.flatnonzero(came[:, column] >= min_part)]
        if column in continued:
            row = continued[column]
            ids[cluster] = names[row]
            lineage.append(_row(names[row], "survived", float(jaccard[row, column]), ancestors or sources))
            continue
        fresh += 1
        ids[cluster] = numbered_id(prefix, fresh)
        verdict = "merged" if len(ancestors) > 1 else "split" if sources else "new"
        lineage.append(_row(ids[cluster], verdict, None, ancestors or sources))
    for row, name in enumerate(names):
        if row in continued.values():
            continue
        whole = [ids[clusters[column]] for column in np.flatnonzero(went[row] >= min_part)]
        parts = [ids[clusters[column]] for column in np.flatnonzero(came[row] >= min_part)]
        verdict = "merged" if whole else "split" if len(parts) > 1 else "gone"
        lineage.append(_row(name, verdict, None, whole or parts, is_here=False))
    return Identities(ids, lineage)


def _row(
    segment_id: str, verdict: str, jaccard: float | None, akin: list[str], *, is_here: bool = True
) -> dict[str, Any]:
    return {"segment_id": segment_id, "verdict": verdict, "is_here": is_here, "jaccard": jaccard, "akin": akin}
