from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.profile import RATES, Column
from models.preprocessing import fit_scaling
from models.rates import FALLBACK_TRIALS, beta_prior, reliability
from models.scorer import posterior_mean, segment_columns, to_space, transformed
from models.segmentation import Segmentation, input_columns
from models.what_if import CHANGED, moves_as_changes

CARTS = Column("carts_per_view", "rates", "rate", None, ("cart_count", "view_count"))
SPEND = Column("spend", "value", "log", 0.0)


def drawn(alpha: float, beta: float, *, customers: int = 20_000, most: int = 30) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    trials = generator.integers(0, most, customers)
    return generator.binomial(trials, generator.beta(alpha, beta, customers)).astype(float), trials.astype(float)


def profile_of(events: Any, trials: Any) -> pd.DataFrame:
    return pd.DataFrame({"cart_count": events, "view_count": trials, "spend": np.arange(len(events), dtype=float)})


def test_three_of_five_by_hand() -> None:
    """Beta(1, 3): (3 + 1) / (5 + 4) = 4/9, the arcsine of whose root is asin(2/3)."""
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
    # 4/9; the prior's 1/4; more carts than views are as many views: 10/13.
    assert space[:, 0] == pytest.approx(3 * (np.arcsin(np.sqrt([4 / 9, 1 / 4, 10 / 13])) - 0.5))


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 4.0), (2.0, 2.0), (0.3, 6.0)])
def test_moments_find_the_prior_that_rates_were_drawn_from(alpha: float, beta: float) -> None:
    found = beta_prior(*drawn(alpha, beta))
    assert found == pytest.approx((alpha, beta), rel=0.08)


def test_reliability_is_the_share_of_variance_that_true_rates_have() -> None:
    """Shrunk rates of a known prior vary by reliability times the variance of the true rates."""
    events, trials = drawn(1.0, 4.0, customers=200_000)
    share = posterior_mean(events, trials, 1.0, 4.0).var() / (4.0 / (5.0**2 * 6.0))
    assert reliability(trials, 1.0, 4.0) == pytest.approx(share, rel=0.02)
    assert reliability(np.zeros(3), 1.0, 4.0) == 0.0


def test_few_events_stay_near_the_prior_and_many_leave_it() -> None:
    alpha, beta = beta_prior(*drawn(1.0, 4.0)) or (0.0, 0.0)
    of_none, of_one, of_many = posterior_mean(np.array([0.0, 1.0, 400.0]), np.array([0.0, 1.0, 400.0]), alpha, beta)
    assert of_none == alpha / (alpha + beta)
    assert of_none < of_one < 0.4 and of_many > 0.98


@pytest.mark.parametrize(
    ("events", "trials"),
    [
        ([0.0, 0.0, 0.0], [5.0, 3.0, 0.0]),  # never any
        ([5.0, 3.0, 0.0], [5.0, 3.0, 0.0]),  # always all: a log without the denominator's events
        ([0.0, 0.0], [0.0, 0.0]),
        ([], []),
        ([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]),  # all alike, more than chance would have them
    ],
)
def test_where_there_is_no_rate_the_column_has_no_say(events: list[float], trials: list[float]) -> None:
    assert beta_prior(np.array(events), np.array(trials)) is None
    if events:
        scaling = fit_scaling(profile_of(events, trials), [CARTS], block_weights={"rates": 1.0})
        assert scaling["scale"].tolist() == [0.0]
        assert (to_space(profile_of([2.0], [9.0]), scaling) == 0.0).all()


def test_a_log_with_more_events_than_trials_does_not_show_the_trials() -> None:
    """Most orders without a cart event: the few carts say nothing of whose carts end in an order."""
    orders, carts = [9.0, 5.0, 1.0, 0.0], [0.0, 0.0, 3.0, 2.0]
    profile = profile_of(orders, carts)
    assert fit_scaling(profile, [CARTS], block_weights={"rates": 1.0})["scale"].tolist() == [0.0]
    shown = fit_scaling(profile_of(orders, [9.0, 9.0, 3.0, 2.0]), [CARTS], block_weights={"rates": 1.0})
    assert shown["scale"][0] > 0.0


def test_with_one_trial_each_the_prior_is_a_weak_one_at_the_mean() -> None:
    alpha, beta = beta_prior(np.array([1.0, 0.0, 0.0, 0.0]), np.ones(4)) or (0.0, 0.0)
    assert (alpha, beta) == (0.25 * FALLBACK_TRIALS, 0.75 * FALLBACK_TRIALS)


