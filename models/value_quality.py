"""How well expected values matched what customers did afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.backtest import weighted_auc
from models.expected_value import PastOutcomes
from models.scorer import Floats

TENTHS = 10
SMALLEST = 1e-6
"""Probabilities are kept this far from 0 and 1 for the logarithmic loss, so one surprise cannot make it infinite."""


@dataclass(frozen=True)
class Tenth:
    """A tenth of the customers, by predicted value: how many they are, and the means of prediction and outcome."""

    customer_count: int
    predicted: float
    observed: float


def by_tenth(predicted: Floats, observed: Floats) -> list[Tenth]:
    """Customers in tenths, lowest prediction first; equal predictions are split in the order of the rows.

    Parameters
    ----------
    predicted, observed : arrays of shape (n,)
        Probabilities and what happened (0 or 1), or expected and observed spend.
    """
    parts = np.array_split(np.argsort(predicted, kind="stable"), TENTHS)
    return [
        Tenth(len(part), float(predicted[part].mean()), float(observed[part].mean())) for part in parts if len(part)
    ]


def calibration_error(tenths: list[Tenth]) -> float:
    """Expected calibration error: mean distance of prediction and outcome over the tenths, weighted by customers.

    References
    ----------
    M. Naeini, G. Cooper, M. Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian binning. AAAI.
    """
    total = sum(tenth.customer_count for tenth in tenths)
    return sum(tenth.customer_count * abs(tenth.predicted - tenth.observed) for tenth in tenths) / total


def probability_figures(probability: Floats, happened: NDArray[np.bool_]) -> dict[str, float]:
    """auc, brier, log_loss and calibration_error; auc is NaN if it happened to everybody or to nobody."""
    outcome = happened.astype(np.float64)
    kept = np.clip(probability, SMALLEST, 1.0 - SMALLEST)
    surprise = -(outcome * np.log(kept) + (1.0 - outcome) * np.log1p(-kept))
    return {
        "auc": float(weighted_auc(probability, happened, np.ones((1, len(outcome))))[0]),
        "brier": float(((probability - outcome) ** 2).mean()),
        "log_loss": float(surprise.mean()),
        "calibration_error": calibration_error(by_tenth(probability, outcome)),
    }


def spend_figures(expected: Floats, spend: Floats) -> dict[str, float]:
    """How well expected spend matched: r2 and total_error; r2 is NaN where all values are the same.

    ``r2`` is the squared correlation of log(1 + expected) with log(1 + spend): R² after the best straight line, as the
    logarithm of a mean is not the mean of logarithms. ``total_error`` is total expected over total observed spend,
    less 1.
    """
    logs = [np.log1p(np.maximum(values, 0.0)) for values in (expected, spend)]
    varies = min(values.std() for values in logs) > 1e-12
    total = float(spend.sum())
    return {
        "r2": float(np.corrcoef(logs[0], logs[1])[0, 1] ** 2) if varies else float("nan"),
        "total_error": float(expected.sum()) / total - 1.0 if total > 0.0 else float("nan"),
    }


def value_figures(predicted: pd.DataFrame, outcomes: PastOutcomes) -> dict[str, float]:
    """All figures of `models.scorer.expected_value`, ready for MLflow; figures that are not defined are left out.

    Returns
    -------
    dict
        buy_auc, buy_brier, buy_log_loss, buy_calibration_error; the same with alive; spend_r2, spend_total_error.
    """
    figures: dict[str, float] = {}
    for name, column, happened in (
        ("buy", "buy_probability", outcomes.bought),
        ("alive", "alive_probability", outcomes.seen),
    ):
        probability = predicted[column].to_numpy(np.float64)
        if np.isfinite(probability).all():
            figures |= {f"{name}_{key}": value for key, value in probability_figures(probability, happened).items()}
    expected = predicted["expected_spend"].to_numpy(np.float64)
    if np.isfinite(expected).all():
        figures |= {f"spend_{key}": value for key, value in spend_figures(expected, outcomes.spend).items()}
    return {name: value for name, value in figures.items() if np.isfinite(value)}
