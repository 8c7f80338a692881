from __future__ import annotations

from pathlib import Path
from typing import Any

import ibis
import pandas as pd
import pytest

from features.benefits import category_benefits, price_level, price_means, purchase_habits
from features.context import visit_context
from features.journey import lifecycle_stage
from features.rfm import RFMGroup, divide_ties, with_rfm
from features.sessions import session_table, with_session_key
from features.value import (
    ValueCuts,
    order_table,
    return_table,
    returned_items,
    tier_above,
    value_measures,
    value_tier,
)
from pipeline.config.load import load_params


def buy(day: str, order: str | None, price: float, **more: Any) -> dict[str, Any]:
    return {
        "customer_id": "ann",
        "occurred_at": day,
        "event_type": "purchase",
        "order_id": order,
        "unit_price": price,
        **more,
    }


def test_orders_and_rfm_measures_by_hand(con: Any, events_table: Any, window: Any) -> None:
    events = events_table(
        [
            buy("2025-10-02 10:00", "o1", 10.0, quantity=2.0),
            buy("2025-10-02 10:00", "o1", 5.0, discount=1.0),
            buy("2025-10-22 08:00", None, 7.0),  # no order_id: one order per day
            buy("2025-10-22 09:00", None, 3.0),
        ]
    )
    orders = order_table(events)
    assert con.to_pandas(orders.order_by("ordered_at")).spend.tolist() == [24.0, 10.0]
    measures = con.to_pandas(value_measures(orders, return_table(events), window=window)).iloc[0]
    assert measures.order_count == 2
    assert measures.spend == measures.net_spend == 34.0
    assert measures.average_order_value == 17.0
    assert measures.days_since_first_purchase == pytest.approx(29 + 14 / 24)
    assert measures.days_since_last_purchase == pytest.approx(9 + 16 / 24)
    assert measures.days_before_last_purchase == pytest.approx(19 + 22 / 24)
    assert measures.discount_share == pytest.approx(1 / 4)  # of lines, not items


def test_a_discount_on_an_unknown_price_is_not_spend(con: Any, events_table: Any) -> None:
    rows = [
        buy("2025-10-02", "o1", 10.0, discount=1.0),
        {**buy("2025-10-02", "o1", 0.0, discount=5.0), "unit_price": None},
    ]
    assert con.to_pandas(order_table(events_table(rows))).spend.tolist() == [9.0]


VALUE = load_params(Path(__file__).parents[2] / "params.yaml", []).value
DIFFICULT = {
    "difficult_return_rate": 0.3,
    "difficult_min_returns": 3,
    "difficult_contact_rate": 1.0,
    "difficult_min_contacts": 3,
}
FORMS = {form: VALUE.model_copy(update={"rfm_form": form}).rfm_groups() for form in VALUE.rfm_forms}


def test_rfm_groups_and_tiers(con: Any) -> None:
    cuts = ValueCuts((10.0, 20.0, 40.0, 80.0), (1.0, 2.0, 3.0, 4.0), (10.0, 20.0, 30.0, 40.0), 50.0, 20.0)
    buyers = ibis.memtable(
        {
            "customer": ["vip", "new", "long ago", "inactive", "regular", "frequent contacts", "never"],
            "days_since_last_purchase": [5.0, 5.0, 200.0, 60.0, 30.0, 30.0, None],
            "order_count": [9.0, 1.0, 3.0, 3.0, 3.0, 3.0, 0.0],
            "net_spend": [99.0, 5.0, 25.0, 25.0, 25.0, 25.0, 0.0],
            "tier_value": [99.0, 5.0, 25.0, 25.0, 25.0, 25.0, 0.0],
            "return_rate": [0.0, 0.5, 0.5, 0.0, 0.0, None, None],
            "returned_item_count": [0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 0.0],
            "contact_count": [8.0, 2.0, 0.0, 2.0, 2.0, 3.0, 9.0],
            "event_count": [9.0] * 7,
            "days_since_last_event": [1.0] * 7,
        }
    ).mutate(is_known_from_before=True, is_buyer_from_before=False)
    scored = with_rfm(buyers, cuts=cuts, groups=FORMS["five"], history_days=365.0)
    tier = value_tier(scored, cuts=cuts, **DIFFICULT)
    results = con.to_pandas(scored.mutate(tier=tier)).set_index("customer")
    tiered = scored.mutate(value_tier=tier)
    for near, expected in (
        (0.5, {"inactive": 25.01, "regular": 25.01}),
        (0.8, {"new": 15.01, "inactive": 25.01, "regular": 25.01}),
    ):
        close = con.to_pandas(tiered.mutate(**tier_above(tiered, cuts=cuts, near=near))).set_index("customer")
        assert close.next_tier_needs.dropna().to_dict() == expected
        assert close.next_tier.dropna().to_dict() == {name: "regular" if name == "new" else "vip" for name in expected}
    assert results.rfm_group.dropna().to_dict() == {
        "vip": "VIP",
        "new": "New",
        "long ago": "Inactive",
        "inactive": "Inactive",
        "regular": "Regular",
        "frequent contacts": "Regular",
    }
    assert results.tier.dropna().to_dict() == {
        "vip": "vip",
        "new": "occasional",
        "long ago": "difficult",
        "inactive": "regular",
        "regular": "regular",
        "frequent contacts": "difficult",
    }


