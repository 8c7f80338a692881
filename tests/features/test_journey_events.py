"""Order rhythm, slipping by the customer's own interval, and journey events, on hand-made customers."""

from __future__ import annotations

from typing import Any

import ibis
import pytest

from features.journey import JOURNEY_EVENTS, activity_measures, journey_events, lifecycle_stage, visit_measures
from features.rhythm import order_rhythm
from features.sessions import session_table, with_session_key

RULES = {"visit_days": 14.0, "second_order_days": 30.0, "cart_days": 7.0, "contact_days": 60.0}


def test_order_rhythm_by_hand(con: Any) -> None:
    days = {
        "clock": ["2025-01-01", "2025-01-11", "2025-01-21", "2025-01-31"],
        "odd": ["2025-01-01", "2025-01-03", "2025-01-05", "2025-01-31"],
        "twice a day": ["2025-01-01 08:00", "2025-01-01 20:00", "2025-01-03"],
        "once": ["2025-01-01"],
    }
    rows = [(name, day) for name, all_days in days.items() for day in all_days]
    orders = ibis.memtable(rows, columns=["customer_id", "ordered_at"])
    orders = orders.mutate(ordered_at=orders.ordered_at.cast("timestamp"))
    rhythm = con.to_pandas(order_rhythm(orders)).set_index("customer_id")
    assert rhythm.order_day_count.to_dict() == {"clock": 4.0, "odd": 4.0, "twice a day": 2.0, "once": 1.0}
    assert rhythm.usual_interval_days.dropna().to_dict() == {"clock": 10.0, "odd": 10.0, "twice a day": 2.0}
    # Intervals of 2, 2 and 26 days: the mean square is 228, less 10 squared is 128.
    assert rhythm.interval_variation.dropna().to_dict() == {"clock": 0.0, "odd": pytest.approx(128**0.5 / 10)}


@pytest.mark.parametrize(
    ("since", "days_with_order", "interval", "stage"),
    [
        (30.0, 4.0, 10.0, "active"),
        (30.1, 4.0, 10.0, "slipping"),
        (30.1, 3.0, 10.0, "active"),  # too few orders for a usual interval
        (20.0, 9.0, 2.0, "active"),  # ten usual intervals, but less than slipping_min_days
        (21.1, 9.0, 2.0, "slipping"),
        (60.0, 9.0, 40.0, "active"),
        (60.1, 9.0, 40.0, "slipping"),  # within three usual intervals, but past active_days
        (121.0, 9.0, 2.0, "lapsed"),
    ],
)
def test_slipping_by_the_customers_own_interval(
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
    "viewed": [("view", "2025-10-30")],
    "viewed long ago": [("view", "2025-10-01")],
    "bought": [("view", "2025-10-29"), ("purchase", "2025-10-30")],
    "bought, then viewed": [("purchase", "2025-10-20"), ("view", "2025-10-30")],
    "bought once": [("purchase", "2025-09-01")],
    "bought again after years": [("purchase", "2025-09-01")],
    "bought twice": [("purchase", "2025-08-01"), ("purchase", "2025-09-01")],
    "left a cart": [("cart", "2025-10-30")],
    "left a cart, then bought": [("cart", "2025-10-28"), ("purchase", "2025-10-30")],
    "bought, then left a cart": [("purchase", "2025-10-28"), ("cart", "2025-10-30")],
    "old cart": [("cart", "2025-10-20")],
    "contacted, then silent": [("view", "2025-09-01"), ("contact", "2025-10-01"), ("email_open", "2025-10-05")],
    "contacted, then viewed": [("contact", "2025-10-01"), ("view", "2025-10-10")],
    "contacted long ago": [("contact", "2025-06-01")],
}


def test_journey_events_by_hand(con: Any, events_table: Any, window: Any) -> None:
    events = events_table(
        [{"customer_id": name, "event_type": kind, "occurred_at": at} for name, log in LOGS.items() for kind, at in log]
    )
    events = with_session_key(events, has_session_ids=False, gap_minutes=30)
    zero = events.quantity * 0.0
    activity = activity_measures(events, window=window, activity=zero, points=zero)
    visits = visit_measures(session_table(events), window=window)
    bought = events.filter(events.event_type == "purchase")
    orders = bought.group_by("customer_id").aggregate(
        order_count=bought.count(), days_since_last_purchase=window.age_days(bought.occurred_at.max())
    )
    customers = activity.left_join(visits, "customer_id").drop("customer_id_right")
    customers = customers.left_join(orders, "customer_id").drop("customer_id_right")
    customers = customers.mutate(is_buyer_from_before=customers.customer_id == "bought again after years")
    flags = con.to_pandas(customers.select("customer_id", **journey_events(customers, **RULES))).set_index(
        "customer_id"
    )
    events_of = {name: [event for event in JOURNEY_EVENTS if flags[event][name]] for name in LOGS}
    assert events_of == {
        "viewed": ["visited_without_order"],
        "viewed long ago": [],
        "bought again after years": [],
        "bought": [],
        "bought, then viewed": ["visited_without_order"],
        "bought once": ["bought_once"],
        "bought twice": [],
        "left a cart": ["visited_without_order", "left_cart"],
        "left a cart, then bought": [],
        "bought, then left a cart": ["visited_without_order", "left_cart"],
        "old cart": ["visited_without_order"],
        "contacted, then silent": ["silent_after_contact"],
        "contacted, then viewed": [],
        "contacted long ago": [],
    }
