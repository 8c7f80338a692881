"""Statistical disclosure control: which figures may be published, and how far they are rounded.

Every output of figures about groups of customers asks this module. Three rules hold for all of them:

1. A figure that fewer than ``min_group`` customers contribute to is hidden, and enough others with it that it cannot be
   computed from them (`hidden_cells`, `hidden_line`).
2. A sum is published once, rounded to a step of at least twice the largest contribution of one customer, and at least
   what ``min_group`` average customers contribute (`rounded_sums`). For a count of customers this is ``min_group``.
3. Means and shares are quotients of these rounded sums, so they tell no more than the sums do.

So sums, differences and products of published figures, of one run or of two, leave what a customer contributes
uncertain by a large part of itself; tests/models/test_disclosure_attacks.py measures it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pandas.api.typing import DataFrameGroupBy
from scipy import sparse
from scipy.optimize import linprog

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]
STEPS = np.array([1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0])
"""Rounding steps, times a power of ten."""
LARGEST_FACTOR = 2.0
"""A rounding step is at least this many times the largest contribution of one customer: several sums that hold the same
customer are rounded in different places, so together they tell more than each of them."""
EMPTY_CELL_COST = 2.0
"""Cost of hiding an empty cell, where a cell of all customers costs 1: readers may know that it is empty."""
SUBGROUP_FIGURES = {
    "buyer_share": (
        *("orders_per_buyer", "average_order_value", "return_rate", "discount_share", "price_level"),
        *("days_since_first_purchase", "days_since_last_purchase", "views_per_order", "returned_spend_share"),
    ),
    "cart_user_share": ("abandoned_cart_share",),
}
"""Share of customers in a subgroup, such as buyers -> figures that describe this subgroup only."""
SUBGROUP_SHARE = {figure: share for share, figures in SUBGROUP_FIGURES.items() for figure in figures}
"""Figure that describes a subgroup, such as buyers -> the share of customers in that subgroup."""

MAX_MEASURE_STEP = 0.2
"""A measure of quality whose step would be larger, as a share of 1 or of a larger value, says nothing and is hidden."""
EXTREME_MARGIN = 0.005
"""Shares this close to 0 or 1 are rounded to it: correct to the percent, and no individual is revealed."""


def describes_enough(figure: str, figures: Mapping[str, float], min_share: float) -> bool:
    """Whether at least ``min_share`` of a segment's customers are in the subgroup that a figure describes, if any."""
    return figures.get(SUBGROUP_SHARE.get(figure, ""), 1.0) >= min_share


def is_dominated(groups: DataFrameGroupBy, top: str, bottom: str, *, max_share: float) -> pd.Series:
    """Whether one customer dominates a group's ratio of sums: the dominance rule for a single contributor.

        groups of customers with the columns ``top`` (numerator) and ``bottom`` (denominator), unique index
     -> bool by group

    A customer dominates if they account for more than ``max_share`` of the numerator, and leaving them out changes the
    ratio by more than ``max_share`` of its value. A customer who both buys and returns most does not dominate: the
    ratio is the same without them.
    """
    sums, largest = groups[[top, bottom]].sum().astype(float), groups[top].idxmax()
    own = groups.obj.loc[largest, [top, bottom]].astype(float).set_axis(largest.index)
    top_share, bottom_share = own[top] / sums[top], own[bottom] / sums[bottom]
    # If one customer is the whole denominator, there is no ratio without them.
    change = (1.0 - (1.0 - top_share) / (1.0 - bottom_share).where(bottom_share < 1.0)).abs().fillna(np.inf)
    return (top_share > max_share) & (change > max_share)


def rounding_step(least: ArrayLike) -> Floats:
    """The smallest step of `STEPS`, times a power of ten, that is at least ``least`` (positive)."""
    smallest = np.asarray(least, dtype=np.float64)
    power = 10.0 ** np.floor(np.log10(smallest))
    # The tolerance keeps 10 ** -3 a step in spite of its binary form.
    return np.asarray(STEPS[np.searchsorted(STEPS, smallest / power * (1 - 1e-9))] * power)