STAGE_DAYS = {"first_order_days": 30, "active_days": 60, "lapsed_days": 120, "lost_days": 240}


LATE = {"slipping_min_orders": 4, "slipping_intervals": 3.0, "slipping_min_days": 21}
NEVER_SEEN = {
    **{"days_since_last_purchase": None, "days_before_last_purchase": None, "usual_interval_days": None},
    "days_since_last_event": None,
    **{"order_count": 0.0, "order_day_count": 0.0, "cart_count": 0.0, "event_count": 0.0, "return_count": 0.0},
}


def stage_of(
    con: Any, *, known_before: bool = False, buyer_before: bool = False, log_days: float = 365.0, **customer: float
) -> str:
    values = NEVER_SEEN | {"order_day_count": customer.get("order_count", 0.0)} | customer
    table = ibis.memtable({name: [value] for name, value in values.items()}, schema=dict.fromkeys(values, "float64"))
    table = table.mutate(is_known_from_before=known_before or buyer_before, is_buyer_from_before=buyer_before)
    return str(con.execute(lifecycle_stage(table, log_days=log_days, **STAGE_DAYS, **LATE)).tolist()[0])


@pytest.mark.parametrize(
    ("stage", "since", "orders", "silence", "carts", "events", "before"),
    [
        ("newcomer", None, 0.0, None, 0.0, 0.0, False),
        ("inactive", None, 0.0, None, 0.0, 0.0, True),
        ("browsing", None, 0.0, None, 0.0, 3.0, False),
        ("cart", None, 0.0, None, 1.0, 3.0, False),
        ("first_order", 30.0, 1.0, None, 1.0, 3.0, False),
        ("slipping", 31.0, 1.0, None, 1.0, 3.0, False),
        ("active", 60.0, 2.0, 50.0, 1.0, 3.0, False),
        ("returned", 60.0, 2.0, 121.0, 1.0, 3.0, False),
        ("slipping", 61.0, 2.0, 50.0, 1.0, 3.0, False),
        ("lapsed", 121.0, 2.0, 50.0, 1.0, 3.0, False),
        ("lost", 241.0, 2.0, 50.0, 1.0, 3.0, False),
    ],
)
def test_lifecycle_stages_at_their_bounds(
    con: Any,
    stage: str,
    since: float | None,
    orders: float,
    silence: float | None,
    carts: float,
    events: float,
    before: bool,
) -> None:
    customer: Any = {"days_since_last_purchase": since, "days_before_last_purchase": silence}
    customer |= {"order_count": orders, "cart_count": carts, "event_count": events}
    assert stage_of(con, known_before=before, **customer) == stage