def test_the_scorer_has_the_points_that_training_scaled() -> None:
    profile = profile_of(*drawn(1.0, 4.0, customers=500)).assign(returns=0.0)
    rare = Column("returns_per_cart", "rates", "rate", None, ("returns", "cart_count"))
    scaling = fit_scaling(profile, [SPEND, CARTS, rare], block_weights={"value": 1.5, "rates": 0.5})
    assert scaling["counts"] == [None, ["cart_count", "view_count"], ["returns", "cart_count"]]
    space = to_space(profile, scaling)
    assert space.mean(axis=0) == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    sure = reliability(profile.view_count.to_numpy(), scaling["alpha"][1], scaling["beta"][1])
    assert 0.4 < sure < 0.9
    assert space.std(axis=0) == pytest.approx([1.5, 0.5 * np.sqrt(sure / 2), 0.0])  # a half is for what nobody did
    shrunk = posterior_mean(profile.cart_count, profile.view_count, scaling["alpha"][1], scaling["beta"][1])
    assert np.corrcoef(space[:, 1], np.arcsin(np.sqrt(shrunk)))[0, 1] == pytest.approx(1.0)


def test_a_rate_of_few_trials_has_less_weight() -> None:
    """Each of two rates has a half of the block's variance, times its reliability."""
    events, trials = drawn(1.0, 4.0)
    few_events, few = drawn(1.0, 4.0, most=3)
    profile = profile_of(events, trials).assign(x=few_events, n=few)
    scaling = fit_scaling(
        profile, [CARTS, Column("x_per_n", "rates", "rate", None, ("x", "n"))], block_weights={"rates": 1.0}
    )
    often, rarely = to_space(profile, scaling).var(axis=0)
    of_each = [reliability(n, scaling["alpha"][i], scaling["beta"][i]) for i, n in enumerate((trials, few))]
    assert [often, rarely] == pytest.approx([one / 2 for one in of_each])
    assert rarely < 0.5 * often


def test_a_block_of_weight_zero_is_no_column() -> None:
    profile = profile_of(*drawn(1.0, 4.0, customers=50))
    scaling = fit_scaling(profile, [SPEND, CARTS], block_weights={"value": 1.0, "rates": 0.0})
    assert scaling["names"] == ["spend"] and to_space(profile, scaling).shape == (50, 1)
    nothing = fit_scaling(profile, [SPEND, CARTS], block_weights={"value": 0.0, "rates": 0.0})
    assert (to_space(profile, nothing) == 0.0).all() and len(nothing["names"]) == 2


def test_a_model_asks_for_the_counts_and_not_for_the_rate() -> None:
    asked = input_columns([CARTS])
    assert {"cart_count", "view_count"} <= set(asked) and "carts_per_view" not in asked
    assert len(asked) == len(set(asked))


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
def test_a_move_computes_the_rate_anew(tmp_path: Any, changed: str) -> None:
    """Who had 2 carts of 10 views would be at the centre of 12 of 20, or of 2 of 100, after as many more."""
    scaling = fit_scaling(profile_of(*drawn(1.0, 4.0)), [CARTS], block_weights={"rates": 1.0})
    changes = {name: (1.0, 10.0 if changed == "cart_count" else 90.0) for name in ("view_count", changed)}
    far = profile_of([12.0], [20.0]) if changed == "cart_count" else profile_of([2.0], [100.0])
    near = profile_of([2.0], [10.0])
    rows = near.assign(event_count=12.0, lifecycle_stage="browsing")
    centres = np.concatenate([to_space(near, scaling), to_space(far, scaling)])
    centres[0] -= 0.5 * (centres[1] - centres[0])  # so that they are on the border
    model = model_of(scaling, centres, [{"text": "more", "changes": [changes]}])
    assert segment_columns(rows, model).what_would_move.tolist() == ["more -> S1"]
    Segmentation({"behaviour": model}).save(tmp_path)
    pd.testing.assert_frame_equal(Segmentation.load(tmp_path).predict(rows), segment_columns(rows, model))


def test_an_order_is_an_order_of_a_cart_in_every_count_that_rates_read() -> None:
    order = {"text": "an order", "days": 14, "visits": 1, "views": 2, "carts": 1, "orders": 1}
    (move,) = moves_as_changes([order], spend_per_order=10.0)
    changed = {name: both for name, both in move["changes"][0].items() if both == (1.0, 1.0)}
    assert {"cart_count", "cart_session_count", "purchase_count", "order_count"} <= set(changed)
    of_rates = {name for pair in RATES.values() for name in pair}
    assert of_rates - set(CHANGED) == {"return_count", "contact_count"}  # what no move is about