def rounded_sums(
    totals: ArrayLike, *, sizes: ArrayLike, largest: ArrayLike, contributors: ArrayLike, min_group: int
) -> Floats:
    """Sums over customers as they may be published; all arrays have one shape.

    Parameters
    ----------
    totals, sizes : arrays
        Sums of what customers contribute, and of its absolute value. A sum without negative parts is at least one step.
    largest : array
        The largest absolute contribution of one customer.
    contributors : array
        Customers whose contribution is not 0. Sums of fewer than ``min_group`` must be hidden as well.
    min_group : int
        With 1, nothing is to be protected, and nothing is rounded.
    """
    sums, magnitudes, counts = (np.asarray(values, dtype=np.float64) for values in (totals, sizes, contributors))
    if min_group <= 1:
        return sums
    step = _sum_step(magnitudes, np.asarray(largest, dtype=np.float64), counts, min_group)
    fewest = np.where((counts > 0) & (sums >= magnitudes * (1 - 1e-9)), 1.0, -np.inf)
    return np.asarray(np.maximum(np.floor(sums / step + 0.5), fewest) * step)


def _sum_step(sizes: Floats, largest: Floats, contributors: Floats, min_group: int) -> Floats:
    least = np.maximum(LARGEST_FACTOR * largest, min_group * sizes / np.maximum(contributors, 1.0))
    return rounding_step(np.where(least > 0, least, 1.0))


def sum_errors(
    rounded: Floats, *, sizes: ArrayLike, largest: ArrayLike, contributors: ArrayLike, min_group: int
) -> Floats:
    """How far the sums behind `rounded_sums` can be from ``rounded``, as a share of it; infinite for one of 0 or less.

    It depends on the step and the published sum alone, so it tells no more than they do. A sum of nothing is exact.
    """
    magnitudes, counts = (np.asarray(values, dtype=np.float64) for values in (sizes, contributors))
    if min_group <= 1:
        return np.zeros_like(rounded)
    step = _sum_step(magnitudes, np.asarray(largest, dtype=np.float64), counts, min_group)
    # A sum of one step stands for any that is smaller.
    error = np.where(rounded >= 1.5 * step, step / 2 / np.maximum(rounded, step), np.inf)
    return np.asarray(np.where(counts > 0, error, 0.0))


def total_step(contributions: ArrayLike, min_group: int) -> float:
    """The step of `rounded_total`."""
    sizes = np.abs(np.asarray(contributions, dtype=np.float64))
    largest, contributors = np.asarray(sizes.max(initial=0.0)), np.asarray(np.count_nonzero(sizes))
    return float(_sum_step(sizes.sum(), largest, contributors.astype(float), min_group))


def rounded_total(contributions: ArrayLike, min_group: int) -> float:
    """The sum of what each of some customers contributes, as it may be published."""
    values = np.asarray(contributions, dtype=np.float64)
    sizes = np.abs(values)
    rounded = rounded_sums(
        values.sum(),
        sizes=sizes.sum(),
        largest=sizes.max(initial=0.0),
        contributors=np.count_nonzero(values),
        min_group=min_group,
    )
    return float(rounded)


def rounded_counts(counts: ArrayLike, min_group: int) -> Floats:
    """Numbers of customers as they may be published: of 1 or more, at least one step."""
    return rounded_sums(counts, sizes=counts, largest=1.0, contributors=counts, min_group=min_group)


def rounded_count(count: float, min_group: int) -> int:
    """`rounded_counts` of one number."""
    return int(rounded_counts(count, min_group))


def rounded_share(part: float, whole: float, min_group: int) -> float:
    """The share of ``whole`` customers that ``part`` are, as it may be published; 0 of nobody."""
    return rounded_count(part, min_group) / max(rounded_count(whole, min_group), 1)


