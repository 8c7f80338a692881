"""Reads a table of ready summaries, one row per customer, in place of a log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from features.events import EVENT_SCHEMA, ObservationWindow
from pipeline.config.params import Params
from pipeline.ingest.columns.column_mapping import map_columns
from pipeline.ingest.columns.numbers import as_number
from pipeline.ingest.customers.identities import read_identities
from pipeline.ingest.customers.known_ids import LeftOut, find_customer_ids
from pipeline.ingest.files.raw_tables import RawTable, SourceError, read_raw
from pipeline.ingest.findings.findings import Findings
from pipeline.ingest.findings.summary import ReadingSummary
from pipeline.ingest.source import Source, log, read_source

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
    read_identities(con, params, findings.warnings)
    raw, ids = find_customer_ids(con, params, raw, user_columns["customer_id"], None)
    numbers = (f"{as_number(user_columns[name], raw.columns[user_columns[name]])} as {name}" for name in NUMBERS)
    rules = {"not_a_customer": ids.is_not_a_customer, **RULES}
    checked = ", ".join(f"coalesce({rule}, false) as {name}" for name, rule in rules.items())
    con.con.execute(
        f"create or replace table checked_summaries as select *, {checked} from "
        f"(select {ids.customer_id} as customer_id, {', '.join(numbers)} from {raw.name}) where {ids.is_kept}"
    )
    con.con.execute(
        f"create or replace table summaries as select {', '.join(COLUMNS)} from checked_summaries "
        f"where not ({' or '.join(rules)})"
    )
    summary = _counts(con, params, findings, raw, [*rules], ids.left_out)
    for warning in summary.warnings:
        log.warning("Warning: %s", warning)
    events = con.create_table("events", schema=EVENT_SCHEMA, temp=True, overwrite=True)
    summaries = con.table("summaries")
    return Source(events, None, summaries.select("customer_id"), summary, summaries)


def _counts(
    con: Backend, params: Params, findings: Findings, raw: RawTable, rules: Sequence[str], not_read: LeftOut
) -> ReadingSummary:
    """What was read, as for a log; the dates are those of the last orders."""
    sums = ", ".join(f"count(*) filter ({name})" for name in rules)
    read, rejected, *broken = con.con.execute(
        f"select (select count(*) from {raw.name}), count(*) filter ({' or '.join(rules)}), {sums} "
        "from checked_summaries"
    ).fetchone()
    by_rule = dict(zip(rules, broken, strict=True))
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
        rejected_count=rejected + unreadable,
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
        forgotten_count=not_read.forgotten_count,
        left_out={"excluded": not_read.excluded_row_count} if not_read.excluded_row_count else {},
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
