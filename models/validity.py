"""What segments tell of the weeks after they were fixed, beside what the whole profile tells."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from models.backtest import Figure, figure_of, indicator, weighted_auc
from models.clusterers import sampled_rows
from models.scorer import Floats, Ints

FOLDS = 5
CHANCE = {"buys_auc": 0.5, "spend_r2": 0.0, "category_auc": 0.5}
"""Figure -> its value where nothing is known."""
FIRST_CATEGORY = 2
"""Column of `Outcomes.matrix`."""
FITTING_ROUNDS = 4
"""Past which figures change by less than a thousandth."""
LOGISTIC_C = 0.01
PAIRS = 30_000
"""Pairs of customer and category that boosted trees learn from, at most."""
MOST_SPREADS = 4.0
RIDGE_ALPHAS = np.logspace(0.0, 5.0, 11)
TREES = {"max_iter": 60, "max_leaf_nodes": 8, "min_samples_leaf": 20, "early_stopping": False, "random_state": 0}

Learner = Callable[[Floats, Floats, Floats], Floats]
"""Points and outcomes to learn from, and points to predict -> predictions."""


@dataclass(frozen=True)
class Outcomes:
    """What n customers did after a cutoff.

    Attributes
    ----------
    bought : bool array of shape (n,)
    spend : float array of shape (n,)
        In the shop's currency; all 0 where the log has no prices.
    categories : bool array of shape (n, m)
        Who bought what; of categories that buyers enough bought (`models.backtest.often_bought`).
    """

    bought: NDArray[np.bool_]
    spend: Floats
    categories: NDArray[np.bool_]

    def of(self, rows: Ints) -> Outcomes:
        """The outcomes of some of the customers."""
        return Outcomes(self.bought[rows], self.spend[rows], self.categories[rows])

    @property
    def matrix(self) -> Floats:
        """Bought, log of 1 + spend, categories side by side: shape (n, 2 + m)."""
        log_spend = np.log1p(np.maximum(self.spend, 0.0))
        return np.column_stack([self.bought, log_spend, self.categories]).astype(np.float64)


def predicted_by_groups(groups: Sequence[NDArray[Any]], outcomes: Outcomes, *, seed: int) -> Floats:
    """Outcomes predicted, out of fold, by one grouping or several: the overall mean times an effect of each group.

    Main effects of a log-linear model, fitted so that in each group the predictions add up to what was observed
    (iterative proportional fitting; Deming and Stephan, 1940). As few buy in one category, an effect on a category is
    drawn to the group's effect on buying at all, with the weight of one buyer (a Gamma prior of a Poisson rate).

    Parameters
    ----------
    groups : sequence of arrays of shape (n,)
        The group of each customer in each grouping.

    Returns
    -------
    array of the shape of `Outcomes.matrix`
    """
    matrix = outcomes.matrix
    fold, folds = _folds(len(matrix), seed)
    found = np.full(matrix.shape, np.nan)
    codes = [np.unique(group, return_inverse=True)[1] for group in groups]
    for held_out in range(folds if folds > 1 else 0):
        known, new = fold != held_out, fold == held_out
        effects = _main_effects([code[known] for code in codes], [code.max() + 1 for code in codes], matrix[known])
        found[new] = matrix[known].mean(axis=0)
        for code, effect in zip(codes, effects, strict=True):
            found[new] *= effect[code[new]]
    return found


def _main_effects(codes: Sequence[Ints], counts: Sequence[int], matrix: Floats) -> list[Floats]:
    """What each group multiplies the overall mean by: an array (number of groups, 2 + m) for each grouping."""
    members = [indicator(code, count) for code, count in zip(codes, counts, strict=True)]
    effects = [np.ones((count, matrix.shape[1])) for count in counts]
    predicted = np.tile(matrix.mean(axis=0), (len(matrix), 1))
    for _ in range(FITTING_ROUNDS if len(codes) > 1 else 1):
        for place, (code, member) in enumerate(zip(codes, members, strict=True)):
            others = predicted / effects[place][code]
            observed, expected = member @ matrix, member @ others
            effect = (observed + 1.0) / (expected + 1.0)
            effect[:, FIRST_CATEGORY:] = (observed + effect[:, :1])[:, FIRST_CATEGORY:] / (expected + 1.0)[
                :, FIRST_CATEGORY:
            ]
            effects[place] = effect
            predicted = others * effect[code]
    return effects


def _folds(count: int, seed: int) -> tuple[Ints, int]:
    """Fold of each row, and how many there are."""
    folds = min(FOLDS, count)
    return np.random.default_rng(seed).permutation(count) % max(folds, 1), folds


def predicted_by_profile(points: Floats, shares: Floats, outcomes: Outcomes, *, seed: int) -> dict[str, Floats]:
    """Outcomes predicted, out of fold, by the whole profile: by regularised linear models, and by boosted trees.

    Parameters
    ----------
    points : array of shape (n, d)
        The profile, transformed.
    shares : array of shape (n, m)
        Interest in each category of ``outcomes``.

    Returns
    -------
    dict
        linear, trees: arrays of the shape of `Outcomes.matrix`. Trees judge all pairs of customer and category at
        once, by profile, share and how often the category is bought; logistic regression judges each category alone.
    """
    matrix, names = outcomes.matrix, ("linear", "trees")
    found = {name: np.full(matrix.shape, np.nan) for name in names}
    fold, folds = _folds(len(matrix), seed)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", category=ConvergenceWarning)
        for held_out in range(folds if folds > 1 else 0):
            known, new = fold != held_out, fold == held_out
            learners: dict[str, tuple[Learner, Learner]] = {"linear": (_logistic, _ridge), "trees": (_trees, _boosted)}
            for name, (classify, regress) in learners.items():
                found[name][new, 0] = classify(points[known], matrix[known, 0], points[new])
                found[name][new, 1] = regress(points[known], matrix[known, 1], points[new])
            for column in range(2, matrix.shape[1]):
                found["linear"][new, column] = _logistic(points[known], matrix[known, column], points[new])
            if matrix.shape[1] > 2:
                base = matrix[known, 2:].mean(axis=0)
                seen, unseen = (_pairs(points[rows], shares[rows], base) for rows in (known, new))
                drawn = sampled_rows(len(seen), PAIRS, seed)
                told = _trees(seen[drawn], matrix[known, 2:].ravel()[drawn], unseen)
                found["trees"][new, 2:] = told.reshape(new.sum(), -1)
    return found


def _pairs(points: Floats, shares: Floats, base: Floats) -> Floats:
    """A row per customer and category."""
    own = np.column_stack([shares.ravel(), np.tile(base, len(points))])
    return np.column_stack([np.repeat(points, shares.shape[1], axis=0), own])


def _standardised() -> tuple[StandardScaler, FunctionTransformer]:
    """Without far outliers: on a column that nearly all customers have alike, one customer would be told anything."""
    return StandardScaler(), FunctionTransformer(np.clip, kw_args={"a_min": -MOST_SPREADS, "a_max": MOST_SPREADS})


def _logistic(known: Floats, outcome: Floats, new: Floats) -> Floats:
    if outcome.min() == outcome.max():
        return np.full(len(new), outcome[0])
    model = make_pipeline(*_standardised(), LogisticRegression(C=LOGISTIC_C, max_iter=200))
    return np.asarray(model.fit(known, outcome).predict_proba(new)[:, 1])


def _ridge(known: Floats, outcome: Floats, new: Floats) -> Floats:
    return np.asarray(make_pipeline(*_standardised(), RidgeCV(RIDGE_ALPHAS)).fit(known, outcome).predict(new))


def _trees(known: Floats, outcome: Floats, new: Floats) -> Floats:
    if outcome.min() == outcome.max():
        return np.full(len(new), outcome[0])
    return np.asarray(HistGradientBoostingClassifier(**TREES).fit(known, outcome).predict_proba(new)[:, 1])


def _boosted(known: Floats, outcome: Floats, new: Floats) -> Floats:
    return np.asarray(HistGradientBoostingRegressor(**TREES).fit(known, outcome).predict(new))


def figures_of(predicted: Floats, outcomes: Outcomes, weights: Floats) -> dict[str, Figure]:
    """How well predictions of the shape of `Outcomes.matrix` foretell the outcomes, with intervals over customers.

    Parameters
    ----------
    weights : array of shape (1 + resamples, n)
        `models.backtest.customer_weights`.

    Returns
    -------
    dict
        buys_auc; spend_r2, of the log of 1 + spend; category_auc, mean over categories. What is undefined is left
        out: everybody bought, or nobody; nobody's spend is known; no category has buyers enough.
    """
    found = {
        "buys_auc": weighted_auc(predicted[:, 0], outcomes.bought, weights),
        "spend_r2": _r2(predicted[:, 1], outcomes.matrix[:, 1], weights),
    }
    by_category = [
        weighted_auc(predicted[:, 2 + column], outcomes.categories[:, column], weights)
        for column in range(outcomes.categories.shape[1])
    ]
    if by_category:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice")
            found["category_auc"] = np.nanmean(by_category, axis=0)
    return {name: figure_of(values) for name, values in found.items() if np.isfinite(values[0])}


def _r2(predicted: Floats, outcome: Floats, weights: Floats) -> Floats:
    total = weights.sum(axis=1)
    error = weights @ (outcome - predicted) ** 2
    spread = weights @ outcome**2 - (weights @ outcome) ** 2 / total
    return np.divide(spread - error, spread, out=np.full(len(total), np.nan), where=spread > 1e-9 * total)


def predictive_validity(segment: NDArray[Any], outcomes: Outcomes, *, seed: int) -> dict[str, float]:
    """What the segment alone tells of the weeks after it was fixed: `figures_of`, without intervals."""
    found = figures_of(predicted_by_groups([segment], outcomes, seed=seed), outcomes, np.ones((1, len(segment))))
    return {name: figure.mean for name, figure in found.items()}


def better_of(rows: Mapping[str, Mapping[str, Figure]]) -> dict[str, Figure]:
    """The highest of each figure over rows."""
    names = [name for name in CHANCE if any(name in row for row in rows.values())]
    return {name: max((row[name] for row in rows.values() if name in row), key=lambda one: one.mean) for name in names}


def kept_gain(found: Mapping[str, Figure], ceiling: Mapping[str, Figure]) -> dict[str, float]:
    """Share of the ceiling's gain over chance that is kept; left out where the ceiling gains nothing."""
    return {
        name: (figure.mean - CHANCE[name]) / (ceiling[name].mean - CHANCE[name])
        for name, figure in found.items()
        if name in ceiling and ceiling[name].mean > CHANCE[name]
    }
