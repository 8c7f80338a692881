"""Visits: stretches of a customer's events, by the log's own session ids or by gaps of silence.

Mails received, support contacted, coupons taken in and whatever is of no known type are no visits: their
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
        The log names its sessions. A row without a name then belongs to the visit of its day.
    gap_minutes : float, > 0
        Silence, in minutes, after which a new visit begins; for logs without session ids.
    """
    is_visit = events.event_type.notin([str(kind) for kind in OUTSIDE_VISITS])
    if has_session_ids:
        day = events.occurred_at.truncate("D").cast("string")
        # Of the bare column, since Parquet's dictionary is then hashed and not every row.
        key = events.session_id.isnull().ifelse(hashed(day), hashed(events.session_id))
        return events.mutate(session_key=is_visit.ifelse(key, ibis.null()))
    # Events at one moment are peers, so that their order cannot matter: RANGE, not ROWS.
    in_order = ibis.window(group_by=["customer_id", "is_visit"], order_by="occurred_at")
    until_now = ibis.range_window(group_by=["customer_id", "is_visit"], order_by="occurred_at", following=0)
    marked = events.mutate(is_visit=is_visit)
    silence = epoch_seconds(marked.occurred_at) - epoch_seconds(marked.occurred_at.lag().over(in_order))
    begins = (silence > gap_minutes * SECONDS_PER_MINUTE).fill_null(True).cast("int64")
    begun = marked.mutate(begins=begins)
    number = begun.begins.sum().over(until_now)
    numbered = begun.mutate(session_key=begun.is_visit.ifelse(number, ibis.null("int64")))
    return numbered.drop("is_visit", "begins")


def session_table(events: ir.Table) -> ir.Table:
    """Visits, and how far each went.

       events (customer_id, occurred_at, event_type, channel, session_key)
    -> sessions (customer_id, session_key, started_at, channel, has_cart, has_left_cart, has_purchase)
       one row per visit

    A cart is left that was not bought, and not emptied: as often taken from as put in, and last taken from.
    Channels are in lower case, since they name columns, which a database does not tell apart by case; of several in one
    visit the first by the alphabet counts.
    """
    visits = events.filter(events.session_key.notnull())
    is_put, is_taken, is_bought = (
        visits.event_type == str(kind) for kind in (EventType.CART, EventType.REMOVE_FROM_CART, EventType.PURCHASE)
    )
    at = visits.occurred_at
    is_emptied = (visits.count(where=is_taken) >= visits.count(where=is_put)) & (
        at.max(where=is_taken) >= at.max(where=is_put)
    )
    return visits.group_by("customer_id", "session_key").aggregate(
        started_at=visits.occurred_at.min(),
        channel=visits.channel.lower().min(),
        has_cart=is_put.any(),
        has_left_cart=is_put.any() & ~is_bought.any() & ~is_emptied.fill_null(False),
        has_purchase=is_bought.any(),
    )
