"""Reads the user's tables and returns checked events, products and customers."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
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
from pipeline.ingest.customers.known_ids import CustomerIds, find_customer_ids
from pipeline.ingest.duplicates import distinct_events
from pipeline.ingest.events import check_events, keep_only_since
from pipeline.ingest.files.raw_tables import RawTable, SourceError, read_raw
from pipeline.ingest.findings.findings import Findings
from pipeline.ingest.findings.number_formats import grouped_price_warnings, refuse_mixed_signs
from pipeline.ingest.findings.rejects import enforce_thresholds, write_rejected
from pipeline.ingest.findings.summary import BY_PRODUCT, ReadingSummary, events_by_product, summarise
from pipeline.ingest.orders.amounts import refuse_row_values
from pipeline.ingest.orders.currencies import read_rates, refuse_changed_currency, refuse_mixed_currencies
from pipeline.ingest.orders.fill import fill_by_order, refuse_unfilled
from pipeline.ingest.orders.returns import refuse_exchanges, with_noted_refunds
from pipeline.stores.database import create_view, materialise
from pipeline.stores.engines.engine import Engine

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


def uploaded(engine: Engine, table: ir.Table | None, name: str) -> ir.Table | None:
    """A table of another engine as table ``name``, if there is one."""
    return None if table is None else engine.upload(table.to_pyarrow(), name)


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
    raw = read_raw(con, params.source.events, params, name="raw_events", key="source.events")
    described = describe_log(con, params, raw, findings, since=since)
    params, raw = described.params, described.raw
    findings.left_out = check_events(con, params, raw, described.rules, described.ids)
    refuse_row_values(con, params, raw)
    refuse_exchanges(con)
    findings.warnings += refuse_mixed_currencies(con, params, raw)
    if since is not None:
        refuse_changed_currency(con, params, raw, since)
    rows, duplicate_count = distinct_events(con, params)
    rows = with_noted_refunds(con, rows)
    # Earlier rows were read to recognise repeats.
    events = create_view(con, rows if since is None else rows.filter(rows.occurred_at >= since), "events")
    materialise(con, events_by_product(events, params.as_of), BY_PRODUCT)
    products, ids = described.products, described.ids
    summary = summarise(con, params, findings, described.rules, products, events, duplicate_count, ids)
    if rejected_path is not None:
        write_rejected(con, params, raw, described.rules, rejected_path)
    if summary.read_count or since is None:
        require_usable(con, described, summary, rejected_path)
    return Source(events, products, described.customers, summary)


@dataclass(frozen=True)
class DescribedLog:
    """The raw events, and what is known before each of them is checked.

    Attributes
    ----------
    params : Params
        With the order of day and month in which the log's times are written, if they are not in ISO 8601.
    products, customers : table or None
        See `Source`.
    """

    params: Params
    raw: RawTable
    rules: tuple[checks.Rule, ...]
    ids: CustomerIds
    products: ir.Table | None
    customers: ir.Table | None


def describe_log(
    con: Backend,
    params: Params,
    raw: RawTable,
    findings: Findings,
    *,
    since: datetime | None = None,
    count_ids: Callable[[RawTable, str], str] | None = None,
) -> DescribedLog:
    """Read all tables but the log, whose rows are the table raw_events, and answer what the whole log decides.

    Parameters
    ----------
    count_ids : callable, optional
        Raw table, column of ids -> SQL for their counts, if they are counted elsewhere; see `find_customer_ids`.
    """
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
    identities = read_identities(con, params, findings.warnings)
    if identities is not None:
        findings.add("identities", identities)
    products = catalogue.read_products(con, params, findings)
    customers = catalogue.read_customers(con, params, findings)
    read_rates(con, params, findings)
    counted = None if count_ids is None else count_ids(raw, found["customer_id"])
    raw, ids = find_customer_ids(con, params, raw, found["customer_id"], customers, counted)
    findings.tables["events"] = raw
    if since is None:
        findings.warnings += id_warnings(con, params, has_customers=customers is not None)
        findings.warnings += exclusion_warnings(con, params)
    catalogue.refuse_nested_ids(con, raw, found)
    if "category_path" in found:
        catalogue.refuse_decimals(con, raw, found["category_path"], key="source.events.columns.category_path")
    return DescribedLog(params, raw, event_rules(params, raw), ids, products, customers)


def require_usable(con: Backend, described: DescribedLog, summary: ReadingSummary, rejected_path: Path | None) -> None:
    """Refuse a log of which too little can be used, and show the warnings of the reading.

    Raises
    ------
    SourceError
        See `read_source`.
    """
    if summary.read_count == 0:
        raise SourceError("source.events: expected rows, found none.")
    if summary.first_event_at and not summary.last_event_at:
        raise SourceError(
            f"as_of: expected a moment after the first event ({summary.first_event_at}). "
            f"Got {described.params.as_of:%Y-%m-%d %H:%M:%S}, before any event. Set a later as_of."
        )
    summary.warnings.extend(refuse_unfilled(con, described.params, described.raw, summary))
    enforce_thresholds(con, described.params, described.raw, summary, described.rules, rejected_path)
    for warning in summary.warnings:
        log.warning("Warning: %s", warning)


def event_rules(params: Params, raw: RawTable) -> tuple[checks.Rule, ...]:
    """The row rules; a log without any product needs none."""
    source = params.source
    found = map_event_columns(raw, source.events)
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
