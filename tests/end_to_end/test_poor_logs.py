"""What a log does not hold is lost to the segmentations that need it, and to no other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from features.journey import JOURNEY_PREFIX
from models.pareto import revenue
from pipeline.config.params import Params
from pipeline.ingest.source import read_source
from pipeline.profiles.build import build_profiles
from pipeline.segmentation import sanity_checks
from pipeline.stores.database import connect
from tests.pipeline.scoring.test_state import START, make_small, random_log

AS_OF = START + timedelta(days=50)
STAGES = ("journey.active_days=8", "journey.lapsed_days=15", "journey.lost_days=90", "journey.first_order_days=5")
STANDINGS = ["lifecycle_stage", "temperature", "rfm_group", "value_tier", "campaign_response"]
OF_ORDERS = ["order_count", "recency_score", "frequency_score", "usual_interval_days", "interval_variation"]
REGISTERED = pd.Timestamp("2025-01-01")
Change = Callable[[pd.DataFrame], pd.DataFrame]


def profile(
    folder: Path, change: Change = lambda events: events, *more: str, registered_at: pd.Timestamp | None = REGISTERED
) -> pd.DataFrame:
    """Profiles of the random log after ``change``; every other customer of it is registered, and one who never came."""
    params: Params = make_small(folder, f"as_of={AS_OF:%Y-%m-%dT%H:%M:%S}Z", "searches.min_customers=1", *more)
    events, products = random_log(3)
    names = [*sorted(events.customer_id.unique())[::2], "silent"]
    events = change(events.drop(columns="arrived"))
    events.to_parquet(params.path(params.source.events.path), coerce_timestamps="us")
    products.to_parquet(folder / "products.parquet")
    registered = pd.DataFrame({"customer_id": names, "registered_at": registered_at})
    if registered_at is None:
        registered = registered.drop(columns="registered_at")
    registered.to_parquet(folder / "customers.parquet")
    with connect(params.engine, folder=folder) as con:
        return build_profiles(con, read_source(con, params, rejected_path=None), params).table.set_index("customer_id")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return profile(tmp_path_factory.mktemp("whole"))


def without(*kinds: str) -> Change:
    return lambda events: events[~events.event_type.isin(kinds)]


def told(profile: pd.DataFrame) -> list[str]:
    return sanity_checks.of_absences(profile)


def same(found: pd.DataFrame, whole: pd.DataFrame, columns: list[str]) -> None:
    pd.testing.assert_frame_equal(found[columns], whole.loc[found.index, columns])


def test_the_whole_log_has_all_of_them(whole: pd.DataFrame) -> None:
    assert whole[STANDINGS].notna().any().all()
    assert told(whole) == []
    for name in ("visited_without_order", "left_cart"):
        assert whole[JOURNEY_PREFIX + name].any()


def test_without_products_nobody_is_hot_for_one(whole: pd.DataFrame, tmp_path: Path) -> None:
    bare = profile(
        tmp_path, lambda events: events.assign(product_id=None, category_path="A > B"), "journey.warm_points=1e-9"
    )
    assert bare.view_count.any()
    assert bare.product_points.isna().all()


def test_without_carts(whole: pd.DataFrame, tmp_path: Path) -> None:
    found = profile(tmp_path, without("cart", "remove_from_cart"))
    assert not found[JOURNEY_PREFIX + "left_cart"].any()
    assert "cart" not in set(found.lifecycle_stage)
    assert told(found) == ["The log has no carts, so that it cannot tell left_cart and the stage `cart`"]
    same(found, whole, [*OF_ORDERS, "spend", "rfm_group", "value_tier", "campaign_response"])


def test_without_searches(whole: pd.DataFrame, tmp_path: Path) -> None:
    found = profile(tmp_path, without("search"))
    assert (found.product_points.fillna(0) <= whole.product_points.loc[found.index].fillna(0) + 1e-9).all()
    same(found, whole, [*OF_ORDERS, "spend", "rfm_group", "value_tier", "campaign_response"])


def test_without_letters_and_contacts(whole: pd.DataFrame, tmp_path: Path) -> None:
    found = profile(tmp_path, without("email_open", "email_click", "redemption", "contact"))
    assert found[["campaign_response", "click_rate"]].isna().all(axis=None)
    assert not found[JOURNEY_PREFIX + "silent_after_contact"].any()
    assert told(found) == [
        "The log has no contacts, no letters or coupons, so that it cannot tell silent_after_contact; campaign_response"
    ]
    same(found, whole, [*OF_ORDERS, "spend"])


def test_without_prices(whole: pd.DataFrame, tmp_path: Path) -> None:
    found = profile(tmp_path, lambda events: events.assign(unit_price=None))
    assert (found.spend == 0).all()
    assert found.monetary_score.isna().all()
    assert "regular" in set(found.value_tier)  # by orders
    assert found.rfm_group[found.order_count > 0].notna().all()
    assert told(found) == []  # it was told when the log was read
    assert revenue(found.spend, found.value_tier, min_group=1) is None
    same(found, whole, [*OF_ORDERS, "lifecycle_stage", "temperature", "campaign_response"])
    by_orders = profile(tmp_path, lambda events: events.assign(unit_price=None), "value.tier_by=order_count")
    same(by_orders, found, ["value_tier", "next_tier", "next_tier_needs"])
    assert (found.next_tier_needs.dropna() == 1).all()


def test_without_customers(whole: pd.DataFrame, tmp_path: Path) -> None:
    found = profile(tmp_path, lambda events: events, "source.customers=null")
    # c59 comes after as_of, and is known by registration alone.
    assert set(whole.index) - set(found.index) == {"silent", "c59"}
    assert set(whole.lifecycle_stage[["silent", "c59"]]) == {"newcomer"}
    same(found, whole, [*STANDINGS, *OF_ORDERS, "spend"])


def test_one_customer_alone_stands_as_among_all(tmp_path: Path) -> None:
    params: Params = make_small(tmp_path, f"as_of={AS_OF:%Y-%m-%dT%H:%M:%S}Z", "searches.min_customers=1", *STAGES)
    events, products = random_log(3)
    is_late = events.occurred_at >= AS_OF - timedelta(days=12)
    only_returned = events[(events.event_type == "return") & is_late].customer_id.value_counts().index[:3]
    of_them = events.customer_id.isin(only_returned)
    events = events[~of_them | (is_late & (events.event_type == "return"))].drop(columns="arrived")
    events.to_parquet(params.path(params.source.events.path), coerce_timestamps="us")
    products.to_parquet(tmp_path / "products.parquet")
    params = params.model_copy(update={"source": params.source.model_copy(update={"customers": None})})
    with connect(params.engine, folder=tmp_path) as con:
        source = read_source(con, params, rejected_path=None)
        built = build_profiles(con, source, params)
        alone = [build_profiles(con, source.of_customer(name), params, shop=built.shop).table for name in only_returned]
    whole = built.table.set_index("customer_id").loc[only_returned]
    assert (whole.lifecycle_stage == "lapsed").all() and (whole.campaign_response == "none").all()
    pd.testing.assert_frame_equal(pd.concat(alone).set_index("customer_id"), whole)


def test_without_dates_of_registration(whole: pd.DataFrame, tmp_path: Path) -> None:
    for date in (None, pd.NaT):
        found = profile(tmp_path, registered_at=date)
        # c59 comes after as_of: the table of a later day makes nobody known before the first event.
        assert set(whole.index) - set(found.index) == {"c59"}
        assert found.lifecycle_stage["silent"] == "newcomer"
        same(found, whole, [*STANDINGS, *OF_ORDERS, "spend"])


def test_without_purchases(tmp_path: Path) -> None:
    found = profile(tmp_path, without("purchase", "return"))
    assert found[["rfm_group", "value_tier", "usual_interval_days"]].isna().all(axis=None)
    assert found.lifecycle_stage.isin(["newcomer", "browsing", "cart", "lost", "inactive"]).all()
    assert found.temperature.notna().all()


def test_with_a_month_of_history(whole: pd.DataFrame, tmp_path: Path) -> None:
    found = profile(tmp_path, lambda events: events[events.occurred_at >= AS_OF - timedelta(days=30)])
    assert "Lost" not in set(found.rfm_group.dropna())
    assert not found[["lifecycle_stage", "temperature", "campaign_response"]].isna().any(axis=None)
    assert found.rfm_group.notna().any()
