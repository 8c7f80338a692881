"""Two facets of the same customers, crossed: how many are in both segments, compared with independence."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.disclosure import hidden_cells
from models.identity import STANDING

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
    """Customers of each pair of segments, their share of spend, and their lift.

    Lift is the count as a multiple of what it would be if the two facets were independent, among the segments that are
    not by rule (`lifts_of_shown`). Cells of fewer than ``min_group`` customers are hidden, the spend of fewer buyers
    too, and so many more that none can be found by subtraction.

    Parameters
    ----------
    first, second : arrays of str, shape (n,)
        Segment of each customer in the two facets.
    spend : array of shape (n,)
        In the shop's currency.

    Returns
    -------
    dict
        rows, columns: segment_ids; counts, spend_shares, lifts: a list for each row, None where hidden.
    """
    rows, columns = pd.Series(first, name="first"), pd.Series(second, name="second")
    counts = pd.crosstab(rows, columns)
    money, buyers = (
        pd.crosstab(rows, columns, values=one, aggfunc="sum").fillna(0.0)
        for one in (pd.Series(spend), pd.Series(is_buyer, dtype="float64"))
    )
    hidden = hidden_cells(counts.to_numpy(np.float64), min_group)
    spent = float(np.sum(spend))
    shares = money.to_numpy(np.float64) / spent if spent > 0 else np.zeros(counts.shape)
    by_rule = [np.array([str(one).startswith(STANDING) for one in names]) for names in (counts.index, counts.columns)]
    takes_part = ~hidden & ~by_rule[0][:, None] & ~by_rule[1][None, :]
    lifts, _ = lifts_of_shown(np.where(takes_part, counts.to_numpy(np.float64), np.nan))
    return {
        "rows": [str(name) for name in counts.index],
        "columns": [str(name) for name in counts.columns],
        "counts": _shown(counts.to_numpy(), hidden, int),
        "spend_shares": _shown(shares, hidden | hidden_cells(buyers.to_numpy(np.float64), min_group), float),
        "lifts": _shown(lifts, np.isnan(lifts), float),
    }


def _shown(values: NDArray[Any], hidden: NDArray[np.bool_], kind: type) -> list[list[Any]]:
    return [
        [None if hide else kind(value) for value, hide in zip(row, marks, strict=True)]
        for row, marks in zip(values, hidden, strict=True)
    ]


def lifts_of_shown(counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Counts as multiples of what independence would give among the cells that are shown, and which chance explains.

    Quasi-independence (Goodman 1968): cells without a count take no part, so that nothing of them can be worked out
    from the lifts. Customers who did too little for one of the facets must be no cells here: who did little in one did
    little in the other, and all other pairs would seem more frequent than chance.

    Parameters
    ----------
    counts : array, shape (n, m)
        NaN where hidden, and where a cell takes no part.

    Returns
    -------
    lifts : array, shape (n, m)
        NaN where there is no count.
    is_sure : array of bool, shape (n, m)
        Adjusted residual with a two-sided p below `MAX_P`, corrected for the number of cells, and at least `MIN_RATIO`
        times or at most its inverse.
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
    furthest = -NormalDist().inv_cdf(MAX_P / (2 * max(int(shown.sum()), 1)))
    return lifts, (np.abs(residual) > furthest) & ((lifts >= MIN_RATIO) | (lifts <= 1 / MIN_RATIO))


def _expected(shown: NDArray[np.bool_], rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Products of a factor of the row and one of the column that have these sums where shown; NaN elsewhere."""
    across, down = np.ones(len(rows)), np.ones(len(columns))
    for _ in range(ROUNDS):
        across = np.divide(rows, shown @ down, out=np.zeros_like(across), where=(shown @ down) > 0)
        down = np.divide(columns, shown.T @ across, out=np.zeros_like(down), where=(shown.T @ across) > 0)
    return np.where(shown, np.outer(across, down), np.nan)
