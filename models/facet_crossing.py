"""Crosstab of two facets: customers in each pair of segments, compared with the count expected by independence."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.disclosure import hidden_cells, rounded_counts, rounded_sums, shares_of_whole

MAX_P, MIN_RATIO = 0.01, 1.25
"""As in `models.crosstabs.crossing`."""
ROUNDS = 200


def cross_facets(
    first: NDArray[np.object_],
    second: NDArray[np.object_],
    spend: NDArray[np.float64],
    is_buyer: NDArray[np.bool_],
    *,
    min_group: int,
) -> dict[str, Any]:
    """Customers of each pair of segments, and their share of spend.

    Cells of fewer than ``min_group`` customers are hidden, and so is the spend of cells with fewer
    buyers. Enough other cells are hidden that none can be found by subtraction. All others are rounded.

    Parameters
    ----------
    first, second : arrays of str, shape (n,)
        Segment of each customer in the two facets.
    spend : array of shape (n,)
        In the shop's currency.

    Returns
    -------
    dict
        rows, columns: segment_ids; counts, spend_shares: a list for each row, None if hidden.
    """
    rows, columns = pd.Series(first, name="first"), pd.Series(second, name="second")
    counts = pd.crosstab(rows, columns)

    def crossed(values: NDArray[Any], how: str) -> NDArray[np.float64]:
        table = pd.crosstab(rows, columns, values=pd.Series(values, dtype="float64"), aggfunc=how)
        return table.fillna(0.0).to_numpy(np.float64)

    hidden = hidden_cells(counts.to_numpy(np.float64), min_group)
    sizes, largest, buyers = crossed(np.abs(spend), "sum"), crossed(np.abs(spend), "max"), crossed(is_buyer, "sum")
    hidden_money = hidden | hidden_cells(buyers, min_group)
    money = rounded_sums(crossed(spend, "sum"), sizes=sizes, largest=largest, contributors=buyers, min_group=min_group)
    total = rounded_sums(
        np.sum(spend), sizes=sizes.sum(), largest=largest.max(), contributors=buyers.sum(), min_group=min_group
    ).item()
    return {
        "rows": [str(name) for name in counts.index],
        "columns": [str(name) for name in counts.columns],
        "counts": _shown(rounded_counts(counts.to_numpy(), min_group), hidden, int),
        "spend_shares": _shown(shares_of_whole(np.where(hidden_money, np.nan, money), total), hidden_money, float),
    }


def _shown(values: NDArray[Any], hidden: NDArray[np.bool_], kind: type) -> list[list[Any]]:
    return [
        [None if hide else kind(value) for value, hide in zip(row, marks, strict=True)]
        for row, marks in zip(values, hidden, strict=True)
    ]


def visible_lifts(counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Counts divided by those expected from independence among the visible cells, and which lifts are significant.

    Quasi-independence (Goodman 1968): cells without a count are left out, so they cannot be derived from the lifts.
    Customers with too little activity for a facet must not be included. They are mostly the same in both facets, which
    would make all other pairs seem more frequent than chance.

    Parameters
    ----------
    counts : array, shape (n, m)
        NaN if a cell is hidden or left out.

    Returns
    -------
    lifts : array, shape (n, m)
        NaN if there is no count.
    is_significant : array of bool, shape (n, m)
        Whether the adjusted residual has a two-sided p below `MAX_P`, corrected for the number of cells, and the lift
        is at least `MIN_RATIO` or at most its inverse.
    """
    shown = ~np.isnan(counts)
    observed = np.where(shown, counts, 0.0)
    total = observed.sum()
    if not total:
        return np.full(counts.shape, np.nan), np.zeros(counts.shape, dtype=bool)
    rows, columns = observed.sum(axis=1), observed.sum(axis=0)
    expected = _expected(shown, rows, columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        lifts = np.where(expected > 0, observed / expected, np.nan)
        spread = expected * np.outer(1 - rows / total, 1 - columns / total)
        residual = np.where(spread > 0, (observed - expected) / np.sqrt(spread), 0.0)
    critical = -NormalDist().inv_cdf(MAX_P / (2 * max(int(shown.sum()), 1)))
    return lifts, (np.abs(residual) > critical) & ((lifts >= MIN_RATIO) | (lifts <= 1 / MIN_RATIO))


def _expected(shown: NDArray[np.bool_], rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Products of a row factor and a column factor that match the row and column sums where shown; NaN elsewhere."""
    row_factor, column_factor = np.ones(len(rows)), np.ones(len(columns))
    for _ in range(ROUNDS):
        row_sum = shown @ column_factor
        row_factor = np.divide(rows, row_sum, out=np.zeros_like(row_factor), where=row_sum > 0)
        column_sum = shown.T @ row_factor
        column_factor = np.divide(columns, column_sum, out=np.zeros_like(column_factor), where=column_sum > 0)
    return np.where(shown, np.outer(row_factor, column_factor), np.nan)
