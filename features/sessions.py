"""Visits: a customer's events grouped by the log's own session ids or by gaps without events.

Email opens, support contacts, coupon redemptions and events of unknown type are not part of visits: their
``session_key`` is null.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.events import EventType, epoch_seconds, hashed

OUTSIDE_VISITS = (EventType.EMAIL_OPEN, EventType.CONTACT, EventType.REDEMPTION, EventType.OTHER)
SECONDS_PER_MINUTE = 60.0


def with_session_key(events: ir.Table, *, has_session_ids: bool, gap_minutes: float) -> ir.Table:
    """Events with the visit they belong to.

        events (customer_id, occurred_at, event_type, session_id)
     -> events (..., session_key)     same rows; unique within a customer, null outside visits

    Parameters
    ----------
    has_session_ids : bool
        Whether the log has session ids. A row without one then belongs to the visit of its day.
    gap_minutes : float, > 0
        Minutes without events after which a new visit begins; for logs without session ids.
    """
    is_visit = events.event_type.notin([str(kind) for kind in OUTSIDE_VISITS])
    if has_session_ids:
        day = events.occurred_at.truncate("D").cast("string")
        # Hash the bare column: the engine then hashes Parquet's dictionary and not every row.
        key = events.session_id.isnull().ifelse(hashed(day), hashed(events.session_id))
        return events.mutate(session_key=is_visit.ifelse(key, ibis.null()))
    # RANGE, not ROWS: events at the same moment are peers, so their order cannot matter.
    in_order = ibis.window(group_by=["customer_id", "is_visit"], order_by="occurred_at")
    until_now = ibis.range_window(group_by=["customer_id", "is_visit"], order_by="occurred_at", following=0)
    marked = events.mutate(is_visit=is_visit)
    silence = epoch_seconds(marked.occurred_at) - epoch_seconds(marked.occurred_at.lag().over(in_order))
    begins = (silence > gap_minutes * SECONDS_PER_MINUTE).fill_null(True).cast("int64")
    starts = marked.mutate(begins=begins)
    number = starts.begins.sum().over(until_now)
    numbered = starts.mutate(session_key=starts.is_visit.ifelse(number, ibis.null("int64")))
    return numbered.drop("is_visit", "begins")


def session_table(events: ir.Table) -> ir.Table:
    """Visits and the furthest step of each.

       events (customer_id, occurred_at, event_type, channel, session_key)
    -> sessions (customer_id, session_key, started_at, channel, has_cart, has_left_cart, has_purchase)
       one row per visit

    A cart is left if it was neither bought nor emptied. It is emptied if there are at least as many removals as
    additions and the last action is a removal. If a visit has several channels, the alphabetically first one counts.
    """
    visits = events.filter(events.session_key.notnull())
    is_added, is_removed, is_bought = (
        visits.event_type == str(kind) for kind in (EventType.CART, EventType.REMOVE_FROM_CART, EventType.PURCHASE)
    )
    at = visits.occurred_at
    is_emptied = (visits.count(where=is_removed) >= visits.count(where=is_added)) & (
        at.max(where=is_removed) >= at.max(where=is_added)
    )
    return visits.group_by("customer_id", "session_key").aggregate(
        started_at=visits.occurred_at.min(),
        channel=visits.channel.min(),
        has_cart=is_added.any(),
        has_left_cart=is_added.any() & ~is_bought.any() & ~is_emptied.fill_null(False),
        has_purchase=is_bought.any(),
    )
