"""Shows the first rows of a log as they were understood, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from features.events import EVENT_SCHEMA
from pipeline.ingest.sql import FILE, ROW
from pipeline.report.terminal import align_columns

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

SHOWN_ROWS = 5
SHOWN_CHARS = 24
MASKED = ("customer_id", "session_id", "query")
"""Columns that may lead to a person, as what a terminal shows is copied into tickets and chats."""
LAST_QUANTILE, LONGEST_TAIL_DAYS = 0.999, 90
"""Events this many days after nearly all others are strays: clocks and typing errors name years to come."""


@dataclass(frozen=True)
class LogEnd:
    """Where a log ends.

    Attributes
    ----------
    last_at : datetime
        The last event that is no stray, UTC without a zone.
    stray_count : int
        Events after it.
    """

    last_at: datetime
    stray_count: int


def log_end(con: Backend) -> LogEnd:
    """The end of the events that were read."""
    latest = (
        f"select quantile_disc(occurred_at, {LAST_QUANTILE}) + interval {LONGEST_TAIL_DAYS} day as latest from events"
    )
    found = con.con.execute(
        "select max(occurred_at) filter (occurred_at <= latest), count(*) filter (occurred_at > latest) "
        f"from events, ({latest})"
    ).fetchone()
    return LogEnd(*found)


def first_rows(con: Backend) -> list[str]:
    """Lines of a table with the first rows that were accepted; columns without a value in them are left out.

    Ids of customers and visits, and search texts, are masked.
    """
    events: ir.Table = con.table("accepted_events", database=("temp", "main"))
    first = (
        events.order_by([events[FILE], events[ROW]]).limit(SHOWN_ROWS).select(*EVENT_SCHEMA).to_pyarrow().to_pylist()
    )
    shown = [name for name in EVENT_SCHEMA if any(row[name] is not None for row in first)]
    cells = [[_cell(name, row[name]) for name in shown] for row in first]
    return align_columns([shown, *cells], max_chars=SHOWN_CHARS)


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if name in MASKED:
        return masked(str(value))
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def masked(text: str) -> str:
    """The first characters of a text, enough to see which column it is, and too few to see whose it is.

    Examples
    --------
    >>> masked("person196@example.org"), masked("K409"), masked("7")
    ('pe…', 'K…', '…')
    """
    return f"{text[: min(2, len(text) // 3)]}…"
