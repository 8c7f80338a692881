"""How well fixed segments predict the weeks that follow, compared with predictions from the whole profile."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from models.backtest import Figure, auc_of_cells, figure_of, indicator
from models.clusterers import projected, sampled_rows
from models.scorer import Floats, Ints

FOLDS = 5
CHANCE = {"buys_auc": 0.5, "spend_r2": 0.0, "category_auc": 0.5}
"""Figure -> its value for a prediction without any information."""
FIRST_CATEGORY = 2
"""Column of `Outcomes.matrix`."""
FITTING_ROUNDS = 4
"""With more rounds, figures change by less than 0.001."""
LOGISTIC_C = 0.01
MAX_PAIRS = 30_000
"""Maximum number of (customer, category) pairs for fitting boosted trees."""
MAX_DEVIATIONS = 4.0
RIDGE_ALPHAS = np.logspace(0.0, 5.0, 11)
TREES = {"max_iter": 60, "max_leaf_nodes": 8, "min_samples_leaf": 20, "early_stopping": False, "random_state": 0}

Learner = Callable[[Floats, Floats, Floats], Floats]
"""Training points, training outcomes, points to predict -> predictions."""


@dataclass(frozen=True)
class Outcomes:
    """What n customers did after a cutoff.

    Attributes
    ----------
    bought : bool array of shape (n,)
    spend : float array of shape (n,)
        In the shop's currency; all 0 if the log has no prices.
    categories : bool array of shape (n, m)
        Which categories each customer bought; only categories with enough buyers (`models.backtest.often_bought`).
    """

    bought: NDArray[np.bool_]
    spend: Floats
    categories: NDArray[np.bool_]

    def of(self, rows: Ints) -> Outcomes:
        """The outcomes of the customers ``rows``."""
        return Outcomes(self.bought[rows], self.spend[rows], self.categories[rows])

    @functools.cached_property
    def matrix(self) -> Floats:
        """Columns bought, log(1 + spend), then categories: shape (n, 2 + m)."""
        log_spend = np.log1p(np.maximum(self.spend, 0.0))
        return np.column_stack([self.bought, log_spend, self.categories]).astype(np.float64)


def predicted_by_groups(groups: Sequence[NDArray[Any]], outcomes: Outcomes, *, seed: int) -> Floats:
    """Predict outcomes out of fold from one or more groupings: the overall mean times an effect of each group.

    The effects are main effects of a log-linear model. They are fitted so that predictions add up to the observed sums
    in each group (iterative proportional fitting; Deming and Stephan, 1940). A single category has few buyers, so a
    group's effect on a category is shrunk towards its effect on buying at all, with the weight of one buyer (a Gamma
    prior on a Poisson rate).

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
    if folds < 2:
        return np.full(matrix.shape, np.nan)
    # Customers who are in the same groups count together, so sums are over combinations of groups, by fold.
    codes = [pd.factorize(group)[0] for group in groups]
    counts = [int(code.max()) + 1 for code in codes]
    used, combination = np.unique(np.ravel_multi_index(codes, counts), return_inverse=True)
    cell, cells = fold * len(used) + combination, folds * len(used)
    size = np.bincount(cell, minlength=cells).reshape(folds, -1)
    sums = (indicator(cell, cells) @ matrix).reshape(folds, len(used), -1)
    codes = list(np.unravel_index(used, counts))
    predicted = np.empty(sums.shape)
    for held_out in range(folds):
        known = np.arange(folds) != held_out
        own_sums, own_size = sums[known].sum(axis=0), size[known].sum(axis=0)
        predicted[held_out] = mean = own_sums.sum(axis=0) / own_size.sum()
        for code, effect in zip(codes, _main_effects(codes, counts, own_sums, own_size, mean), strict=True):
            predicted[held_out] *= effect[code]
    return np.asarray(predicted.reshape(cells, -1)[cell])


