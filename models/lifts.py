"""What segments turn to beside the shop, how sure that is, and what categories are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.categories import OTHER, SEPARATOR
from features.interests import SHARE_PREFIX
from models.identity import STANDING

LIFT_DIGITS = 1
"""After the point, as lifts are told."""


@dataclass(frozen=True)
class Interest:
    """A category that a segment turns to.

    Attributes
    ----------
    share : float
        Mean over the segment's customers.
    lift, lift_low : float
        The share beside the shop's at the same times, and what it is at least.
    customer_count : int
        Who show it.
    """

    category: str
    label: str
    share: float
    lift: float
    lift_low: float
    customer_count: int


def segment_lifts(
    profile: pd.DataFrame,
    ids: np.ndarray,
    names: list[str],
    leaning: pd.DataFrame | None,
    *,
    min_lift: float,
    lift_errors: float,
    min_group: int,
) -> dict[str, pd.DataFrame]:
    """Segment x category: mean share, its lift beside all customers at the same times, and how sure it is.

    ``lift_low`` is the lift less ``lift_errors`` standard errors over the segment's customers; ``customer_count``
    says how many show a lift of ``min_lift``. A lift is sure that lies so far from 1, is not told as 1.0 and, where it
    is above, that enough customers show. Categories come in the order of how much of their interest the segments differ
    in.
    """
    own = profile[[SHARE_PREFIX + name for name in names]].set_axis(names, axis=1)
    by_segment = own.groupby(ids, sort=True)
    shares = by_segment.mean()
    is_standing = shares.index.str.startswith(STANDING)
    spread = shares[is_standing.all() | ~is_standing].agg(np.ptp).drop(OTHER, errors="ignore")
    order = spread.sort_values(ascending=False, kind="stable").index
    expected = pd.DataFrame(1.0, shares.index, shares.columns) * own.mean().where(own.mean() > 0)
    if leaning is not None:
        expected *= leaning.reindex(index=shares.index, columns=shares.columns).fillna(1.0)
    # Of one customer alone nothing is sure.
    error = lift_errors * by_segment.std().fillna(np.inf).div(np.sqrt(by_segment.size()), axis=0)
    counts = (own >= min_lift * own.mean()).groupby(ids, sort=True).sum()
    lifts = shares / expected
    is_shown = ((shares < min_lift * expected) | (counts >= min_group)) & (lifts.round(LIFT_DIGITS) != 1.0)
    found = {
        "share": shares,
        "lift": lifts,
        "lift_low": (shares - error) / expected,
        "customer_count": counts,
        "is_sure": ((shares - expected).abs() > error) & is_shown,
    }
    return {name: table[order] for name, table in found.items()}


def top_interests(
    table: pd.DataFrame, *, min_lift: float, min_share: float, min_count: float, most: int, labels: Mapping[str, str]
) -> list[Interest]:
    """Distinctive interests of one segment, the highest lift first; OTHER is none.

    Parameters
    ----------
    table : DataFrame by category
        share: the segment's mean; lift: that beside the shop's; lift_low: its lower bound, which must be above 1;
        customer_count: those who show it. An interest that fewer than ``min_count`` show is theirs, not the segment's,
        however high its lift.
    """
    # Not by `query`: pandas silences a warning of its own there, which threads take from one another.
    kept = table.drop(index=OTHER, errors="ignore")
    is_high = (kept["lift"] >= min_lift) & (kept["lift_low"] > 1)
    kept = kept[is_high & (kept["share"] >= min_share) & (kept["customer_count"] >= min_count)]
    first = kept.assign(lift=kept.lift.round(9)).sort_index().sort_values("lift", ascending=False, kind="stable")[:most]
    return [
        Interest(
            str(name),
            labels[str(name)],
            float(row.share),
            float(row.lift),
            float(row.lift_low),
            int(row.customer_count),
        )
        for name, row in first.iterrows()
    ]


def category_labels(categories: Sequence[str], *, most_chars: int = 40) -> dict[str, str]:
    """The last part of each path, with the part above it where two would be alike; shortened for people.

    Examples
    --------
    >>> category_labels(["Pets > Cats > Food", "Pets > Dogs > Food", "Home > Lamps"])
    {'Pets > Cats > Food': 'Cats › Food', 'Pets > Dogs > Food': 'Dogs › Food', 'Home > Lamps': 'Lamps'}
    """
    parts = {category: category.split(SEPARATOR) for category in categories}
    depth = dict.fromkeys(categories, 1)
    while True:
        labels = {category: " › ".join(path[-depth[category] :]) for category, path in parts.items()}
        counts = pd.Series(labels).value_counts()
        clashing = [one for one in categories if counts[labels[one]] > 1 and depth[one] < len(parts[one])]
        if not clashing:
            break
        for category in clashing:
            depth[category] += 1
    return {
        category: label if len(label) <= most_chars else f"{label[: most_chars - 1]}…"
        for category, label in labels.items()
    }
