"""Where customers are on their way: lifecycle stage and temperature."""

from __future__ import annotations

from collections.abc import Mapping

import ibis
import ibis.expr.types as ir

from features.events import FINE_POINT, EventType, ObservationWindow, days_between, exact_sum
from features.interests import decayed_weight

STAGES = ("newcomer", "browsing", "cart", "first_order", "active", "slipping", "lapsed", "lost", "returned")
"""Lifecycle stages, in the order of a customer's way."""


def temperature_points(
    events: ir.Table, *, window: ObservationWindow, points: Mapping[EventType, float], half_life_days: float
) -> ir.FloatingValue:
    """What each event adds to a customer's temperature at as_of: the same decay as interests, only faster."""
    return decayed_weight(events, window=window, signal_weights=points, half_life_days=half_life_days)


def activity_measures(
    events: ir.Table, *, window: ObservationWindow, activity: ir.FloatingValue, points: ir.FloatingValue
) -> ir.Table:
    """How much each customer does, and when last.

        events (customer_id, occurred_at, event_type)
     -> measures (customer_id, event_count, <type>_count..., activity, temperature_points, days_since_first_event,
                  days_since_last_event, days_from_first_to_last_event)     one row per customer

    Parameters
    ----------
    activity : float64 column of ``events``
        `features.interests.decayed_weight` with the weights and half-life of ``interests.activity``: what foretells
        that a customer buys at all.
    points : float64 column of ``events``
        `temperature_points`.
    """
    counts = {f"{kind}_count": events.count(where=events.event_type == str(kind)).cast("float64") for kind in EventType}
    return events.group_by("customer_id").aggregate(
        **counts,
        event_count=events.count().cast("float64"),
        activity=exact_sum(activity, unit=FINE_POINT),
        temperature_points=exact_sum(points, unit=FINE_POINT),
        days_since_first_event=window.age_days(events.occurred_at.min()),
        days_since_last_event=window.age_days(events.occurred_at.max()),
        # Not a difference of ages, whose last digits would depend on as_of.
        days_from_first_to_last_event=days_between(events.occurred_at.min(), events.occurred_at.max()),
    )


def visit_measures(sessions: ir.Table) -> ir.Table:
    """Visits of each customer, and those that ended with a full cart.

        sessions (customer_id, has_cart, has_purchase)
     -> visits (customer_id, session_count, cart_session_count, abandoned_cart_count)     one row per customer

    An abandoned cart is a visit in which something was put in the cart and nothing bought.
    """
    return sessions.group_by("customer_id").aggregate(
        session_count=sessions.count().cast("float64"),
        cart_session_count=sessions.count(where=sessions.has_cart).cast("float64"),
        abandoned_cart_count=sessions.count(where=sessions.has_cart & ~sessions.has_purchase).cast("float64"),
    )


def lifecycle_stage(
    customers: ir.Table, *, first_order_days: float, active_days: float, lapsed_days: float, lost_days: float
) -> ir.StringValue:
    """Where each customer is on the way from registration to loyalty, or out.

    Parameters
    ----------
    customers : table
        order_count, days_since_last_purchase, days_before_last_purchase, view_count, cart_count, event_count,
        is_known_from_before (seen before the window began).
    first_order_days, active_days, lapsed_days, lost_days : float
        Days since the last order up to which it counts as new, active; past which as lapsed, lost.
    """
    since = customers.days_since_last_purchase
    never = since.isnull()
    return ibis.cases(
        (never & (customers.event_count == 0) & customers.is_known_from_before, "lost"),
        (never & (customers.cart_count > 0), "cart"),
        (never & (customers.event_count > 0), "browsing"),
        (never, "newcomer"),
        (since > lost_days, "lost"),
        (since > lapsed_days, "lapsed"),
        ((customers.order_count == 1) & (since <= first_order_days), "first_order"),
        (since > active_days, "slipping"),
        (customers.order_count == 1, "slipping"),
        ((customers.days_before_last_purchase > lapsed_days).fill_null(False), "returned"),
        else_="active",
    )


def temperature(points: ir.FloatingValue, *, warm_points: float, hot_points: float) -> ir.StringValue:
    """cold, warm or hot, by decayed points."""
    return ibis.cases((points >= hot_points, "hot"), (points >= warm_points, "warm"), else_="cold")