def _main_effects(
    codes: Sequence[Ints], counts: Sequence[int], sums: Floats, size: Floats, mean: Floats
) -> list[Floats]:
    """The factor of each group on the overall mean: one array of shape (number of groups, 2 + m) per grouping.

    Parameters
    ----------
    codes : sequence of arrays of shape (k,)
        The group of each combination of groups, in each grouping.
    sums, size, mean : arrays of shape (k, 2 + m), (k,) and (2 + m,)
        Outcomes and number of customers of each combination, and the mean outcomes of all customers.
    """
    members = [indicator(code, count) for code, count in zip(codes, counts, strict=True)]
    effects = [np.ones((count, sums.shape[1])) for count in counts]
    predicted = np.tile(mean, (len(sums), 1))
    for _ in range(FITTING_ROUNDS if len(codes) > 1 else 1):
        for place, (code, member) in enumerate(zip(codes, members, strict=True)):
            others = predicted / effects[place][code]
            observed, expected = member @ sums, member @ (others * size[:, None])
            effect = (observed + 1.0) / (expected + 1.0)
            effect[:, FIRST_CATEGORY:] = (observed + effect[:, :1])[:, FIRST_CATEGORY:] / (expected + 1.0)[
                :, FIRST_CATEGORY:
            ]
            effects[place] = effect
            predicted = others * effect[code]
    return effects


def _folds(count: int, seed: int) -> tuple[Ints, int]:
    """Fold of each row, and the number of folds."""
    folds = min(FOLDS, count)
    return np.random.default_rng(seed).permutation(count) % max(folds, 1), folds


def predicted_by_profile(points: Floats, shares: Floats, outcomes: Outcomes, *, seed: int) -> dict[str, Floats]:
    """Predict outcomes out of fold from the whole profile, with regularised linear models and with boosted trees.

    Parameters
    ----------
    points : array of shape (n, d)
        The profile, transformed.
    shares : array of shape (n, m)
        Interest in each category of ``outcomes``.

    Returns
    -------
    dict
        linear, trees: arrays of the shape of `Outcomes.matrix`. One boosted model predicts all pairs of customer and
        category, from profile, interest share and the category's purchase rate. Logistic regression fits each
        category separately.
    """
    matrix, names = outcomes.matrix, ("linear", "trees")
    predicted = {name: np.full(matrix.shape, np.nan) for name in names}
    fold, folds = _folds(len(matrix), seed)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", category=ConvergenceWarning)
        for held_out in range(folds if folds > 1 else 0):
            known, new = fold != held_out, fold == held_out
            standard = _standardised(points[known], points[new])
            learners: dict[str, tuple[Learner, Learner, tuple[Floats, Floats]]] = {
                "linear": (_logistic, _ridge, standard),
                "trees": (_trees, _boosted, (points[known], points[new])),
            }
            for name, (classify, regress, (own, others)) in learners.items():
                predicted[name][new, 0] = classify(own, matrix[known, 0], others)
                predicted[name][new, 1] = regress(own, matrix[known, 1], others)
            for column in range(2, matrix.shape[1]):
                predicted["linear"][new, column] = _logistic(standard[0], matrix[known, column], standard[1])
            if matrix.shape[1] > 2:
                base, outcome = matrix[known, 2:].mean(axis=0), matrix[known, 2:].ravel()
                drawn = sampled_rows(len(outcome), MAX_PAIRS, seed)
                known_pairs = _pairs(points[known], shares[known], base, drawn)
                new_pairs = _pairs(points[new], shares[new], base, np.arange(shares[new].size))
                by_pair = _trees(known_pairs, outcome[drawn], new_pairs)
                predicted["trees"][new, 2:] = by_pair.reshape(new.sum(), -1)
    return predicted


def _pairs(points: Floats, shares: Floats, base: Floats, drawn: Ints) -> Floats:
    """Features of ``drawn`` pairs of customer and category, one row per pair; pairs are numbered by customer."""
    customer, category = np.divmod(drawn, shares.shape[1])
    return np.column_stack([points[customer], shares[customer, category], base[category]])


def _standardised(known: Floats, new: Floats) -> tuple[Floats, Floats]:
    """Standardise by the known points, and clip: in a nearly constant column, one value could be extreme."""
    scaler = StandardScaler().fit(known)
    first, second = (np.clip(scaler.transform(part), -MAX_DEVIATIONS, MAX_DEVIATIONS) for part in (known, new))
    return first, second


