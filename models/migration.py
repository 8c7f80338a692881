"""Moves between groups over time: counts, directions, length of stay, and the groups that lost customers came from.

Group codes are integers of shape (n_customers, n_dates): the group of each customer at each date, `UNKNOWN` before
the customer is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.disclosure import hidden_cells, hidden_line, rounded_count, rounded_counts

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
UNKNOWN = -1


def move_counts(before: Ints, after: Ints, n_groups: int) -> Ints:
    """Customers by their groups at two dates.

    Returns
    -------
    ndarray (n_groups + 1, n_groups + 1)
        From row to column; the last row and column hold customers unknown at that date.
    """
    size = n_groups + 1
    # UNKNOWN is -1; the remainder maps it to the last row or column.
    counts = np.bincount((before % size) * size + after % size, minlength=size * size).reshape(size, size)
    counts[n_groups, n_groups] = 0
    return counts


def hide_small(counts: Ints, min_group: int) -> tuple[Ints, int]:
    """Counts as they may be published, 0 where hidden, and the number of customers in all hidden cells.

    Parameters
    ----------
    counts : ndarray (n_from, n_to) or (n,)
        Moves between groups whose sizes are known, or the parts of a known total. A few customers are hidden, with
        enough others that they cannot be computed; all figures are rounded (`models.disclosure`).
    """
    hidden = (hidden_cells if counts.ndim == 2 else hidden_line)(counts.astype(np.float64), min_group)
    shown = rounded_counts(np.where(hidden, 0, counts), min_group).astype(np.int64)
    return shown, rounded_count(counts[hidden].sum(), min_group)


def directions(counts: Ints, ranks: Sequence[int | None]) -> tuple[int, int]:
    """Numbers of customers who moved up and down; moves from or to groups without a rank (or unknown) do not count.

    Parameters
    ----------
    ranks : sequence of int or None
        Rank of each group: higher is better; None if the group is not ordered.
    """
    rank = np.array([np.nan if value is None else value for value in [*ranks, None]], dtype=np.float64)
    change = rank[None, :] - rank[:, None]
    return int(counts[change > 0].sum()), int(counts[change < 0].sum())


@dataclass(frozen=True)
class Stays:
    """Stays with an observed start: group, length in days, and whether the end was observed."""

    group: Ints
    days: Floats
    is_over: Flags


def stays(codes: Ints, moments: Floats) -> Stays:
    """Runs of dates in one group, from the first date in the group to the first date outside it, or to the last date.

    Parameters
    ----------
    moments : ndarray (n_dates,), ascending
        The dates, in days. Stays that include the first date are left out, because their start is unknown.
    """
    last = codes.shape[1] - 1
    start = np.full(len(codes), UNKNOWN)
    collected: list[tuple[Ints, Floats, Flags]] = []

    def end(is_ending: Flags, date: int, until: int, *, is_over: bool) -> None:
        days = moments[until] - moments[start[is_ending]]
        collected.append((codes[is_ending, date], days, np.full(len(days), is_over)))

    for date in range(1, last + 1):
        has_moved = codes[:, date] != codes[:, date - 1]
        end(has_moved & (start >= 0) & (codes[:, date - 1] >= 0), date - 1, date, is_over=True)
        start = np.where(has_moved, date, start)
    end((start >= 0) & (start < last) & (codes[:, last] >= 0), last, last, is_over=False)
    group, days, is_over = (np.concatenate(part) for part in zip(*collected, strict=True))
    return Stays(group, days, is_over)


def stay_length(days: Floats, is_over: Flags) -> tuple[float | None, float, float]:
    """Length of a stay (Kaplan and Meier, 1958); stays that continue at the last date are censored.

    Returns
    -------
    (median, mean, longest)
        Days. The median is None if more than half of the stays continue beyond the observed time. The mean is
        restricted to ``longest``, the longest stay observed (the area under the curve).
    """
    curve = stats.ecdf(stats.CensoredData(uncensored=days[is_over], right=days[~is_over])).sf
    times, survival = curve.quantiles, curve.probabilities
    below = np.flatnonzero(survival <= 0.5 + 1e-12)
    mean = float((np.concatenate([[1.0], survival[:-1]]) * np.diff(times, prepend=0.0)).sum())
    return (float(times[below[0]]) if len(below) else None), mean, float(times[-1])


def before_lost(codes: Ints, *, is_lost: Flags, is_leaving: Flags, n_groups: int) -> tuple[Ints, Ints]:
    """The groups of lost customers before they were lost.

    Parameters
    ----------
    is_lost, is_leaving : ndarray (n_customers, n_dates)
        Whether a customer is lost at a date, and whether the customer is leaving or lost.

    Returns
    -------
    (ndarray (n_groups + 1,), ndarray (n_groups + 1,))
        Customers by their group at the date before they were lost, and by their last stable group: the group at the
        last date at which they were not yet leaving. The last count holds those who were leaving at every date.
        Customers who are lost at the first date, or when first seen, do not count.
    """
    last_stable = np.full(len(codes), UNKNOWN)
    counts = np.zeros((2, n_groups + 1), np.int64)
    for date in range(1, codes.shape[1]):
        is_stable = ~is_leaving[:, date - 1] & (codes[:, date - 1] >= 0)
        last_stable = np.where(is_stable, codes[:, date - 1], last_stable)
        lost = is_lost[:, date] & ~is_lost[:, date - 1] & (codes[:, date - 1] >= 0)
        for row, groups in enumerate((codes[lost, date - 1], last_stable[lost])):
            counts[row] += np.bincount(groups % (n_groups + 1), minlength=n_groups + 1)
    return counts[0], counts[1]
