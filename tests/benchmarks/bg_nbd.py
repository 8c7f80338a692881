"""BG/NBD and Gamma-Gamma by maximum likelihood: the usual models of repeat purchases, as rivals of the expected value.

Counts are of repeat orders: ``repeats`` orders after the first, the last of them ``last_days`` after the first, in
``age_days`` since the first.

P. Fader, B. Hardie, K. L. Lee (2005), "Counting your customers" the easy way: an alternative to the Pareto/NBD model,
Marketing Science 24(2): equation 6 (likelihood) and
10 (expected orders). P. Fader, B. Hardie (2013), The
Gamma-Gamma model of monetary value, brucehardie.com/notes/025: equations 1a and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1

Floats = NDArray[np.float64]
STARTS = (0.0, 1.0)
"""Logarithms of all parameters at each start; the likelihood has flat regions."""


@dataclass(frozen=True)
class BGNBD:
    """Orders come at a rate ~ Gamma(r, alpha); after each, a customer drops out with probability ~ Beta(a, b)."""

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, repeats: Floats, last_days: Floats, age_days: Floats) -> Floats:
        """Of each customer, up to terms without a parameter (equation 6)."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        shared = gammaln(r + repeats) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
        alive = betaln(a, b + repeats) - (r + repeats) * np.log(alpha + age_days)
        gone = betaln(a + 1.0, b + np.maximum(repeats, 1.0) - 1.0) - (r + repeats) * np.log(alpha + last_days)
        return np.asarray(shared + np.where(repeats > 0, np.logaddexp(alive, gone), alive))

    def alive(self, repeats: Floats, last_days: Floats, age_days: Floats) -> Floats:
        """Probability that a customer has not dropped out; 1 without a repeat order."""
        odds = self.a / (self.b + np.maximum(repeats, 1.0) - 1.0)
        growth = np.exp((self.r + repeats) * np.log((self.alpha + age_days) / (self.alpha + last_days)))
        return np.where(repeats > 0, 1.0 / (1.0 + odds * growth), 1.0)

    def buys(self, repeats: Floats, last_days: Floats, age_days: Floats, horizon_days: float) -> Floats:
        """Probability of an order within the horizon: alive, and not without an order (the rate is a Gamma mixture)."""
        known = self.alpha + age_days
        none = np.exp((self.r + repeats) * np.log(known / (known + horizon_days)))
        return self.alive(repeats, last_days, age_days) * (1.0 - none)

    def expected_orders(self, repeats: Floats, last_days: Floats, age_days: Floats, horizon_days: float) -> Floats:
        """Mean number of orders within the horizon (equation 10)."""
        r, a, b, known = self.r + repeats, self.a, self.b + repeats, self.alpha + age_days
        share = horizon_days / (known + horizon_days)
        left = np.exp(r * np.log(known / (known + horizon_days))) * hyp2f1(r, b, a + b - 1.0, share)
        return self.alive(repeats, last_days, age_days) * (a + b - 1.0) / (a - 1.0) * (1.0 - left)


def fit_bg_nbd(repeats: Floats, last_days: Floats, age_days: Floats) -> BGNBD:
    """The parameters of maximum likelihood; times are scaled for the search, so their unit does not matter."""
    scale = float(age_days.mean())

    def loss(logs: Floats) -> float:
        model = BGNBD(*np.exp(logs).tolist())
        return -float(model.log_likelihood(repeats, last_days / scale, age_days / scale).mean())

    bounds = [(-8.0, 8.0)] * 4
    fits = [minimize(loss, np.full(4, start), method="L-BFGS-B", bounds=bounds) for start in STARTS]
    r, alpha, a, b = np.exp(min(fits, key=lambda fit: fit.fun).x).tolist()
    return BGNBD(r, alpha * scale, a, b)


@dataclass(frozen=True)
class GammaGamma:
    """Order values ~ Gamma(p, nu) with nu ~ Gamma(q, gamma) over customers."""

    p: float
    q: float
    gamma: float

    def log_likelihood(self, orders: Floats, mean_value: Floats) -> Floats:
        """Of each customer's mean order value (equation 1a)."""
        p, q, gamma = self.p, self.q, self.gamma
        x = p * orders
        return np.asarray(
            gammaln(x + q)
            - gammaln(x)
            - gammaln(q)
            + q * np.log(gamma)
            + (x - 1.0) * np.log(mean_value)
            + x * np.log(orders)
            - (x + q) * np.log(gamma + orders * mean_value)
        )

    def mean_value(self, orders: Floats, mean_value: Floats) -> Floats:
        """Expected value of an order: the own mean, shrunk towards the shop's (equation 5)."""
        return np.asarray(self.p * (self.gamma + orders * mean_value) / (self.p * orders + self.q - 1.0))


def fit_gamma_gamma(orders: Floats, mean_value: Floats) -> GammaGamma:
    """The parameters of maximum likelihood, for customers with an order value above 0; q is above 1."""
    scale = float(mean_value.mean())

    def parameters(point: Floats) -> GammaGamma:
        return GammaGamma(float(np.exp(point[0])), 1.0 + float(np.exp(point[1])), float(np.exp(point[2])))

    def loss(point: Floats) -> float:
        return -float(parameters(point).log_likelihood(orders, mean_value / scale).mean())

    bounds = [(-8.0, 8.0)] * 3
    fits = [minimize(loss, np.full(3, start), method="L-BFGS-B", bounds=bounds) for start in STARTS]
    best = parameters(min(fits, key=lambda fit: fit.fun).x)
    return GammaGamma(best.p, best.q, best.gamma * scale)