def rounded_mean(mean: float, count: float, min_group: int, *, largest: float = 1.0) -> float:
    """The mean over ``count`` customers of a figure of 0 to ``largest``, as it may be published."""
    total = mean * count
    rounded = rounded_sums(total, sizes=total, largest=largest, contributors=count, min_group=min_group)
    return float(rounded) / max(rounded_count(count, min_group), 1)


def rounded_events(counts: ArrayLike, customer_count: int, min_group: int) -> Floats:
    """Numbers of events or rows of ``customer_count`` customers as they may be published: of 1 or more, not 0.

    It supposes that all customers contribute, and none more than ``min_group``: who contributes is not known where
    events are only counted. So events of a category that few customers use tell more of them than other figures do.
    """
    numbers = np.asarray(counts, dtype=np.float64)
    customers = np.where(numbers > 0, customer_count, 0)
    return rounded_sums(numbers, sizes=numbers, largest=min_group, contributors=customers, min_group=min_group)


def shares_of_whole(parts: ArrayLike, whole: float) -> Floats:
    """Published parts, NaN if hidden, as shares of a published whole; never more than 1 together.

    Parts are rounded to steps of their own, so they can add up to more than the whole; then their sum replaces it.
    """
    values = np.asarray(parts, dtype=np.float64)
    return np.asarray(values / max(whole, float(np.nansum(values))) if whole > 0 else values * 0.0)


def rounded_measure(value: float, count: float, min_group: int) -> float:
    """A measure of quality, such as an AUROC, as it may be published; one customer of ``count`` changes it by 1/count.

    If it is above 1, it changes by so much of itself. One who knows all others could work out the change from more
    digits. Of many customers, three significant digits remain; with a ``min_group`` of 1, of few as well. A measure is
    hidden, NaN, of fewer than ``min_group`` customers and where the step would be above `MAX_MEASURE_STEP`.
    """
    if min_group <= 1 or count <= 0 or not np.isfinite(value):
        return significant(value, 3)
    if count < min_group or LARGEST_FACTOR / count > MAX_MEASURE_STEP:
        return float("nan")
    step = float(rounding_step(LARGEST_FACTOR * max(1.0, abs(value)) / count))
    return significant(round(value / step) * step, 3)


def shown_measure(value: float | None, count: float, min_group: int) -> float | None:
    """`rounded_measure`, and None where it is hidden or the measure is not known."""
    rounded = float("nan") if value is None else rounded_measure(value, count, min_group)
    return None if np.isnan(rounded) else rounded


def significant(value: float, digits: int = 2) -> float:
    """A figure that is no sum over customers, such as a lift or a bound, to a few significant digits."""
    return float(f"{value:.{digits}g}")


def significant_figures(content: Any) -> Any:
    """Nested dicts and lists with `significant` figures of three digits.

    A measure of quality is an exact ratio of counts: times its known parts, it would tell what one customer did.
    """
    if isinstance(content, dict):
        return {name: significant_figures(value) for name, value in content.items()}
    if isinstance(content, list):
        return [significant_figures(value) for value in content]
    return significant(content, 3) if isinstance(content, float) else content


def is_few(counts: ArrayLike, min_group: int) -> Marks:
    """Whether counts are of 1 to ``min_group`` - 1 customers."""
    numbers = np.asarray(counts)
    return np.asarray((numbers > 0) & (numbers < min_group))


def hidden_line(counts: Floats, min_group: int) -> Marks:
    """Groups to hide where only the total of all groups is known, shape (n,).

    Those of 1 to ``min_group`` - 1 customers, and the next smallest until at least two groups with ``min_group``
    customers are hidden together.
    """
    hidden = is_few(counts, min_group)
    while hidden.any() and (hidden.sum() == 1 or counts[hidden].sum() < min_group):
        visible = np.flatnonzero(~hidden & (counts > 0))
        if not visible.size:
            break
        hidden[visible[np.argmin(counts[visible])]] = True
    return hidden


