"""How sure a guess is: the chance that the category named first is the right one, from signs of it.

A logistic of the signs, then bent to what was right: a monotone curve through means of equally many guesses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats

PRIOR = np.array([0.0, 1.0, 1.0, 1.0])
"""Intercept and weights from nothing: a guess is as sure as its first chance, and less where little is known of it."""
PER_KNOT = 100
MAX_KNOTS = 20
STEEPNESS = 0.1
"""What the logistic weighs in the curve, so that it is level nowhere, and a surer guess stays surer."""
KNOT_PRIOR = 20.0
"""Guesses that the logistic counts at each knot."""


@dataclass(frozen=True)
class Confidence:
    """Signs to chance of being right.

    Attributes
    ----------
    weights : float array of shape (1 + n_signs,)
        The intercept first.
    knots, heights : float arrays of shape (n_knots,)
        The logistic's chance, and what was right there.
    """

    weights: Floats
    knots: Floats
    heights: Floats

    def __call__(self, signs: Floats) -> Floats:
        """Chance of being right: (n, n_signs) -> (n,)."""
        chance: Floats = np.interp(_logistic(self.weights, signs), self.knots, self.heights)
        return chance

    @staticmethod
    def fit(signs: Floats, hits: Floats, purity: float) -> Confidence:
        """From guesses whose category is known.

        Parameters
        ----------
        signs : float array of shape (n, n_signs)
        hits : float array of shape (n,)
            Share of what followed each query that lay in the category guessed first.
        purity : float, 0 to 1
            The same share where the guess is right: clicks go astray after clear queries, too.
        """

        def loss(weights: Floats) -> float:
            chance = np.clip(purity * _logistic(weights, signs), 1e-9, 1.0 - 1e-9)
            fit = hits * np.log(chance) + (1.0 - hits) * np.log(1.0 - chance)
            return float(0.5 * ((weights - PRIOR) ** 2).sum() - fit.sum())

        bounds = [(None, None)] + [(0.0, None)] * (len(PRIOR) - 1)
        weights = minimize(loss, PRIOR, method="L-BFGS-B", bounds=bounds).x
        return Confidence(weights, *_bent(_logistic(weights, signs), hits / purity))


def _logistic(weights: Floats, signs: Floats) -> Floats:
    chance: Floats = 1.0 / (1.0 + np.exp(-(weights[0] + (signs * weights[1:]).sum(axis=1))))
    return chance


def _bent(chance: Floats, right: Floats) -> tuple[Floats, Floats]:
    """Knots of a monotone curve from the logistic's chance to the share that was right."""
    from sklearn.isotonic import isotonic_regression

    order = np.argsort(chance, kind="stable")
    parts = np.array_split(order, int(np.clip(len(chance) // PER_KNOT, 1, MAX_KNOTS)))
    knots = np.array([chance[part].mean() for part in parts])
    count = np.array([len(part) for part in parts], dtype=np.float64)
    right_sum = np.array([right[part].sum() for part in parts])
    height = isotonic_regression((right_sum + KNOT_PRIOR * knots) / (count + KNOT_PRIOR), sample_weight=count)
    height = STEEPNESS * knots + (1.0 - STEEPNESS) * np.minimum(height, 1.0)
    return np.r_[0.0, knots, 1.0], np.r_[0.0, height, 1.0]
