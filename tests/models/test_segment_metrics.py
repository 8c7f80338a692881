from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from features.journey import STAGES
from models.segment_metrics import FIGURES, RATES, member_figures, segment_figures


@pytest.fixture
def profile() -> pd.DataFrame:
    counts = ("event", "session", "view", "search", "favourite", "cart", "contact")
    return pd.DataFrame(
        {
            **{f"{name}_count": [4.0, 0.0, 2.0] for name in counts},
            **dict.fromkeys(("temperature_points", "price_level", "days_since_last_event"), 1.0),
            **dict.fromkeys(("days_since_first_event", "weekend_share", "night_share", "morning_share"), 1.0),
            **dict.fromkeys(("afternoon_share", "evening_share"), 0.0),
            "order_count": [3.0, 0.0, 1.0],
            "spend": [100.0, 0.0, 10.0],
            "net_spend": [90.0, 0.0, 10.0],
            "item_count": [6.0, 0.0, 2.0],
            "purchase_count": [4.0, 0.0, 2.0],
            "returned_item_count": [1.0, 0.0, 1.0],
            "discount_share": [0.5, np.nan, 0.0],
            "cart_session_count": [0.0, 0.0, 2.0],
            "abandoned_cart_count": [0.0, 0.0, 1.0],
            "days_since_first_purchase": [50.0, np.nan, 300.0],
            "days_since_last_purchase": [5.0, np.nan, 300.0],
            "lifecycle_stage": ["active", "browsing", "lost"],
        }
    )


def test_figures_by_hand(profile: pd.DataFrame) -> None:
    figures = segment_figures(profile, ["a", "a", "b"], max_one_customer_share=1.0)
    assert set(figures.columns) == FIGURES
    expected = {
        "customer_count": 2, "spend_share": 0.9, "buyer_share": 0.5, "repeat_buyer_share": 0.5, "past_buyer_share": 0.0,
        "orders_per_buyer": 3.0, "average_order_value": 30.0, "return_rate": 1 / 6, "discount_share": 0.5,
        "days_since_last_purchase": 5.0, "stage_active_share": 0.5, "cart_user_share": 0.0,
        "paid_per_customer": 50.0, "spend_per_customer": 45.0, "returned_spend_share": 0.1,
        "days_since_first_purchase": 50.0,
    }  # fmt: skip
    assert figures.loc["a", list(expected)].to_dict() == pytest.approx(expected)
    assert np.isnan(figures.loc["a", "abandoned_cart_share"])
    assert figures.loc["b", ["past_buyer_share", "lapsed_buyer_share", "abandoned_cart_share"]].tolist() == [1, 1, 0.5]
    assert figures.loc["shop", [f"stage_{stage}_share" for stage in STAGES]].sum() == pytest.approx(1.0)


def test_visits_that_are_the_orders_are_no_figure(profile: pd.DataFrame) -> None:
    ids = ["a", "a", "b"]
    assert segment_figures(profile, ids, max_one_customer_share=1.0).visits_per_customer.notna().all()
    same = profile.assign(session_count=profile.order_count)
    figures = segment_figures(same, ids, max_one_customer_share=1.0)
    assert figures.visits_per_customer.isna().all()
    assert figures.orders_per_customer.tolist() == pytest.approx([1.5, 1.0, 4 / 3])


def test_figures_of_counts_that_are_not_known(profile: pd.DataFrame) -> None:
    unknown = profile.assign(**dict.fromkeys(("returned_item_count", "item_count", "view_count"), np.nan))
    figures = segment_figures(unknown, ["a", "a", "b"], max_one_customer_share=1.0)
    assert figures[["return_rate", "views_per_customer", "views_per_order"]].isna().all().tolist() == [
        True,
        True,
        False,
    ]
    assert figures.average_order_value.notna().any()


def test_figures_of_each_customer(profile: pd.DataFrame) -> None:
    members = member_figures(profile)
    shares = {name for name, (above, _) in RATES.items() if above.startswith("is_")}
    assert set(members.columns) == FIGURES - shares - {"customer_count", "customer_share", "spend_share"}
    assert members.orders_per_buyer.tolist() == pytest.approx([3.0, np.nan, 1.0], nan_ok=True)
    assert members.return_rate.tolist() == pytest.approx([1 / 6, np.nan, 0.5], nan_ok=True)
    assert members.abandoned_cart_share.tolist() == pytest.approx([np.nan, np.nan, 0.5], nan_ok=True)
    assert members.spend_per_customer.tolist() == [90.0, 0.0, 10.0]
    # The mean over members equals the figure of the segment.
    figures = segment_figures(profile, ["a", "a", "b"], max_one_customer_share=1.0)
    assert members.views_per_customer[:2].mean() == figures.loc["a", "views_per_customer"]


def test_back_without_order_requires_a_visit_a_week_after_the_order(profile: pd.DataFrame) -> None:
    rows = profile.assign(days_since_last_event=[5.0, 1.0, 293.0])  # bought 5 days ago; never; 300 days ago
    figures = segment_figures(rows, ["a", "b", "c"], max_one_customer_share=1.0)
    assert figures.back_without_order_share[["a", "b", "c"]].tolist() == [0.0, 0.0, 1.0]


def test_shares_of_spend_are_zero_without_spend(profile: pd.DataFrame) -> None:
    for spend in ([5.0, 0.0, -5.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]):
        figures = segment_figures(profile.assign(net_spend=spend), ["a", "a", "b"], max_one_customer_share=1.0)
        assert (figures.spend_share == 0).all()


@pytest.mark.parametrize(
    ("items", "returned", "is_shown"),
    [
        ([80_995, 5000, 5000], [80_995, 50, 50], False),
        ([50, 5000, 5000], [51, 25, 25], False),
        # Two customers.
        ([9000, 9000, 5000], [8000, 8000, 50], True),
        # The customer who returns most also buys most: all return at the same rate.
        ([9000, 500, 500], [900, 50, 50], True),
        # No other customer bought anything.
        ([10, 0, 0], [5, 0, 0], False),
    ],
    ids=["one customer", "one customer with few items", "two customers", "same rate for all", "only one buyer"],
)
def test_a_rate_dominated_by_one_customer_is_null(
    profile: pd.DataFrame, items: list[float], returned: list[float], is_shown: bool
) -> None:
    rows = profile.assign(item_count=items, returned_item_count=returned)
    figures = segment_figures(rows, ["a", "a", "a"], max_one_customer_share=0.5)
    assert figures.return_rate.notna().tolist() == [is_shown, is_shown]  # of the segment and the shop
    if is_shown:
        assert figures.loc["a", "return_rate"] == pytest.approx(sum(returned) / sum(items))
    # Shares of customers are hidden by count, not by dominance.
    assert figures.loc["a", "stage_lost_share"] == pytest.approx(1 / 3)