def hidden_cells(counts: Floats, min_group: int) -> Marks:
    """Cells to hide where the totals of rows and columns are known, shape (rows, columns).

    Those of 1 to ``min_group`` - 1 customers, and enough others that each of these could hold any number from 0 to
    ``min_group`` for all that the shown cells and the totals say, as far as the totals allow it. Totals of fewer than
    ``min_group`` customers are not known. Empty cells are hidden only where no others protect a small one.

    The method is the network flow heuristic (Kelly, Golden and Assad, 1992; Castro, 2007): the cheapest flow that
    changes a small cell but no total shows which cells must be hidden with it.
    """
    if 1 in counts.shape:
        return hidden_line(counts.ravel(), min_group).reshape(counts.shape)
    hidden = is_few(counts, min_group)
    for row, column in np.argwhere(hidden):
        for change in (min_group - counts[row, column], -counts[row, column]):
            if not _has_hidden_rectangle(counts, hidden, (row, column), change):
                hidden |= _cheapest_flow(counts, hidden, (row, column), change, min_group)
    return hidden


def _has_hidden_rectangle(counts: Floats, hidden: Marks, cell: tuple[int, int], change: float) -> bool:
    """Whether hidden cells at the corners of a rectangle allow the change: no linear program is needed then."""
    row, column = cell
    can_fall = hidden & (counts >= abs(change))
    neighbour, opposite = (can_fall, hidden) if change > 0 else (hidden, can_fall)
    corners = opposite & neighbour[row][None, :] & neighbour[:, column][:, None]
    corners[row], corners[:, column] = False, False
    return bool(corners.any())


def _cheapest_flow(counts: Floats, hidden: Marks, cell: tuple[int, int], change: float, min_group: int) -> Marks:
    """Cells of the cheapest flow that adds ``change`` to a cell, or as much as possible.

    It keeps the known totals, and makes no cell negative. Hidden cells cost nothing, shown ones their customers.
    """
    size, total = counts.size, counts.sum()
    costs = np.where(counts > 0, (counts + 1.0) / total, EMPTY_CELL_COST)
    costs[hidden] = 0.0
    costs, most = np.tile(costs.ravel(), 2), np.concatenate([np.full(size, np.inf), counts.ravel()])  # rises, falls
    places = np.ravel_multi_index(cell, counts.shape) + np.array([0, size])
    target, reverse = places if change > 0 else places[::-1]
    # A higher price than that of any path makes the change as large as it can be.
    costs[target], most[target], most[reverse] = -EMPTY_CELL_COST * 2 * sum(counts.shape), abs(change), 0.0
    totals = _totals_of(counts.shape)
    totals = totals[totals @ counts.ravel() >= min_group]
    flow = linprog(
        costs,
        A_eq=sparse.hstack([totals, -totals]),
        b_eq=np.zeros(totals.shape[0]),
        bounds=np.column_stack([np.zeros(2 * size), most]),
        method="highs-ds",
    )
    return np.asarray(flow.x.reshape(2, *counts.shape).max(axis=0) > 1e-6)


@cache
def _totals_of(shape: tuple[int, int]) -> sparse.csr_array:
    """The totals of rows and columns as a matrix over the cells."""
    rows, columns = shape
    by_row = sparse.kron(sparse.eye_array(rows), np.ones((1, columns)))
    by_column = sparse.kron(np.ones((1, rows)), sparse.eye_array(columns))
    return sparse.csr_array(sparse.vstack([by_row, by_column]))


def is_safe_sum(hidden: NDArray[np.bool_], inside: NDArray[np.bool_]) -> bool:
    """Whether the sum of the groups ``inside`` reveals nothing about the ``hidden`` ones (a line of `hidden_cells`).

    All hidden groups together are large enough. They may all be inside the sum or all outside it, but not on both
    sides.
    """
    return not (hidden[inside].any() and hidden[~inside].any())


def rounded_extreme(share: float) -> float | None:
    """0 or 1 for a share within `EXTREME_MARGIN` of it, which reveals no individual; None for any other share."""
    return float(round(share)) if min(share, 1.0 - share) < EXTREME_MARGIN else None
