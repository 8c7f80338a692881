"""`kindred score --update`: computes profiles from the saved state and the events since.

A customer's measures depend only on that customer's own events. If no event was added or removed, changed category or
left the window, the measures are only aged. All other customers are measured again from their events.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import pandas as pd

from features import categories, time_decay
from features.events import EventType, ObservationWindow
from pipeline.config.params import Params, source_fingerprint
from pipeline.config.progress import SILENT, Progress
from pipeline.ingest.events import count_before
from pipeline.ingest.source import Source, customers_digest, read_source
from pipeline.profiles.measures import CustomerMeasures, RawMeasures, measure, new_categories, with_customer_ids
from pipeline.profiles.prepare_events import FROM_BEFORE, registered_customers
from pipeline.profiles.seasonality import period_totals, season_mix
from pipeline.profiles.shop import Shop
from pipeline.scoring import state
from pipeline.scoring.log_continuity import check_continuity
from pipeline.scoring.measurement import MeasurementResult
from pipeline.scoring.state_manifest import Manifest, StateFingerprint, load
from pipeline.stores.database import TEMPORARY, create_view, materialise
from pipeline.stores.engines.duckdb import DuckDB

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


@dataclass(frozen=True)
class Reading:
    """What was read and measured, from the whole log or from the state and the events since.

    Attributes
    ----------
    measures : expression
        Measures of all customers, each as of the time it was taken.
    sums : expression
        `pipeline.profiles.seasonality.period_totals`.
    seen : DataFrame
        category, event_count, at the level of the cut; known ones may be missing.
    customer_count : int
        Upper bound of the rows of ``measures``.
    changed_count : int or None
        Customers who were measured again; None if all were.
    """

    source: Source
    night: state.Night
    measures: ir.Table
    sums: ir.Table
    seen: pd.DataFrame
    customer_count: int
    changed_count: int | None
    notes: list[str]


def measure_incrementally(
    con: Backend,
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
    task = _Task(con, params, trained, shop, rejected_path, progress)
    fingerprint = StateFingerprint(
        model_uri=model_uri,
        params_sha256=trained.model_copy(update={"as_of": datetime(1970, 1, 1, tzinfo=UTC)}).digest(),
        source_sha256=source_fingerprint(params, as_written=True),
        customers_sha256=customers_digest(con, params),
    )
    saved = load(task.folder, fingerprint, params.as_of)
    # Customers whose ids were joined or left out since are in the saved measures.
    manifest = saved if saved and saved.customers_sha256 == fingerprint.customers_sha256 else None
    if manifest is not None:
        state.require_columns(task.folder, manifest)
    read = (
        _read_whole_log(task, fingerprint, is_rebuilt=saved is not None)
        if manifest is None
        else _read_news(task, fingerprint, manifest)
    )
    aged = time_decay.aged(read.measures, window=task.window, half_life_days=_half_lives(trained))
    # Query counts are left empty: they cover a whole log, and only part of it was read.
    measures = CustomerMeasures(aged, shop, read.customer_count, new_categories(read.seen, shop), {})
    counts = read.source.summary
    only_news = f"; only events from {read.night.since:%Y-%m-%d %H:%M} UTC on were read" if manifest else ""
    note = (
        f"Read from the source: {counts.read_count:,} rows, {counts.accepted_count:,} accepted, "
        f"{counts.rejected_count:,} rejected{only_news}"
    )
    return MeasurementResult(
        measures=measures,
        changed_count=read.changed_count,
        reading=counts,
        notes=[*read.notes, note],
        season_mix=season_mix(read.sums, read.source, shop.spec, trained, task.window),
        commit=lambda: state.save(con, task.folder, manifest or _emptied(saved), read.night),
    )


@dataclass(frozen=True)
class _Task:
    """What an update works with."""

    con: Backend
    params: Params
    trained: Params
    shop: Shop
    rejected_path: Path | None
    progress: Progress

    @property
    def folder(self) -> Path:
        return self.params.path(self.params.outputs.folder) / state.FOLDER

    @property
    def window(self) -> ObservationWindow:
        return ObservationWindow(self.params.as_of, self.shop.spec.history_days)

    @property
    def kept_until(self) -> datetime:
        """The next update reads the events from here on again, as some may arrive late."""
        return self.window.end - timedelta(days=self.params.score.late_days)


def _read_whole_log(task: _Task, fingerprint: StateFingerprint, *, is_rebuilt: bool) -> Reading:
    """All customers measured from the whole log, as there is no state, or none that can be used."""
    con, window = task.con, task.window
    reason = "source.identities or source.exclude has changed" if is_rebuilt else "there is no state yet"
    task.progress(f"reading and checking everything: {reason}")
    source = read_source(con, task.params, rejected_path=task.rejected_path)
    measured = measure(DuckDB(con), source, task.trained, shop=task.shop, progress=task.progress, with_seasons=True)
    sums = materialise(con, period_totals(source.events, task.trained, window), state.SEASON_SUMS)
    measures = materialise(con, _with_measured_at(measured, window), "touched_measures")
    state.view_parts(con, task.folder, [])
    night = state.Night(
        fingerprint=fingerprint,
        window=window,
        since=window.start,
        kept_until=task.kept_until,
        older_row_count=count_before(con, task.params, [task.kept_until])[0],
        parts=[],
        has_products=source.products is not None,
    )
    why = f", as {reason}" if is_rebuilt else ""
    notes = [f"State built from the whole log{why}; the next --update reads only new events"]
    return Reading(source, night, measures, sums, measured.categories, measured.customer_count, None, notes)


def _read_news(task: _Task, fingerprint: StateFingerprint, manifest: Manifest) -> Reading:
    """Customers whose events changed since the state, measured again; the others as they were."""
    con, window = task.con, task.window
    since = min(manifest.reread_from, task.kept_until)
    task.progress(f"reading and checking from {since:%Y-%m-%d %H:%M}")
    source = read_source(con, task.params, rejected_path=task.rejected_path, since=since)
    older, older_row_count = count_before(con, task.params, [since, task.kept_until])
    notes = check_continuity(con, task.params, source, task.folder, manifest, since, older)
    task.progress("measuring changed customers")
    measures = _measure_changed(task, source, manifest, since)
    changed_count = con.table("touched_measures", database=TEMPORARY).count().to_pyarrow().as_py()
    before = state.view_seasons(con, task.folder, manifest.seasons)
    sums = period_totals(_events(con, since), task.trained, window, since=since, before=before)
    sums = materialise(con, sums, state.SEASON_SUMS)
    night = state.Night(
        fingerprint=fingerprint,
        window=window,
        since=since,
        kept_until=task.kept_until,
        older_row_count=older_row_count,
        parts=state.parts_before(manifest.events, since),
        has_products=source.products is not None,
    )
    # An upper bound: some customers are in more than one file.
    customer_count = changed_count + sum(file.row_count for file in manifest.measures)
    seen = _categories_of(con, source, task.shop, window, since)
    return Reading(source, night, measures, sums, seen, customer_count, changed_count, notes)


def _measure_changed(task: _Task, source: Source, manifest: Manifest, since: datetime) -> ir.Table:
    """View measures: new rows for customers who changed (table touched_measures), saved rows for the others."""
    con, window = task.con, task.window
    measures = state.view_measures(con, task.folder, manifest.measures)
    registered = registered_customers(source, window)
    touched = materialise(con, _changed_customers(task, source, manifest, measures, registered), "touched_customers")
    kept = _events(con, since).semi_join(touched, "customer_id")
    touched_source = replace(
        source,
        events=materialise(con, kept, "touched_events"),
        customers=None if source.customers is None else source.customers.semi_join(touched, "customer_id"),
    )
    raw = measure(DuckDB(con), touched_source, task.trained, shop=task.shop, progress=SILENT, with_seasons=True)
    # Activity before the window is known only from the saved measures.
    before = measures.filter(measures.is_known_from_before).select("customer_id", *FROM_BEFORE)
    known = _with_measured_at(raw, window).left_join(before, "customer_id", rname="{name}_already")
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


def _changed_customers(
    task: _Task, source: Source, manifest: Manifest, measures: ir.Table, registered: ir.Table | None
) -> ir.Table:
    """Customers (customer_id) whose measures are not merely older: they are measured again."""
    con, window = task.con, task.window
    state_window = ObservationWindow(manifest.as_of, window.history_days)
    old, late, new = (con.table(name, database=TEMPORARY) for name in ("state_events", "old_late_events", "new_events"))
    affected = (
        time_decay.changed_customers(late, new)
        .union(time_decay.with_events_between(old, state_window.start, window.start))
        .union(customers_leaving_tier_window(old, state_window, window, task.trained))
        .union(_customers_of_changed_products(task, source, old.union(new), manifest))
    )
    if registered is not None:
        affected = affected.union(registered.anti_join(measures, "customer_id"))
    return affected.distinct()


def customers_leaving_tier_window(
    old: ir.Table, before: ObservationWindow, now: ObservationWindow, trained: Params
) -> ir.Table:
    """Customers (customer_id) with an order or return that counted for the value tier and is now too old to count."""
    days = timedelta(days=trained.value.tier_days or 0.0)
    if not days:
        return old.select("customer_id").limit(0)
    traded = old.filter(old.event_type.isin([str(EventType.PURCHASE), str(EventType.RETURN)]))
    return time_decay.with_events_between(traded, before.end - days, now.end - days)


def _customers_of_changed_products(task: _Task, source: Source, events: ir.Table, manifest: Manifest) -> ir.Table:
    """Customers (customer_id) with an event on a product that is new, was removed, or changed category or brand."""
    if source.products is None or manifest.products is None:
        has_changed = source.products is not None or manifest.products is not None
        return events.select("customer_id").filter(ibis.literal(has_changed))
    before = state.view_products(task.con, task.folder, manifest.products)
    now = source.products.select("product_id", "category_path", "brand")
    moved = before.difference(now).union(now.difference(before)).select("product_id").distinct()
    moved = materialise(task.con, moved, "moved_products")
    if not moved.count().to_pyarrow().as_py():
        return events.select("customer_id").limit(0)
    return events.semi_join(moved, "product_id").select("customer_id")


def _events(con: Backend, since: datetime) -> ir.Table:
    """All current events: saved events before ``since`` and the events read again."""
    old = con.table("state_events", database=TEMPORARY)
    return old.filter(old.occurred_at < since).union(con.table("new_events", database=TEMPORARY))


def _emptied(saved: Manifest | None) -> Manifest | None:
    """A manifest of which only the number counts, so that new files do not have the names of old ones."""
    return saved and saved.model_copy(update={"measures": ()})


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


def _have_categories(events: ir.Table) -> bool:
    """Whether events carry their own category paths."""
    return bool(events.filter(events.category_path.notnull()).limit(1).count().to_pyarrow().as_py())


def _categories_of(
    con: Backend, source: Source, shop: Shop, window: ObservationWindow, since: datetime
) -> pd.DataFrame:
    """Categories (category, event_count) in the window, at the cut's level; known ones may be missing."""
    events = window.of(_events(con, since))
    events = events.filter(events.event_type != str(EventType.SEARCH))
    if source.products is not None and not _have_categories(events):
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
