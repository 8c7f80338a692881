"""Evidence by periods of fixed days: when a customer turned to the shop, and what the shop as a whole turned to then.

Periods are numbered from 1970 on, not back from as_of, so that what was measured yesterday still holds today. Of a
customer's periods those of the window alone count, which are never more than `slot_count`: each has a place of its own
in a ring, its number modulo the size of the ring.
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

SEASONS = "season_evidence"
"""Column of the measures: a struct with a field per place in the ring."""
SEASON_PREFIX = "season: "
EPOCH = datetime(1970, 1, 1)


def slot_count(history_days: float, season_days: float) -> int:
    """Places in the ring: periods that a window of ``history_days`` can touch.

    Examples
    --------
    >>> slot_count(365, 14), slot_count(28, 14)
    (28, 3)
    """
    return math.ceil(history_days / season_days) + 1


def period_of(moment: ir.TimestampValue, season_days: float) -> ir.IntegerValue:
    """Number of the period of ``season_days`` that holds ``moment``, counted from 1970-01-01."""
    return (epoch_seconds(moment) / constant(SECONDS_PER_DAY * season_days)).floor().cast("int64")


def season_evidence(said: ir.Table, *, history_days: float, season_days: float) -> ir.Table:
    """S(u,t): each customer's weighted evidence of all categories by the period that it fell into; in all S(u).

        said (customer_id, occurred_at, weight, ...) as in `features.interests.event_evidence`
     -> seasons (customer_id, season_evidence)     one row per customer with any; a struct of `slot_count` numbers

    Evidence is weighted back from the customer's own last event: what was measured stays as it is.
    """
    slots = slot_count(history_days, season_days)
    by_slot = said.mutate(slot=period_of(said.occurred_at, season_days) % ibis.literal(slots))
    by_slot = by_slot.group_by("customer_id", "slot").aggregate(evidence=exact_sum(by_slot.weight, unit=FINE_POINT))
    gathered = by_slot.group_by("customer_id").aggregate(
        of_slot=ibis.map(by_slot.slot.collect(), by_slot.evidence.collect())
    )
    ring = {str(slot): gathered.of_slot.get(slot, 0.0) for slot in range(slots)}
    return gathered.select("customer_id", **{SEASONS: ibis.struct(ring)})


def zero_where_unknown(table: ir.Table) -> ir.Table:
    """A ring of zeros for whom there is none; once, as to look for nulls whenever it is read takes a third longer."""
    ring = table[SEASONS]
    zeros = ibis.struct({slot: constant(0.0) for slot in ring.type().names})  # type: ignore[attr-defined]
    return table.mutate(**{SEASONS: ring.fill_null(zeros)})


def season_columns(table: ir.Table) -> ir.Table:
    """The ring as columns.

    table (..., season_evidence) -> table (..., "season: 0", "season: 1", ...)
    """
    ring = table[SEASONS]
    columns = {SEASON_PREFIX + slot: ring[slot] for slot in ring.type().names}  # type: ignore[attr-defined]
    return table.mutate(**columns).drop(SEASONS)


def period_sums(
    events: ir.Table,
    *,
    window: ObservationWindow,
    signal_weights: Mapping[EventType, float],
    season_days: float,
    first_period: int,
) -> ir.Table:
    """What all customers turned to in each period of the window from ``first_period`` on.

        events (occurred_at, event_type, product_id, category_path)
     -> sums (period, product_id, category_path, weight)

    Weights are those of the type alone: within a period decay hardly matters, and so a sum stays as it is. A search
    reaches categories through its query alone, and is no part of the shop's mix. Products are kept apart, since their
    categories may change.
    """
    weighed = window.of(events.filter(events.event_type != str(EventType.SEARCH)))
    weighed = weighed.mutate(
        period=period_of(weighed.occurred_at, season_days), weight=type_weight(weighed, signal_weights)
    )
    weighed = weighed.filter(weighed.period >= first_period, weighed.weight > 0)
    return weighed.group_by("period", "product_id", "category_path").aggregate(weight=exact_sum(weighed.weight))


def first_whole_period(window: ObservationWindow, season_days: float) -> int:
    """The first period that the start of the window does not cut off; it may lie after the window's end."""
    return math.ceil(_days_since_1970(window.start) / season_days)


def period_at(moment: datetime, season_days: float) -> int:
    """`period_of` one moment, in UTC without a zone."""
    return math.floor(_days_since_1970(moment) / season_days)


def period_start(period: int, season_days: float) -> datetime:
    """When a period begins, in UTC without a zone."""
    return EPOCH + timedelta(days=period * season_days)


def _days_since_1970(moment: datetime) -> float:
    return (moment - EPOCH).total_seconds() / SECONDS_PER_DAY
