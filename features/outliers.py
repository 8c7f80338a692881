"""Customers far beyond all others in events, orders, spend, or how often or regularly they order.

They may be staff, tests, wholesale buyers or programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Literal

import ibis
import ibis.expr.types as ir

from features.events import EventType, constant
from features.rhythm import order_rhythm
from features.value import exact_large_sum, order_table

Measure = Literal["event_count", "order_count", "spend", "orders_per_day", "clock_order_days"]
"""What makes a customer unusual: how much, orders per day with an order, or days with an order of a customer who orders
like a clock."""
SHARED: tuple[Measure, ...] = ("event_count", "order_count", "spend")
"""Measures of which a customer can have a large share."""
USUAL_QUANTILE = 0.99
MIN_ORDERS = 30.0
"""Fewer orders, or days with an order, say nothing about how often or how regularly a customer orders."""
CLOCK_VARIATION, CLOCK_INTERVAL_DAYS = 0.1, 2.0
"""Largest variation and mean of a clock's intervals. A weekly subscription is regular, too, but slower."""


def customer_totals(events: ir.Table) -> ir.Table:
    """What each customer did in all.

       events (customer_id, occurred_at, event_type, order_id, quantity, unit_price, discount)     of the window
    -> totals (customer_id, event_count, order_count, spend, order_day_count, usual_interval_days, interval_variation)
       one row per customer; all but the first two are null without an order
    """
    orders = order_table(events.filter(events.event_type == str(EventType.PURCHASE)))
    bought = orders.group_by("customer_id").aggregate(
        order_count=orders.count().cast("float64"), spend=exact_large_sum(orders.spend)
    )
    totals = events.group_by("customer_id").aggregate(event_count=events.count().cast("float64"))
    for measure in (bought, order_rhythm(orders)):
        totals = totals.left_join(measure, "customer_id").drop("customer_id_right")
    return totals


def usual_limits(totals: ir.Table, *, min_ratio: float, min_share: float) -> ir.Table:
    """The limit of each measure, in one row: `Measure`; null if no customer has any of it.

    It is the 99th percentile of the customers with any, times ``min_ratio``; for the measures of `SHARED` at least
    ``min_share`` of the shop's sum. Unlike a mean, a quantile is not moved by the few customers beyond it, and the
    share keeps the long tail of a large shop from being unusual. Days with an order need no factor, as a clock is
    regular and not large, but at least `MIN_ORDERS`.
    """
    limits = {}
    for name, measure in _measures(totals).items():
        has_any = measure > 0
        quantile = measure.quantile(USUAL_QUANTILE, where=has_any).cast("float64")
        if name == "clock_order_days":
            limit = ibis.greatest(quantile, constant(MIN_ORDERS))
        elif name in SHARED:
            share = exact_large_sum(measure, where=has_any) * constant(min_share)
            limit = ibis.greatest(quantile * constant(min_ratio), share)
        else:
            limit = quantile * constant(min_ratio)
        limits[name] = has_any.any().ifelse(limit, ibis.null("float64"))
    return totals.aggregate(**limits)


def unusual_measures(customers: ir.Table, limits: Mapping[Measure, float]) -> dict[Measure, ir.BooleanValue]:
    """Whether each customer is above each of the limits.

    customers (event_count, order_count, spend, order_day_count, usual_interval_days, interval_variation)
    """
    is_clock = (customers.interval_variation <= constant(CLOCK_VARIATION)) & (
        customers.usual_interval_days <= constant(CLOCK_INTERVAL_DAYS)
    )
    conditions = {"orders_per_day": customers.order_count >= constant(MIN_ORDERS), "clock_order_days": is_clock}
    measures = _measures(customers)
    return {
        name: ((measures[name] > constant(limit)) & conditions.get(name, True)).fill_null(False)
        for name, limit in limits.items()
    }


def is_unusual(customers: ir.Table, limits: Mapping[Measure, float]) -> ir.BooleanValue:
    """Whether each customer is above any of the limits."""
    nobody: ir.BooleanValue = ibis.literal(False)
    return reduce(or_, unusual_measures(customers, limits).values(), nobody)


def _measures(customers: ir.Table) -> dict[Measure, ir.FloatingValue]:
    return {
        "event_count": customers.event_count,
        "order_count": customers.order_count,
        "spend": customers.spend,
        "orders_per_day": customers.order_count / customers.order_day_count.nullif(0.0),
        "clock_order_days": customers.order_day_count,
    }
