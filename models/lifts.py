"""Interests of segments compared with the shop, their statistical certainty, and short category labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.categories import OTHER, SEPARATOR
from features.interests import SHARE_PREFIX
from models.identity import RULE_GROUP_PREFIX

LIFT_DIGITS = 1
"""Decimal places of a lift in the report."""


@dataclass(frozen=True)
class Interest:
    """A category in which a segment is especially interested.

    Attributes
    ----------
    share : float
        Mean over the segment's customers.
    lift, lift_low : float
        The share divided by the shop's over the same period, and its lower bound.
    customer_count : int
        Customers who show this interest.
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
    seasonal_lift: pd.DataFrame | None,
    *,
    min_lift: float,
    lift_errors: float,
    min_group: int,
) -> dict[str, pd.DataFrame]:
    """Segment x category: mean share, its lift compared with all customers over the same period, and significance.

    ``lift_low`` is the lift minus ``lift_errors`` standard errors over the segment's customers. ``customer_count`` is
    the number of customers with a lift of at least ``min_lift``. A lift is significant if it is at least
    ``lift_errors`` standard errors from 1 and does not round to 1.0. A lift of ``min_lift`` or more also needs
    ``min_group`` customers who show it. Categories are ordered by how much the segments differ in them.
    """
    customer_shares = profile[[SHARE_PREFIX + name for name in names]].set_axis(names, axis=1)
    by_segment = customer_shares.groupby(ids, sort=True)
    shares = by_segment.mean()
    is_rule_group = shares.index.str.startswith(RULE_GROUP_PREFIX)
    spread = shares[is_rule_group.all() | ~is_rule_group].agg(np.ptp).drop(OTHER, errors="ignore")
    order = spread.sort_values(ascending=False, kind="stable").index
    overall = customer_shares.mean()
    expected = pd.DataFrame(1.0, shares.index, shares.columns) * overall.where(overall > 0)
    if seasonal_lift is not None:
        expected *= seasonal_lift.reindex(index=shares.index, columns=shares.columns).fillna(1.0)
    # A single customer gives no standard error, so nothing is significant.
    error = lift_errors * by_segment.std().fillna(np.inf).div(np.sqrt(by_segment.size()), axis=0)
    counts = (customer_shares >= min_lift * overall).groupby(ids, sort=True).sum()
    lifts = shares / expected
    is_shown = ((shares < min_lift * expected) | (counts >= min_group)) & (lifts.round(LIFT_DIGITS) != 1.0)
    tables = {
        "share": shares,
        "lift": lifts,
        "lift_low": (shares - error) / expected,
        "customer_count": counts,
        "is_significant": ((shares - expected).abs() > error) & is_shown,
    }
    return {name: table[order] for name, table in tables.items()}


def top_interests(
    table: pd.DataFrame, *, min_lift: float, min_share: float, min_count: float, most: int, labels: Mapping[str, str]
) -> list[Interest]:
    """Distinctive interests of one segment, highest lift first; OTHER is never included.

    Parameters
    ----------
    table : DataFrame by category
        share: the segment's mean; lift: the share divided by the shop's; lift_low: its lower bound, which must be above
        1; customer_count: customers who show the interest. An interest shown by fewer than ``min_count`` customers is
        not an interest of the segment, however high its lift.
    """
    # Not with `query`: pandas changes the warning filters there, which is not thread-safe.
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
    """Short labels: the last part of each path, with the parts above it if two labels would be the same.

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
        clashing = [
            category
            for category in categories
            if counts[labels[category]] > 1 and depth[category] < len(parts[category])
        ]
        if not clashing:
            break
        for category in clashing:
            depth[category] += 1
    return {
        category: label if len(label) <= most_chars else f"{label[: most_chars - 1]}…"
        for category, label in labels.items()
    }
