"""Seasonal lift of segments, and expected shares of customers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from features.categories import OTHER, CategoryCut
from models.interests import Decay, Snapshot, snapshot_shares
from models.seasons import expected_shares, period_mixes, segment_seasonal_lift
from models.tree import cut_levels

SOCKS, TREES = 0, 1


def weights(*rows: tuple[str, int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["segment_id", "period", "column", "weight"])


CHRISTMAS = weights(
    ("december only", 0, SOCKS, 10.0),
    ("december only", 0, TREES, 90.0),
    ("all year", 0, SOCKS, 5.0),
    ("all year", 0, TREES, 45.0),
    ("all year", 5, SOCKS, 50.0),
    ("tree lovers", 5, SOCKS, 10.0),
    ("tree lovers", 5, TREES, 40.0),
)


def test_seasonal_lift_compares_the_mix_of_active_periods_with_the_whole_window() -> None:
    lift = segment_seasonal_lift(CHRISTMAS, n_categories=2, prior_weight=1e-9)
    # In December 135 of 150 were for trees, later 40 of 100, in all 175 of 250.
    assert lift.loc["december only", TREES] == pytest.approx(0.9 / 0.7)
    assert lift.loc["tree lovers", TREES] == pytest.approx(0.4 / 0.7)
    assert lift.loc["all year", TREES] == pytest.approx((0.9 + 0.4) / 2 / 0.7)
    assert lift.loc["december only", SOCKS] == pytest.approx(0.1 / 0.3)


def test_a_seasonal_rush_is_not_an_interest_but_an_interest_out_of_season_is() -> None:
    lift = segment_seasonal_lift(CHRISTMAS, n_categories=2, prior_weight=1e-9)
    shop = 175 / 250
    assert 0.9 / (shop * lift.loc["december only", TREES]) == pytest.approx(1.0)
    assert 0.8 / (shop * lift.loc["tree lovers", TREES]) == pytest.approx(2.0)


def test_a_period_with_little_activity_gets_the_mix_of_the_whole_window() -> None:
    with_sparse = pd.concat([CHRISTMAS, weights(("stray", 9, TREES, 0.01))])
    lift = segment_seasonal_lift(with_sparse, n_categories=3, prior_weight=100.0)
    assert lift.loc["stray", TREES] == pytest.approx(1.0, abs=1e-3)
    assert (lift[2] == 1.0).all()  # no customer did anything in this category


def test_the_order_of_rows_does_not_matter() -> None:
    in_order = segment_seasonal_lift(CHRISTMAS, n_categories=2, prior_weight=10.0)
    pd.testing.assert_frame_equal(
        in_order,
        segment_seasonal_lift(CHRISTMAS.iloc[::-1], n_categories=2, prior_weight=10.0),
        check_exact=False,
        rtol=1e-12,
    )


CUT = CategoryCut(2, ("Pets > Cats", "Pets > Dogs", "Toys", OTHER), (0.3, 0.3, 0.3, 0.1))
BOUNDS = {"first_whole": 7, "last": 9, "slot_count": 4}


def sums(*rows: tuple[int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["period", "column", "weight"])


def test_customers_who_follow_the_shop_have_the_expected_shares_in_any_period() -> None:
    """Customers with the shop's mix of each period, but with different activity per period."""
    draw = np.random.default_rng(0)
    mix = draw.dirichlet(np.ones(4), size=3)
    by_slot = draw.exponential(5.0, (20, 3)) * (draw.random((20, 3)) < 0.7)
    own = by_slot @ mix
    customer, column = np.nonzero(own)
    zeros = np.zeros(len(column))
    counts = {"event_count": own[customer, column], "mean_age_days": zeros, "min_age_days": zeros}
    paths = tuple(tuple(name.lower().split(" > ")) for name in CUT.categories)
    signals = {"customer": customer, "column": column, "kind": zeros.astype(int), "kinds": ("view",)}
    snapshot = Snapshot(
        **signals,
        **counts,
        paths=paths,
        level=2,
        mix=np.array(CUT.mix),
        last_age_days=np.zeros(20),
        bought=np.zeros((20, 3), bool),
    )
    shares = snapshot_shares(snapshot, Decay({"view": 1.0}, 45.0), 8.0)
    expected = expected_shares(by_slot.T, mix, cut_levels(CUT), 8.0)
    actual = np.column_stack([expected.of(place, np.arange(20)) for place in range(4)])
    np.testing.assert_allclose(actual, shares, rtol=1e-12)
    assert (by_slot.sum(axis=1) == 0).any()  # without evidence, the shop's mix is expected
    assert not np.allclose(actual[by_slot.sum(axis=1) > 0], CUT.mix)


def test_a_sparse_period_gets_the_window_mix_and_a_cut_off_period_the_next_one() -> None:
    period_sums = sums((6, 0, 1e9), (7, 0, 900.0), (7, 1, 100.0), (9, 2, 1000.0), (10, 0, 1e9))
    mixes = period_mixes(period_sums, np.array(CUT.mix), **BOUNDS, prior_evidence=1e-6)
    np.testing.assert_allclose(mixes[7 % 4], [0.9, 0.1, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(mixes[6 % 4], mixes[7 % 4])
    np.testing.assert_allclose(mixes[8 % 4], [0.45, 0.05, 0.5, 0.0], atol=1e-6)  # no events in this period
    np.testing.assert_allclose(mixes[9 % 4], [0.0, 0.0, 1.0, 0.0], atol=1e-6)
    half = period_mixes(period_sums, np.array(CUT.mix), **BOUNDS, prior_evidence=1000.0)
    window = (np.array([900.0, 100.0, 1000.0, 0.0]) + 1000.0 * np.array(CUT.mix)) / 3000.0
    np.testing.assert_allclose(half[9 % 4], (np.array([0.0, 0.0, 1.0, 0.0]) + window) / 2.0)


@pytest.mark.parametrize("first_whole", [7, 10])
def test_without_a_complete_period_or_events_the_mix_is_that_of_the_cut(first_whole: int) -> None:
    period_sums = sums((9, 2, 1000.0)) if first_whole == 10 else sums()
    bounds = BOUNDS | {"first_whole": first_whole}
    mixes = period_mixes(period_sums, np.array(CUT.mix), **bounds, prior_evidence=5.0)
    np.testing.assert_allclose(mixes, [CUT.mix] * 4)
