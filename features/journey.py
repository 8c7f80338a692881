"""Where customers are on their way: lifecycle stage, what lately happened on it, and temperature."""

from __future__ import annotations

from collections.abc import Mapping

import ibis
import ibis.expr.types as ir

from features.events import FINE_POINT, EventType, ObservationWindow, constant, days_between, exact_sum
from features.interests import decayed_weight

STAGES = (
    *("newcomer", "browsing", "cart", "first_order", "active", "slipping", "lapsed", "lost", "returned"),
    "inactive",
)
"""Lifecycle stages, in the order of a customer's way; inactive: never bought, and not seen as long as a lost buyer."""
PASSING_STAGES = ("newcomer", "cart", "first_order", "slipping", "returned")
"""Those of them that end by themselves or by what is hoped for: who has left one is no loss."""
JOURNEY_EVENTS = ("visited_without_order", "bought_once", "left_cart", "silent_after_contact")
JOURNEY_PREFIX = "journey event: "
CAMPAIGN_EVENTS = (str(EventType.REDEMPTION), str(EventType.EMAIL_CLICK), str(EventType.EMAIL_OPEN))
RESPONSES = ("redeemed", "clicked", "opened", "none")
"""What became of campaigns: a coupon or code was redeemed, a letter clicked, a letter opened, or nothing."""


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
                  days_since_last_event, days_since_last_contact, days_from_first_to_last_event)   one row per customer

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
        days_since_last_contact=window.age_days(
            events.occurred_at.max(where=events.event_type == str(EventType.CONTACT))
        ),
        # Not a difference of ages, whose last digits would depend on as_of.
        days_from_first_to_last_event=days_between(events.occurred_at.min(), events.occurred_at.max()),
    )


def visit_measures(sessions: ir.Table, *, window: ObservationWindow) -> ir.Table:
    """Visits of each customer, and those that ended with a full cart.

        sessions (customer_id, started_at, has_cart, has_left_cart, has_purchase)
     -> visits (customer_id, session_count, cart_session_count, abandoned_cart_count, days_since_last_visit,
                days_since_buying_visit, days_since_cart_left)     one row per customer

    An abandoned cart is a visit that left something in the cart. Days are since the beginning of the last visit of the
    kind; null where there is none.
    """
    return sessions.group_by("customer_id").aggregate(
        session_count=sessions.count().cast("float64"),
        cart_session_count=sessions.count(where=sessions.has_cart).cast("float64"),
        abandoned_cart_count=sessions.count(where=sessions.has_left_cart).cast("float64"),
        days_since_last_visit=window.age_days(sessions.started_at.max()),
        days_since_buying_visit=window.age_days(sessions.started_at.max(where=sessions.has_purchase)),
        days_since_cart_left=window.age_days(sessions.started_at.max(where=sessions.has_left_cart)),
    )


def journey_events(
    customers: ir.Table, *, visit_days: float, second_order_days: float, cart_days: float, contact_days: float
) -> dict[str, ir.BooleanValue]:
    """What lately happened to each customer, by `JOURNEY_EVENTS`; several may hold at once.

    Parameters
    ----------
    customers : table
        order_count, is_buyer_from_before, days_since_last_purchase, and the days of `visit_measures` and
        `activity_measures`.
    visit_days : float
        visited_without_order: the last visit began within so many days, and ended without an order.
    second_order_days : float
        bought_once: a single order, more than so many days ago.
    cart_days : float
        left_cart: a visit within so many days ended with something in the cart, and none since with an order.
    contact_days : float
        silent_after_contact: contacted support within so many days and has not visited or bought since. Whether there
        was an answer no log of customers' own events can tell; that they are gone since, it can.
    """
    visited, bought = customers.days_since_last_visit, customers.days_since_buying_visit
    left, asked = customers.days_since_cart_left, customers.days_since_last_contact

    def not_since(later: ir.FloatingValue, moment: ir.FloatingValue) -> ir.BooleanValue:
        return later.isnull() | (later > moment)

    found = {
        "visited_without_order": (visited <= visit_days) & not_since(bought, visited),
        "bought_once": (customers.order_count == 1)
        & ~customers.is_buyer_from_before
        & (customers.days_since_last_purchase > second_order_days),
        "left_cart": (left <= cart_days) & not_since(bought, left),
        "silent_after_contact": (asked <= contact_days)
        & not_since(visited, asked)
        & not_since(customers.days_since_last_purchase, asked),
    }
    return {name: held.fill_null(False) for name, held in found.items()}


