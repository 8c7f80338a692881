"""What a customer is expected to do in the days after a moment: buy, spend, be seen. Fitted on earlier cutoffs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from models.scorer import (
    VALUE_COLUMNS,
    ExpectedValueModel,
    Floats,
    Ints,
    LinearPredictor,
    value_features,
    value_terms,
)

FOLDS = 5
MIN_CUSTOMERS = 50
"""Customers with an outcome, and as many without it, that a fit and a calibration need each."""
KNOTS = (1 / 3, 2 / 3)
"""Quantiles at which the slope of a feature may change."""
LOGISTIC_C = (0.003, 0.03, 0.3, 3.0)
"""Inverse strengths of the L2 penalty that cross-validation chooses from, on standardised terms."""
RIDGE_ALPHA = 10.0
"""On standardised terms; with 1 or 100, R² of log spend at earlier cutoffs of real logs changed by less than 0.005."""
CALIBRATION_C = 1.0
"""Hardly changes the fit, but keeps it finite where the log odds separate the outcomes."""
Bools = NDArray[np.bool_]
Learner = Callable[[Floats, Floats], LinearPredictor]
"""Terms and outcomes -> a linear predictor of the outcome."""


@dataclass(frozen=True)
class PastOutcomes:
    """Customers known at a cutoff, and what they did within the horizon after it.

    Attributes
    ----------
    profile : DataFrame, n rows
        At the cutoff: customer_id and `models.scorer.VALUE_COLUMNS`.
    bought, seen : bool arrays of shape (n,)
        At least one purchase; at least one event of any type.
    spend : float array of shape (n,)
        In the shop's currency; all 0 if the log has no prices.
    """

    profile: pd.DataFrame
    bought: Bools
    seen: Bools
    spend: Floats


@dataclass(frozen=True)
class _Rows:
    """Customers as terms of the linear predictors, with their outcomes and their folds."""

    terms: Floats
    fold: Ints
    bought: Floats
    seen: Floats
    spend: Floats


def fit_expected_value(cutoffs: Sequence[PastOutcomes], *, seed: int) -> ExpectedValueModel | None:
    """Fit probabilities and spend on all cutoffs but the last, and calibrate them on the last.

    The probability of a purchase is a logistic regression on `models.scorer.value_terms`. Its L2 penalty is chosen by
    cross-validation over customers at the cutoffs it is fitted on. A logistic regression of the last cutoff's outcomes
    on the predicted log odds then calibrates it (Platt, 1999). The probability of being seen is fitted likewise. Spend
    if the customer buys is a ridge regression of log spend among buyers. Its mean is the exponential times one factor,
    which corrects for the logarithm (smearing; Duan, 1983) and makes total expected spend equal total spend at the
    last cutoff. With a single cutoff, calibration uses predictions out of fold for the same customers.

    Parameters
    ----------
    cutoffs : sequence of PastOutcomes
        In order, with the same horizon.
    seed : int
        Of the folds.

    Returns
    -------
    ExpectedValueModel, optional
        None without a cutoff, or where fewer than `MIN_CUSTOMERS` customers bought, or did not. Spend is None in it if
        the log has no prices; being seen, if nearly everybody or nobody was.

    References
    ----------
    J. Platt (1999), Probabilistic outputs for support vector machines. Advances in Large Margin Classifiers.
    N. Duan (1983), Smearing estimate: a nonparametric retransformation method. JASA 78.
    """
    if not cutoffs:
        return None
    fitted_on = cutoffs[:-1] or cutoffs
    profile = pd.concat([cutoff.profile[[*VALUE_COLUMNS]] for cutoff in fitted_on], ignore_index=True)
    unfitted = _fit_features(profile)
    with threadpool_limits(limits=1), warnings.catch_warnings():  # one thread: sums in the same order on every run
        warnings.simplefilter("ignore", category=ConvergenceWarning)  # another solver then takes over
        known = _rows(fitted_on, unfitted, seed)
        held_out = _rows(cutoffs[-1:], unfitted, seed) if len(cutoffs) > 1 else None
        buys = _probability(known, held_out, "bought")
        if buys is None:
            return None
        return ExpectedValueModel(
            mean_order_value=unfitted.mean_order_value,
            low=unfitted.low,
            high=unfitted.high,
            knots=unfitted.knots,
            buys=buys,
            seen=_probability(known, held_out, "seen"),
            spend=_spend(known, held_out, buys),
        )


def _fit_features(profile: pd.DataFrame) -> ExpectedValueModel:
    """A model with the shop's mean order value, and the range and knots of each feature; its predictors are empty."""
    orders = float(profile["order_count"].sum())
    mean_order_value = float(profile["net_spend"].clip(lower=0.0).sum()) / orders if orders else 0.0
    low, high, knots = [], [], []
    for values in value_features(profile, mean_order_value).T:
        finite = values[np.isfinite(values)]
        finite = finite if len(finite) else np.zeros(1)
        known = finite[finite != 0.0] if (finite != 0.0).any() else finite  # 0 also stands for: not known
        low.append(float(finite.min()))
        high.append(float(finite.max()))
        knots.append(tuple(np.quantile(known, KNOTS).tolist()))
    empty = LinearPredictor(0.0, ())
    return ExpectedValueModel(mean_order_value, tuple(low), tuple(high), tuple(knots), empty, None, None)


