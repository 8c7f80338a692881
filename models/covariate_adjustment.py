"""What was known of customers before a campaign, taken out of their outcomes, so that smaller effects show."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.scorer import Floats

MIN_CUSTOMERS_PER_COLUMN = 10
"""In the smaller of the treated and held-out groups; with fewer, the fit would add more noise than it takes away."""
MIN_LEVEL = 20
"""Customers of a value of a categorical covariate, or with a missing number, that gets a column of its own."""
MAX_LEVERAGE = 0.9
"""A customer who alone determines a coefficient is predicted by the group's mean."""


def covariate_columns(covariates: pd.DataFrame) -> Floats:
    """Standardised columns of the covariates, none of them constant.

        covariates, numbers or labels, one row per customer -> (n, columns)

    A missing number becomes the mean, with a column that marks it: which numbers were missing was known before the
    campaign, so the comparison stays fair whatever the reason (Zhao and Ding, 2022, Journal of the American Statistical
    Association 119). Labels become a column for each value, null included; rare ones share one.
    """
    columns: list[Floats] = []
    if covariates.empty:
        return np.empty((len(covariates), 0))
    for name in covariates:
        values = covariates[name]
        if pd.api.types.is_numeric_dtype(values.dtype):
            columns += _of_numbers(values.to_numpy(dtype=np.float64, na_value=np.nan))
        else:
            columns += _of_labels(values)
    kept = [(one - one.mean()) / one.std() for one in columns if one.std() > 1e-12 * max(1.0, abs(one.mean()))]
    return np.column_stack(kept) if kept else np.empty((len(covariates), 0))


def _of_numbers(numbers: Floats) -> list[Floats]:
    is_known = np.isfinite(numbers)
    if not is_known.any():
        return []
    filled = np.where(is_known, numbers, numbers[is_known].mean())
    is_often_missing = (~is_known).sum() >= MIN_LEVEL
    return [filled, (~is_known).astype(np.float64)] if is_often_missing else [filled]


def _of_labels(values: pd.Series) -> list[Floats]:
    """A column for each value but the most frequent one."""
    codes, labels = pd.factorize(values, sort=False, use_na_sentinel=False)
    sizes = np.bincount(codes, minlength=len(labels))
    frequent = [code for code in np.argsort(-sizes, kind="stable") if sizes[code] >= MIN_LEVEL]
    return [(codes == code).astype(np.float64) for code in frequent[1:]] + [
        np.isin(codes, np.flatnonzero(sizes < MIN_LEVEL)).astype(np.float64)
    ]


def usable_columns(covariates: pd.DataFrame | None, is_held_out: NDArray[np.bool_]) -> Floats:
    """The columns of `covariate_columns`; none of them where a group is too small for so many."""
    if covariates is None:
        return np.empty((len(is_held_out), 0))
    columns = covariate_columns(covariates)
    smaller = min(is_held_out.sum(), (~is_held_out).sum())
    return columns if smaller >= MIN_CUSTOMERS_PER_COLUMN * (columns.shape[1] + 1) else columns[:, :0]


def adjusted_outcome(outcome: Floats, columns: Floats, is_held_out: NDArray[np.bool_]) -> Floats:
    """Outcomes less what the covariates predict of them; the difference of their means is the adjusted effect.

        outcome (n,), columns (n, k) -> adjusted (n,); the outcome itself without columns

    Each group has a linear fit of its own, which is regression with treatment interactions (Lin, 2013, Annals of
    Applied Statistics 7): unlike one fit for both (Deng and others, 2013, "CUPED"), it cannot lose precision when few
    customers are held out. With p the share of treated customers, m = (1 - p) * fit of treated + p * fit of held out is
    taken off every customer's outcome: the difference of means of what is left is Lin's estimate, and its variance that
    of two means. A customer's own outcome has no part in its prediction (Wu and Gagnon-Bartsch, 2018, Evaluation Review
    42, "LOOP"), so neither the effect nor its variance is biased by fitting few customers closely.
    """
    if not columns.shape[1]:
        return outcome
    design = np.column_stack([np.ones(len(columns)), columns])
    share_treated = float((~is_held_out).mean())
    of_treated = _predictions(outcome, design, ~is_held_out)
    of_held_out = _predictions(outcome, design, is_held_out)
    return outcome - (1.0 - share_treated) * of_treated - share_treated * of_held_out


def _predictions(outcome: Floats, design: Floats, fitted: NDArray[np.bool_]) -> Floats:
    """Of all customers, by the least squares of the ``fitted`` ones, each of whom is left out of its own."""
    rows, own = design[fitted], outcome[fitted]
    inverse = np.linalg.pinv(rows.T @ rows, hermitian=True)
    predicted: Floats = design @ (inverse @ (rows.T @ own))
    leverage = np.einsum("ij,ij->i", rows @ inverse, rows)
    rest = np.maximum(1.0 - leverage, 1.0 - MAX_LEVERAGE)
    without_own = own - (own - predicted[fitted]) / rest
    predicted[fitted] = np.where(leverage <= MAX_LEVERAGE, without_own, own.mean())
    return predicted
