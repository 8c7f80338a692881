"""Rates of few events: the beta prior that shrinks them, and how much of what then differs is the customers' own."""

from __future__ import annotations

from models.scorer import Floats

FALLBACK_TRIALS = 2.0
"""Trials that the prior counts for where nobody has two, so that moments cannot separate chance from customers."""


def beta_prior(events: Floats, trials: Floats) -> tuple[float, float] | None:
    """The beta prior of customers' rates, by moments.

    How much the rates differ beyond chance is the intraclass correlation ``r`` by analysis of variance (Ridout,
    Demetrio and Firth, 1999, Biometrics 55, their estimator rho_AOV): of the two mean squares between and within
    customers, ``(between - within) / (between + (n0 - 1) * within)``. A beta prior with the mean ``m`` has
    ``alpha + beta = 1 / r - 1`` and ``alpha = m * (alpha + beta)``.

    Parameters
    ----------
    events, trials : arrays of shape (n,)
        Counts, ``0 <= events <= trials``. Customers without a trial have no say.

    Returns
    -------
    (alpha, beta), both > 0, or None
        None where there is no rate to speak of: no trial, no event, an event at every trial, or customers who differ
        no more than chance makes them.
    """
    x, n = events[trials > 0], trials[trials > 0]
    if len(n) < 2 or not 0.0 < x.sum() < n.sum():
        return None
    customers, total, mean = len(n), n.sum(), x.sum() / n.sum()
    trials_within = total - customers
    if trials_within < 1.0:
        return mean * FALLBACK_TRIALS, (1.0 - mean) * FALLBACK_TRIALS
    between = (n * (x / n - mean) ** 2).sum() / (customers - 1)
    within = (x * (1.0 - x / n)).sum() / trials_within
    usual = (total - (n**2).sum() / total) / (customers - 1)
    correlation = (between - within) / (between + (usual - 1.0) * within)
    if correlation <= 0.0:
        return None
    strength = 1.0 / min(correlation, 1.0 - 1e-6) - 1.0
    return float(mean * strength), float((1.0 - mean) * strength)


def reliability(trials: Floats, alpha: float, beta: float) -> float:
    """How much of the variance of true rates is left in shrunk ones: the mean over customers of n / (n + alpha + beta).

    For one customer, ``n / (n + alpha + beta)`` is the reliability of ``n`` trials under the beta-binomial model (Lord
    and Novick, 1968, Statistical Theories of Mental Test Scores, chapter 23), 0 without a trial.

    Parameters
    ----------
    trials : array of shape (n,)
        Not below 0.

    Returns
    -------
    float
        In 0..1.
    """
    return float((trials / (trials + alpha + beta)).mean()) if len(trials) else 0.0
