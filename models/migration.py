"""Who moves between groups from date to date: counts, directions, lengths of stay, and where the lost come from.

Places are codes (n_customers, n_dates) of whole numbers: the group of each customer at each date, `UNKNOWN` before
the customer is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
UNKNOWN = -1


def move_counts(before: Ints, after: Ints, n_groups: int) -> Ints:
    """Customers by their groups at two dates.

    Returns
    -------
    ndarray (n_groups + 1, n_groups + 1)
        From row to column; the last row and column are of those unknown at that date.
    """
    size = n_groups + 1
    # UNKNOWN is -1, which the remainder makes the last row or column.
    counts = np.bincount((before % size) * size + after % size, minlength=size * size).reshape(size, size)
    counts[n_groups, n_groups] = 0
    return counts


def hide_small(counts: Ints, min_group: int) -> tuple[Ints, int]:
    """Counts without those of fewer than ``min_group`` customers, and how many customers those hold together.

    Where they hold fewer than ``min_group`` together, the smallest others are hidden too, so that neither a cell nor
    the rest tells of a few. What is shown and what is hidden add up to the whole.
    """
    order = np.sort(counts[counts > 0])
    together = np.cumsum(order)
    n_hidden = int(np.searchsorted(order, min_group))
    if n_hidden and together[n_hidden - 1] < min_group:
        n_hidden = int(np.searchsorted(together, min_group)) + 1
    n_hidden = min(n_hidden, len(order))
    # Equal counts are hidden alike, so that it does not depend on their order which of them is shown.
    bound = order[n_hidden - 1] if n_hidden else 0
    shown = np.where(counts > bound, counts, 0)
    return shown, int(counts.sum() - shown.sum())


def directions(counts: Ints, ranks: Sequence[int | None]) -> tuple[int, int]:
    """How many customers moved up and down; moves from or to a group without a rank, or of unknown ones, do not count.

    Parameters
    ----------
    ranks : of each group
        The higher, the better; None where a group has no place in the order.
    """
    rank = np.array([np.nan if one is None else one for one in [*ranks, None]], dtype=np.float64)
    change = rank[None, :] - rank[:, None]
    return int(counts[change > 0].sum()), int(counts[change < 0].sum())


@dataclass(frozen=True)
class Stays:
    """Stays whose beginning was seen: group, days and whether the end was seen too, of each."""

    group: Ints
    days: Floats
    is_over: Flags


def stays(codes: Ints, moments: Floats) -> Stays:
    """Runs of dates in one group, from the first date there to the first elsewhere, or to the last date of all.

    Parameters
    ----------
    moments : ndarray (n_dates,), ascending
        The dates, in days. A stay of those who were there at the first date is left out, as its beginning is unknown.
    """
    last = codes.shape[1] - 1
    begun = np.full(len(codes), UNKNOWN)
    found: list[tuple[Ints, Floats, Flags]] = []

    def end(who: Flags, place: int, until: int, *, is_over: bool) -> None:
        days = moments[until] - moments[begun[who]]
        found.append((codes[who, place], days, np.full(len(days), is_over)))

    for place in range(1, last + 1):
        has_moved = codes[:, place] != codes[:, place - 1]
        end(has_moved & (begun >= 0) & (codes[:, place - 1] >= 0), place - 1, place, is_over=True)
        begun = np.where(has_moved, place, begun)
    end((begun >= 0) & (begun < last) & (codes[:, last] >= 0), last, last, is_over=False)
    group, days, is_over = (np.concatenate(part) for part in zip(*found, strict=True))
    return Stays(group, days, is_over)


def stay_length(days: Floats, is_over: Flags) -> tuple[float | None, float, float]:
    """How long a stay lasts (Kaplan and Meier, 1958); those that go on at the last date are censored.

    Returns
    -------
    (median, mean, longest)
        Days. The median is None where more than half go on past what was seen; the mean is of what lies within
        ``longest``, the longest stay seen (restricted mean, the area under the curve).
    """
    times = np.unique(days)
    at_risk = len(days) - np.searchsorted(np.sort(days), times)
    ended = np.searchsorted(np.sort(days[is_over]), times, side="right")
    ended = np.diff(ended, prepend=0)
    survival = np.cumprod(1.0 - ended / at_risk)
    below = np.flatnonzero(survival <= 0.5 + 1e-12)
    mean = float((np.concatenate([[1.0], survival[:-1]]) * np.diff(times, prepend=0.0)).sum())
    return (float(times[below[0]]) if len(below) else None), mean, float(times[-1])


def before_lost(codes: Ints, *, is_lost: Flags, is_leaving: Flags, n_groups: int) -> tuple[Ints, Ints]:
    """Where those who become lost were.

    Parameters
    ----------
    is_lost, is_leaving : ndarray (n_customers, n_dates)
        Whether they are lost at a date, and whether on the way there or lost.

    Returns
    -------
    (ndarray (n_groups + 1,), ndarray (n_groups + 1,))
        Customers by their group at the date before they were lost, and by that at the last date at which they were not
        yet leaving; the last count is of those who were leaving at every date. Who is lost from the first date on, or
        when first seen, does not count.
    """
    standing = np.full(len(codes), UNKNOWN)
    counts = np.zeros((2, n_groups + 1), np.int64)
    for place in range(1, codes.shape[1]):
        standing = np.where(is_leaving[:, place - 1] | (codes[:, place - 1] < 0), standing, codes[:, place - 1])
        lost = is_lost[:, place] & ~is_lost[:, place - 1] & (codes[:, place - 1] >= 0)
        for row, where in enumerate((codes[lost, place - 1], standing[lost])):
            counts[row] += np.bincount(where % (n_groups + 1), minlength=n_groups + 1)
    return counts[0], counts[1]
