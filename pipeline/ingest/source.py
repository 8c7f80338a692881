"""Reads the user's tables and returns checked events, products and customers."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from features import checks
from pipeline.config.params import Params
from pipeline.config.sections.source import ExcludeParams
from pipeline.ingest import catalogue
from pipeline.ingest.columns.column_mapping import map_event_columns, unused_column_warnings
from pipeline.ingest.columns.times import with_day_order
from pipeline.ingest.customers.exclusions import customers_of_domains, exclusion_warnings, listed_ids
from pipeline.ingest.customers.id_warnings import id_warnings
from pipeline.ingest.customers.identities import ALIASES, read_identities
from pipeline.ingest.customers.known_ids import find_customer_ids
from pipeline.ingest.duplicates import distinct_events
from pipeline.ingest.events import check_events, keep_only_since
from pipeline.ingest.files.raw_tables import RawTable, SourceError, read_raw
from pipeline.ingest.findings.findings import Findings
from pipeline.ingest.findings.number_formats import grouped_price_warnings, refuse_mixed_signs
from pipeline.ingest.findings.rejects import enforce_thresholds, write_rejected
from pipeline.ingest.findings.summary import ReadingSummary, summarise
from pipeline.ingest.orders.amounts import refuse_row_values
from pipeline.ingest.orders.currencies import read_rates, refuse_changed_currency, refuse_mixed_currencies
from pipeline.ingest.orders.fill import fill_by_order, refuse_unfilled
from pipeline.ingest.orders.returns import refuse_exchanges, with_noted_refunds
from pipeline.stores.database import create_view

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

log = logging.getLogger("kindred")


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
    summaries : table or None
        `pipeline.ingest.summaries.read_summaries`, in place of events.
    """

    events: ir.Table
    products: ir.Table | None
    customers: ir.Table | None
    summary: ReadingSummary
    summaries: ir.Table | None = None

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
        A table cannot be read, lacks a column, or breaks a rule more often than `checks` allows; or the source has
        summaries in place of events.
    """
    if params.source.summaries is not None:
        raise SourceError(
            "source.summaries: expected a log, as this command needs single events, and summaries have none. With "
            "summaries there are check, train, and score without --update. For all else describe the log in "
            "source.events, and set source.summaries: null."
        )
    findings = Findings()
    params, raw, found = _read_log(con, params, findings, since=since)
    identities = read_identities(con, params, findings.warnings)
    if identities is not None:
        findings.add("identities", identities)
    products = catalogue.read_products(con, params, findings)
    customers = catalogue.read_customers(con, params, findings)
    read_rates(con, params, findings)
    raw, ids = find_customer_ids(con, params, raw, found["customer_id"], customers)
    findings.tables["events"] = raw
    if since is None:
        findings.warnings += id_warnings(con, params, has_customers=customers is not None)
        findings.warnings += exclusion_warnings(con, params)
    rules = _rules(params, found)
    findings.left_out = check_events(con, params, raw, rules, ids)
    refuse_row_values(con, params, raw)
    refuse_exchanges(con)
    findings.warnings += refuse_mixed_currencies(con, params, raw)
    if since is not None:
        refuse_changed_currency(con, params, raw, since)
    rows, duplicate_count = distinct_events(con, params)
    rows = with_noted_refunds(con, rows)
    # Earlier rows were read to recognise repeats.
    events = create_view(con, rows if since is None else rows.filter(rows.occurred_at >= since), "events")
    summary = summarise(con, params, findings, rules, products, duplicate_count, ids)
    if rejected_path is not None:
        write_rejected(con, params, raw, rules, rejected_path)
    if summary.read_count == 0:
        if since is None:
            raise SourceError("source.events: expected rows, found none.")
        return Source(events, products, customers, summary)
    _refuse_as_of_before_first_event(params, summary)
    summary.warnings.extend(refuse_unfilled(con, params, raw, summary))
    enforce_thresholds(con, params, raw, summary, rules, rejected_path)
    for warning in summary.warnings:
        log.warning("Warning: %s", warning)
    return Source(events, products, customers, summary)


def _read_log(
    con: Backend, params: Params, findings: Findings, *, since: datetime | None
) -> tuple[Params, RawTable, dict[str, str]]:
    """The table raw_events, its columns, and ``params`` with the order of day and month in its times."""
    raw = read_raw(con, params.source.events, params, name="raw_events", key="source.events")
    found = map_event_columns(raw, params.source.events)
    params = _with_day_order(con, params, raw, found["occurred_at"])
    findings.warnings += fill_by_order(con, params, raw)
    if since is not None:
        keep_only_since(con, params, raw, since)
    findings.tables["events"] = raw
    findings.warnings += raw.warnings
    findings.warnings += unused_column_warnings(raw, found, key="source.events")
    refuse_mixed_signs(con, params, raw)
    findings.warnings += grouped_price_warnings(con, params, raw)
    return params, raw, found


def _rules(params: Params, found: dict[str, str]) -> tuple[checks.Rule, ...]:
    """The row rules; a log without any product needs none."""
    source = params.source
    has_products = source.products is not None or not found.keys().isdisjoint(("product_id", "category_path"))
    return checks.rules(max_text_chars=source.max_text_chars, has_products=has_products)


def _with_day_order(con: Backend, params: Params, raw: RawTable, column: str) -> Params:
    """``params`` with the order of day and month in which the log's times are written, if they are not in ISO 8601."""
    events = with_day_order(con, raw.name, column, raw.columns[column], params.source.events, key="source.events")
    return params.model_copy(update={"source": params.source.model_copy(update={"events": events})})


def customers_digest(con: Backend, params: Params) -> str:
    """SHA-256 of which ids are joined and left out, which may change from day to day; empty if the params name none."""
    exclude = params.source.exclude
    if params.source.identities is None and exclude == ExcludeParams():
        return ""
    read_identities(con, params, [])
    links = con.con.execute(
        f"select count(*), sum(hash(kindred_alias, kindred_person)::hugeint) from {ALIASES}"
    ).fetchone()
    customers = catalogue.read_customers(con, params, Findings()) if exclude.email_domains else None
    content = [links, listed_ids(con, params), customers_of_domains(con, params, customers), exclude.where]
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()


def _refuse_as_of_before_first_event(params: Params, summary: ReadingSummary) -> None:
    if summary.first_event_at and not summary.last_event_at:
        raise SourceError(
            f"as_of: expected a moment after the first event ({summary.first_event_at}). "
            f"Got {params.as_of:%Y-%m-%d %H:%M:%S}, before any event. Set a later as_of."
        )
