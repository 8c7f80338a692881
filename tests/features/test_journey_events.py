"""Rhythm of orders, slipping by one's own interval, and journey events, on customers made up by hand."""

from __future__ import annotations

from typing import Any

import ibis
import pytest

from features.journey import JOURNEY_EVENTS, activity_measures, journey_events, lifecycle_stage, visit_measures
from features.rhythm import order_rhythm
from features.sessions import session_table, with_session_key

RULES = {"visit_days": 14.0, "second_order_days": 30.0, "cart_days": 7.0, "contact_days": 60.0}


def test_rhythm_of_orders_by_hand(con: Any) -> None:
    days = {
        "clock": ["2025-01-01", "2025-01-11", "2025-01-21", "2025-01-31"],
        "odd": ["2025-01-01", "2025-01-03", "2025-01-05", "2025-01-31"],
        "twice a day": ["2025-01-01 08:00", "2025-01-01 20:00", "2025-01-03"],
        "once": ["2025-01-01"],
    }
    rows = [(name, day) for name, all_days in days.items() for day in all_days]
    orders = ibis.memtable(rows, columns=["customer_id", "ordered_at"])
    orders = orders.mutate(ordered_at=orders.ordered_at.cast("timestamp"))
    found = con.to_pandas(order_rhythm(orders)).set_index("customer_id")
    assert found.order_day_count.to_dict() == {"clock": 4.0, "odd": 4.0, "twice a day": 2.0, "once": 1.0}
    assert found.usual_interval_days.dropna().to_dict() == {"clock": 10.0, "odd": 10.0, "twice a day": 2.0}
    # 2, 2 and 26 days: the squares' mean 228 less 100 is 128.
    assert found.interval_variation.dropna().to_dict() == {"clock": 0.0, "odd": pytest.approx(128**0.5 / 10)}


@pytest.mark.parametrize(
    ("since", "days_with_order", "interval", "stage"),
    [
        (30.0, 4.0, 10.0, "active"),
        (30.1, 4.0, 10.0, "slipping"),
        (30.1, 3.0, 10.0, "active"),  # too few orders for an interval to be usual
        (20.0, 9.0, 2.0, "active"),  # ten of their intervals, and yet no silence
        (21.1, 9.0, 2.0, "slipping"),
        (60.0, 9.0, 40.0, "active"),
        (60.1, 9.0, 40.0, "slipping"),  # within three intervals: the shop's days hold too
        (121.0, 9.0, 2.0, "lapsed"),
    ],
)
def test_slipping_by_ones_own_interval(
    con: Any, since: float, days_with_order: float, interval: float, stage: str
) -> None:
    customer = {
        "days_since_last_purchase": since,
        "order_count": days_with_order,
        "order_day_count": days_with_order,
        "usual_interval_days": interval,
        "days_before_last_purchase": interval,
        "cart_count": 0.0,
        "event_count": days_with_order,
        "days_since_last_event": since,
        "return_count": 0.0,
    }
    table = ibis.memtable({name: [value] for name, value in customer.items()})
    table = table.mutate(is_known_from_before=False, is_buyer_from_before=False)
    days = {"first_order_days": 30, "active_days": 60, "lapsed_days": 120, "lost_days": 240}
    late = {"slipping_min_orders": 4, "slipping_intervals": 3.0, "slipping_min_days": 21}
    assert con.execute(lifecycle_stage(table, log_days=365.0, **days, **late)).tolist() == [stage]


LOGS = {
    # as_of is 2025-11-01
    "looked": [("view", "2025-10-30")],
    "looked long ago": [("view", "2025-10-01")],
    "bought": [("view", "2025-10-29"), ("purchase", "2025-10-30")],
    "bought, then looked": [("purchase", "2025-10-20"), ("view", "2025-10-30")],
    "bought once": [("purchase", "2025-09-01")],
    "bought again after years": [("purchase", "2025-09-01")],
    "bought twice": [("purchase", "2025-08-01"), ("purchase", "2025-09-01")],
    "left a cart": [("cart", "2025-10-30")],
    "left a cart, then bought": [("cart", "2025-10-28"), ("purchase", "2025-10-30")],
    "bought, then left a cart": [("purchase", "2025-10-28"), ("cart", "2025-10-30")],
    "an old cart": [("cart", "2025-10-20")],
    "asked, then silent": [("view", "2025-09-01"), ("contact", "2025-10-01"), ("email_open", "2025-10-05")],
    "asked, then came": [("contact", "2025-10-01"), ("view", "2025-10-10")],
    "asked long ago": [("contact", "2025-06-01")],
}


def test_journey_events_by_hand(con: Any, events_table: Any, window: Any) -> None:
    events = events_table(
        [{"customer_id": who, "event_type": kind, "occurred_at": at} for who, log in LOGS.items() for kind, at in log]
    )
    events = with_session_key(events, has_session_ids=False, gap_minutes=30)
    nothing = events.quantity * 0.0
    activity = activity_measures(events, window=window, activity=nothing, points=nothing)
    visits = visit_measures(session_table(events), window=window)
    bought = events.filter(events.event_type == "purchase")
    orders = bought.group_by("customer_id").aggregate(
        order_count=bought.count(), days_since_last_purchase=window.age_days(bought.occurred_at.max())
    )
    customers = activity.left_join(visits, "customer_id").drop("customer_id_right")
    customers = customers.left_join(orders, "customer_id").drop("customer_id_right")
    customers = customers.mutate(is_buyer_from_before=customers.customer_id == "bought again after years")
    found = con.to_pandas(customers.select("customer_id", **journey_events(customers, **RULES))).set_index(
        "customer_id"
    )
    told = {who: [name for name in JOURNEY_EVENTS if found[name][who]] for who in LOGS}
    assert told == {
        "looked": ["visited_without_order"],
        "looked long ago": [],
        "bought again after years": [],
        "bought": [],
        "bought, then looked": ["visited_without_order"],
        "bought once": ["bought_once"],
        "bought twice": [],
        "left a cart": ["visited_without_order", "left_cart"],
        "left a cart, then bought": [],
        "bought, then left a cart": ["visited_without_order", "left_cart"],
        "an old cart": ["visited_without_order"],
        "asked, then silent": ["silent_after_contact"],
        "asked, then came": [],
        "asked long ago": [],
    }