@pytest.mark.parametrize(("log_days", "stage"), [(250.0, "lost"), (130.0, "lapsed"), (70.0, "slipping")])
def test_customers_with_returns_only_bought_before_the_log(con: Any, log_days: float, stage: str) -> None:
    assert stage_of(con, log_days=log_days, event_count=1.0, return_count=1.0) == stage
    assert stage_of(con, log_days=log_days, event_count=1.0) == "browsing"


def test_a_buyer_from_before_the_window_has_no_first_order(con: Any) -> None:
    once = {"order_count": 1.0, "event_count": 1.0}
    for buyer_before, stages in ((False, ["first_order", "slipping"]), (True, ["returned", "active"])):
        actual = [
            stage_of(con, buyer_before=buyer_before, log_days=days, days_since_last_purchase=since, **once)
            # An order 10 days ago, the only one in a window of 131 days, came after at least 121 days without one.
            for since, days in ((10.0, 131.0), (31.0, 131.0))
        ]
        assert actual == stages
    assert stage_of(con, buyer_before=True, days_since_last_purchase=61.0, **once) == "slipping"
    # Without an order in the window, the last one is at least as old as the window.
    assert stage_of(con, buyer_before=True, event_count=3.0, cart_count=1.0) == "lost"
    assert stage_of(con, known_before=True, event_count=3.0, cart_count=1.0) == "cart"


@pytest.mark.parametrize("carts", [0.0, 1.0])
def test_non_buyers_are_inactive_when_unseen_as_long_as_lost_buyers(con: Any, carts: float) -> None:
    seen: Any = {"event_count": 3.0, "cart_count": carts}
    assert stage_of(con, **seen, days_since_last_event=240.0) == ("cart" if carts else "browsing")
    assert stage_of(con, **seen, days_since_last_event=240.1) == "inactive"
    # Buyers are lost, whether they bought in the window or before it.
    assert stage_of(con, **seen, days_since_last_event=241.0, buyer_before=True) == "lost"
    assert stage_of(con, buyer_before=True) == "lost"
    bought: Any = {"order_count": 1.0, "days_since_last_purchase": 300.0}
    assert stage_of(con, **seen, **bought, days_since_last_event=290.0) == "lost"


def test_price_level_is_relative_to_the_category(con: Any, events_table: Any) -> None:
    log = [
        {**buy("2025-10-02", "a", 10.0), "column": 0},
        {**buy("2025-10-02", "b", 30.0), "column": 0, "customer_id": "bob"},
    ]
    events = events_table(log, column="int64")
    means = con.to_pandas(price_means(events)).set_index("column").mean_price.to_dict()
    assert means == {0: 20.0}
    levels = con.to_pandas(price_level(events, mean_prices=[20.0])).set_index("customer_id").price_level.to_dict()
    assert levels == {"ann": pytest.approx(0.5), "bob": pytest.approx(1.5)}


def test_category_benefits_by_hand(con: Any, events_table: Any) -> None:
    log = [
        {**buy("2025-10-02", "a", 10.0), "column": 0, "quantity": 3.0},
        {**buy("2025-10-03", "b", 30.0), "column": 0, "discount": 5.0},
        {**buy("2025-10-03", "b", 30.0), "column": 1},
        {**buy("2025-10-03", "b", 30.0), "column": None, "discount": 5.0},
    ]
    benefits = con.to_pandas(category_benefits(events_table(log, column="int64"), mean_prices=[20.0, 10.0]))
    rows = benefits.set_index("column")
    assert rows.loc[0, ["item_count", "discount_share", "price_level"]].tolist() == [4.0, 0.5, 60.0 / 80.0]
    assert rows.item_count[1] == 1.0
    assert rows.loc[1, ["discount_share", "price_level"]].isna().all()


