from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.profile import RATES, Column
from models.preprocessing import fit_scaling
from models.rates import FALLBACK_TRIALS, beta_prior, reliability
from models.saved_segmentation import Segmentation, input_columns
from models.scorer import posterior_mean, segment_columns, to_space, transformed
from models.what_if import CHANGED_COLUMNS, Move, moves_as_changes

CARTS = Column("carts_per_view", "rates", "rate", None, ("cart_count", "view_count"))
SPEND = Column("spend", "value", "log", 0.0)


def drawn(alpha: float, beta: float, *, customers: int = 20_000, most: int = 30) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    trials = generator.integers(0, most, customers)
    return generator.binomial(trials, generator.beta(alpha, beta, customers)).astype(float), trials.astype(float)


def profile_of(events: Any, trials: Any) -> pd.DataFrame:
    return pd.DataFrame({"cart_count": events, "view_count": trials, "spend": np.arange(len(events), dtype=float)})


def test_three_of_five_by_hand() -> None:
    """Beta(1, 3): the mean is (3 + 1) / (5 + 4) = 4/9, and the arcsine of its square root is asin(2/3)."""
    mean = posterior_mean(np.array([3.0]), np.array([5.0]), 1.0, 3.0)
    assert mean[0] == pytest.approx(4 / 9)
    assert transformed(mean, "rate")[0] == pytest.approx(np.arcsin(2 / 3))
    assert transformed(np.array([-1.0, 0.0, 1.0, 2.0]), "rate") == pytest.approx([0.0, 0.0, np.pi / 2, np.pi / 2])


def test_a_coordinate_by_hand() -> None:
    scaling = {
        **{"names": ["carts_per_view"], "transforms": ["rate"], "counts": [["cart_count", "view_count"]]},
        **{"missing": np.array([0.25]), "centre": np.array([0.5]), "scale": np.array([3.0])},
        **{"alpha": np.array([1.0]), "beta": np.array([3.0])},
    }
    space = to_space(pd.DataFrame({"cart_count": [3.0, np.nan, 9.0], "view_count": [5.0, 0.0, 5.0]}), scaling)
    # 4/9; the prior mean 1/4; and 10/13, because views are raised to the number of carts.
    assert space[:, 0] == pytest.approx(3 * (np.arcsin(np.sqrt([4 / 9, 1 / 4, 10 / 13])) - 0.5))


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 4.0), (2.0, 2.0), (0.3, 6.0)])
def test_moments_recover_the_prior_of_simulated_rates(alpha: float, beta: float) -> None:
    prior = beta_prior(*drawn(alpha, beta))
    assert prior == pytest.approx((alpha, beta), rel=0.08)


def test_reliability_is_the_retained_share_of_the_true_variance() -> None:
    """With a known prior, the variance of shrunk rates is the reliability times the variance of true rates."""
    events, trials = drawn(1.0, 4.0, customers=200_000)
    share = posterior_mean(events, trials, 1.0, 4.0).var() / (4.0 / (5.0**2 * 6.0))
    assert reliability(trials, 1.0, 4.0) == pytest.approx(share, rel=0.02)
    assert reliability(np.zeros(3), 1.0, 4.0) == 0.0


def test_few_events_stay_near_the_prior_and_many_leave_it() -> None:
    alpha, beta = beta_prior(*drawn(1.0, 4.0)) or (0.0, 0.0)
    none, few, many = posterior_mean(np.array([0.0, 1.0, 400.0]), np.array([0.0, 1.0, 400.0]), alpha, beta)
    assert none == alpha / (alpha + beta)
    assert none < few < 0.4 and many > 0.98


@pytest.mark.parametrize(
    ("events", "trials"),
    [
        ([0.0, 0.0, 0.0], [5.0, 3.0, 0.0]),  # no events
        ([5.0, 3.0, 0.0], [5.0, 3.0, 0.0]),  # an event at every trial: the log lacks the denominator
        ([0.0, 0.0], [0.0, 0.0]),
        ([], []),
        ([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]),  # less variation than by chance
    ],
)
def test_without_a_prior_the_column_has_no_influence(events: list[float], trials: list[float]) -> None:
    assert beta_prior(np.array(events), np.array(trials)) is None
    if events:
        scaling = fit_scaling(profile_of(events, trials), [CARTS], block_weights={"rates": 1.0})
        assert scaling["scale"].tolist() == [0.0]
        assert (to_space(profile_of([2.0], [9.0]), scaling) == 0.0).all()


def test_a_rate_with_more_events_than_trials_has_no_influence() -> None:
    """Most orders have no cart event, so the few carts do not show whose carts end in an order."""
    orders, carts = [9.0, 5.0, 1.0, 0.0], [0.0, 0.0, 3.0, 2.0]
    profile = profile_of(orders, carts)
    assert fit_scaling(profile, [CARTS], block_weights={"rates": 1.0})["scale"].tolist() == [0.0]
    complete = fit_scaling(profile_of(orders, [9.0, 9.0, 3.0, 2.0]), [CARTS], block_weights={"rates": 1.0})
    assert complete["scale"][0] > 0.0


def test_with_one_trial_each_the_prior_is_weak_and_centred_on_the_mean() -> None:
    alpha, beta = beta_prior(np.array([1.0, 0.0, 0.0, 0.0]), np.ones(4)) or (0.0, 0.0)
    assert (alpha, beta) == (0.25 * FALLBACK_TRIALS, 0.75 * FALLBACK_TRIALS)


