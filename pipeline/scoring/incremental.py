"""`kindred score --update`: tonight's profiles from last night's state and the events since.

A customer's measures follow from that customer's events alone. Those of whom no event was added, taken back, given
another category or left behind by the window are only aged; the others are measured anew from their events.
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
from pipeline.config.params import Params, description
from pipeline.ingest.column_sql import literal
from pipeline.ingest.source import Source, count_before, read_source
from pipeline.ingest.summary import ReadingSummary
from pipeline.profiles.build import Measured, Measures, Progress, by_name, measure, new_categories
from pipeline.profiles.prepare_events import FROM_BEFORE, registered_customers
from pipeline.profiles.seasonality import season_mix, shop_sums
from pipeline.profiles.shop import Shop
from pipeline.scoring import state
from pipeline.scoring.log_continuity import check_continuity
from pipeline.stores.database import TEMPORARY, create_view, materialise


@dataclass(frozen=True)
class Updated:
    """Tonight's measures, what was read for them, and what to tell.

    Attributes
    ----------
    changed_count : int or None
        Customers who were measured anew; None where all were, as there was no state.
    notes : list of str
        What to tell of the log and the state.
    season_mix : float array of shape (n_slots, n_categories)
        `models.seasons.period_mixes`.
    save : callable
        Writes the state; to be called when the scores are written.
    """

    measures: Measures
    changed_count: int | None
    reading: ReadingSummary
    notes: list[str]
    season_mix: Floats
    save: Callable[[], None]

    def told(self, customer_count: int) -> list[str]:
        """The notes, and how many of all customers changed."""
        if self.changed_count is None:
            return self.notes
        others = "the others are as they were, and their last visit is longer ago"
        return [f"Updated {self.changed_count:,} of {customer_count:,} customers; {others}", *self.notes]


def update(
    con: Any,
    params: Params,
    trained: Params,
    *,
    shop: Shop,
    model_uri: str,
    rejected_path: Path | None,
    progress: Progress,
) -> Updated:
    """Measures as of ``params.as_of`` from the state and the events since; in full where there is no state yet.

    Parameters
    ----------
    trained : Params
        Of the model, with the as_of of ``params``.

    Raises
    ------
    StateError
        The state is another model's, damaged, or of a later as_of; or the source lacks days, or holds them twice.
    """
    folder = params.path(params.outputs.folder) / state.FOLDER
    belongs = {
        "layout": state.LAYOUT,
        "model_uri": model_uri,
        "params_sha256": trained.model_copy(update={"as_of": datetime(1970, 1, 1, tzinfo=UTC)}).digest(),
        "source_sha256": description(params),
    }
    manifest = state.load(folder, belongs, params.as_of)
    window = ObservationWindow(params.as_of, shop.spec.history_days)
    kept_until = window.end - timedelta(days=params.score.late_days)
    if manifest is None:
        progress("reading and checking everything: there is no state yet")
        source = read_source(con, params, rejected_path=rejected_path)
        measured = measure(con, source, trained, shop=shop, progress=progress, with_seasons=True)
        sums = materialise(con, shop_sums(source.events, trained, window), state.SEASON_SUMS)
        measures = materialise(con, _stamped(measured, window), "touched_measures")
        older_row_count = count_before(con, params, [kept_until])[0]
        con.con.execute("create or replace temp view state_events as select * from events limit 0")
        customer_count = measured.customer_count
        parts, notes, since = [], ["State built in full; the next --update reads only what is new"], window.start
        seen, changed_count = measured.categories, None
    else:
        since = min(datetime.fromisoformat(manifest["reread_from"]), kept_until)
        progress(f"reading and checking from {since:%Y-%m-%d %H:%M}")
        source = read_source(con, params, rejected_path=rejected_path, since=since)
        older, older_row_count = count_before(con, params, [since, kept_until])
        notes = check_continuity(con, params, source, folder, manifest, since, older)
        parts = state.parts_before(manifest["events"], since)
        progress("measuring who changed")
        measures = _measure_changed(con, source, trained, shop, folder, manifest, window, since)
        changed_count = con.table("touched_measures", database=TEMPORARY).count().to_pyarrow().as_py()
        before = state.view_seasons(con, folder, manifest["seasons"])
        sums = shop_sums(_events(con, since), trained, window, since=since, before=before)
        sums = materialise(con, sums, state.SEASON_SUMS)
        # At most: some stand in more than one file.
        customer_count = changed_count + sum(one["row_count"] for one in manifest["measures"])
        seen = _categories_of(con, source, shop, window, since)
    aged = time_decay.aged(measures, window=window, half_life_days=_half_lives(trained))
    notes.append(
        f"Read from the source: {source.summary.read_count:,} rows, {source.summary.accepted_count:,} accepted, "
        f"{source.summary.rejected_count:,} rejected"
        + (f"; only events from {since:%Y-%m-%d %H:%M} UTC on were looked at" if manifest else "")
    )

    def save() -> None:
        state.save(con, params, folder, manifest, belongs, parts, since, window, kept_until, source, older_row_count)

    # Queries are counted over all of a log, of which only a part was read.
    tonight = Measures(aged, shop, customer_count, new_categories(seen, shop), {})
    mix = season_mix(sums, source, shop.spec, trained, window)
    return Updated(tonight, changed_count, source.summary, notes, mix, save)


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
    """View measures: of customers who changed anew (table touched_measures), of the others as they were."""
    state_window = ObservationWindow(datetime.fromisoformat(manifest["as_of"]), window.history_days)
    old = con.table("state_events", database=TEMPORARY)
    measures = state.view_measures(con, folder, manifest["measures"])
    new = con.table("new_events", database=TEMPORARY)
    changed = time_decay.changed_customers(con.table("old_late_events", database=TEMPORARY), new)
    left = time_decay.with_events_between(old, state_window.start, window.start)
    everybody = (
        changed.union(left)
        .union(_left_tier_days(old, state_window, window, trained))
        .union(_of_changed_products(con, source, old.union(new), folder, manifest))
    )
    registered = registered_customers(source, window)
    if registered is not None:
        everybody = everybody.union(registered.anti_join(measures, "customer_id"))
    touched = materialise(con, everybody.distinct(), "touched_customers")
    kept = _events(con, since).semi_join(touched, "customer_id")
    theirs = replace(
        source,
        events=materialise(con, kept, "touched_events"),
        customers=None if source.customers is None else source.customers.semi_join(touched, "customer_id"),
    )
    found = measure(con, theirs, trained, shop=shop, progress=lambda step: None, with_seasons=True)
    measured = _stamped(found, window)
    # What lies before the window is known from the old measures alone.
    before = measures.filter(measures.is_known_from_before).select("customer_id", *FROM_BEFORE)
    known = measured.left_join(before, "customer_id", rname="{name}_already")
    known = known.mutate(**{name: known[name] | known[f"{name}_already"].fill_null(False) for name in FROM_BEFORE})
    # Who is gone stands there too, with nulls, to hide what older files say of them.
    anew = touched.left_join(known, "customer_id").select(*measures.columns)
    anew = materialise(con, anew, "touched_measures")
    kept_ones = measures.anti_join(touched, "customer_id")
    is_still_there = (kept_ones.event_count > 0) | kept_ones.is_known_from_before
    if registered is not None:
        names = registered.filter(registered.customer_id.notnull()).customer_id
        is_still_there = is_still_there | kept_ones.customer_id.isin(names)
    kept_ones = kept_ones.filter(is_still_there)
    return create_view(con, kept_ones.union(anew.filter(anew.measured_at.notnull())), "measures")


def _left_tier_days(old: ir.Table, before: ObservationWindow, now: ObservationWindow, trained: Params) -> ir.Table:
    """Customers (customer_id) with an order or a return that counted for the value tier, and now is too old to."""
    days = timedelta(days=trained.value.tier_days or 0.0)
    if not days:
        return old.select("customer_id").limit(0)
    traded = old.filter(old.event_type.isin([str(EventType.PURCHASE), str(EventType.RETURN)]))
    return time_decay.with_events_between(traded, before.end - days, now.end - days)


def _of_changed_products(
    con: Any, source: Source, events: ir.Table, folder: Path, manifest: dict[str, Any]
) -> ir.Table:
    """Customers (customer_id) with an event on a product that is new, gone, or of another category or brand."""
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
    """All events that count: those of the state from before ``since``, and those that were read again."""
    old = con.table("state_events", database=TEMPORARY)
    return old.filter(old.occurred_at < since).union(con.table("new_events", database=TEMPORARY))


def _stamped(measured: Measured, window: ObservationWindow) -> ir.Table:
    """Measures by the customers' own ids, with the moment they were taken at."""
    return by_name(measured).mutate(measured_at=ibis.literal(window.end).cast("timestamp(6)"))


def _half_lives(trained: Params) -> dict[str, float]:
    """Columns of the measures that decay with time, and their half-lives in days; evidence of interests does not."""
    return {
        "activity": trained.interests.activity.half_life_days,
        "temperature_points": trained.journey.temperature_half_life_days,
        "product_points": trained.journey.temperature_half_life_days,
    }


def _has_own_paths(con: Any) -> bool:
    """Whether events carry categories themselves."""
    found = con.con.execute(
        "select exists (from new_events where category_path is not null) "
        "or exists (from state_events where category_path is not null)"
    )
    return bool(found.fetchone()[0])


def _categories_of(con: Any, source: Source, shop: Shop, window: ObservationWindow, since: datetime) -> pd.DataFrame:
    """Categories (category, event_count) of the window's events, at the cut's level; known ones may be left out."""
    events = window.of(_events(con, since))
    events = events.filter(events.event_type != str(EventType.SEARCH))
    if source.products is not None and not _has_own_paths(con):
        # Only what is unknown is told, and where the catalogue is all of it known the events need not be read.
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
