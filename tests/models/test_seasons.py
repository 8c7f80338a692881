"""What the shop leaned to while a segment or a customer was there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from features.categories import OTHER, CategoryCut
from models.interests import Decay, Snapshot, interest_shares
from models.seasons import expected_shares, period_mixes, seasonal_lean
from models.tree import cut_levels

SOCKS, TREES = 0, 1


def voices(*rows: tuple[str, int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["segment_id", "period", "column", "voice"])


CHRISTMAS = voices(
    ("december only", 0, SOCKS, 10.0),
    ("december only", 0, TREES, 90.0),
    ("all year", 0, SOCKS, 5.0),
    ("all year", 0, TREES, 45.0),
    ("all year", 5, SOCKS, 50.0),
    ("tree lovers", 5, SOCKS, 10.0),
    ("tree lovers", 5, TREES, 40.0),
)


def test_the_lean_is_the_mix_of_their_times_beside_that_of_the_whole_window() -> None:
    lean = seasonal_lean(CHRISTMAS, n_categories=2, thin_voices=1e-9)
    # In December 135 of 150 were for trees, later 40 of 100, in all 175 of 250.
    assert lean.loc["december only", TREES] == pytest.approx(0.9 / 0.7)
    assert lean.loc["tree lovers", TREES] == pytest.approx(0.4 / 0.7)
    assert lean.loc["all year", TREES] == pytest.approx((0.9 + 0.4) / 2 / 0.7)
    assert lean.loc["december only", SOCKS] == pytest.approx(0.1 / 0.3)


def test_a_rush_is_no_interest_and_a_love_out_of_season_is() -> None:
    lean = seasonal_lean(CHRISTMAS, n_categories=2, thin_voices=1e-9)
    shop = 175 / 250
    assert 0.9 / (shop * lean.loc["december only", TREES]) == pytest.approx(1.0)
    assert 0.8 / (shop * lean.loc["tree lovers", TREES]) == pytest.approx(2.0)


def test_a_thin_period_is_taken_for_the_whole_window() -> None:
    thin = pd.concat([CHRISTMAS, voices(("stray", 9, TREES, 0.01))])
    lean = seasonal_lean(thin, n_categories=3, thin_voices=100.0)
    assert lean.loc["stray", TREES] == pytest.approx(1.0, abs=1e-3)
    assert (lean[2] == 1.0).all()  # nobody said anything of it


def test_the_order_of_rows_is_irrelevant() -> None:
    given = seasonal_lean(CHRISTMAS, n_categories=2, thin_voices=10.0)
    pd.testing.assert_frame_equal(
        given, seasonal_lean(CHRISTMAS.iloc[::-1], n_categories=2, thin_voices=10.0), check_exact=False, rtol=1e-12
    )


CUT = CategoryCut(2, ("Pets > Cats", "Pets > Dogs", "Toys", OTHER), (0.3, 0.3, 0.3, 0.1))
BOUNDS = {"first_whole": 7, "last": 9, "slot_count": 4}


def sums(*rows: tuple[int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["period", "column", "weight"])


def test_whoever_does_what_the_shop_does_has_the_expected_shares_whenever_that_was() -> None:
    """Evidence is what the formula is given, at each level; the customers were there at other times, and as long."""
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
    shares = interest_shares(snapshot, Decay({"view": 1.0}, 45.0), 8.0)
    expected = expected_shares(by_slot.T, mix, cut_levels(CUT), 8.0)
    found = np.column_stack([expected.of(place, np.arange(20)) for place in range(4)])
    np.testing.assert_allclose(found, shares, rtol=1e-12)
    assert (by_slot.sum(axis=1) == 0).any()  # of whom nothing is known the shop's mix is expected
    assert not np.allclose(found[by_slot.sum(axis=1) > 0], CUT.mix)


def test_a_thin_period_is_as_the_window_and_one_that_is_cut_off_as_the_next() -> None:
    told = sums((6, 0, 1e9), (7, 0, 900.0), (7, 1, 100.0), (9, 2, 1000.0), (10, 0, 1e9))
    mixes = period_mixes(told, np.array(CUT.mix), **BOUNDS, thin_evidence=1e-6)
    np.testing.assert_allclose(mixes[7 % 4], [0.9, 0.1, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(mixes[6 % 4], mixes[7 % 4])
    np.testing.assert_allclose(mixes[8 % 4], [0.45, 0.05, 0.5, 0.0], atol=1e-6)  # nothing is known of it
    np.testing.assert_allclose(mixes[9 % 4], [0.0, 0.0, 1.0, 0.0], atol=1e-6)
    half = period_mixes(told, np.array(CUT.mix), **BOUNDS, thin_evidence=1000.0)
    window = (np.array([900.0, 100.0, 1000.0, 0.0]) + 1000.0 * np.array(CUT.mix)) / 3000.0
    np.testing.assert_allclose(half[9 % 4], (np.array([0.0, 0.0, 1.0, 0.0]) + window) / 2.0)


@pytest.mark.parametrize("first_whole", [7, 10])
def test_where_no_period_is_whole_or_nothing_was_done_the_shop_is_as_it_was(first_whole: int) -> None:
    told = sums((9, 2, 1000.0)) if first_whole == 10 else sums()
    bounds = BOUNDS | {"first_whole": first_whole}
    mixes = period_mixes(told, np.array(CUT.mix), **bounds, thin_evidence=5.0)
    np.testing.assert_allclose(mixes, [CUT.mix] * 4)
