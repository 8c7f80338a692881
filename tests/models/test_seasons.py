"""What the shop leaned to while a segment was there."""

from __future__ import annotations

import pandas as pd
import pytest

from models.seasons import seasonal_lean

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
