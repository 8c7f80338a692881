"""Seasonality: evidence by period of fixed length, per customer and for the whole shop.

Periods are numbered from 1970 on, not back from as_of, so yesterday's measures still hold today. Only periods in the
window count, at most `slot_count` of them. Each period has its own slot in a ring: its number modulo the size of the
ring.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta

import ibis
import ibis.expr.types as ir

from features.events import (
    FINE_POINT,
    SECONDS_PER_DAY,
    EventType,
    ObservationWindow,
    constant,
    epoch_seconds,
    exact_sum,
    type_weight,
)

SEASON_LISTS = ("season_slots", "season_values")
"""Columns of the measures: the sparse vector of S(u,t), as lists of slots of the ring and of values."""
SEASON_PREFIX = "season: "
"""Prefix of the columns that hold S(u,t) in a profile, one for each slot."""
EPOCH = datetime(1970, 1, 1)


def slot_count(history_days: float, season_days: float) -> int:
    """Slots of the ring: the most periods that a window of ``history_days`` can overlap.

    Examples
    --------
    >>> slot_count(365, 14), slot_count(28, 14)
    (28, 3)
    """
    return math.ceil(history_days / season_days) + 1


def period_of(moment: ir.TimestampValue, season_days: float) -> ir.IntegerValue:
    """Number of the period that contains ``moment``; periods of ``season_days`` count from 1970-01-01."""
    return (epoch_seconds(moment) / constant(SECONDS_PER_DAY * season_days)).floor().cast("int64")


def season_evidence(event_evidence: ir.Table, *, history_days: float, season_days: float) -> ir.Table:
    """S(u,t): each customer's weighted evidence by period, over all categories; its sum is S(u).

        event_evidence (customer_id, occurred_at, weight, ...) as in `features.interests.event_evidence`
     -> seasons (customer_id, season_slots, season_values)     one row per customer with evidence; lists in one order

    Evidence is weighted back from the customer's own last event, so earlier measures stay valid.
    """
    slots = slot_count(history_days, season_days)
    by_slot = event_evidence.mutate(slot=period_of(event_evidence.occurred_at, season_days) % ibis.literal(slots))
    by_slot = by_slot.group_by("customer_id", "slot").aggregate(evidence=exact_sum(by_slot.weight, unit=FINE_POINT))
    # Both lists are collected from the same rows, so their order agrees.
    return by_slot.group_by("customer_id").aggregate(
        season_slots=by_slot.slot.cast("int16").collect(), season_values=by_slot.evidence.collect()
    )


def weights_by_period(
    events: ir.Table,
    *,
    window: ObservationWindow,
    signal_weights: Mapping[EventType, float],
    season_days: float,
    first_period: int,
) -> ir.Table:
    """Total weight of all customers' events by period, product and category, from ``first_period`` on.

        events (occurred_at, event_type, product_id, category_path)
     -> totals (period, product_id, category_path, weight)

    Weights depend only on the event type: decay hardly matters within a period, and without it totals never change.
    Searches are left out, because they reach categories only through their query and are not part of the shop's mix.
    Totals are kept by product, because the category of a product may change.
    """
    weighted = window.of(events.filter(events.event_type != str(EventType.SEARCH)))
    weighted = weighted.mutate(
        period=period_of(weighted.occurred_at, season_days), weight=type_weight(weighted, signal_weights)
    )
    weighted = weighted.filter(weighted.period >= first_period, weighted.weight > 0)
    return weighted.group_by("period", "product_id", "category_path").aggregate(weight=exact_sum(weighted.weight))


def first_whole_period(window: ObservationWindow, season_days: float) -> int:
    """The first period that lies wholly after the start of the window; it may begin after the window's end."""
    return math.ceil(_days_since_1970(window.start) / season_days)


def period_at(moment: datetime, season_days: float) -> int:
    """`period_of` for a single moment in UTC without a zone."""
    return math.floor(_days_since_1970(moment) / season_days)


def period_start(period: int, season_days: float) -> datetime:
    """Start of a period, in UTC without a zone."""
    return EPOCH + timedelta(days=period * season_days)


def _days_since_1970(moment: datetime) -> float:
    return (moment - EPOCH).total_seconds() / SECONDS_PER_DAY