def test_visit_context_counts_visits_not_events(con: Any, events_table: Any, window: Any) -> None:
    view = {"customer_id": "ann", "event_type": "view"}
    log = [
        {**view, "occurred_at": "2025-10-04 09:00", "session_id": "s1", "channel": "web"},  # a Saturday
        {**view, "occurred_at": "2025-10-04 09:01", "session_id": "s1", "channel": "web"},
        {**view, "occurred_at": "2025-10-06 19:00", "session_id": "s2", "channel": "app"},
    ]
    keyed = with_session_key(events_table(log), has_session_ids=True, gap_minutes=30)
    visits = session_table(keyed)
    channels = ("web", "app", "store")
    context = con.to_pandas(visit_context(visits, channels=channels, timezone="UTC", window=window)).iloc[0]
    assert context.weekend_share == 0.5
    assert (context.morning_share, context.evening_share) == (0.5, 0.5)
    assert (context["channel: web"], context["channel: store"]) == (0.5, 0.0)
    # In Los Angeles it was Saturday at 2:00 and Monday at 12:00; in Auckland Saturday at 22:00 and Tuesday at 8:00.
    for timezone, parts in (
        ("America/Los_Angeles", ("night", "afternoon")),
        ("Pacific/Auckland", ("evening", "morning")),
    ):
        there = con.to_pandas(visit_context(visits, channels=channels, timezone=timezone, window=window)).iloc[0]
        assert [there[f"{part}_share"] for part in parts] == [0.5, 0.5]
        assert there.weekend_share == 0.5


CUTS = ValueCuts((10.0, 20.0, 40.0, 80.0), (1.0, 2.0, 3.0, 4.0), (0.0, 0.0, 0.0, 0.0), 0.0, 0.0)
NO_BUYERS = ValueCuts((), (), (), 0.0, 0.0)


def groups_of(con: Any, cuts: ValueCuts, *, buyer_before: bool = False, **customer: float | None) -> Any:
    values = {"days_since_last_purchase": 5.0, "order_count": 9.0, "net_spend": 0.0, **customer}
    values |= {"tier_value": values["net_spend"], "return_rate": 0.0, "returned_item_count": 0.0, "contact_count": 0.0}
    table = ibis.memtable({name: [value] for name, value in values.items()}, schema=dict.fromkeys(values, "float64"))
    table = table.mutate(is_known_from_before=buyer_before, is_buyer_from_before=buyer_before)
    table = table.mutate(event_count=9.0, days_since_last_event=1.0)
    tier = value_tier(table, cuts=cuts, **DIFFICULT)
    return con.to_pandas(with_rfm(table, cuts=cuts, groups=FORMS["five"], history_days=365.0).mutate(tier=tier)).iloc[0]


def test_a_buyer_from_before_the_window_is_not_new(con: Any) -> None:
    cuts = ValueCuts((10.0, 20.0, 40.0, 80.0), (1.0, 2.0, 3.0, 4.0), (10.0, 20.0, 30.0, 40.0), 50.0, 20.0)
    groups = [groups_of(con, cuts, order_count=1.0, buyer_before=before).rfm_group for before in (False, True)]
    assert groups == ["New", "Regular"]


def test_zero_spend_is_never_vip(con: Any) -> None:
    assert groups_of(con, CUTS).tier == "occasional"
    no_spend = ibis.memtable({"value_tier": ["occasional"], "tier_value": [0.0]})
    assert con.to_pandas(no_spend.mutate(**tier_above(no_spend, cuts=CUTS, near=0.2))).next_tier.isna().all()
    assert groups_of(con, CUTS, net_spend=1.0).tier == "vip"


def test_without_prices_groups_use_days_and_orders(con: Any) -> None:
    groups = groups_of(con, ValueCuts(CUTS.days_since_last_purchase, CUTS.order_count, (), 6.0, 2.0))
    assert groups.rfm_group == "VIP"
    assert pd.isna(groups.monetary_score)


@pytest.mark.parametrize(
    ("current", "tier_by", "needed"),
    [
        (2.0, "order_count", 1.0),
        (2.0, "spend", 0.51),
        (2.5, "spend", 0.01),
        (2.495, "spend", 0.01),
        (1.0, "spend", None),
    ],
)
def test_amount_needed_for_the_next_tier(con: Any, current: float, tier_by: str, needed: float | None) -> None:
    """A tier begins above its bound: a customer exactly on it needs one more order or cent."""
    table = ibis.memtable({"value_tier": ["occasional"], "tier_value": [current]})
    cuts = ValueCuts((1.0,), (1.0,), (1.0,), 9.0, 2.5)
    next_tier = con.to_pandas(table.mutate(**tier_above(table, cuts=cuts, near=0.2, tier_by=tier_by))).iloc[0]
    assert next_tier.next_tier_needs == pytest.approx(needed) if needed else pd.isna(next_tier.next_tier_needs)


