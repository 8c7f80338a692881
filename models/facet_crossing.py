"""Two facets of the same customers, crossed: how many are in both segments, compared with independence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.disclosure import hidden_cells


def cross_facets(
    first: NDArray[np.object_], second: NDArray[np.object_], spend: NDArray[np.float64], *, min_group: int
) -> dict[str, Any]:
    """Customers of each pair of segments, their share of spend, and their lift.

    Lift is the count as a multiple of what it would be if the two facets were independent. Cells of fewer than
    ``min_group`` customers are hidden, and so many more that none can be found by subtraction.

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
    counts = pd.crosstab(pd.Series(first, name="first"), pd.Series(second, name="second"))
    money = pd.crosstab(pd.Series(first), pd.Series(second), values=spend, aggfunc="sum").fillna(0.0)
    observed = counts.to_numpy(np.float64)
    total, spent = observed.sum(), float(np.sum(spend))
    expected = observed.sum(axis=1, keepdims=True) * observed.sum(axis=0, keepdims=True) / max(total, 1.0)
    hidden = hidden_cells(observed, min_group)
    shares = money.to_numpy(np.float64) / spent if spent > 0 else np.zeros_like(observed)
    lifts = np.divide(observed, expected, out=np.zeros_like(observed), where=expected > 0)
    return {
        "rows": [str(name) for name in counts.index],
        "columns": [str(name) for name in counts.columns],
        "counts": _shown(counts.to_numpy(), hidden, int),
        "spend_shares": _shown(shares, hidden, float),
        "lifts": _shown(lifts, hidden, float),
    }


def _shown(values: NDArray[Any], hidden: NDArray[np.bool_], kind: type) -> list[list[Any]]:
    return [
        [None if hide else kind(value) for value, hide in zip(row, marks, strict=True)]
        for row, marks in zip(values, hidden, strict=True)
    ]
