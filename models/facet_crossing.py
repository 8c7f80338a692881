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


def visible_lifts(
    counts: NDArray[np.float64], row_totals: NDArray[np.float64], column_totals: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Counts divided by those expected from independence, and which of these lifts are significant.

    A function of published numbers only, so that hidden cells cannot be derived from the lifts. Customers with too
    little activity for a facet must not be included. They are mostly the same in both facets, which would make all
    other pairs seem more frequent than chance.

    Parameters
    ----------
    counts : array, shape (n, m)
        NaN if a cell is hidden or left out.
    row_totals, column_totals : arrays, shapes (n,) and (m,)
        Customers of each row and column as they may be published, hidden cells included; 0 if it is left out.

    Returns
    -------
    lifts : array, shape (n, m)
        NaN if there is no count.
    is_significant : array of bool, shape (n, m)
        Whether the adjusted residual (Haberman 1973) has a two-sided p below `MAX_P`, corrected for the number of
        cells, and the lift is at least `MIN_RATIO` or at most its inverse.
    """
    total = max(row_totals.sum(), 1.0)
    expected = np.outer(row_totals, column_totals) / total
    with np.errstate(divide="ignore", invalid="ignore"):
        lifts = np.where(expected > 0, counts / expected, np.nan)
        spread = expected * np.outer(1 - row_totals / total, 1 - column_totals / total)
        residual = np.where(spread > 0, (counts - expected) / np.sqrt(spread), 0.0)
    critical = -NormalDist().inv_cdf(MAX_P / (2 * max(int((~np.isnan(counts)).sum()), 1)))
    return lifts, (np.abs(residual) > critical) & ((lifts >= MIN_RATIO) | (lifts <= 1 / MIN_RATIO))
