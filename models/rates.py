"""Rates based on few events: the beta prior that shrinks them, and their reliability."""

from __future__ import annotations

from models.scorer import Floats

FALLBACK_TRIALS = 2.0
"""Prior strength if no customer has two trials, so that moments cannot separate chance from customer differences."""


def beta_prior(events: Floats, trials: Floats) -> tuple[float, float] | None:
    """The beta prior of customers' rates, by the method of moments.

    The intraclass correlation ``r`` measures how much rates differ beyond chance. It is estimated by analysis of
    variance (Ridout, Demetrio and Firth, 1999, Biometrics 55, estimator rho_AOV) from the mean squares between and
    within customers: ``r = (between - within) / (between + (n0 - 1) * within)``. A beta prior with mean ``m`` then has
    ``alpha + beta = 1 / r - 1`` and ``alpha = m * (alpha + beta)``.

    Parameters
    ----------
    events, trials : arrays of shape (n,)
        Counts, ``0 <= events <= trials``. Customers without a trial are ignored.

    Returns
    -------
    (alpha, beta), both > 0, or None
        None if no prior can be fitted: no trials, no events, an event at every trial, or no differences between
        customers beyond chance.
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
    n0 = (total - (n**2).sum() / total) / (customers - 1)
    correlation = (between - within) / (between + (n0 - 1.0) * within)
    if correlation <= 0.0:
        return None
    strength = 1.0 / min(correlation, 1.0 - 1e-6) - 1.0
    return float(mean * strength), float((1.0 - mean) * strength)


def reliability(trials: Floats, alpha: float, beta: float) -> float:
    """Share of the variance of true rates that shrunk rates retain: mean over customers of n / (n + alpha + beta).

    For one customer, ``n / (n + alpha + beta)`` is the reliability of ``n`` trials under the beta-binomial model (Lord
    and Novick, 1968, Statistical Theories of Mental Test Scores, chapter 23). It is 0 without a trial.

    Parameters
    ----------
    trials : array of shape (n,)
        Counts, 0 or more.

    Returns
    -------
    float
        In 0..1.
    """
    return float((trials / (trials + alpha + beta)).mean()) if len(trials) else 0.0