def test_without_buyers_at_training_there_is_no_group(con: Any) -> None:
    groups = groups_of(con, NO_BUYERS, net_spend=99.0)
    assert groups.tier == "occasional"
    assert groups[["rfm_group"]].isna().all()


def test_customers_who_never_bought_have_no_scores(con: Any) -> None:
    for cuts in (CUTS, NO_BUYERS):
        groups = groups_of(con, cuts, days_since_last_purchase=None, order_count=0.0)
        assert groups[["recency_score", "frequency_score", "monetary_score", "rfm_group", "tier"]].isna().all()


def test_orders_at_the_same_moment_have_the_same_previous_order(con: Any, events_table: Any, window: Any) -> None:
    log = [buy("2025-01-04", "a", 1.0), buy("2025-10-22", "b", 1.0), buy("2025-10-22", "c", 1.0)]
    orders = order_table(events_table(log))
    returned = return_table(events_table(log))
    measured = con.to_pandas(value_measures(orders, returned, window=window))
    assert measured.days_before_last_purchase.tolist() == [291.0]
    first = con.to_pandas(value_measures(order_table(events_table(log[1:])), returned, window=window))
    assert first.days_before_last_purchase.isna().all()


def test_large_sums_of_money_do_not_overflow(con: Any, events_table: Any, window: Any) -> None:
    events = events_table([buy("2025-10-22", None, 1e12, quantity=1e12), buy("2025-10-22", None, 0.1)])
    measured = value_measures(order_table(events), return_table(events), window=window)
    assert con.to_pandas(measured).spend.tolist() == [1e24]


def test_net_spend_never_exceeds_spend(con: Any, events_table: Any, window: Any) -> None:
    """A discount above the price (of a whole order, on each line) does not turn a return into revenue."""
    refund = {"event_type": "return"}
    events = events_table(
        [
            buy("2025-10-01", "a", 30.0),
            {**buy("2025-10-02", "a", 5.0, discount=40.0), **refund},
            buy("2025-10-01", "b", 1.0, discount=4.0, customer_id="bob"),
        ]
    )
    returned = return_table(events)
    measures = value_measures(order_table(events), returned, window=window, tier_by="spend")
    value = con.to_pandas(measures.order_by("customer_id"))
    assert value.spend.tolist() == value.net_spend.tolist() == value.tier_value.tolist() == [30.0, -3.0]
    assert con.to_pandas(returned_items(returned)).returned_spend.tolist() == [0.0]


def test_refunds_reduce_net_spend(con: Any, events_table: Any, window: Any) -> None:
    """A cancelled order cancels out; refunds of purchases before the window never make net spend negative."""
    refund = {"event_type": "return"}
    log = [
        buy("2025-10-01", "a", 168_470.0),
        buy("2025-10-02", "b", 30.0),
        buy("2025-10-01", "c", 5.0, customer_id="other"),
        {**buy("2025-10-03", "a", 168_470.0), **refund},
        {**buy("2025-10-28", "b", 5.0, quantity=2.0, discount=1.0), **refund},
        {**buy("2025-10-28", "c", 9.0, customer_id="other"), **refund},
        {**buy("2025-10-28", "c", 9.0, customer_id="other"), **refund, "unit_price": None},
        {**buy("2025-10-28", "d", 9.0, customer_id="never bought"), **refund},
    ]
    events = events_table(log)
    orders, returned = order_table(events), return_table(events)

    def measured(**options: Any) -> pd.DataFrame:
        measures = value_measures(orders, returned, window=window, **options)
        return con.to_pandas(measures.order_by(ibis.desc("spend"))).set_index("customer_id")

    value = measured()
    assert value.spend.tolist() == [168_500.0, 5.0]
    assert value.net_spend.tolist() == value.tier_value.tolist() == [21.0, 0.0]
    assert value.average_order_value.tolist() == [10.5, 0.0]
    assert measured(tier_days=29.5).tier_value.tolist() == [0.0, 0.0]  # refunds in those days count too
    items = con.to_pandas(returned_items(returned)).set_index("customer_id")
    assert items.returned_spend.sort_values().tolist() == [9.0, 9.0, 168_479.0]
    assert items.returned_item_count["other"] == 2.0


