"""Brings earlier measures up to date without reading the events again.

A decayed sum can be rescaled instead of being computed again. For measures taken at L,
S(as_of) = 2^(-(as_of - L) / half_life) * S(L) (forward decay: Cormode, Shkapenyuk, Srivastava and Xu, 2009). Counts,
sums and dates do not change. Neither does interest evidence, which is weighted back from the customer's own last event.
This holds for customers without new events and without events that left the window.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import ibis
import ibis.expr.types as ir

from features.events import SECONDS_PER_DAY, ObservationWindow

DAYS_SINCE = (
    "days_since_first_event",
    "days_since_last_event",
    "days_since_first_purchase",
    "days_since_last_purchase",
    "days_since_last_visit",
    "days_since_buying_visit",
    "days_since_cart_left",
    "days_since_last_contact",
)
MICROSECONDS_PER_DAY = 1e6 * SECONDS_PER_DAY


def aged(measures: ir.Table, *, window: ObservationWindow, half_life_days: Mapping[str, float]) -> ir.Table:
    """Measures as of the end of ``window``.

       measures (measured_at, days_since_..., <decayed>..., ...)
    -> measures (...)     same rows, without measured_at

    Parameters
    ----------
    half_life_days : mapping
        Decayed column -> days after which its value halves.
    """
    elapsed = window.age_days(measures.measured_at)
    # Whole microseconds: two single days must sum to exactly two days, because bounds are compared exactly.
    per_day = ibis.literal(MICROSECONDS_PER_DAY).cast("float64")

    def later(days: ir.FloatingValue) -> ir.FloatingValue:
        return ((days * per_day).round() + (elapsed * per_day).round()).cast("float64") / per_day

    factors = {
        half_life: ibis.literal(2.0).cast("float64").pow(-elapsed / ibis.literal(float(half_life)).cast("float64"))
        for half_life in set(half_life_days.values())
    }
    decayed = {name: measures[name] * factors[half_life] for name, half_life in half_life_days.items()}
    return measures.mutate(**decayed, **{name: later(measures[name]) for name in DAYS_SINCE}).drop("measured_at")


def changed_customers(before: ir.Table, now: ir.Table) -> ir.Table:
    """Customers (customer_id) whose rows, or how often they occur, differ between two tables of one schema."""
    both = before.mutate(times=1).union(now.mutate(times=-1))
    rows = both.group_by(before.columns).aggregate(times=both.times.sum())
    return rows.filter(rows.times != 0).select("customer_id").distinct()


def with_events_between(events: ir.Table, start: datetime, end: datetime) -> ir.Table:
    """Customers (customer_id) with an event from ``start`` on and before ``end``."""
    inside = events.filter(events.occurred_at >= start, events.occurred_at < end)
    return inside.select("customer_id").distinct()
