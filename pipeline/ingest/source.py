"""Reads the user's tables and returns checked events, products and customers."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from features import checks
from features.events import EVENT_SCHEMA
from pipeline.config.params import Params
from pipeline.ingest import catalogue
from pipeline.ingest.columns.column_mapping import map_columns, unused_column_warnings
from pipeline.ingest.customers.forgotten_rows import LeftOut, drop_forgotten, find_forgotten
from pipeline.ingest.duplicates import distinct_events
from pipeline.ingest.events import REQUIRED, check_events, keep_only_since
from pipeline.ingest.files.raw_tables import SourceError, read_raw
from pipeline.ingest.findings.findings import Findings
from pipeline.ingest.findings.rejects import enforce_thresholds, write_rejected
from pipeline.ingest.findings.summary import ReadingSummary, summarise
from pipeline.stores.forgotten import read_list

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
    source = params.source
    if source.summaries is not None:
        raise SourceError(
            "source.summaries: expected a log, as this command needs single events, and summaries have none. With "
            "summaries there are check, train, and score without --update. For all else describe the log in "
            "source.events, and set source.summaries: null."
        )
    findings = Findings()
    raw = read_raw(con, source.events, params, name="raw_events", key="source.events")
    if since is not None:
        keep_only_since(con, params, raw, since)
    findings.tables["events"] = raw
    found = map_columns(raw, source.events.columns, list(EVENT_SCHEMA), REQUIRED, key="source.events")
    findings.warnings += unused_column_warnings(raw, found, key="source.events")
    forgotten, left_out = read_list(params), LeftOut()
    if forgotten is not None:
        raw, left_out = find_forgotten(con, forgotten, raw, found["customer_id"])
        findings.tables["events"] = raw
    has_products = source.products is not None or not found.keys().isdisjoint(("product_id", "category_path"))
    rules = checks.rules(max_text_chars=source.max_text_chars, has_products=has_products)
    check_events(con, params, raw, rules, has_forgotten=left_out.row_count > 0)
    products = catalogue.read_products(con, params, findings)
    customers = catalogue.read_customers(con, params, findings)
    if forgotten is not None and customers is not None:
        drop_forgotten(con, forgotten, "customers")
    events, duplicate_count = distinct_events(con, drop_duplicates=source.drop_duplicates)
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


def _refuse_as_of_before_first_event(params: Params, summary: ReadingSummary) -> None:
    if summary.first_event_at and not summary.last_event_at:
        raise SourceError(
            f"as_of: expected a moment after the first event ({summary.first_event_at}). "
            f"Got {params.as_of:%Y-%m-%d %H:%M:%S}, before any event. Set a later as_of."
        )
