"""Blocks of columns, their scaling and their weights: how profiles become points that distances make sense between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from features.profile import Column
from models.scorer import transformed


def fit_scaling(
    profile: pd.DataFrame, columns: Sequence[Column], *, block_weights: Mapping[str, float]
) -> dict[str, Any]:
    """Centre and scale of every column.

    Interest columns are roots of shares and only centred, so that distances among them stay Hellinger's; all others are
    standardised. Then each block is scaled to a total variance of its weight squared: forty interests must not outvote
    three figures of value.

    Parameters
    ----------
    profile : DataFrame, n rows
        Sorted by customer, so that sums do not depend on the order that rows came in.
    block_weights : mapping of str to float, >= 0
        One for every block that has a column.

    Returns
    -------
    dict
        names, transforms: lists of str; missing, centre, scale: float64 arrays of shape (d,), d = len(columns). A
        column without variance has scale 0, and so no say.

    Raises
    ------
    ValueError
        A block has no weight.
    """
    unweighted = sorted({column.block for column in columns} - set(block_weights))
    if unweighted:
        raise ValueError(f"expected a weight for every block of columns, found none for {', '.join(unweighted)}.")
    missing, centre, spread = (np.zeros(len(columns)) for _ in range(3))
    for index, column in enumerate(columns):
        values = profile[column.name].to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
        known = values[np.isfinite(values)]
        missing[index] = column.missing if column.missing is not None else (known.mean() if len(known) else 0.0)
        values[~np.isfinite(values)] = missing[index]
        points = transformed(values, column.transform)
        centre[index] = points.mean()
        # The mean of equal numbers is not always that number: what is below rounding is no spread.
        spread[index] = points.std() if points.std() > 1e-12 * max(1.0, abs(centre[index])) else 0.0
    blocks = np.array([column.block for column in columns])
    is_constant = spread == 0.0
    scale = np.where(is_constant | (blocks == "interest"), 1.0, 1.0 / np.where(is_constant, 1.0, spread))
    scale[is_constant] = 0.0
    for block, weight in block_weights.items():
        inside = blocks == block
        total = np.sqrt(((spread * scale)[inside] ** 2).sum())
        scale[inside] *= weight / total if total > 0 else 0.0
    return {
        "names": [column.name for column in columns],
        "transforms": [column.transform for column in columns],
        "missing": missing,
        "centre": centre,
        "scale": scale,
    }