def test_purchase_habits_by_hand(con: Any, events_table: Any) -> None:
    def buys(
        customer: str, order: str, product: str | None, items: float = 1.0, kind: str = "purchase"
    ) -> dict[str, Any]:
        at = "2025-10-01"
        return {
            "customer_id": customer,
            "occurred_at": at,
            "event_type": kind,
            "order_id": order,
            "product_id": product,
            "quantity": items,
        }

    events = events_table(
        [
            buys("ann", "1", "p1", 3.0),
            buys("ann", "1", "p2"),
            buys("ann", "2", "p1", 2.0),
            buys("ann", "2", "p3"),
            buys("ann", "2", "p3", kind="return"),
            buys("bob", "3", "p1", 5.0),  # a single order is too few for habits
            buys("cat", "4", None),
            buys("cat", "5", None),  # unknown products
        ]
    )
    products = ibis.memtable({"product_id": ["p1", "p2", "p3"], "brand": ["Acme", "Bolt", None]})
    per_customer = con.to_pandas(purchase_habits(events, products).order_by("customer_id")).set_index("customer_id")
    assert per_customer.items_per_order.tolist() == [pytest.approx(3.5), 5.0, 1.0]
    assert per_customer.novelty_share["ann"] == pytest.approx(3 / 4)  # p1 twice, p2, p3
    assert per_customer.brand_loyalty["ann"] == pytest.approx(5 / 6)
    assert per_customer.loc[["bob", "cat"], ["novelty_share", "brand_loyalty"]].isna().all(axis=None)
    assert con.to_pandas(purchase_habits(events, None)).brand_loyalty.isna().all()


@pytest.mark.parametrize(
    ("days", "orders", "spend", "group"),
    [
        (5.0, 1.0, 5.0, "New"), (5.0, 9.0, 99.0, "Champions"), (15.0, 9.0, 99.0, "Loyal"), (5.0, 9.0, 5.0, "Loyal"),
        (15.0, 3.0, 25.0, "Potential loyalists"), (30.0, 3.0, 25.0, "Need attention"), (30.0, 2.0, 25.0, "About to sleep"),
        (60.0, 9.0, 25.0, "Cannot lose them"), (60.0, 4.0, 25.0, "At risk"), (200.0, 1.0, 9.0, "Lost"),
        (60.0, 2.0, 25.0, "Hibernating"), (15.0, 1.0, 25.0, "Promising"),
    ],
)  # fmt: skip
def test_eleven_groups_by_hand(con: Any, days: float, orders: float, spend: float, group: str) -> None:
    cuts = ValueCuts((10.0, 20.0, 40.0, 80.0), (1.0, 2.0, 3.0, 4.0), (10.0, 20.0, 30.0, 40.0), 50.0, 20.0)
    buyer = {"days_since_last_purchase": [days], "order_count": [orders], "net_spend": [spend]}
    table = ibis.memtable(buyer).mutate(is_buyer_from_before=False)
    scored = con.to_pandas(with_rfm(table, cuts=cuts, groups=FORMS["eleven"], history_days=365.0))
    assert scored.rfm_group.tolist() == [group]


def test_money_can_be_the_average_order_value(con: Any) -> None:
    cuts = ValueCuts((10.0, 20.0, 40.0, 80.0), (1.0, 2.0, 3.0, 4.0), (10.0, 20.0, 30.0, 40.0), 50.0, 20.0)
    buyer = {"days_since_last_purchase": [5.0], "order_count": [9.0], "average_order_value": [11.0]}
    scored = with_rfm(
        ibis.memtable(buyer), cuts=cuts, groups=[RFMGroup("all")], history_days=365.0, money="average_order_value"
    )
    assert con.to_pandas(scored)[["monetary_score", "rfm_group"]].iloc[0].tolist() == [2, "all"]


