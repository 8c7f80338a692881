"""`kindred check`: reads and checks the source without training."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import ibis.expr.types as ir
import pandas as pd

from features.events import EventType, ObservationWindow
from features.value import order_key
from models.disclosure import rounded_events
from pipeline.config.facets import facets_of, with_minimum
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.ingest.duplicates import retry_warnings
from pipeline.ingest.findings import clocks
from pipeline.ingest.findings.summary import ReadingSummary, unlisted_text
from pipeline.ingest.findings.totals import Totals, shop_totals
from pipeline.ingest.source import Source
from pipeline.ingest.summaries import read_shop
from pipeline.profiles.prepare_events import registered_customers
from pipeline.profiles.unusual import find_unusual
from pipeline.report.terminal import align_columns, counted, paragraphs
from pipeline.segmentation import sanity_checks
from pipeline.segmentation.data_requirements import no_recent_events, not_clustered_note, too_little
from pipeline.stores.workspace import workspace


def check(params: Params, *, progress: Progress) -> str:
    """Read and check the source; returns the counts and warnings as text."""
    with workspace(params, uses_cluster=True) as session:
        progress("reading and checking")
        source = read_shop(session.engine, params, rejected_path=session.folder / "rejected.parquet")
        params = with_minimum(params, has_orders_alone=source.summary.has_orders_alone)
        unusual = find_unusual(session.engine, source, params)
        unusual.write(session.folder)
        observed = ObservationWindow(params.as_of, params.history_days).of(source.events)
        days = clocks.DayCounts.of(observed)
        warnings = (
            sanity_checks.check_as_of_age(params, source.summary)
            + sanity_checks.check_timezone(params, source)
            + sanity_checks.check_purchases(observed, source.products)
            + sanity_checks.check_contact_events(_orders_and_contacts(observed))
            + clocks.check_missing_days(days)
            + clocks.check_exchanged_days(days)
            + clocks.check_two_clocks(observed, source.summary.accepted_count)
            + retry_warnings(observed, params)
            + unusual.warnings(params)
        )
        totals = shop_totals(source.events, params.as_of)
        unlisted = unlisted_note(source.summary)
        warnings = [unlisted, *warnings] if unlisted else warnings
        counts = reading_text(source.summary, params.local_timezone, totals_lines(totals, params.currency))
        few, refusal = _for_training(source, params)
        refused = [f"Warning: `kindred train` would refuse this log: {refusal}"] if refusal else []
        return "\n".join([counts, *few, *paragraphs("Warnings", warnings), *refused])


def _for_training(source: Source, params: Params) -> tuple[list[str], str]:
    """Notes on customers with too little to be clustered, and why a training would refuse the log, or nothing."""
    facets, customers = facets_of(params), _customers(source, params)
    sums = {
        f"facet_{facet.name}": (
            customers.order_count >= facet.settings.min_orders
            if facet.settings.min_orders
            else customers.event_count >= facet.settings.min_events
        ).sum()
        for facet in facets
    }
    [row] = (
        customers.aggregate(sums, all=customers.count(), orders=customers.order_count.sum()).to_pyarrow().to_pylist()
    )
    counts = {name: int(value or 0) for name, value in row.items()}
    window = "" if source.summaries is not None else f" in the {params.history_days:g} days before as_of (history_days)"
    notes = [
        not_clustered_note(facet, counts[f"facet_{facet.name}"], counts["all"], window=window)
        for facet in facets
        if not facet.settings.min_evidence  # evidence is known only with interests
    ]
    refusal = no_recent_events(source, params) or too_little(
        source, params, customer_count=counts[f"facet_{facets[0].name}"], order_count=counts["orders"]
    )
    return [note for note in notes if note], refusal


def _customers(source: Source, params: Params) -> ir.Table:
    """Customers known at as_of, as training counts them: customer_id, event_count and order_count of the window."""
    if source.summaries is not None:
        return source.summaries.select("customer_id", "order_count", event_count="order_count")
    window = ObservationWindow(params.as_of, params.history_days)
    observed = window.of(source.events)
    counted = observed.group_by("customer_id").aggregate(
        event_count=observed.count(),
        order_count=order_key(observed).nunique(where=observed.event_type == str(EventType.PURCHASE)),
    )
    known = source.events.filter(source.events.occurred_at < window.end).select("customer_id")
    registered = registered_customers(source, window)
    known = known if registered is None else known.union(registered.select("customer_id"))
    return known.distinct().left_join(counted, "customer_id").fill_null({"event_count": 0, "order_count": 0})


def _orders_and_contacts(events: ir.Table) -> pd.DataFrame:
    """Contact and order counts of customers who contacted the shop or ordered; empty if nobody contacted it."""
    is_contact = events.event_type == str(EventType.CONTACT)
    if not events.aggregate(any=is_contact.any()).to_pandas()["any"].any():
        return pd.DataFrame({"contact_count": [], "order_count": []})
    relevant = events.filter(is_contact | (events.event_type == str(EventType.PURCHASE)))
    relevant = relevant.select("customer_id", "event_type", order_key=order_key(relevant))
    return (
        relevant.group_by("customer_id")
        .aggregate(
            contact_count=(relevant.event_type == str(EventType.CONTACT)).sum(),
            order_count=relevant.order_key.nunique(where=relevant.event_type == str(EventType.PURCHASE)),
        )
        .to_pandas()
    )


def reading_text(reading: ReadingSummary, timezone: str, totals: Sequence[str] = ()) -> str:
    """Counts of read, accepted and rejected rows, one per line, and ``totals``; times are in ``timezone``."""
    first, last = (_local_time(at, timezone) for at in (reading.first_event_at, reading.last_event_at))
    rules = [(rule, count, "") for rule, count in reading.rejected_by_rule.items()]
    rules += [(rule, count, "(kept)") for rule, count in reading.noted_by_rule.items()]
    joined = reading.joined_count
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in reading.event_types.items())
    rows = [
        ("Read", reading.read_count, "rows"),
        ("Accepted", reading.accepted_count, ""),
        ("Rejected", reading.rejected_count, ""),
        *([("Forgotten", reading.forgotten_count, "")] if reading.forgotten_count else []),
        *((group.capitalize(), count, "(left out)") for group, count in reading.left_out.items()),
        *((f"  {rule}", count, remark) for rule, count, remark in rules if count),
        ("Duplicates", reading.duplicate_count, f"({'dropped' if reading.duplicates_dropped else 'kept'})"),
        ("Customers", reading.customer_count, f"({joined:,} of their ids joined to others)" if joined else ""),
    ]
    return "\n".join(
        [
            *align_columns([(label, f"{count:,}", remark) for label, count, remark in rows], right={1}),
            *totals,
            *([f"Events    {kinds}"] if kinds else []),
            f"Period    {first} to {last} (time zone {timezone})",
        ]
    )


def totals_lines(totals: Totals, currency: str | None) -> list[str]:
    """Spend and refunds, each in a line; none if nothing was bought or given back."""

    def money(amount: float) -> str:
        return f"{amount:,.2f} {currency or ''}".rstrip()

    lines = []
    if totals.spend:
        lines.append(
            f"Spend     {money(totals.spend)} in {counted(totals.order_count, 'order')}; "
            f"{money(totals.average_order)} on average, {money(totals.largest_order)} at most; "
            f"{totals.largest_customer_share:.1%} by one customer"
        )
    if totals.refunded:
        lines.append(f"Refunds   {money(totals.refunded)} in {counted(totals.return_count, 'return')}")
    return lines


def _local_time(utc_time: str, timezone: str) -> str:
    """A UTC time converted to ``timezone``."""
    return f"{datetime.fromisoformat(utc_time).replace(tzinfo=UTC).astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M:%S}"


def unlisted_note(reading: ReadingSummary, min_group: int = 1) -> str:
    """A note on event types that are in no list of params.yaml; empty if there are none.

    ``min_group``: for a text that is published.
    """
    numbers = (reading.unlisted_count, sum(reading.event_types.values()), *reading.other_event_types.values())
    unlisted, total, *others = rounded_events(numbers, reading.customer_count, min_group).astype(int).tolist()
    return unlisted_text(unlisted, dict(zip(reading.other_event_types, others, strict=True)), total)
