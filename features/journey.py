"""Customer journey: lifecycle stage, recent journey events and temperature."""

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
"""Lifecycle stages in the order of the journey. inactive: never bought, and unseen for as long as a lost buyer."""
PASSING_STAGES = ("newcomer", "cart", "first_order", "slipping", "returned")
"""Stages that customers normally pass through: leaving one is not a loss."""
JOURNEY_EVENTS = ("visited_without_order", "bought_once", "left_cart", "silent_after_contact")
JOURNEY_PREFIX = "journey event: "
CAMPAIGN_EVENTS = (str(EventType.REDEMPTION), str(EventType.EMAIL_CLICK), str(EventType.EMAIL_OPEN))
RESPONSES = ("redeemed", "clicked", "opened", "none")
"""Strongest response to campaigns: redeemed a coupon or code, clicked an email, opened an email, or none."""


def temperature_points(
    events: ir.Table, *, window: ObservationWindow, points: Mapping[EventType, float], half_life_days: float
) -> ir.FloatingValue:
    """Points each event adds to a customer's temperature at as_of; they decay like interests, but faster."""
    return decayed_weight(events, window=window, signal_weights=points, half_life_days=half_life_days)


def activity_measures(
    events: ir.Table, *, window: ObservationWindow, activity: ir.FloatingValue, points: ir.FloatingValue
) -> ir.Table:
    """Amount and recency of each customer's activity.

        events (customer_id, occurred_at, event_type)
     -> measures (customer_id, event_count, <type>_count..., activity, temperature_points, days_since_first_event,
                  days_since_last_event, days_since_last_contact, days_from_first_to_last_event)   one row per customer

    Parameters
    ----------
    activity : float64 column of ``events``
        `features.interests.decayed_weight` with the weights and half-life of ``interests.activity``. It predicts
        whether a customer buys at all.
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
    """Each customer's visits, including those with an abandoned cart.

        sessions (customer_id, started_at, has_cart, has_left_cart, has_purchase)
     -> visits (customer_id, session_count, cart_session_count, abandoned_cart_count, days_since_last_visit,
                days_since_buying_visit, days_since_cart_left)     one row per customer

    A visit that left something in the cart counts as an abandoned cart. Days count from the start of the last visit of
    that kind; null if there is none.
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
    """Which recent `JOURNEY_EVENTS` apply to each customer; several may apply at once.

    Parameters
    ----------
    customers : table
        order_count, is_buyer_from_before, days_since_last_purchase, and the day columns of `visit_measures` and
        `activity_measures`.
    visit_days : float
        visited_without_order: the last visit began within this many days and ended without an order.
    second_order_days : float
        bought_once: a single order, more than this many days ago.
    cart_days : float
        left_cart: a visit within this many days left something in the cart, and no visit since had an order.
    contact_days : float
        silent_after_contact: contacted support within this many days and has not visited or bought since. The log does
        not show whether support answered, only that the customer has been away since.
    """
    visited, bought = customers.days_since_last_visit, customers.days_since_buying_visit
    left_cart, contacted = customers.days_since_cart_left, customers.days_since_last_contact

    def not_since(later: ir.FloatingValue, moment: ir.FloatingValue) -> ir.BooleanValue:
        return later.isnull() | (later > moment)

    events = {
        "visited_without_order": (visited <= visit_days) & not_since(bought, visited),
        "bought_once": (customers.order_count == 1)
        & ~customers.is_buyer_from_before
        & (customers.days_since_last_purchase > second_order_days),
        "left_cart": (left_cart <= cart_days) & not_since(bought, left_cart),
        "silent_after_contact": (contacted <= contact_days)
        & not_since(visited, contacted)
        & not_since(customers.days_since_last_purchase, contacted),
    }
    return {name: applies.fill_null(False) for name, applies in events.items()}


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
    """Lifecycle stage of each customer, from registration to loyalty or loss.

    Parameters
    ----------
    customers : table
        order_count, days_since_last_purchase, days_before_last_purchase, days_since_last_event, cart_count,
        event_count, order_day_count, usual_interval_days, return_count, is_known_from_before (seen before the window
        began), is_buyer_from_before (bought before it).
    log_days : float
        Observed days: the window, or the age of the log if that is shorter. An order from before it is at least that
        old.
    first_order_days, active_days, lapsed_days, lost_days : float
        Bounds on the days since the last order: up to the first two a buyer counts as new or active, past the last two
        as lapsed or lost. Customers who never bought are inactive if they were last seen more than ``lost_days`` ago,
        or only before the window.
    slipping_min_orders, slipping_intervals, slipping_min_days : int, float, float
        A buyer with orders on at least this many days is also slipping after a silence of more than this many usual
        intervals and more than this many days.
    """
    is_buyer = customers.is_buyer_from_before
    # A customer who returned something must have bought before.
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
    """cold, warm or hot, by decayed points of all events. Interest in one product also makes a warm customer hot."""
    is_warm = points >= warm_points
    is_hot = (points >= hot_points) | (is_warm & (product_points >= hot_product_points).fill_null(False))
    return ibis.cases((is_hot, "hot"), (is_warm, "warm"), else_="cold")


def campaign_response(customers: ir.Table, *, has_campaigns: bool) -> ir.StringValue:
    """Each customer's strongest response, one of `RESPONSES`; null without a response if the log had no campaigns.

    The log does not record emails sent, so customers who got none and customers who opened none look the same.

        customers (redemption_count, email_click_count, email_open_count)
    """
    responses = [
        (customers[f"{event}_count"] > 0, name) for name, event in zip(RESPONSES, CAMPAIGN_EVENTS, strict=False)
    ]
    return ibis.cases(*responses, else_=RESPONSES[-1] if has_campaigns else ibis.null("string"))
