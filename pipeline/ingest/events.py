"""The log: which rows of the raw events can be used, with our columns and types."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from features import checks
from features.events import EVENT_SCHEMA
from pipeline.config.params import Params
from pipeline.ingest import catalogue
from pipeline.ingest.columns.column_mapping import map_columns
from pipeline.ingest.columns.numbers import as_number, is_number, is_unreadable_number
from pipeline.ingest.columns.texts import as_category_path, as_event_type, as_text, has_long_text, with_aliases
from pipeline.ingest.columns.times import as_time
from pipeline.ingest.customers.forgotten_rows import IS_KEPT
from pipeline.ingest.files.raw_tables import RawTable
from pipeline.ingest.sql import FILE, ROW, literal, quoted
from pipeline.stores.database import create_view, materialise

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


REQUIRED = ("customer_id", "occurred_at", "event_type")
NUMBERS = ("quantity", "unit_price", "discount")
HASH = "kindred_hash"
"""Column of `checked_rows`: a hash of the whole event."""


def check_events(
    con: Backend, params: Params, raw: RawTable, rules: tuple[checks.Rule, ...], *, has_forgotten: bool
) -> None:
    """Table broken_rows (file, row, reasons) and view accepted_events, which has our columns.

    Rows are not copied: twenty million take three gigabytes, and writing them takes longer than reading them again from
    Parquet, where each later step reads only the columns it needs. Only logs whose times are texts are copied, so that
    the times are parsed once.
    """
    query = _parse_events(con, raw, params)
    parsed = con.sql(f"{query} where {IS_KEPT}" if has_forgotten else query)
    at = params.source.events.columns.get("occurred_at", "occurred_at")
    if raw.columns[at] == "VARCHAR":
        parsed = materialise(con, parsed, "parsed_events")
    reasons = checks.with_reasons(parsed, rules)
    checked = materialise(con, reasons.select(FILE, ROW, HASH, checks.REASONS), "checked_rows")
    broken = materialise(con, checks.rejected(checked).drop(HASH), "broken_rows")
    create_view(con, checks.accepted(parsed, broken, place=(FILE, ROW)), "accepted_events")


def _parse_events(con: Backend, raw: RawTable, params: Params) -> str:
    """SQL for the raw events with our columns and types, and the flags that the rules need."""
    table = params.source.events
    user_columns = map_columns(raw, table.columns, list(EVENT_SCHEMA), REQUIRED, key="source.events")
    at, kind_column = user_columns["occurred_at"], user_columns["event_type"]

    def text_of(column: str) -> str:
        kind = raw.columns[column]
        return as_text(column, kind, has_empty=kind == "VARCHAR" and _has_empty(con, raw, column))

    selected = {
        "occurred_at": _time_sql(con, params, raw, at, rows="raw_events"),
        "event_type": as_event_type(kind_column, raw.columns[kind_column], table),
        "source_event_type": text_of(kind_column),
    }
    for name in EVENT_SCHEMA:
        if name in selected:
            continue
        if name not in user_columns:
            selected[name] = "null::double" if name in NUMBERS else "null::varchar"
        elif name in NUMBERS:
            selected[name] = as_number(user_columns[name], raw.columns[user_columns[name]])
        else:
            selected[name] = text_of(user_columns[name])
    selected["quantity"] = f"coalesce({selected['quantity']}, 1.0)"
    if "category_path" in user_columns:
        catalogue.refuse_decimals(con, raw, user_columns["category_path"], key="source.events.columns.category_path")
        selected["category_path"] = as_category_path(selected["category_path"], params.source.category_separator)
    unreadable = [
        is_unreadable_number(user_columns[n], raw.columns[user_columns[n]]) for n in NUMBERS if n in user_columns
    ]
    texts = [
        quoted(user_columns[n]) for n in EVENT_SCHEMA if n in user_columns and raw.columns[user_columns[n]] == "VARCHAR"
    ]
    selected["has_long_text"] = has_long_text(texts, params.source.max_text_chars)
    selected["has_unreadable_number"] = " or ".join(unreadable) or "false"
    listed = ", ".join(f"{value} as {name}" for name, value in selected.items())
    rows = f"(select {listed}, {FILE}, {ROW} from raw_events)"
    if params.source.category_aliases:
        path = with_aliases("category_path", params.source.category_aliases, params.source.category_separator)
        rows = f"(select * replace ({path} as category_path) from {rows})"
    return f"select *, hash({', '.join(EVENT_SCHEMA)}) as {HASH} from {rows}"


def _has_empty(con: Backend, raw: RawTable, column: str) -> bool:
    """Whether a column has an empty text. Parquet's statistics answer this without a scan if it has none."""
    return bool(con.con.execute(f"select exists (from {raw.name} where {quoted(column)} = '')").fetchone()[0])


