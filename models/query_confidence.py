"""Calibrated confidence of a prediction: the probability that the top category is right.

A logistic regression on the confidence indicators is followed by a monotone calibration curve. The curve passes through
the means of equal-sized bins of predictions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats

PRIOR = np.array([0.0, 1.0, 1.0, 1.0])
"""Prior mean of intercept and weights: the probability of the top category, lowered if little of the text is known."""
PER_KNOT = 100
MAX_KNOTS = 20
STEEPNESS = 0.1
"""Weight of the logistic in the curve. It keeps the curve strictly increasing, so the ranking is preserved."""
KNOT_PRIOR = 20.0
"""Weight of the logistic at each knot, in predictions."""


@dataclass(frozen=True)
class Confidence:
    """Maps confidence indicators to the probability of being right.

    Attributes
    ----------
    weights : float array of shape (1 + n_indicators,)
        The intercept first.
    knots, heights : float arrays of shape (n_knots,)
        The probability of the logistic at each knot, and the calibrated probability there.
    """

    weights: Floats
    knots: Floats
    heights: Floats

    def __call__(self, indicators: Floats) -> Floats:
        """Probability of being right: (n, n_indicators) -> (n,)."""
        chance: Floats = np.interp(_logistic(self.weights, indicators), self.knots, self.heights)
        return chance

    @staticmethod
    def fit(indicators: Floats, hits: Floats, purity: float) -> Confidence:
        """Fit on predictions whose category is known.

        Parameters
        ----------
        indicators : float array of shape (n, n_indicators)
        hits : float array of shape (n,)
            Share of the clicks after each query that fell into the predicted category.
        purity : float, 0 to 1
            The same share for right predictions. Some clicks go elsewhere even after a clear query.
        """

        def loss(weights: Floats) -> float:
            chance = np.clip(purity * _logistic(weights, indicators), 1e-9, 1.0 - 1e-9)
            fit = hits * np.log(chance) + (1.0 - hits) * np.log(1.0 - chance)
            return float(0.5 * ((weights - PRIOR) ** 2).sum() - fit.sum())

        bounds = [(None, None)] + [(0.0, None)] * (len(PRIOR) - 1)
        weights = minimize(loss, PRIOR, method="L-BFGS-B", bounds=bounds).x
        return Confidence(weights, *_calibration_curve(_logistic(weights, indicators), hits / purity))


def _logistic(weights: Floats, indicators: Floats) -> Floats:
    chance: Floats = 1.0 / (1.0 + np.exp(-(weights[0] + (indicators * weights[1:]).sum(axis=1))))
    return chance


def _calibration_curve(chance: Floats, right: Floats) -> tuple[Floats, Floats]:
    """Knots of a monotone curve from the probability of the logistic to the share that was right."""
    from sklearn.isotonic import isotonic_regression

    order = np.argsort(chance, kind="stable")
    parts = np.array_split(order, int(np.clip(len(chance) // PER_KNOT, 1, MAX_KNOTS)))
    knots = np.array([chance[part].mean() for part in parts])
    count = np.array([len(part) for part in parts], dtype=np.float64)
    right_sum = np.array([right[part].sum() for part in parts])
    height = isotonic_regression((right_sum + KNOT_PRIOR * knots) / (count + KNOT_PRIOR), sample_weight=count)
    height = STEEPNESS * knots + (1.0 - STEEPNESS) * np.minimum(height, 1.0)
    return np.r_[0.0, knots, 1.0], np.r_[0.0, height, 1.0]
