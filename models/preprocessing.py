"""Scale and weight blocks of profile columns, so that distances between customers are meaningful."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from features.profile import Column
from models.rates import beta_prior, reliability
from models.scorer import Floats, posterior_mean, transformed

FIRST_ROWS = 1_000
"""Rows compared first: columns that differ nearly always differ there."""


def distinct_columns(profile: pd.DataFrame, columns: Sequence[Column]) -> tuple[list[Column], dict[str, str]]:
    """Leave out columns that repeat an earlier one exactly: after their transforms, their correlation is 1.

    In a log of orders alone, for example, every visit is an order, and both columns together would count it twice. Days
    and the logarithm of the same days are both kept, as they separate different customers. Shares of interests and
    rates are kept: the former sum to 1, and the latter each have their own part of their block. Constant columns have
    no influence, so they are kept as well.

    Parameters
    ----------
    profile : DataFrame, n rows

    Returns
    -------
    kept : list of Column
        In the same order.
    repeated : dict of str to str
        Name of a column left out -> the column that it repeats.
    """
    standardised: dict[str, Floats] = {}
    repeated: dict[str, str] = {}
    for column in columns:
        if column.block == "interest" or column.counts:
            continue
        values = transformed(_numbers(profile, column.name), column.transform)
        spread = np.nanstd(values) if np.isfinite(values).any() else 0.0
        if not spread > 0.0:
            continue
        values = (values - np.nanmean(values)) / spread
        same = [name for name, other in standardised.items() if _are_equal(values, other)]
        if same:
            repeated[column.name] = same[0]
        else:
            standardised[column.name] = values
    return [column for column in columns if column.name not in repeated], repeated


def _are_equal(values: Floats, others: Floats) -> bool:
    parts = (slice(FIRST_ROWS), slice(FIRST_ROWS, None))
    return all(np.allclose(values[part], others[part], rtol=0.0, atol=1e-9, equal_nan=True) for part in parts)


def fit_scaling(
    profile: pd.DataFrame, columns: Sequence[Column], *, block_weights: Mapping[str, float]
) -> dict[str, Any]:
    """Compute the centre and scale of every column.

    Interest columns are square roots of shares. They are only centred, so that distances among them remain Hellinger
    distances. All other columns are standardised. Then each block is scaled to a total variance of its weight squared,
    so that forty interest columns do not outweigh three value columns. Rates share their block evenly, and each is
    multiplied by the square root of its reliability (`models.rates.reliability`). The block's total variance is then
    the weight squared times the mean reliability, so a rate that the log does not show passes no weight to the others.

    Parameters
    ----------
    profile : DataFrame, n rows
        Sorted by customer, so that sums do not depend on the original row order.
    block_weights : mapping of str to float, >= 0
        One weight for every block that has a column.

    Returns
    -------
    dict
        names, transforms: lists of str. counts: list of [numerator, denominator], or None if the column is not a rate.
        missing, centre, scale, alpha, beta: float64 arrays of shape (d,). d is the number of columns in blocks with a
        weight above 0, or of all columns if no block has one. A column without variance has scale 0 and no influence.
        alpha and beta belong to a rate's prior; they are 0 for other columns.

    Raises
    ------
    ValueError
        A block has no weight.
    """
    unweighted = sorted({column.block for column in columns} - set(block_weights))
    if unweighted:
        raise ValueError(f"expected a weight for every block of columns, got none for {', '.join(unweighted)}.")
    columns = [column for column in columns if block_weights[column.block] > 0] or list(columns)
    fitted = [_fitted(profile, column) for column in columns]
    figures = {name: np.array([column[name] for column in fitted]) for name in fitted[0]}
    spread, certainty = figures.pop("spread"), figures.pop("certainty")
    return {
        "names": [column.name for column in columns],
        "transforms": [column.transform for column in columns],
        "counts": [list(column.counts) if column.counts else None for column in columns],
        "scale": _scale(columns, spread, certainty, block_weights),
        **figures,
    }


def _fitted(profile: pd.DataFrame, column: Column) -> dict[str, float]:
    """missing, centre, alpha, beta, spread (standard deviation after the transform) and certainty (reliability)."""
    alpha, beta, certainty = 0.0, 0.0, 1.0
    if column.counts:
        values, alpha, beta, certainty = _shrunk(profile, column.counts)
    else:
        values = _numbers(profile, column.name)
    known = values[np.isfinite(values)]
    missing = column.missing if column.missing is not None else (known.mean() if len(known) else 0.0)
    values[~np.isfinite(values)] = missing
    points = transformed(values, column.transform)
    # The mean of equal floats may differ from them by rounding, so a spread below rounding error counts as 0.
    spread = points.std() if points.std() > 1e-12 * max(1.0, abs(points.mean())) else 0.0
    return {
        **{"missing": float(missing), "centre": float(points.mean()), "spread": float(spread)},
        **{"alpha": alpha, "beta": beta, "certainty": certainty},
    }


def _numbers(profile: pd.DataFrame, name: str) -> Floats:
    """A copy of the column as floats; nulls become NaN."""
    values: Floats = profile[name].to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    return values


def _shrunk(profile: pd.DataFrame, counts: tuple[str, str]) -> tuple[Floats, float, float, float]:
    """Posterior means of a rate, the alpha and beta of its prior, and its reliability.

    All values are equal and the reliability is 0 if no prior can be fitted (`models.rates.beta_prior`), or if the log
    has more events than trials and therefore does not record all trials.
    """
    events, trials = (np.maximum(np.nan_to_num(_numbers(profile, name), posinf=0.0), 0.0) for name in counts)
    shows_trials = events.sum() <= trials.sum()
    trials = np.maximum(events, trials)
    prior = beta_prior(events, trials) if shows_trials else None
    if prior is None:
        return np.full(len(profile), 0.5), 0.5, 0.5, 0.0
    return posterior_mean(events, trials, *prior), *prior, reliability(trials, *prior)


def _scale(columns: Sequence[Column], spread: Floats, certainty: Floats, block_weights: Mapping[str, float]) -> Floats:
    """Scale factor of each column.

    Parameters
    ----------
    spread : array of shape (d,)
        Standard deviation of each transformed column; 0 for a constant column.
    certainty : array of shape (d,)
        Reliability of each column, in 0..1.
    """
    blocks = np.array([column.block for column in columns])
    is_constant = spread == 0.0
    scale = np.where(is_constant | (blocks == "interest"), 1.0, 1.0 / np.where(is_constant, 1.0, spread))
    scale = np.where(is_constant, 0.0, scale * np.sqrt(certainty))
    for block, weight in block_weights.items():
        inside = blocks == block
        total = np.sqrt(inside.sum() if block == "rates" else ((spread * scale)[inside] ** 2).sum())
        scale[inside] *= weight / total if total > 0 else 0.0
    return scale
