"""Shows the first rows of a log as they were understood."""

from __future__ import annotations

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
    return f"{value:g}" if isinstance(value, float) else str(value)


def masked(text: str) -> str:
    """The first characters of a text, enough to see which column it is, and too few to see whose it is.

    Examples
    --------
    >>> masked("person196@example.org"), masked("K409"), masked("7")
    ('pe…', 'K…', '…')
    """
    return f"{text[: min(2, len(text) // 3)]}…"
