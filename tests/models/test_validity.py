"""Predictive validity: computed by hand, compared with scikit-learn, and on data where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from models.backtest import Figure, customer_weights, often_bought
from models.validity import (
    Outcomes,
    best_figures,
    figures_of,
    kept_gain,
    predicted_by_groups,
    predicted_by_profile,
    predictive_validity,
)

ONCE = np.ones((1, 400))


def outcomes(seed: int = 0, count: int = 400) -> Outcomes:
    generator = np.random.default_rng(seed)
    bought = generator.random(count) < 0.4
    categories = bought[:, None] & (generator.random((count, 3)) < 0.5)
    return Outcomes(bought, np.where(bought, generator.lognormal(3.0, 1.0, count), 0.0), categories)


def test_figures_equal_scikit_learn() -> None:
    actual, generator = outcomes(), np.random.default_rng(1)
    predicted = np.round(generator.random(actual.matrix.shape), 1)
    figures = figures_of(predicted, actual, ONCE)
    assert figures["buys_auc"].mean == pytest.approx(roc_auc_score(actual.bought, predicted[:, 0]))
    assert figures["spend_r2"].mean == pytest.approx(r2_score(np.log1p(actual.spend), predicted[:, 1]))
    by_category = [roc_auc_score(actual.categories[:, column], predicted[:, 2 + column]) for column in range(3)]
    assert figures["category_auc"].mean == pytest.approx(np.mean(by_category))


def test_intervals_narrow_with_more_customers() -> None:
    widths = []
    for count in (400, 6_400):
        actual = outcomes(count=count)
        weights = customer_weights(count, 200, 0)
        assert (weights.sum(axis=1) == count).all() and (weights[0] == 1).all()
        guess = actual.matrix + np.random.default_rng(2).normal(0, 2, actual.matrix.shape)
        figure = figures_of(guess, actual, weights)["buys_auc"]
        assert figure.low < figure.mean < figure.high
        widths.append(figure.high - figure.low)
    assert widths[1] < 0.4 * widths[0]


def test_a_grouping_predicts_by_the_other_folds() -> None:
    """Computed customer by customer: the mean times (observed + 1) / (expected + 1) of the group."""
    actual, group = outcomes(count=100), np.random.default_rng(5).integers(0, 3, 100)
    predicted = predicted_by_groups([group.astype(str)], actual, seed=6)
    fold = np.random.default_rng(6).permutation(100) % 5
    for customer in range(100):
        known = fold != fold[customer]
        mean, own = actual.bought[known].mean(), known & (group == group[customer])
        expected = mean * (actual.bought[own].sum() + 1) / (mean * own.sum() + 1)
        assert predicted[customer, 0] == pytest.approx(expected)


def test_two_groupings_together_reproduce_the_sums_of_both() -> None:
    actual, generator = outcomes(count=6_400), np.random.default_rng(7)
    groups = [np.where(actual.bought, generator.integers(0, 3, 6_400), 1), generator.integers(0, 4, 6_400)]
    predicted = predicted_by_groups(groups, actual, seed=0)
    for group in groups:
        for number in np.unique(group):
            inside = group == number
            assert predicted[inside, 0].sum() == pytest.approx(actual.bought[inside].sum(), rel=0.02, abs=2)


def test_customers_with_equal_predictions_are_resampled_one_by_one() -> None:
    actual, weights = outcomes(), customer_weights(400, 20, 0)
    predicted = predicted_by_groups([np.random.default_rng(8).integers(0, 6, 400)], actual, seed=0)
    values = [roc_auc_score(actual.bought, predicted[:, 0], sample_weight=weight) for weight in weights]
    figure = figures_of(predicted, actual, weights)["buys_auc"]
    assert figure.mean == pytest.approx(values[0])
    assert [figure.low, figure.high] == pytest.approx(np.percentile(values[1:], [2.5, 97.5]))


def test_figures_of_the_truth_and_of_chance() -> None:
    actual = outcomes()
    truth = predictive_validity(actual.bought.astype(int), actual, seed=0)
    assert truth["buys_auc"] > 0.999
    chance = predictive_validity(np.random.default_rng(3).integers(0, 8, 400), actual, seed=0)
    assert chance["buys_auc"] == pytest.approx(0.5, abs=0.1)
    assert chance["spend_r2"] < 0.05


def test_undefined_figures_are_left_out() -> None:
    no_purchases = Outcomes(np.zeros(20, bool), np.zeros(20), np.zeros((20, 0), bool))
    assert predictive_validity(np.arange(20) % 3, no_purchases, seed=0) == {}
    unpriced = Outcomes(np.arange(20) % 2 == 0, np.zeros(20), np.zeros((20, 0), bool))
    assert set(predictive_validity(np.arange(20) % 3, unpriced, seed=0)) == {"buys_auc"}


def test_only_categories_with_enough_buyers_count() -> None:
    bought = np.array([[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]], dtype=bool)
    assert often_bought(bought, 1).tolist() == [True, True, False, False]
    assert often_bought(bought, 2).tolist() == [False, True, False, False]


def test_the_whole_profile_predicts_signal_but_not_noise() -> None:
    generator = np.random.default_rng(4)
    points, shares = generator.normal(size=(1_000, 4)), generator.random((1_000, 2))
    bought = points[:, 0] + generator.normal(0, 0.5, 1_000) > 0
    categories = bought[:, None] & (shares + generator.normal(0, 0.1, shares.shape) > 0.5)
    actual = Outcomes(bought, np.where(bought, np.exp(points[:, 1] + 3), 0.0), categories)
    predicted = predicted_by_profile(np.column_stack([points, shares]), shares, actual, seed=0)
    weights = np.ones((1, 1_000))
    for method in ("linear", "trees"):
        figures = figures_of(predicted[method], actual, weights)
        assert figures["buys_auc"].mean > 0.9 and figures["category_auc"].mean > 0.9
    noise = predicted_by_profile(generator.normal(size=(1_000, 4)), generator.random((1_000, 2)), actual, seed=0)
    for method in ("linear", "trees"):
        assert figures_of(noise[method], actual, weights)["buys_auc"].mean == pytest.approx(0.5, abs=0.07)


def test_the_whole_profile_if_outcomes_do_not_vary() -> None:
    no_purchases = Outcomes(np.zeros(30, bool), np.zeros(30), np.zeros((30, 0), bool))
    predicted = predicted_by_profile(
        np.random.default_rng(0).normal(size=(30, 2)), np.zeros((30, 0)), no_purchases, seed=0
    )
    assert np.abs(predicted["linear"]).max() < 1e-9


def test_kept_gain_by_hand() -> None:
    def row(**means: float) -> dict[str, Figure]:
        return {name: Figure(mean, mean, mean) for name, mean in means.items()}

    ceiling = best_figures({"linear": row(buys_auc=0.8, spend_r2=0.2), "trees": row(buys_auc=0.7, spend_r2=0.4)})
    assert {name: figure.mean for name, figure in ceiling.items()} == {"buys_auc": 0.8, "spend_r2": 0.4}
    kept = kept_gain(row(buys_auc=0.65, spend_r2=0.3, category_auc=0.6), ceiling)
    assert kept == {"buys_auc": pytest.approx(0.5), "spend_r2": pytest.approx(0.75)}
    assert kept_gain(row(buys_auc=0.6), row(buys_auc=0.5)) == {}
