"""If a log lacks some events, only the segmentations that need them are affected."""

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
from pipeline.stores.engines.duckdb import DuckDB
from tests.pipeline.scoring.test_state import START, random_log, small_params

AS_OF = START + timedelta(days=50)
STAGES = ("journey.active_days=8", "journey.lapsed_days=15", "journey.lost_days=90", "journey.first_order_days=5")
RULE_BASED_GROUPS = ["lifecycle_stage", "temperature", "rfm_group", "value_tier", "campaign_response"]
ORDER_COLUMNS = ["order_count", "recency_score", "frequency_score", "usual_interval_days", "interval_variation"]
REGISTERED = pd.Timestamp("2025-01-01")
Change = Callable[[pd.DataFrame], pd.DataFrame]


def profile(
    folder: Path, change: Change = lambda events: events, *more: str, registered_at: pd.Timestamp | None = REGISTERED
) -> pd.DataFrame:
    """Profiles of the random log after ``change``; every second customer is registered, and one without events."""
    params: Params = small_params(folder, f"as_of={AS_OF:%Y-%m-%dT%H:%M:%S}Z", "searches.min_customers=1", *more)
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
        return build_profiles(DuckDB(con), read_source(con, params, rejected_path=None), params).table.set_index(
            "customer_id"
        )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return profile(tmp_path_factory.mktemp("whole"))


def without(*kinds: str) -> Change:
    return lambda events: events[~events.event_type.isin(kinds)]


def missing_notes(profile: pd.DataFrame) -> list[str]:
    return sanity_checks.check_missing_event_types(profile)


def assert_same_columns(profiles: pd.DataFrame, whole: pd.DataFrame, columns: list[str]) -> None:
    pd.testing.assert_frame_equal(profiles[columns], whole.loc[profiles.index, columns])


def test_the_whole_log_supports_all_segmentations(whole: pd.DataFrame) -> None:
    assert whole[RULE_BASED_GROUPS].notna().any().all()
    assert missing_notes(whole) == []
    for name in ("visited_without_order", "left_cart"):
        assert whole[JOURNEY_PREFIX + name].any()


def test_without_products_there_is_no_product_interest(whole: pd.DataFrame, tmp_path: Path) -> None:
    bare = profile(
        tmp_path, lambda events: events.assign(product_id=None, category_path="A > B"), "journey.warm_points=1e-9"
    )
    assert bare.view_count.any()
    assert bare.product_points.isna().all()


def test_without_carts(whole: pd.DataFrame, tmp_path: Path) -> None:
    profiles = profile(tmp_path, without("cart", "remove_from_cart"))
    assert not profiles[JOURNEY_PREFIX + "left_cart"].any()
    assert "cart" not in set(profiles.lifecycle_stage)
    assert missing_notes(profiles) == ["The log has no carts, so it cannot show left_cart and the stage `cart`"]
    assert_same_columns(profiles, whole, [*ORDER_COLUMNS, "spend", "rfm_group", "value_tier", "campaign_response"])


def test_without_searches(whole: pd.DataFrame, tmp_path: Path) -> None:
    profiles = profile(tmp_path, without("search"))
    assert (profiles.product_points.fillna(0) <= whole.product_points.loc[profiles.index].fillna(0) + 1e-9).all()
    assert_same_columns(profiles, whole, [*ORDER_COLUMNS, "spend", "rfm_group", "value_tier", "campaign_response"])


def test_without_emails_and_contacts(whole: pd.DataFrame, tmp_path: Path) -> None:
    profiles = profile(tmp_path, without("email_open", "email_click", "redemption", "contact"))
    assert profiles[["campaign_response", "click_rate"]].isna().all(axis=None)
    assert not profiles[JOURNEY_PREFIX + "silent_after_contact"].any()
    assert missing_notes(profiles) == [
        "The log has no contacts, no emails or coupons, so it cannot show silent_after_contact; campaign_response"
    ]
    assert_same_columns(profiles, whole, [*ORDER_COLUMNS, "spend"])


