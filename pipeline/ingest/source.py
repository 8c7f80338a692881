"""Reads the user's tables and returns checked events, products and customers."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from features import checks
from features.events import EVENT_SCHEMA
from pipeline.config.params import Params
from pipeline.ingest import catalogue
from pipeline.ingest.column_mapping import map_columns, unused_column_warnings
from pipeline.ingest.column_sql import (
    FILE,
    ROW,
    as_category_path,
    as_event_type,
    as_number,
    as_text,
    as_time,
    has_long_text,
    is_number,
    is_unreadable_number,
    literal,
    quoted,
)
from pipeline.ingest.forgotten_rows import IS_KEPT, LeftOut, drop_forgotten, find_forgotten
from pipeline.ingest.raw_tables import RawTable, SourceError, read_raw
from pipeline.ingest.rejects import enforce_thresholds, write_rejected
from pipeline.ingest.summary import ReadingSummary, summarise
from pipeline.stores.database import TEMPORARY, create_view, materialise
from pipeline.stores.forgotten import read_list

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

log = logging.getLogger("kindred")

REQUIRED = ("customer_id", "occurred_at", "event_type")
NUMBERS = ("quantity", "unit_price", "discount")
HASH = "kindred_hash"
MAX_SORTED_HASHES = 2**25
"""Hashes in memory at once, of eight bytes each."""


@dataclass(frozen=True)
class Source:
    """Checked tables in the database.

    Attributes
    ----------
    events : table
        Accepted rows with the columns of `EVENT_SCHEMA`, also those from as_of on.
    products : table or None
        product_id, category_path, brand (may be null); one row per product.
    customers : table or None
        customer_id, registered_at (UTC, may be null) and attributes; one row per customer.
    """

    events: ir.Table
    products: ir.Table | None
    customers: ir.Table | None
    summary: ReadingSummary

    def of_customer(self, customer_id: str) -> Source:
        """The same shop with the events of one customer only."""
        customers = self.customers
        if customers is not None:
            customers = customers.filter(customers.customer_id == customer_id)
        return replace(self, events=self.events.filter(self.events.customer_id == customer_id), customers=customers)


def read_source(con: Backend, params: Params, *, rejected_path: Path | None, since: datetime | None = None) -> Source:
    """Read and check the tables of ``params.source``, without the customers that were forgotten.

    Parameters
    ----------
    rejected_path : Path or None
        Parquet file for rejected rows, with file, line or row, reasons and raw values; only its owner can read it.
    since : datetime, optional
        UTC without a zone. Events before it or from ``params.as_of`` on, and rows whose time cannot be read, are
        neither checked nor counted.

    Raises
    ------
    SourceError
        A table cannot be read, lacks a column, or breaks a rule more often than `checks` allows.
    """
    source = params.source
    findings = catalogue.Findings()
    raw = read_raw(con, source.events, params, name="raw_events", key="source.events")
    if since is not None:
        _keep_only_since(con, params, raw, since)
    findings.tables["events"] = raw
    found = map_columns(raw, source.events.columns, list(EVENT_SCHEMA), REQUIRED, key="source.events")
    findings.warnings += unused_column_warnings(raw, found, key="source.events")
    forgotten, left_out = read_list(params), LeftOut()
    if forgotten is not None:
        raw, left_out = find_forgotten(con, forgotten, raw, found["customer_id"])
        findings.tables["events"] = raw
    rules = checks.rules(max_text_chars=source.max_text_chars)
    _check_events(con, params, raw, rules, has_forgotten=left_out.row_count > 0)
    products = catalogue.read_products(con, params, findings)
    customers = catalogue.read_customers(con, params, findings)
    if forgotten is not None and customers is not None:
        drop_forgotten(con, forgotten, "customers")
    events, duplicate_count = _distinct_events(con, drop_duplicates=source.drop_duplicates)
    summary = summarise(con, params, findings, rules, products, duplicate_count, left_out)
    if rejected_path is not None:
        write_rejected(con, params, raw, rules, rejected_path)
    if summary.read_count == 0:
        if since is None:
            raise SourceError("source.events: expected rows, found none.")
        return Source(events, products, customers, summary)
    _refuse_as_of_before_first_event(params, summary)
    enforce_thresholds(con, params, raw, summary, rules, rejected_path)
    for warning in summary.warnings:
        log.warning("Warning: %s", warning)
    return Source(events, products, customers, summary)


def _keep_only_since(con: Backend, params: Params, raw: RawTable, since: datetime) -> None:
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


def _between(moment: str, since: datetime, until: datetime, *, kind: str = "timestamp", suffix: str = "") -> str:
    bounds = [f"{kind} {literal(f'{bound}{suffix}')}" for bound in (since, until)]
    return f"{moment} >= {bounds[0]} and {moment} < {bounds[1]}"


def _time_sql(con: Backend, params: Params, raw: RawTable, at: str, *, rows: str) -> str:
    """SQL for the moment of an event of ``rows``."""
    table, largest = params.source.events, None
    if is_number(raw.columns[at]):
        largest = con.con.execute(f"select max({quoted(at)})::double from {rows}").fetchone()[0]
    return as_time(at, raw.columns[at], time_format=table.time_format, timezone=table.timezone, largest=largest)


def _check_events(
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
    columns = ", ".join(EVENT_SCHEMA)
    return f"select *, hash({columns}) as {HASH} from (select {listed}, {FILE}, {ROW} from raw_events)"


def _has_empty(con: Backend, raw: RawTable, column: str) -> bool:
    """Whether a column has an empty text. Parquet's statistics answer this without a scan if it has none."""
    return bool(con.con.execute(f"select exists (from {raw.name} where {quoted(column)} = '')").fetchone()[0])


def _distinct_events(con: Backend, *, drop_duplicates: bool) -> tuple[ir.Table, int]:
    """View events of the accepted rows, and the number of rows that repeat another one (by a 64-bit hash)."""
    events = create_view(con, con.table("accepted_events", database=TEMPORARY).select(*EVENT_SCHEMA), "events")
    repeated = _repeated_count(con)
    if drop_duplicates and repeated:
        kept = materialise(con, events.distinct(), "distinct_events")
        repeated = int(events.count().to_pyarrow().as_py()) - int(kept.count().to_pyarrow().as_py())
        events = create_view(con, kept, "events")
    return events, repeated


def _repeated_count(con: Backend) -> int:
    """Accepted rows that repeat another one. Sorting their hashes takes half the time of a distinct count."""
    rows = con.con.execute(f"select count(*) from checked_rows where {checks.REASONS} = 0").fetchone()[0]
    parts, repeated = 1 + rows // MAX_SORTED_HASHES, 0
    for part in range(parts):
        in_part = f"{checks.REASONS} = 0 and {HASH} % {parts} = {part}"
        hashes = con.con.sql(f"select {HASH} from checked_rows where {in_part}").fetchnumpy()[HASH]
        hashes.sort()
        repeated += int((hashes[1:] == hashes[:-1]).sum())
    con.con.execute("drop table temp.main.checked_rows")
    return repeated


def _refuse_as_of_before_first_event(params: Params, summary: ReadingSummary) -> None:
    if summary.first_event_at and not summary.last_event_at:
        raise SourceError(
            f"as_of: expected a moment after the first event ({summary.first_event_at}). "
            f"Got {params.as_of:%Y-%m-%d %H:%M:%S}, before any event. Set a later as_of."
        )
