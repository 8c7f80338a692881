"""Reads a table of ready summaries, one row per customer, in place of a log."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from features.events import EVENT_SCHEMA, ObservationWindow
from pipeline.config.params import Params
from pipeline.ingest.columns.column_mapping import map_columns
from pipeline.ingest.columns.numbers import as_number
from pipeline.ingest.columns.texts import as_text
from pipeline.ingest.customers.forgotten_rows import drop_forgotten
from pipeline.ingest.files.raw_tables import RawTable, SourceError, read_raw
from pipeline.ingest.findings.findings import Findings
from pipeline.ingest.findings.summary import ReadingSummary
from pipeline.ingest.source import Source, log, read_source
from pipeline.stores.forgotten import read_list

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


def read_shop(con: Backend, params: Params, *, rejected_path: Path | None) -> Source:
    """The source: its summaries if it has them, otherwise the log and its other tables (`read_source`)."""
    if params.source.summaries is None:
        return read_source(con, params, rejected_path=rejected_path)
    return read_summaries(con, params)


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
    raw = findings.add("summaries", read_raw(con, params.source.summaries, params, name="raw_summaries", key=KEY))
    user_columns = map_columns(raw, params.source.summaries.columns, list(COLUMNS), COLUMNS, key=KEY)
    customer = as_text(user_columns["customer_id"], raw.columns[user_columns["customer_id"]])
    numbers = (f"{as_number(user_columns[name], raw.columns[user_columns[name]])} as {name}" for name in NUMBERS)
    checked = ", ".join(f"coalesce({rule}, false) as {name}" for name, rule in RULES.items())
    con.con.execute(
        f"create or replace table checked_summaries as select *, {checked} from "
        f"(select {customer} as customer_id, {', '.join(numbers)} from {raw.name})"
    )
    con.con.execute(
        f"create or replace table summaries as select {', '.join(COLUMNS)} from checked_summaries "
        f"where not ({' or '.join(RULES)})"
    )
    forgotten = read_list(params)
    if forgotten is not None:
        drop_forgotten(con, forgotten, "summaries")
    summary = _counts(con, params, findings, raw)
    for warning in summary.warnings:
        log.warning("Warning: %s", warning)
    events = con.create_table("events", schema=EVENT_SCHEMA, temp=True, overwrite=True)
    summaries = con.table("summaries")
    return Source(events, None, summaries.select("customer_id"), summary, summaries)


def _counts(con: Backend, params: Params, findings: Findings, raw: RawTable) -> ReadingSummary:
    """What was read, as for a log; the dates are those of the last orders."""
    sums = ", ".join(f"count(*) filter ({name})" for name in RULES)
    read, left_out, *broken = con.con.execute(
        f"select count(*), count(*) filter ({' or '.join(RULES)}), {sums} from checked_summaries"
    ).fetchone()
    by_rule = dict(zip(RULES, broken, strict=True))
    kept, distinct, longest, shortest = con.con.execute(
        "select count(*), count(distinct customer_id), max(recency_days), min(recency_days) from summaries"
    ).fetchone()
    _require_usable(params, read, by_rule, repeated=kept - distinct, has_orders=longest is not None)
    end = ObservationWindow(params.as_of, params.history_days).end
    unreadable = len(raw.unreadable)
    return ReadingSummary(
        files={"summaries": len(raw.files)},
        read_count=read + unreadable,
        accepted_count=kept,
        rejected_count=left_out + unreadable,
        rejected_by_rule={"unreadable_row": unreadable, **by_rule},
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
        digest=raw.digest,
        forgotten_count=read - left_out - kept,
        warnings=[*findings.warnings, *_warnings(params, read, by_rule)],
    )


def _require_usable(params: Params, read: int, by_rule: dict[str, int], *, repeated: int, has_orders: bool) -> None:
    """Raise `SourceError` unless the table has customers with orders, each once, and few rows that cannot be used."""
    broken = {name: count for name, count in by_rule.items() if count > getattr(params.checks, name).error * read}
    if broken:
        counts = "; ".join(f"{name}: {count:,} of {read:,} rows" for name, count in broken.items())
        raise SourceError(
            f"{KEY}: expected a customer_id, and numbers of 0 or more for {', '.join(NUMBERS)}. {counts}. Fix the "
            f"table or {KEY}.columns in {params.file_name}, or raise the threshold under `checks`."
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
