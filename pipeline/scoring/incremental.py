"""`kindred score --update`: computes profiles from the saved state and the events since.

A customer's measures depend only on that customer's own events. If no event was added or removed, changed category or
left the window, the measures are only aged. All other customers are measured again from their events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from features import categories, time_decay
from features.events import EventType, ObservationWindow
from models.scorer import Floats
from pipeline.config.params import Params, source_fingerprint
from pipeline.config.progress import SILENT, Progress
from pipeline.ingest.column_sql import literal
from pipeline.ingest.source import Source, count_before, read_source
from pipeline.ingest.summary import ReadingSummary
from pipeline.profiles.build import CustomerMeasures, RawMeasures, measure, new_categories, with_customer_ids
from pipeline.profiles.prepare_events import FROM_BEFORE, registered_customers
from pipeline.profiles.seasonality import period_totals, season_mix
from pipeline.profiles.shop import Shop
from pipeline.scoring import state
from pipeline.scoring.log_continuity import check_continuity
from pipeline.stores.database import TEMPORARY, create_view, materialise


@dataclass(frozen=True)
class MeasurementResult:
    """Measures of all customers, what was read to compute them, and notes for the user.

    Attributes
    ----------
    changed_count : int or None
        Customers who were measured again; None if all were, because there was no state.
    notes : list of str
        Messages about the log and the state.
    season_mix : float array of shape (n_slots, n_categories)
        Result of `models.seasons.period_mixes`.
    save : callable
        Writes the state. Call it after the scores are written.
    """

    measures: CustomerMeasures
    changed_count: int | None
    reading: ReadingSummary
    notes: list[str]
    season_mix: Floats
    save: Callable[[], None]

    def summary_lines(self, customer_count: int) -> list[str]:
        """How many of all customers were updated, and the notes."""
        if self.changed_count is None:
            return self.notes
        others = "for the others only the time since their last activity changed"
        return [f"Updated {self.changed_count:,} of {customer_count:,} customers; {others}", *self.notes]


def measure_incrementally(
    con: Any,
    params: Params,
    trained: Params,
    *,
    shop: Shop,
    model_uri: str,
    rejected_path: Path | None,
    progress: Progress,
) -> MeasurementResult:
    """Measures as of ``params.as_of`` from the state and the events since, or from the whole log if there is no state.

    Parameters
    ----------
    trained : Params
        Params of the model, with the ``as_of`` of ``params``.

    Raises
    ------
    StateError
        The state is damaged, newer than as_of or from another model, or the log has missing or repeated days.
    """
    folder = params.path(params.outputs.folder) / state.FOLDER
    fingerprint = {
        "layout": state.LAYOUT,
        "model_uri": model_uri,
        "params_sha256": trained.model_copy(update={"as_of": datetime(1970, 1, 1, tzinfo=UTC)}).digest(),
        "source_sha256": source_fingerprint(params),
    }
    manifest = state.load(folder, fingerprint, params.as_of)
    window = ObservationWindow(params.as_of, shop.spec.history_days)
    kept_until = window.end - timedelta(days=params.score.late_days)
    if manifest is None:
        progress("reading and checking everything: there is no state yet")
        source = read_source(con, params, rejected_path=rejected_path)
        measured = measure(con, source, trained, shop=shop, progress=progress, with_seasons=True)
        sums = materialise(con, period_totals(source.events, trained, window), state.SEASON_SUMS)
        measures = materialise(con, _with_measured_at(measured, window), "touched_measures")
        older_row_count = count_before(con, params, [kept_until])[0]
        con.con.execute("create or replace temp view state_events as select * from events limit 0")
        customer_count = measured.customer_count
        parts, notes, since = (
            [],
            ["State built from the whole log; the next --update reads only new events"],
            window.start,
        )
        seen, changed_count = measured.categories, None
    else:
        since = min(datetime.fromisoformat(manifest["reread_from"]), kept_until)
        progress(f"reading and checking from {since:%Y-%m-%d %H:%M}")
        source = read_source(con, params, rejected_path=rejected_path, since=since)
        older, older_row_count = count_before(con, params, [since, kept_until])
        notes = check_continuity(con, params, source, folder, manifest, since, older)
        parts = state.parts_before(manifest["events"], since)
        progress("measuring changed customers")
        measures = _measure_changed(con, source, trained, shop, folder, manifest, window, since)
        changed_count = con.table("touched_measures", database=TEMPORARY).count().to_pyarrow().as_py()
        before = state.view_seasons(con, folder, manifest["seasons"])
        sums = period_totals(_events(con, since), trained, window, since=since, before=before)
        sums = materialise(con, sums, state.SEASON_SUMS)
        # An upper bound: some customers are in more than one file.
        customer_count = changed_count + sum(entry["row_count"] for entry in manifest["measures"])
        seen = _categories_of(con, source, shop, window, since)
    aged = time_decay.aged(measures, window=window, half_life_days=_half_lives(trained))
    notes.append(
        f"Read from the source: {source.summary.read_count:,} rows, {source.summary.accepted_count:,} accepted, "
        f"{source.summary.rejected_count:,} rejected"
        + (f"; only events from {since:%Y-%m-%d %H:%M} UTC on were read" if manifest else "")
    )

    def save() -> None:
        state.save(
            con, params, folder, manifest, fingerprint, parts, since, window, kept_until, source, older_row_count
        )

    # Query counts are left empty: they cover a whole log, and only part of it was read.
    current = CustomerMeasures(aged, shop, customer_count, new_categories(seen, shop), {})
    mix = season_mix(sums, source, shop.spec, trained, window)
    return MeasurementResult(current, changed_count, source.summary, notes, mix, save)


def _measure_changed(
    con: Any,
    source: Source,
    trained: Params,
    shop: Shop,
    folder: Path,
    manifest: dict[str, Any],
    window: ObservationWindow,
    since: datetime,
) -> ir.Table:
    """View measures: new rows for customers who changed (table touched_measures), saved rows for the others."""
    state_window = ObservationWindow(datetime.fromisoformat(manifest["as_of"]), window.history_days)
    old = con.table("state_events", database=TEMPORARY)
    measures = state.view_measures(con, folder, manifest["measures"])
    new = con.table("new_events", database=TEMPORARY)
    changed = time_decay.changed_customers(con.table("old_late_events", database=TEMPORARY), new)
    left = time_decay.with_events_between(old, state_window.start, window.start)
    affected = (
        changed.union(left)
        .union(_customers_leaving_tier_window(old, state_window, window, trained))
        .union(_customers_of_changed_products(con, source, old.union(new), folder, manifest))
    )
    registered = registered_customers(source, window)
    if registered is not None:
        affected = affected.union(registered.anti_join(measures, "customer_id"))
    touched = materialise(con, affected.distinct(), "touched_customers")
    kept = _events(con, since).semi_join(touched, "customer_id")
    touched_source = replace(
        source,
        events=materialise(con, kept, "touched_events"),
        customers=None if source.customers is None else source.customers.semi_join(touched, "customer_id"),
    )
    raw_measures = measure(con, touched_source, trained, shop=shop, progress=SILENT, with_seasons=True)
    measured = _with_measured_at(raw_measures, window)
    # Activity before the window is known only from the saved measures.
    before = measures.filter(measures.is_known_from_before).select("customer_id", *FROM_BEFORE)
    known = measured.left_join(before, "customer_id", rname="{name}_already")
    known = known.mutate(**{name: known[name] | known[f"{name}_already"].fill_null(False) for name in FROM_BEFORE})
    # Customers who are gone get a row of nulls, which hides their rows in older files.
    remeasured = touched.left_join(known, "customer_id").select(*measures.columns)
    remeasured = materialise(con, remeasured, "touched_measures")
    unchanged = measures.anti_join(touched, "customer_id")
    is_still_known = (unchanged.event_count > 0) | unchanged.is_known_from_before
    if registered is not None:
        names = registered.filter(registered.customer_id.notnull()).customer_id
        is_still_known = is_still_known | unchanged.customer_id.isin(names)
    unchanged = unchanged.filter(is_still_known)
    return create_view(con, unchanged.union(remeasured.filter(remeasured.measured_at.notnull())), "measures")


def _customers_leaving_tier_window(
    old: ir.Table, before: ObservationWindow, now: ObservationWindow, trained: Params
) -> ir.Table:
    """Customers (customer_id) with an order or return that counted for the value tier and is now too old to count."""
    days = timedelta(days=trained.value.tier_days or 0.0)
    if not days:
        return old.select("customer_id").limit(0)
    traded = old.filter(old.event_type.isin([str(EventType.PURCHASE), str(EventType.RETURN)]))
    return time_decay.with_events_between(traded, before.end - days, now.end - days)


def _customers_of_changed_products(
    con: Any, source: Source, events: ir.Table, folder: Path, manifest: dict[str, Any]
) -> ir.Table:
    """Customers (customer_id) with an event on a product that is new, was removed, or changed category or brand."""
    if source.products is None or not manifest["products"]:
        return events.select("customer_id").filter(
            ibis.literal(bool(source.products is not None or manifest["products"]))
        )
    file = literal(str(folder / manifest["products"]["file"]))
    con.con.execute(f"create or replace temp view old_products as select * from read_parquet({file})")
    before = con.table("old_products", database=TEMPORARY)
    now = source.products.select("product_id", "category_path", "brand")
    moved = before.difference(now).union(now.difference(before)).select("product_id").distinct()
    moved = materialise(con, moved, "moved_products")
    if not moved.count().to_pyarrow().as_py():
        return events.select("customer_id").limit(0)
    return events.semi_join(moved, "product_id").select("customer_id")


def _events(con: Any, since: datetime) -> ir.Table:
    """All current events: saved events before ``since`` and the events read again."""
    old = con.table("state_events", database=TEMPORARY)
    return old.filter(old.occurred_at < since).union(con.table("new_events", database=TEMPORARY))


def _with_measured_at(measured: RawMeasures, window: ObservationWindow) -> ir.Table:
    """Measures with customer ids and the time they were taken."""
    return with_customer_ids(measured).mutate(measured_at=ibis.literal(window.end).cast("timestamp(6)"))


def _half_lives(trained: Params) -> dict[str, float]:
    """Columns that decay with time, and their half-lives in days. Interest evidence does not decay with time."""
    return {
        "activity": trained.interests.activity.half_life_days,
        "temperature_points": trained.journey.temperature_half_life_days,
        "product_points": trained.journey.temperature_half_life_days,
    }


def _events_have_categories(con: Any) -> bool:
    """Whether events carry their own category paths."""
    result = con.con.execute(
        "select exists (from new_events where category_path is not null) "
        "or exists (from state_events where category_path is not null)"
    )
    return bool(result.fetchone()[0])


def _categories_of(con: Any, source: Source, shop: Shop, window: ObservationWindow, since: datetime) -> pd.DataFrame:
    """Categories (category, event_count) in the window, at the cut's level; known ones may be missing."""
    events = window.of(_events(con, since))
    events = events.filter(events.event_type != str(EventType.SEARCH))
    if source.products is not None and not _events_have_categories(con):
        # Only unknown categories are reported, so the events need not be read if the model knows the whole catalogue.
        level = shop.spec.cut.level
        names = categories.at_level(source.products.category_path, level).lower()
        known = [categories.lowered(name) for name in shop.known_categories.category]
        unknown = materialise(con, source.products.filter(names.notin(known)).select("product_id"), "unknown_products")
        if not unknown.count().to_pyarrow().as_py():
            return shop.known_categories.head(0).assign(event_count=0.0)
        events = events.semi_join(unknown, "product_id")
    by_product = events.group_by("product_id", "category_path").aggregate(event_count=events.count())
    paths = categories.with_category_path(by_product, source.products)
    paths = paths.filter(paths.category_path.notnull())
    return categories.roll_up(paths, shop.spec.cut.level, count="event_count").to_pandas()