def keep_only_since(con: Backend, params: Params, raw: RawTable, since: datetime) -> None:
    """Keep only the raw events of a period, by a filter that the Parquet scan can use.

    These events are few and read several times, so they get their own table instead of a full scan each time.
    """
    at = map_columns(raw, params.source.events.columns, list(EVENT_SCHEMA), REQUIRED, key="source.events")[
        "occurred_at"
    ]
    con.con.execute("drop view if exists all_raw_events; drop table if exists all_raw_events")
    kind = "view" if raw.files and not raw.has_lines else "table"
    con.con.execute(f"alter {kind} raw_events rename to all_raw_events")
    until, day = params.as_of.replace(tzinfo=None), timedelta(days=1)
    conditions = [_between(_time_sql(con, params, raw, at, rows="all_raw_events"), since, until)]
    if raw.columns[at] == "TIMESTAMP WITH TIME ZONE":
        conditions = [_between(quoted(at), since, until, kind="timestamptz", suffix="+00")]
    elif raw.columns[at] == "DATE" or raw.columns[at].startswith("TIMESTAMP"):
        # Local time is less than a day from UTC. Unlike the exact condition, this one can use Parquet statistics.
        conditions.append(_between(quoted(at), since - day, until + day))
    con.con.execute(f"create table raw_events as select * from all_raw_events where {' and '.join(conditions)}")


def count_before(con: Backend, params: Params, moments: list[datetime]) -> list[int]:
    """Raw rows of the whole log before each moment (UTC without a zone), valid or not; scans only the times."""
    tables = {row[0] for row in con.con.execute("show tables").fetchall()}
    rows = "all_raw_events" if "all_raw_events" in tables else "raw_events"
    columns = {row[0]: row[1] for row in con.con.execute(f"describe {rows}").fetchall()}
    raw = RawTable(rows, columns, [], "")
    at = params.source.events.columns.get("occurred_at", "occurred_at")
    moment_sql = _time_sql(con, params, raw, at, rows=rows)
    counts = ", ".join(f"count(*) filter (moment < timestamp {literal(str(moment))})" for moment in moments)
    return list(con.con.execute(f"select {counts} from (select {moment_sql} as moment from {rows})").fetchone())


def _time_sql(con: Backend, params: Params, raw: RawTable, at: str, *, rows: str) -> str:
    """SQL for the moment of an event of ``rows``."""
    table, largest = params.source.events, None
    if is_number(raw.columns[at]):
        largest = con.con.execute(f"select max({quoted(at)})::double from {rows}").fetchone()[0]
    return as_time(at, raw.columns[at], time_format=table.time_format, timezone=table.timezone, largest=largest)


def _between(moment: str, since: datetime, until: datetime, *, kind: str = "timestamp", suffix: str = "") -> str:
    bounds = [f"{kind} {literal(f'{bound}{suffix}')}" for bound in (since, until)]
    return f"{moment} >= {bounds[0]} and {moment} < {bounds[1]}"