def _rows(cutoffs: Sequence[PastOutcomes], model: ExpectedValueModel, seed: int) -> _Rows:
    """The customers of several cutoffs; a customer is in the same fold at each of them."""
    ids = pd.concat([cutoff.profile["customer_id"] for cutoff in cutoffs], ignore_index=True)
    number, customers = pd.factorize(ids)
    fold = np.random.default_rng(seed).permutation(len(customers)) % FOLDS
    return _Rows(
        terms=np.vstack([value_terms(cutoff.profile, model) for cutoff in cutoffs]),
        fold=fold[number],
        bought=np.concatenate([cutoff.bought for cutoff in cutoffs]).astype(np.float64),
        seen=np.concatenate([cutoff.seen for cutoff in cutoffs]).astype(np.float64),
        spend=np.concatenate([cutoff.spend for cutoff in cutoffs]).astype(np.float64),
    )


def _is_enough(happened: Floats) -> bool:
    return min(happened.sum(), (1.0 - happened).sum()) >= MIN_CUSTOMERS


def _probability(known: _Rows, held_out: _Rows | None, outcome: str) -> LinearPredictor | None:
    """Calibrated log odds of an outcome, ``bought`` or ``seen``; None with too few customers with or without it."""
    happened = getattr(known, outcome)
    later = happened if held_out is None else getattr(held_out, outcome)
    if not (_is_enough(happened) and _is_enough(later)):
        return None
    out_of_fold = {c: _out_of_fold(known.terms, happened, known.fold, _logistic(c)) for c in LOGISTIC_C}
    best = min(LOGISTIC_C, key=lambda c: log_loss(happened, expit(out_of_fold[c])))
    fitted = _logistic(best)(known.terms, happened)
    log_odds = out_of_fold[best] if held_out is None else fitted.of(held_out.terms)
    calibration = LogisticRegression(C=CALIBRATION_C).fit(log_odds[:, None], later)
    slope, offset = float(calibration.coef_[0, 0]), float(calibration.intercept_[0])
    if slope <= 0.0:  # the ranking did not last: everybody gets the mean
        return LinearPredictor(float(np.log(later.mean() / (1.0 - later.mean()))), (0.0,) * known.terms.shape[1])
    return LinearPredictor(slope * fitted.intercept + offset, tuple(slope * weight for weight in fitted.weights))


def _spend(known: _Rows, held_out: _Rows | None, buys: LinearPredictor) -> LinearPredictor | None:
    """Log of the mean spend of a customer who buys; None if too few purchases have a price."""
    later = known if held_out is None else held_out
    paid, paid_later = (rows.spend > 0.0 for rows in (known, later))
    if min(paid.sum(), paid_later.sum()) < MIN_CUSTOMERS or later.spend.sum() <= 0.0:
        return None
    log_spend = np.log(known.spend[paid])
    fitted = _ridge(known.terms[paid], log_spend)
    expected = fitted.of(later.terms)
    if held_out is None:
        expected[paid] = _out_of_fold(known.terms[paid], log_spend, known.fold[paid], _ridge)
    total = (expit(buys.of(later.terms)) * np.exp(expected)).sum()
    return LinearPredictor(fitted.intercept + float(np.log(later.spend.sum() / total)), fitted.weights)


def _out_of_fold(terms: Floats, outcome: Floats, fold: Ints, learner: Learner) -> Floats:
    """Predictions for each fold by a predictor fitted on the others: shape (n,)."""
    predicted = np.empty(len(terms))
    for number in range(FOLDS):
        inside = fold == number
        predicted[inside] = learner(terms[~inside], outcome[~inside]).of(terms[inside])
    return predicted


def _logistic(c: float) -> Learner:
    def fit(terms: Floats, happened: Floats) -> LinearPredictor:
        mean, scale = _standard(terms)
        model = LogisticRegression(C=c, solver="newton-cholesky", max_iter=100)
        model.fit((terms - mean) / scale, happened)
        return _unscaled(float(model.intercept_[0]), model.coef_[0], mean, scale)

    return fit


def _ridge(terms: Floats, outcome: Floats) -> LinearPredictor:
    mean, scale = _standard(terms)
    model = Ridge(alpha=RIDGE_ALPHA, solver="cholesky").fit((terms - mean) / scale, outcome)
    return _unscaled(float(model.intercept_), model.coef_, mean, scale)


def _standard(terms: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each term; a constant term gets an infinite deviation, so its weight is 0."""
    deviation = terms.std(axis=0)
    return terms.mean(axis=0), np.where(deviation > 1e-9, deviation, np.inf)


def _unscaled(intercept: float, coefficients: Floats, mean: Floats, scale: Floats) -> LinearPredictor:
    """The same predictor for terms that are not standardised."""
    weights = coefficients / scale
    return LinearPredictor(intercept - float((weights * mean).sum()), tuple(weights.tolist()))