def test_without_prices(whole: pd.DataFrame, tmp_path: Path) -> None:
    profiles = profile(tmp_path, lambda events: events.assign(unit_price=None))
    assert (profiles.spend == 0).all()
    assert profiles.monetary_score.isna().all()
    assert "regular" in set(profiles.value_tier)  # by orders
    assert profiles.rfm_group[profiles.order_count > 0].notna().all()
    assert missing_notes(profiles) == []  # the missing prices are reported when the log is read
    assert revenue(profiles.spend, profiles.value_tier, min_group=1) is None
    assert_same_columns(profiles, whole, [*ORDER_COLUMNS, "lifecycle_stage", "temperature", "campaign_response"])
    by_orders = profile(tmp_path, lambda events: events.assign(unit_price=None), "value.tier_by=order_count")
    assert_same_columns(by_orders, profiles, ["value_tier", "next_tier", "next_tier_needs"])
    assert (profiles.next_tier_needs.dropna() == 1).all()


def test_without_customers(whole: pd.DataFrame, tmp_path: Path) -> None:
    profiles = profile(tmp_path, lambda events: events, "source.customers=null")
    # c59 has events only after as_of and is known only by registration.
    assert set(whole.index) - set(profiles.index) == {"silent", "c59"}
    assert set(whole.lifecycle_stage[["silent", "c59"]]) == {"newcomer"}
    assert_same_columns(profiles, whole, [*RULE_BASED_GROUPS, *ORDER_COLUMNS, "spend"])


def test_one_customer_gets_the_same_profile_alone_as_among_all(tmp_path: Path) -> None:
    params: Params = small_params(tmp_path, f"as_of={AS_OF:%Y-%m-%dT%H:%M:%S}Z", "searches.min_customers=1", *STAGES)
    events, products = random_log(3)
    is_late = events.occurred_at >= AS_OF - timedelta(days=12)
    only_returned = events[(events.event_type == "return") & is_late].customer_id.value_counts().index[:3]
    is_theirs = events.customer_id.isin(only_returned)
    events = events[~is_theirs | (is_late & (events.event_type == "return"))].drop(columns="arrived")
    events.to_parquet(params.path(params.source.events.path), coerce_timestamps="us")
    products.to_parquet(tmp_path / "products.parquet")
    params = params.model_copy(update={"source": params.source.model_copy(update={"customers": None})})
    with connect(params.engine, folder=tmp_path) as con:
        source = read_source(con, params, rejected_path=None)
        built = build_profiles(DuckDB(con), source, params)
        alone = [
            build_profiles(DuckDB(con), source.of_customer(name), params, shop=built.shop).table
            for name in only_returned
        ]
    whole = built.table.set_index("customer_id").loc[only_returned]
    assert (whole.lifecycle_stage == "lapsed").all() and (whole.campaign_response == "none").all()
    pd.testing.assert_frame_equal(pd.concat(alone).set_index("customer_id"), whole)


def test_without_registration_dates(whole: pd.DataFrame, tmp_path: Path) -> None:
    for date in (None, pd.NaT):
        profiles = profile(tmp_path, registered_at=date)
        # c59 has events only after as_of. Without a registration date it is unknown before its first event.
        assert set(whole.index) - set(profiles.index) == {"c59"}
        assert profiles.lifecycle_stage["silent"] == "newcomer"
        assert_same_columns(profiles, whole, [*RULE_BASED_GROUPS, *ORDER_COLUMNS, "spend"])


def test_without_purchases(tmp_path: Path) -> None:
    profiles = profile(tmp_path, without("purchase", "return"))
    assert profiles[["rfm_group", "value_tier", "usual_interval_days"]].isna().all(axis=None)
    assert profiles.lifecycle_stage.isin(["newcomer", "browsing", "cart", "lost", "inactive"]).all()
    assert profiles.temperature.notna().all()


def test_with_a_month_of_history(whole: pd.DataFrame, tmp_path: Path) -> None:
    profiles = profile(tmp_path, lambda events: events[events.occurred_at >= AS_OF - timedelta(days=30)])
    assert "Lost" not in set(profiles.rfm_group.dropna())
    assert not profiles[["lifecycle_stage", "temperature", "campaign_response"]].isna().any(axis=None)
    assert profiles.rfm_group.notna().any()
