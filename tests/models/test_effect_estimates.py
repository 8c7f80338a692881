from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models.effect_estimates import Effect, estimate_effect, robust_variance


def shares(treated: tuple[int, int], held_out: tuple[int, int], **given: float) -> Effect:
    """Of (buyers, customers) treated and held out."""
    outcome = np.concatenate([np.arange(customers) < buyers for buyers, customers in (treated, held_out)]).astype(float)
    is_held_out = np.arange(len(outcome)) >= treated[1]
    found = estimate_effect(outcome, outcome, is_held_out, kind="share", **given)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_shares_by_hand() -> None:
    # 60 of 400 against 20 of 200: 15% - 10%; all 80 of 600. The variance as if there were no effect:
    # (80/600)(520/600)(1/400 + 1/200) = 0.00086667, so z = 0.05 / 0.029439 = 1.6984.
    found = shares((60, 400), (20, 200))
    assert (found.treated, found.held_out, found.difference) == pytest.approx((0.15, 0.1, 0.05))
    assert found.p_value == pytest.approx(2 * stats.norm.sf(1.6984), rel=0.02)
    without_yates = stats.chi2_contingency([[60, 340], [20, 180]], correction=False).pvalue
    assert found.p_value == pytest.approx(without_yates, rel=0.02)
    assert found.variance_reduction == 0.0
    # Without the one of the 20 held-out buyers, their share is 19 of 199.
    assert found.top_customer_share == pytest.approx((0.1 - 19 / 199) / 0.05)


def test_the_interval_of_shares_is_that_of_a_score_test() -> None:
    # Newcombe (1998, Statistics in Medicine 17, table II, example (a), 56/70 - 48/80): Mee 0.0533, 0.3377.
    found = shares((56, 70), (48, 80))
    assert (found.low, found.high) == pytest.approx((0.0533, 0.3377), abs=0.004)


def test_amounts_are_welch_when_there_are_many_buyers() -> None:
    generator = np.random.default_rng(1)
    spend = np.concatenate([generator.gamma(2.0, 30.0, 30_000), generator.gamma(1.0, 57.0, 10_000)])
    is_held_out = np.arange(40_000) >= 30_000
    found = estimate_effect(spend, spend, is_held_out, kind="amount", worth=2.0)
    welch = stats.ttest_ind(spend[~is_held_out], spend[is_held_out], equal_var=False)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(welch.confidence_interval()), rel=0.05)
    assert found.difference / (found.high - found.low) == pytest.approx(
        welch.statistic
        * np.sqrt(robust_variance(spend, (~is_held_out, is_held_out)))
        / np.ptp(welch.confidence_interval()),
        rel=0.02,
    )
    shifted = stats.ttest_ind(spend[~is_held_out] - 2.0, spend[is_held_out], equal_var=False)
    assert found.worth_p_value == pytest.approx(shifted.pvalue, rel=0.2)


def test_robust_variance_is_hc2_of_a_regression() -> None:
    generator = np.random.default_rng(2)
    outcome, is_held_out = generator.normal(size=50), np.arange(50) < 10
    design = np.column_stack([np.ones(50), ~is_held_out])
    inverse = np.linalg.inv(design.T @ design)
    left = outcome - design @ inverse @ design.T @ outcome
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    meat = design.T @ (design * (left**2 / (1 - leverage))[:, None])
    assert robust_variance(outcome, (~is_held_out, is_held_out)) == pytest.approx((inverse @ meat @ inverse)[1, 1])


@settings(max_examples=60, deadline=None)
@given(
    spend=st.lists(st.integers(0, 50).map(float), min_size=8, max_size=60),
    seed=st.integers(0, 1_000),
    scale=st.floats(0.01, 1_000.0),
)
def test_invariances(spend: list[float], seed: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    outcome, is_held_out = np.array(spend), generator.permutation(np.arange(len(spend)) < 3)
    found = estimate_effect(outcome, outcome, is_held_out, kind="amount")
    order = generator.permutation(len(spend))
    again = estimate_effect(outcome[order], outcome[order], is_held_out[order], kind="amount")
    scaled = estimate_effect(scale * outcome, scale * outcome, is_held_out, kind="amount")
    swapped = estimate_effect(outcome, outcome, ~is_held_out, kind="amount")
    if found is None:
        assert again is scaled is swapped is None
        return
    assert again is not None
    assert scaled is not None
    assert swapped is not None
    assert found.low <= found.difference <= found.high
    same = ("difference", "low", "high", "p_value", "treated", "held_out")
    assert [getattr(again, name) for name in same] == pytest.approx([getattr(found, name) for name in same], abs=1e-9)
    for name in ("difference", "low", "high"):
        assert getattr(scaled, name) == pytest.approx(scale * getattr(found, name), rel=1e-6, abs=1e-9 * scale)
    assert scaled.p_value == pytest.approx(found.p_value, abs=1e-9)
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low), abs=1e-9)
    assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0) or found.p_value == pytest.approx(0.05, abs=1e-6)


def test_where_nothing_varies_there_is_no_figure() -> None:
    same = np.full(20, 3.0)
    assert estimate_effect(same, same, np.arange(20) < 5, kind="amount") is None
    assert estimate_effect(np.arange(20.0), np.arange(20.0), np.arange(20) < 1, kind="amount") is None


def test_more_returned_than_bought() -> None:
    net = np.random.default_rng(3).normal(-5.0, 1.0, 400)
    found = estimate_effect(net, net, np.arange(400) < 200, kind="amount")
    welch = stats.ttest_ind(net[200:], net[:200], equal_var=False)
    assert found is not None
    assert found.p_value == pytest.approx(welch.pvalue, rel=0.02)


def test_one_enormous_order_makes_nothing_clear_and_is_reported() -> None:
    generator = np.random.default_rng(4)
    spend = np.where(generator.random(5_000) < 0.1, generator.gamma(2.0, 30.0, 5_000), 0.0)
    is_held_out = np.arange(5_000) < 500
    spend[-1] = 1e6
    found = estimate_effect(spend, spend, is_held_out, kind="amount")
    assert found is not None
    assert found.p_value > 0.05
    assert found.top_customer_share == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("more_buyers", "more_each"), [(1.0, 1.0), (1.5, 1.0), (1.3, 0.8)])
def test_the_interval_covers_with_few_held_out_buyers(more_buyers: float, more_each: float) -> None:
    # 10% of 7,500 held out, 2% of whom buy: 15 buyers. Welch's interval covers 91% where there is no effect.
    generator = np.random.default_rng(5)
    is_held_out = np.arange(7_500) < 750
    true = 0.02 * np.exp(4.0 + 0.32) * (more_buyers * more_each - 1.0)
    covered = 0
    for _ in range(1_500):
        chance = np.where(is_held_out, 0.02, 0.02 * more_buyers)
        spend = np.where(generator.random(7_500) < chance, generator.lognormal(4.0, 0.8, 7_500), 0.0)
        spend[~is_held_out] *= more_each
        found = estimate_effect(spend, spend, is_held_out, kind="amount")
        covered += found is not None and found.low <= true <= found.high
    assert covered / 1_500 == pytest.approx(0.95, abs=0.02)