def test_the_scorer_computes_the_points_scaled_in_training() -> None:
    profile = profile_of(*drawn(1.0, 4.0, customers=500)).assign(returns=0.0)
    rare = Column("returns_per_cart", "rates", "rate", None, ("returns", "cart_count"))
    scaling = fit_scaling(profile, [SPEND, CARTS, rare], block_weights={"value": 1.5, "rates": 0.5})
    assert scaling["counts"] == [None, ["cart_count", "view_count"], ["returns", "cart_count"]]
    space = to_space(profile, scaling)
    assert space.mean(axis=0) == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    retained = reliability(profile.view_count.to_numpy(), scaling["alpha"][1], scaling["beta"][1])
    assert 0.4 < retained < 0.9
    assert space.std(axis=0) == pytest.approx(
        [1.5, 0.5 * np.sqrt(retained / 2), 0.0]
    )  # the other half belongs to the rate without events
    shrunk = posterior_mean(profile.cart_count, profile.view_count, scaling["alpha"][1], scaling["beta"][1])
    assert np.corrcoef(space[:, 1], np.arcsin(np.sqrt(shrunk)))[0, 1] == pytest.approx(1.0)


def test_a_rate_with_few_trials_has_less_weight() -> None:
    """Each of two rates gets half of the block's variance, times its reliability."""
    events, trials = drawn(1.0, 4.0)
    few_events, few = drawn(1.0, 4.0, most=3)
    profile = profile_of(events, trials).assign(x=few_events, n=few)
    scaling = fit_scaling(
        profile, [CARTS, Column("x_per_n", "rates", "rate", None, ("x", "n"))], block_weights={"rates": 1.0}
    )
    often, rarely = to_space(profile, scaling).var(axis=0)
    reliabilities = [reliability(n, scaling["alpha"][i], scaling["beta"][i]) for i, n in enumerate((trials, few))]
    assert [often, rarely] == pytest.approx([value / 2 for value in reliabilities])
    assert rarely < 0.5 * often


def test_a_block_with_weight_zero_has_no_columns() -> None:
    profile = profile_of(*drawn(1.0, 4.0, customers=50))
    scaling = fit_scaling(profile, [SPEND, CARTS], block_weights={"value": 1.0, "rates": 0.0})
    assert scaling["names"] == ["spend"] and to_space(profile, scaling).shape == (50, 1)
    all_zero = fit_scaling(profile, [SPEND, CARTS], block_weights={"value": 0.0, "rates": 0.0})
    assert (to_space(profile, all_zero) == 0.0).all() and len(all_zero["names"]) == 2


def test_a_model_needs_the_counts_but_not_the_rate() -> None:
    needed = input_columns([CARTS])
    assert {"cart_count", "view_count"} <= set(needed) and "carts_per_view" not in needed
    assert len(needed) == len(set(needed))


def model_of(scaling: dict[str, Any], centres: Any, moves: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "scaling": scaling,
        "clusters": {"centres": np.array(centres)},
        "segments": [{"cluster_id": i, "segment_id": f"s{i}", "name": f"S{i}", "is_stable": True} for i in range(2)],
        "standing": {"browsing": {"segment_id": "standing-browsing", "name": "browsing"}},
        **{"name": "behaviour", "prefix": "", "min_events": 3, "min_evidence": 0.0, "grouped_by": "lifecycle_stage"},
        **{"evidence_words": ["ok", "low", "noise"], "border_margin": 0.9, "moves": moves},
    }


@pytest.mark.parametrize("changed", ["cart_count", "view_count"])
def test_a_move_recomputes_the_rate(tmp_path: Any, changed: str) -> None:
    """A customer with 2 carts in 10 views reaches 12 in 20, or 2 in 100, after more of each."""
    scaling = fit_scaling(profile_of(*drawn(1.0, 4.0)), [CARTS], block_weights={"rates": 1.0})
    changes = {name: (1.0, 10.0 if changed == "cart_count" else 90.0) for name in ("view_count", changed)}
    far = profile_of([12.0], [20.0]) if changed == "cart_count" else profile_of([2.0], [100.0])
    near = profile_of([2.0], [10.0])
    rows = near.assign(event_count=12.0, lifecycle_stage="browsing")
    centres = np.concatenate([to_space(near, scaling), to_space(far, scaling)])
    centres[0] -= 0.5 * (centres[1] - centres[0])  # puts the customer on the border
    model = model_of(scaling, centres, [{"text": "more", "changes": [changes]}])
    assert segment_columns(rows, model).what_would_move.tolist() == ["more -> S1"]
    Segmentation({"behaviour": model}).save(tmp_path)
    pd.testing.assert_frame_equal(Segmentation.load(tmp_path).predict(rows), segment_columns(rows, model))


def test_an_order_raises_every_count_that_rates_read() -> None:
    order = Move("an order", days=14, visits=1, views=2, carts=1, orders=1)
    (move,) = moves_as_changes([order], spend_per_order=10.0)
    changed = {name: both for name, both in move["changes"][0].items() if both == (1.0, 1.0)}
    assert {"cart_count", "cart_session_count", "purchase_count", "order_count"} <= set(changed)
    rate_counts = {name for pair in RATES.values() for name in pair}
    assert rate_counts - set(CHANGED_COLUMNS) == {"return_count", "contact_count"}  # no move changes these