def lifecycle_stage(
    customers: ir.Table,
    *,
    log_days: float,
    first_order_days: float,
    active_days: float,
    lapsed_days: float,
    lost_days: float,
    slipping_min_orders: int,
    slipping_intervals: float,
    slipping_min_days: float,
) -> ir.StringValue:
    """Where each customer is on the way from registration to loyalty, or out.

    Parameters
    ----------
    customers : table
        order_count, days_since_last_purchase, days_before_last_purchase, days_since_last_event, cart_count,
        event_count, order_day_count, usual_interval_days, return_count, is_known_from_before (seen before the window
        began), is_buyer_from_before (bought before it).
    log_days : float
        Days that are looked at: the window, or as much of it as the log is old. An order from before it is at least
        so long ago.
    first_order_days, active_days, lapsed_days, lost_days : float
        Days since the last order up to which it counts as new, active; past which as lapsed, lost. Customers who never
        bought are inactive when they were last seen more than ``lost_days`` ago, or before the window alone.
    slipping_min_orders, slipping_intervals, slipping_min_days : int, float, float
        With orders on so many days, a silence of more than so many usual intervals, and days, is slipping too.
    """
    is_buyer = customers.is_buyer_from_before
    # Who gives back must have bought.
    bought_before = customers.days_since_last_purchase.isnull() & (is_buyer | (customers.return_count > 0))
    since = bought_before.ifelse(constant(log_days), customers.days_since_last_purchase)
    silence = customers.days_before_last_purchase.fill_null(
        is_buyer.ifelse(constant(log_days) - since, ibis.null("float64"))
    )
    is_first = (customers.order_count == 1) & ~is_buyer
    never = since.isnull()
    expected = ibis.greatest(customers.usual_interval_days * slipping_intervals, constant(slipping_min_days))
    is_late = ((customers.order_day_count >= slipping_min_orders) & (since > expected)).fill_null(False)
    return ibis.cases(
        ((customers.event_count == 0) & is_buyer, "lost"),
        ((customers.event_count == 0) & customers.is_known_from_before, "inactive"),
        ((never & (customers.days_since_last_event > lost_days)).fill_null(False), "inactive"),
        (never & (customers.cart_count > 0), "cart"),
        (never & (customers.event_count > 0), "browsing"),
        (never, "newcomer"),
        (since > lost_days, "lost"),
        (since > lapsed_days, "lapsed"),
        (is_first & (since <= first_order_days), "first_order"),
        (is_first | (since > active_days) | is_late, "slipping"),
        ((silence > lapsed_days).fill_null(False), "returned"),
        else_="active",
    )


def temperature(
    points: ir.FloatingValue,
    product_points: ir.FloatingValue,
    *,
    warm_points: float,
    hot_points: float,
    hot_product_points: float,
) -> ir.StringValue:
    """cold, warm or hot, by decayed points of all events; the warm are hot, too, by `features.product_interest`."""
    is_warm = points >= warm_points
    is_hot = (points >= hot_points) | (is_warm & (product_points >= hot_product_points).fill_null(False))
    return ibis.cases((is_hot, "hot"), (is_warm, "warm"), else_="cold")


def campaign_response(customers: ir.Table, *, has_campaigns: bool) -> ir.StringValue:
    """The furthest each customer went, of `RESPONSES`; null for who went nowhere where the log had no campaigns.

    How many were sent a log of customers' own events does not say: who got none and who opened none look alike.

        customers (redemption_count, email_click_count, email_open_count)
    """
    answers = [(customers[f"{event}_count"] > 0, name) for name, event in zip(RESPONSES, CAMPAIGN_EVENTS, strict=False)]
    return ibis.cases(*answers, else_=RESPONSES[-1] if has_campaigns else ibis.null("string"))