def test_tier_value_by_hand(con: Any, events_table: Any, window: Any) -> None:
    log = [
        buy("2025-10-01 00:00:00", "a", 5.0),
        buy("2025-10-01 00:00:01", "b", 1.0),
        buy("2025-10-31 00:00:00", "c", 2.0),
    ]
    events = events_table(log)
    orders, returned = order_table(events), return_table(events)

    def tier_value(**options: Any) -> float:
        return float(con.to_pandas(value_measures(orders, returned, window=window, **options)).tier_value[0])

    assert tier_value() == 8.0
    assert tier_value(tier_by="order_count") == 3.0
    assert tier_value(tier_days=31.0) == 8.0  # exact to the second
    assert tier_value(tier_days=30.999995) == 3.0
    assert tier_value(tier_by="order_count", tier_days=7.0) == 1.0
    assert tier_value(tier_days=0.5) == 0.0


@pytest.mark.parametrize(
    ("events", "since", "before", "history_days", "group"),
    [
        (0.0, None, True, 365.0, "Lost"),
        (0.0, None, True, 364.0, None),  # the window is too short
        (0.0, None, False, 365.0, None),  # registered but never seen
        (3.0, 200.0, True, 365.0, None),  # visits but no order
        (3.0, 365.0, False, 700.0, "Lost"),
        (3.0, 364.9, False, 700.0, None),
    ],
)
def test_lost_means_a_year_without_activity(
    con: Any, events: float, since: float | None, before: bool, history_days: float, group: str | None
) -> None:
    cuts = ValueCuts((10.0, 20.0, 40.0, 80.0), (1.0, 2.0, 3.0, 4.0), (10.0, 20.0, 30.0, 40.0), 50.0, 20.0)
    numbers = {"days_since_last_purchase": None, "order_count": 0.0, "net_spend": 0.0}
    numbers |= {"event_count": events, "days_since_last_event": since}
    table = ibis.memtable({name: [value] for name, value in numbers.items()}, schema=dict.fromkeys(numbers, "float64"))
    table = table.mutate(is_known_from_before=before, is_buyer_from_before=before)
    scored = con.to_pandas(with_rfm(table, cuts=cuts, groups=FORMS["five"], history_days=history_days))
    assert scored.rfm_group.dropna().tolist() == ([group] if group else [])


def test_the_amount_needed_puts_every_customer_above_the_bound(con: Any) -> None:
    """In whole cents, which floats cannot represent: 0.29 is 28.999999999999996 hundredths."""
    for cents in range(101, 3_000, 97):
        spend = [number / 100 for number in range(cents + 1)]
        table = ibis.memtable({"value_tier": ["occasional"] * len(spend), "tier_value": spend})
        cuts = ValueCuts((1.0,), (1.0,), (1.0,), 99.0, cents / 100)
        next_tiers = con.to_pandas(table.mutate(**tier_above(table, cuts=cuts, near=1.0)))
        assert ((next_tiers.tier_value + next_tiers.next_tier_needs) * 100).round().eq(cents + 1).all()


@pytest.mark.parametrize(
    ("counts_by_value", "cuts"),
    [
        ({1: 20, 2: 20, 3: 20, 4: 20, 5: 20}, (1, 2, 3, 4)),
        ({1: 510, 2: 60, 3: 2, 4: 3, 5: 3, 6: 11, 7: 4, 8: 3, 9: 4}, (1, 2, 6, 8)),  # two orders are the second score
        ({1: 90, 2: 10}, (1,)),  # nobody is above two, so no score above 2 is given
        ({1: 30, 2: 10, 3: 10, 4: 10, 5: 10, 6: 10, 7: 20}, (1, 3, 5, 6)),
        ({5: 100}, (5,)),
    ],
)
def test_ties_fill_one_score_and_the_others_divide_the_rest(
    counts_by_value: dict[float, int], cuts: tuple[float, ...]
) -> None:
    assert divide_ties([*counts_by_value], [*counts_by_value.values()], groups=5) == cuts
