"""`kindred check`: reads and checks the source, and trains nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import ibis.expr.types as ir
import pandas as pd

from features.events import EventType, ObservationWindow
from features.value import order_key
from pipeline.config.params import Params
from pipeline.ingest.source import read_source
from pipeline.ingest.summary import unlisted_text
from pipeline.profiles.build import Progress
from pipeline.segmentation import sanity_checks
from pipeline.stores import files
from pipeline.stores.database import connect


def check(params: Params, *, progress: Progress) -> str:
    """Read and check the source; what was found, in words."""
    folder = params.path(params.outputs.folder)
    with files.lock(folder), connect(params.engine, folder=folder) as con:
        progress("reading and checking")
        source = read_source(con, params, rejected_path=folder / "rejected.parquet")
        observed = ObservationWindow(params.as_of, params.history_days).of(source.events)
        doubts = (
            sanity_checks.of_moment(params, source.summary)
            + sanity_checks.of_hours(params, source)
            + sanity_checks.of_spend(observed)
            + sanity_checks.of_items(observed, source.products)
            + sanity_checks.of_contacts(_orders_and_contacts(observed))
        )
        read = reading_text(source.summary.as_dict(), params.local_timezone)
        return "\n".join([read, *(f"Beware    {told}" for told in doubts)])


def _orders_and_contacts(events: ir.Table) -> pd.DataFrame:
    """Customers (contact_count, order_count) who contacted the shop or ordered; none where nobody contacted it."""
    is_contact = events.event_type == str(EventType.CONTACT)
    if not events.aggregate(any=is_contact.any()).to_pandas()["any"].any():
        return pd.DataFrame({"contact_count": [], "order_count": []})
    told = events.filter(is_contact | (events.event_type == str(EventType.PURCHASE)))
    told = told.select("customer_id", "event_type", order_key=order_key(told))
    return (
        told.group_by("customer_id")
        .aggregate(
            contact_count=(told.event_type == str(EventType.CONTACT)).sum(),
            order_count=told.order_key.nunique(where=told.event_type == str(EventType.PURCHASE)),
        )
        .to_pandas()
    )


def reading_text(reading: dict[str, Any], timezone: str) -> str:
    """What was read and what was set aside, a line each; moments by the clock of ``timezone``."""
    first, last = (_by_clock(reading[key], timezone) for key in ("first_event_at", "last_event_at"))
    lines = [
        f"Read      {reading['read_count']:>12,} rows",
        f"Accepted  {reading['accepted_count']:>12,}",
        f"Set aside {reading['rejected_count']:>12,}",
        *(f"  {rule:<24}{count:>12,}" for rule, count in reading["rejected_by_rule"].items() if count),
        *(f"  {rule:<24}{count:>12,}  (kept)" for rule, count in reading["noted_by_rule"].items() if count),
        f"Duplicates{reading['duplicate_count']:>12,}  ({'dropped' if reading['duplicates_dropped'] else 'kept'})",
        f"Customers {reading['customer_count']:>12,}",
        f"Events    {', '.join(f'{count:,} {kind}' for kind, count in reading['event_types'].items())}",
        *([f"Beware    {unlisted}"] if (unlisted := unlisted_note(reading)) else []),
        f"From      {first} to {last}, by the clock of {timezone}",
    ]
    return "\n".join(lines)


def _by_clock(moment: str, timezone: str) -> str:
    """A moment in UTC as the clock of ``timezone`` shows it."""
    return f"{datetime.fromisoformat(moment).replace(tzinfo=UTC).astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M:%S}"


def unlisted_note(reading: dict[str, Any]) -> str:
    """What is to be said of event types that no list of params.yaml names."""
    count, names = reading["unlisted_count"], reading["other_event_types"]
    return unlisted_text(count, names, sum(reading["event_types"].values()))
