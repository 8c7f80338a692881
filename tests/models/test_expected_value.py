"""The expected value: recovered from customers with known rates, calibrated on the last cutoff, null where unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.expected_value import MIN_CUSTOMERS, PastOutcomes, fit_expected_value
from models.saved_segmentation import Segmentation
from models.scorer import (
    EXPECTED_VALUE,
    VALUE_COLUMNS,
    ExpectedValueModel,
    LinearPredictor,
    expected_value,
    value_features,
    value_terms,
)
from models.value_quality import value_figures

DAY_COUNT = 30.0


def cutoff(count: int = 3_000, *, seed: int, level: float = 1.0, orders_alone: bool = False) -> PastOutcomes:
    """Customers who order at a rate of their own; ``level`` multiplies all rates after the cutoff."""
    generator = np.random.default_rng(seed)
    rate = generator.gamma(0.8, 0.03, count)  # orders a day
    tenure = generator.uniform(60.0, 360.0, count)
    orders = generator.poisson(rate * tenure).astype(np.float64)
    has_bought = orders > 0
    since_purchase = np.where(has_bought, np.minimum(generator.exponential(1.0 / rate), tenure), np.nan)
    value = generator.lognormal(3.0, 0.6, count)
    visits = orders if orders_alone else orders + generator.poisson(0.05 * tenure) + 1.0
    since_event = (
        since_purchase if orders_alone else np.fmin(since_purchase, np.fmin(tenure, generator.exponential(20.0, count)))
    )
    after = generator.poisson(level * rate * DAY_COUNT)
    bought = after > 0
    profile = pd.DataFrame(
        {
            "customer_id": [f"c{number}" for number in range(count)],
            "activity": orders * np.exp2(-np.nan_to_num(since_purchase, nan=400.0) / 45.0),
            "order_count": orders,
            "net_spend": orders * value,
            "session_count": visits,
            "usual_interval_days": np.where(orders > 1, tenure / np.maximum(orders, 1.0), np.nan),
            "days_from_first_to_last_event": tenure - np.nan_to_num(since_event, nan=0.0),
            "days_since_first_event": tenure,
            "days_since_last_event": since_event,
            "days_since_last_purchase": since_purchase,
            "days_since_cart_left": np.nan,
        }
    )
    seen = bought if orders_alone else bought | (generator.random(count) < np.exp2(-since_event / 20.0))
    spend = after * value * generator.lognormal(0.0, 0.3, count)
    return PastOutcomes(profile, bought, seen, spend)


@pytest.fixture(scope="module")
def cutoffs() -> list[PastOutcomes]:
    return [cutoff(seed=seed) for seed in range(4)]


def predict(model: ExpectedValueModel | None, outcomes: PastOutcomes) -> pd.DataFrame:
    return expected_value(outcomes.profile, model)


def test_probabilities_and_spend_match_later_outcomes(cutoffs: list[PastOutcomes]) -> None:
    figures = value_figures(predict(fit_expected_value(cutoffs[:3], seed=1), cutoffs[3]), cutoffs[3])
    assert figures["buy_auc"] > 0.75
    assert figures["buy_calibration_error"] < 0.03
    assert figures["alive_auc"] > 0.75
    assert figures["alive_calibration_error"] < 0.03
    assert figures["spend_r2"] > 0.2
    assert abs(figures["spend_total_error"]) < 0.1


def test_totals_equal_those_of_the_last_cutoff(cutoffs: list[PastOutcomes]) -> None:
    rich = cutoff(seed=9, level=3.0)
    predicted = predict(fit_expected_value([*cutoffs[:2], rich], seed=1), rich)
    assert predicted.buy_probability.mean() == pytest.approx(rich.bought.mean(), abs=0.002)
    assert predicted.expected_spend.sum() == pytest.approx(rich.spend.sum())
    before = predict(fit_expected_value(cutoffs[:2], seed=1), rich)
    assert before.buy_probability.mean() < 0.8 * rich.bought.mean()


def test_one_cutoff_is_calibrated_out_of_fold(cutoffs: list[PastOutcomes]) -> None:
    figures = value_figures(predict(fit_expected_value(cutoffs[:1], seed=1), cutoffs[1]), cutoffs[1])
    assert figures["buy_auc"] > 0.75
    assert figures["buy_calibration_error"] < 0.04
    assert abs(figures["spend_total_error"]) < 0.15


def test_the_same_input_gives_the_same_model_and_rows_do_not_affect_each_other(cutoffs: list[PastOutcomes]) -> None:
    model = fit_expected_value(cutoffs[:2], seed=1)
    assert model is not None
    assert fit_expected_value(cutoffs[:2], seed=1) == model
    assert ExpectedValueModel.from_json(model.to_json()) == model
    profile = cutoffs[2].profile
    whole, part = expected_value(profile, model), expected_value(profile[7:11], model)
    pd.testing.assert_frame_equal(part.reset_index(drop=True), whole[7:11].reset_index(drop=True), check_exact=True)


def test_a_saved_model_predicts_the_same(cutoffs: list[PastOutcomes], tmp_path: Path) -> None:
    for folder, model in (("known", fit_expected_value(cutoffs[:2], seed=1)), ("unknown", None)):
        Segmentation({}, model).save(tmp_path / folder)
        loaded = Segmentation.load(tmp_path / folder)
        assert loaded.expected_value == model
        predicted = loaded.predict(cutoffs[2].profile)
        if model is None:
            assert predicted.empty
        else:
            pd.testing.assert_frame_equal(predicted, expected_value(cutoffs[2].profile, model), check_exact=True)


def test_unknown_is_null_and_never_zero(cutoffs: list[PastOutcomes]) -> None:
    few = [replace(item, bought=np.arange(3_000) < MIN_CUSTOMERS - 1) for item in cutoffs[:2]]
    assert fit_expected_value([], seed=1) is None
    assert fit_expected_value(few, seed=1) is None
    nobody = PastOutcomes(cutoffs[0].profile[:0], cutoffs[0].bought[:0], cutoffs[0].seen[:0], cutoffs[0].spend[:0])
    assert fit_expected_value([nobody, cutoffs[0]], seed=1) is None
    assert fit_expected_value([cutoffs[0], nobody], seed=1) is None
    unknown = predict(None, cutoffs[0])
    assert list(unknown) == [*EXPECTED_VALUE]
    assert unknown.isna().all(axis=None)

    without_prices = [replace(item, spend=np.zeros(3_000)) for item in cutoffs[:2]]
    predicted = predict(fit_expected_value(without_prices, seed=1), cutoffs[2])
    assert predicted.expected_spend.isna().all()
    assert predicted.buy_probability.notna().all()

    all_seen = [replace(item, seen=np.ones(3_000, dtype=bool)) for item in cutoffs[:2]]
    predicted = predict(fit_expected_value(all_seen, seed=1), cutoffs[2])
    assert predicted.alive_probability.isna().all()
    assert predicted.buy_probability.notna().all()


def test_alive_is_at_least_buying_and_equal_to_it_in_a_log_of_orders_alone(cutoffs: list[PastOutcomes]) -> None:
    predicted = predict(fit_expected_value(cutoffs[:2], seed=1), cutoffs[2])
    assert (predicted.alive_probability >= predicted.buy_probability).all()
    assert (predicted.alive_probability > predicted.buy_probability).any()
    orders = [cutoff(seed=seed, orders_alone=True) for seed in range(3)]
    predicted = predict(fit_expected_value(orders[:2], seed=1), orders[2])
    assert predicted.alive_probability.equals(predicted.buy_probability.rename("alive_probability"))


def test_a_ranking_that_does_not_last_gives_everybody_the_mean(cutoffs: list[PastOutcomes]) -> None:
    first, last = cutoffs[:2]
    log_odds = predict(fit_expected_value([first], seed=1), last).buy_probability
    reversed_outcomes = replace(last, bought=(log_odds < log_odds.quantile(0.3)).to_numpy())
    predicted = predict(fit_expected_value([first, reversed_outcomes], seed=1), last)
    assert predicted.buy_probability.to_numpy() == pytest.approx(0.3, abs=0.001)


def test_customers_outside_the_range_count_as_its_ends(cutoffs: list[PastOutcomes]) -> None:
    model = fit_expected_value(cutoffs[:2], seed=1)
    assert model is not None
    extreme = cutoffs[0].profile[:1].assign(activity=1e9, net_spend=1e12, session_count=1e9, order_count=1e9)
    terms = value_terms(extreme, model).reshape(-1, 3)
    assert terms[0, 0] == model.high[0]
    assert (terms[:, 0] <= np.array(model.high)).all()
    zeros = ("activity", "order_count", "net_spend", "session_count")
    nothing = pd.DataFrame({name: [0.0 if name in zeros else np.nan] for name in VALUE_COLUMNS})
    assert np.isfinite(value_terms(nothing, model)).all()
    assert np.isfinite(expected_value(nothing, model).to_numpy()).all()


def test_terms_and_predictions_by_hand() -> None:
    profile = pd.DataFrame(
        {
            **{name: [np.nan] for name in VALUE_COLUMNS},
            "activity": [0.99],
            "order_count": [1.0],
            "net_spend": [60.0],
            "session_count": [4.0],
            "days_since_last_purchase": [9.0],
            "days_since_last_event": [2.0],
            "days_since_first_event": [13.0],
            "days_from_first_to_last_event": [11.0],
            "days_since_cart_left": [7.0],
        }
    )
    features = value_features(profile, 20.0)[0]
    # 3 orders of 20 and the own one of 60; a visit every 12 / 4 days, the last 2 days ago.
    by_hand = [0.0, np.log(2), 0, np.log(10), np.log(3), np.log(14), 1, 0, 0, np.log(31), 0.5, np.log(5), np.log(3)]
    assert features == pytest.approx([*by_hand, np.log(0.75)])
    low, high, knots = (-5.0,) * 14, (1.0,) * 14, ((0.5, 0.9),) * 14
    weights = [0.0] * 42
    weights[0:6] = [9.0, 9.0, 9.0, 1.0, 2.0, 3.0]  # log(2) exceeds the first knot by .193, and not the second
    buys = LinearPredictor(-1.0, tuple(weights))
    model = ExpectedValueModel(20.0, low, high, knots, buys, None, LinearPredictor(np.log(50.0), (0.0,) * 42))
    predicted = expected_value(profile, model)
    probability = 1.0 / (1.0 + np.exp(1.0 - np.log(2) - 2.0 * (np.log(2) - 0.5)))
    assert predicted.buy_probability[0] == pytest.approx(probability)
    assert predicted.expected_spend[0] == pytest.approx(50.0 * probability)
    assert np.isnan(predicted.alive_probability[0])