def _logistic(known: Floats, outcome: Floats, new: Floats) -> Floats:
    if outcome.min() == outcome.max():
        return np.full(len(new), outcome[0])
    model = LogisticRegression(C=LOGISTIC_C, max_iter=200)
    return np.asarray(model.fit(known, outcome).predict_proba(new)[:, 1])


def _ridge(known: Floats, outcome: Floats, new: Floats) -> Floats:
    return np.asarray(RidgeCV(RIDGE_ALPHAS).fit(known, outcome).predict(new))


def _trees(known: Floats, outcome: Floats, new: Floats) -> Floats:
    if outcome.min() == outcome.max():
        return np.full(len(new), outcome[0])
    return np.asarray(HistGradientBoostingClassifier(**TREES).fit(known, outcome).predict_proba(new)[:, 1])


def _boosted(known: Floats, outcome: Floats, new: Floats) -> Floats:
    return np.asarray(HistGradientBoostingRegressor(**TREES).fit(known, outcome).predict(new))


def figures_of(predicted: Floats, outcomes: Outcomes, weights: Floats) -> dict[str, Figure]:
    """How well predictions of the shape of `Outcomes.matrix` match the outcomes, with intervals over customers.

    Parameters
    ----------
    weights : array of shape (1 + resamples, n)
        `models.backtest.customer_weights`.

    Returns
    -------
    dict
        buys_auc; spend_r2, of log(1 + spend); category_auc, mean over categories. Undefined figures are left out:
        everybody or nobody bought, no spend is known, or no category has enough buyers.
    """
    cell, rows = _equal_predictions(predicted)
    by_customer = np.ascontiguousarray(weights.T)
    total = indicator(cell, len(rows)) @ by_customer

    def auc(column: int, happened: NDArray[np.bool_]) -> Floats:
        return auc_of_cells(predicted[rows, column], cell, total, happened, by_customer)

    values = {
        "buys_auc": auc(0, outcomes.bought),
        "spend_r2": _r2(predicted[:, 1], outcomes.matrix[:, 1], weights),
    }
    by_category = [auc(2 + column, outcomes.categories[:, column]) for column in range(outcomes.categories.shape[1])]
    if by_category:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice")
            values["category_auc"] = np.nanmean(by_category, axis=0)
    return {name: figure_of(own) for name, own in values.items() if np.isfinite(own[0])}


def _equal_predictions(predicted: Floats) -> tuple[Ints, Ints]:
    """Cell of each customer, (n,), and a customer of each cell: those with the same predictions share a cell."""
    _, rows, cell = np.unique(projected(predicted), return_index=True, return_inverse=True)
    return cell, rows


def _r2(predicted: Floats, outcome: Floats, weights: Floats) -> Floats:
    total = weights.sum(axis=1)
    error = weights @ (outcome - predicted) ** 2
    spread = weights @ outcome**2 - (weights @ outcome) ** 2 / total
    return np.divide(spread - error, spread, out=np.full(len(total), np.nan), where=spread > 1e-9 * total)


def predictive_validity(segment: NDArray[Any], outcomes: Outcomes, *, seed: int) -> dict[str, float]:
    """How well the segment alone predicts the weeks after it was fixed: `figures_of`, without intervals."""
    figures = figures_of(predicted_by_groups([segment], outcomes, seed=seed), outcomes, np.ones((1, len(segment))))
    return {name: figure.mean for name, figure in figures.items()}


def best_figures(rows: Mapping[str, Mapping[str, Figure]]) -> dict[str, Figure]:
    """The highest value of each figure over all rows."""
    names = [name for name in CHANCE if any(name in row for row in rows.values())]
    return {
        name: max((row[name] for row in rows.values() if name in row), key=lambda figure: figure.mean) for name in names
    }


def kept_gain(figures: Mapping[str, Figure], ceiling: Mapping[str, Figure]) -> dict[str, float]:
    """Share of the ceiling's gain over chance that is retained; left out where the ceiling gains nothing."""
    return {
        name: (figure.mean - CHANCE[name]) / (ceiling[name].mean - CHANCE[name])
        for name, figure in figures.items()
        if name in ceiling and ceiling[name].mean > CHANCE[name]
    }
