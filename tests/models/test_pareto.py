"""Shares of revenue for hand-made customers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.pareto import STEPS, revenue

SPEND = pd.Series([60.0, 20.0, 10.0, 10.0, 0.0])
TIERS = pd.Series(["vip", "regular", "regular", "difficult", None])


def test_shares_by_hand() -> None:
    result = revenue(SPEND, TIERS, min_group=1)
    assert result is not None
    assert result["tiers"] == [
        {"tier": "vip", "customer_count": 1, "customer_share": 0.25, "spend_share": 0.6},
        {"tier": "regular", "customer_count": 2, "customer_share": 0.5, "spend_share": 0.3},
        {"tier": "difficult", "customer_count": 1, "customer_share": 0.25, "spend_share": 0.1},
    ]
    curve = [(point["customer_share"], point["spend_share"]) for point in result["curve"]]
    assert curve == [(0.0, 0.0), (0.25, 0.6), (0.5, 0.8), (0.75, pytest.approx(0.9)), (1.0, 1.0)]


def test_a_small_tier_cannot_be_found_by_subtraction() -> None:
    tiers = pd.Series(["vip"] * 30 + ["regular"] * 12 + ["difficult"] * 3)
    result = revenue(pd.Series(np.arange(45.0)), tiers, min_group=10)
    assert result is not None
    assert [row["tier"] for row in result["tiers"]] == ["vip"]
    assert len(result["curve"]) == 1 + 4
    assert np.diff([point["customer_share"] * 45 for point in result["curve"]]).min() >= 10


def test_two_small_tiers_together_cannot_be_found_by_subtraction() -> None:
    tiers = pd.Series(["occasional"] * 40 + ["regular"] * 30 + ["difficult"] * 2 + ["vip"])
    result = revenue(pd.Series(np.arange(73.0)), tiers, min_group=10)
    assert result is not None
    assert [row["tier"] for row in result["tiers"]] == ["occasional"]


def test_the_curve_is_concave_and_the_order_of_rows_does_not_matter() -> None:
    spend = pd.Series(np.random.default_rng(0).lognormal(size=1_000))
    tiers = pd.Series(np.where(spend > 3, "vip", "regular"))
    exact, result = revenue(spend, tiers, min_group=1), revenue(spend, tiers, min_group=10)
    assert exact is not None and result is not None
    assert len(result["curve"]) == STEPS + 1
    true, shown = (np.array([point["spend_share"] for point in found["curve"]]) for found in (exact, result))
    assert (np.diff(true, n=2) <= 1e-12).all()
    # Half a step of rounding in the part, and in the total; a step is two to three times the largest customer's spend.
    rounding = 3 * float(spend.max() / spend.sum())
    assert (np.diff(shown) >= 0).all() and shown == pytest.approx(true, abs=rounding)
    reversed_rows = revenue(spend[::-1].reset_index(drop=True), tiers[::-1].reset_index(drop=True), min_group=10)
    assert reversed_rows is not None
    assert [row["customer_count"] for row in reversed_rows["tiers"]] == [
        row["customer_count"] for row in result["tiers"]
    ]
    assert reversed_rows["curve"] == result["curve"]


def test_no_result_without_revenue() -> None:
    assert revenue(SPEND * 0, TIERS, min_group=1) is None
    assert revenue(SPEND, TIERS, min_group=10) is None
