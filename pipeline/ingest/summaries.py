"""Reads a table of ready summaries, one row per customer, in place of a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from features.events import EVENT_SCHEMA, ObservationWindow
from pipeline.config.params import Params
from pipeline.ingest.columns.column_mapping import map_columns
from pipeline.ingest.columns.numbers import as_number
from pipeline.ingest.customers.identities import read_identities
from pipeline.ingest.customers.known_ids import CustomerIds, find_customer_ids
from pipeline.ingest.files.raw_tables import RawTable, SourceError, read_raw
from pipeline.ingest.findings.findings import Findings
from pipeline.ingest.findings.summary import ReadingSummary, count_unsplit, tables_digest
from pipeline.ingest.source import Source, log, read_source, uploaded
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.engines.engine import Engine

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

KEY = "source.summaries"
NUMBERS = ("recency_days", "order_count", "spend")
COLUMNS = ("customer_id", *NUMBERS)
RULES = {
    "missing_customer_id": "coalesce(trim(customer_id), '') = ''",
    # The days since the last order are not known of a customer who has not ordered.
    "unreadable_number": "order_count is null or spend is null or (recency_days is null and order_count > 0)",
    "negative_quantity": "order_count < 0 or recency_days < 0",
    "negative_price": "spend < 0",
}
"""Check of params.yaml -> SQL for whether a row breaks it."""
HAS_ORDER = "order_count > 0"
EARLIEST = datetime(1990, 1, 1)
"""A last order before it is nearly always a number that stands for none, as for the times of a log."""


def read_shop(engine: Engine, params: Params, *, rejected_path: Path | None) -> Source:
    """The source: its summaries if it has them, otherwise the log and its other tables (`read_source`)."""
    if not isinstance(engine, DuckDB):
        return _read_shop_on_spark(engine, params, rejected_path=rejected_path)
    if params.source.summaries is None:
        return read_source(engine.con, params, rejected_path=rejected_path)
    return read_summaries(engine.con, params)


def _read_shop_on_spark(engine: Engine, params: Params, *, rejected_path: Path | None) -> Source:
    """Tasks read the log; summaries have one row per customer, which this machine reads."""
    from pipeline.ingest.cluster.source import read_source_on_spark
    from pipeline.ingest.cluster.spark_tables import with_tables_as_files
    from pipeline.stores.engines.spark import Spark

    assert isinstance(engine, Spark)
    params = with_tables_as_files(engine, params)
    if params.source.summaries is None:
        return read_source_on_spark(engine, params, rejected_path=rejected_path)
    source = read_summaries(engine.con, params)
    return replace(
        source,
        events=engine.upload(source.events.to_pyarrow(), "events"),
        customers=uploaded(engine, source.customers, "customers"),
        summaries=uploaded(engine, source.summaries, "summaries"),
    )


def read_summaries(con: Backend, params: Params) -> Source:
    """A source without events, with a table of summaries (customer_id, recency_days, order_count, spend).

    Raises
    ------
    SourceError
        The table cannot be read, lacks a column, has a customer twice, or breaks a rule more often than `checks`
        allows.
    """
    assert params.source.summaries is not None
    findings = Findings()
    raw = read_raw(con, params.source.summaries, params, name="raw_summaries", key=KEY)
    findings.warnings += raw.warnings
    user_columns = map_columns(raw, params.source.summaries.columns, list(COLUMNS), COLUMNS, key=KEY)
    identities = read_identities(con, params, findings.warnings)
    raw, ids = find_customer_ids(con, params, raw, user_columns["customer_id"], None)
    findings.tables["summaries"] = raw
    if identities is not None:
        findings.add("identities", identities)
    numbers = (f"{as_number(user_columns[name], raw.columns[user_columns[name]])} as {name}" for name in NUMBERS)
    largest_days = (_window_end(params) - EARLIEST).days
    is_too_early = f"{HAS_ORDER} and recency_days > {largest_days}"
    rules = {"not_a_customer": ids.is_not_a_customer, **RULES, "time_out_of_range": is_too_early}
    checked = ", ".join(f"coalesce({rule}, false) as {name}" for name, rule in rules.items())
    con.con.execute(
        f"create or replace table checked_summaries as select *, {checked} from "
        f"(select {ids.customer_id} as customer_id, {', '.join(numbers)} from {raw.name}) where {ids.is_kept}"
    )
    con.con.execute(
        f"create or replace table summaries as select {', '.join(COLUMNS)} from checked_summaries "
        f"where not ({' or '.join(rules)})"
    )
    summary = _counts(con, params, findings, raw, [*rules], ids)
    for warning in summary.warnings:
        log.warning("Warning: %s", warning)
    events = con.create_table("events", schema=EVENT_SCHEMA, temp=True, overwrite=True)
    summaries = con.table("summaries")
    return Source(events, None, summaries.select("customer_id"), summary, summaries)


def _counts(
    con: Backend, params: Params, findings: Findings, raw: RawTable, rules: Sequence[str], ids: CustomerIds
) -> ReadingSummary:
    """What was read, as for a log; the dates are those of the last orders."""
    sums = ", ".join(f"count(*) filter ({name})" for name in rules)
    read, rejected, *broken = con.con.execute(
        f"select (select count(*) from {raw.name}), count(*) filter ({' or '.join(rules)}), {sums} "
        "from checked_summaries"
    ).fetchone()
    by_rule = count_unsplit(raw) | dict(zip(rules, broken, strict=True))
    read += len(raw.unreadable) + ids.left_out.forgotten_line_count
    kept, distinct, longest, shortest = con.con.execute(
        f"select count(*), count(distinct customer_id), max(recency_days) filter ({HAS_ORDER}), "
        f"min(recency_days) filter ({HAS_ORDER}) from summaries"
    ).fetchone()
    _require_usable(params, read, by_rule, repeated=kept - distinct, has_orders=longest is not None)
    end, excluded = _window_end(params), ids.left_out.excluded_row_count
    return ReadingSummary(
        files={key: len(table.files) for key, table in findings.tables.items()},
        read_count=read,
        accepted_count=kept,
        rejected_count=rejected + len(raw.unreadable),
        rejected_by_rule=by_rule,
        noted_by_rule={},
        duplicate_count=0,
        duplicates_dropped=False,
        physical_line_count=raw.physical_line_count,
        event_types={},
        unlisted_count=0,
        other_event_types={},
        first_event_at=str(end - timedelta(days=longest)),
        last_event_at=str(end - timedelta(days=shortest)),
        customer_count=kept,
        product_count=0,
        digest=tables_digest(findings.tables),
        forgotten_count=ids.left_out.forgotten_count,
        joined_count=ids.joined_count,
        left_out={"excluded": excluded} if excluded else {},
        warnings=[*findings.warnings, *_warnings(params, read, by_rule)],
    )


def _window_end(params: Params) -> datetime:
    """The moment from which days since an order are counted, UTC without a zone."""
    return ObservationWindow(params.as_of, params.history_days).end


def _require_usable(params: Params, read: int, by_rule: dict[str, int], *, repeated: int, has_orders: bool) -> None:
    """Raise `SourceError` unless the table has customers with orders, each once, and few rows that cannot be used."""
    broken = {name: count for name, count in by_rule.items() if count > getattr(params.checks, name).error * read}
    if broken:
        counts = "; ".join(f"{name}: {count:,} of {read:,} rows" for name, count in broken.items())
        raise SourceError(
            f"{KEY}: expected rows with a customer_id, numbers of 0 or more for {', '.join(NUMBERS)}, and a last order "
            f"since {EARLIEST.year}. {counts}. Fix the table or {KEY}.columns in {params.file_name}, or raise the "
            "threshold under `checks`."
        )
    if repeated:
        raise SourceError(
            f"{KEY}: expected one row per customer; {repeated:,} rows repeat one. Sum them up in a query."
        )
    if not has_orders:
        raise SourceError(f"{KEY}: expected customers with orders, found none. Check {KEY}.columns.")


def _warnings(params: Params, read: int, by_rule: dict[str, int]) -> list[str]:
    return [
        f"{name}: {count:,} of {read:,} rows of the summaries ({count / read:.2%}), left out"
        for name, count in by_rule.items()
        if count > getattr(params.checks, name).warn * read
    ]
