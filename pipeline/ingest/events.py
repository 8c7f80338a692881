"""The log: which rows of the raw events can be used, with our columns and types."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from features import checks
from features.events import EVENT_SCHEMA
from pipeline.config.params import Params
from pipeline.ingest.columns.column_mapping import EVENT_ID, map_event_columns
from pipeline.ingest.columns.numbers import as_number, declared_format, is_unreadable_number
from pipeline.ingest.columns.texts import as_category_path, as_event_type, has_long_text, text_of, with_aliases
from pipeline.ingest.columns.times import time_sql, whole_time_sql
from pipeline.ingest.customers.exclusions import without_excluded_rows
from pipeline.ingest.customers.known_ids import CustomerIds
from pipeline.ingest.duplicates import HASH, duplicate_key, repeat_seconds, rows_before
from pipeline.ingest.files.raw_tables import RawTable
from pipeline.ingest.orders.order_rows import ORDER_NUMBERS, needs_copy, order_inputs, with_order_facts
from pipeline.ingest.orders.statuses import count_left_out
from pipeline.ingest.sql import FILE, ROW
from pipeline.stores.database import create_view, materialise
from pipeline.stores.databases.sql import literal, quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


NUMBERS = ("quantity", "unit_price", "discount")


def check_events(
    con: Backend, params: Params, raw: RawTable, rules: tuple[checks.Rule, ...], ids: CustomerIds
) -> dict[str, int]:
    """Table broken_rows (file, row, reasons) and view accepted_events; returns the rows left out, by reason.

    Rows are not copied: twenty million take three gigabytes, and writing them takes longer than reading them again from
    Parquet, where each later step reads only the columns it needs. Only logs whose times are texts, or whose rows
    depend on other rows of their order, are copied.
    """
    table, left_out = params.source.events, {}
    query = _parse_events(con, raw, params, ids)
    if table.has_statuses:
        left_out = count_left_out(con, query, table.statuses)
        query = f"select * from ({query}) where status_group is null"
    query = with_order_facts(con, params, raw, query, rules)
    found = map_event_columns(raw, table)
    parsed = con.sql(f"select *, {duplicate_key(raw, found, params)} as {HASH} from ({query})")
    if raw.columns[found["occurred_at"]] == "VARCHAR" or needs_copy(found, params):
        parsed = materialise(con, parsed, "parsed_events")
    parsed, excluded_count = without_excluded_rows(con, params, parsed)
    reasons = checks.with_reasons(parsed, rules)
    checked = materialise(con, reasons.select(FILE, ROW, HASH, checks.REASONS), "checked_rows")
    broken = materialise(con, checks.rejected(checked).drop(HASH), "broken_rows")
    create_view(con, checks.accepted(parsed, broken, place=(FILE, ROW)), "accepted_events")
    excluded_count += ids.left_out.excluded_row_count
    return left_out | ({"excluded": excluded_count} if excluded_count else {})


def _parse_events(con: Backend, raw: RawTable, params: Params, ids: CustomerIds) -> str:
    """SQL for the raw events with our columns and types, and the flags that the rules need."""
    table, form = params.source.events, declared_format(params.source.events)
    user_columns = map_event_columns(raw, table)
    at, kind_column = user_columns["occurred_at"], user_columns["event_type"]

    selected = {
        "occurred_at": time_sql(con, raw.name, at, raw.columns[at], params.source.events),
        "event_type": as_event_type(kind_column, raw.columns[kind_column], table),
        "source_event_type": text_of(con, raw.name, kind_column, raw.columns[kind_column]),
        "customer_id": ids.customer_id,
    }
    for name in EVENT_SCHEMA:
        if name in selected:
            continue
        if name not in user_columns:
            selected[name] = "null::double" if name in NUMBERS else "null::varchar"
        elif name in NUMBERS:
            selected[name] = as_number(user_columns[name], raw.columns[user_columns[name]], form)
        else:
            selected[name] = text_of(con, raw.name, user_columns[name], raw.columns[user_columns[name]])
    if params.source.drop_duplicates == EVENT_ID and EVENT_ID in user_columns:
        selected[EVENT_ID] = text_of(con, raw.name, user_columns[EVENT_ID], raw.columns[user_columns[EVENT_ID]])
    selected["quantity"] = f"coalesce({selected['quantity']}, 1.0)"
    if "category_path" in user_columns:
        selected["category_path"] = as_category_path(selected["category_path"], params.source.category_separator)
    selected |= order_inputs(raw, user_columns, table)
    numbers = [user_columns[name] for name in (*NUMBERS, *ORDER_NUMBERS) if name in user_columns]
    unreadable = [is_unreadable_number(column, raw.columns[column], form) for column in numbers]
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
    return f"select *, {ids.is_not_a_customer} as is_not_a_customer from {rows} where {ids.is_kept}"


def keep_only_since(con: Backend, params: Params, raw: RawTable, since: datetime) -> None:
    """Keep only the raw events of a period, by a filter that the Parquet scan can use.

    These events are few and read several times, so they get their own table instead of a full scan each time.
    """
    user_columns = map_event_columns(raw, params.source.events)
    at = user_columns["occurred_at"]
    since -= timedelta(seconds=repeat_seconds(params))
    con.con.execute("drop view if exists all_raw_events; drop table if exists all_raw_events")
    kind = "view" if raw.is_view else "table"
    con.con.execute(f"alter {kind} raw_events rename to all_raw_events")
    until, day = params.as_of.replace(tzinfo=None), timedelta(days=1)
    conditions = [_between(time_sql(con, "all_raw_events", at, raw.columns[at], params.source.events), since, until)]
    if raw.columns[at] == "TIMESTAMP WITH TIME ZONE":
        conditions = [_between(quoted(at), since, until, kind="timestamptz", suffix="+00")]
    elif raw.columns[at] == "DATE" or raw.columns[at].startswith("TIMESTAMP"):
        # Local time is less than a day from UTC. Unlike the exact condition, this one can use Parquet statistics.
        conditions.append(_between(quoted(at), since - day, until + day))
    period = " and ".join(conditions)
    before = rows_before("all_raw_events", user_columns, params, period)
    con.con.execute(f"create table raw_events as select * from all_raw_events where {period}{before}")


def count_before(con: Backend, params: Params, moments: list[datetime]) -> list[int]:
    """Raw rows of the whole log before each moment (UTC without a zone), valid or not; scans only the times."""
    tables = {row[0] for row in con.con.execute("show tables").fetchall()}
    rows = "all_raw_events" if "all_raw_events" in tables else "raw_events"
    columns = {row[0]: row[1] for row in con.con.execute(f"describe {rows}").fetchall()}
    at = params.source.events.columns.get("occurred_at", "occurred_at")
    moment_sql = whole_time_sql(con, rows, at, columns[at], params.source.events, key="source.events")
    counts = ", ".join(f"count(*) filter (moment < timestamp {literal(str(moment))})" for moment in moments)
    return list(con.con.execute(f"select {counts} from (select {moment_sql} as moment from {rows})").fetchone())


def _between(moment: str, since: datetime, until: datetime, *, kind: str = "timestamp", suffix: str = "") -> str:
    bounds = [f"{kind} {literal(f'{bound}{suffix}')}" for bound in (since, until)]
    return f"{moment} >= {bounds[0]} and {moment} < {bounds[1]}"
