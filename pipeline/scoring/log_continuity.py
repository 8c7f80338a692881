"""Checks that the log continues where the state of `score --update` ends: no gap, no overlap, no late rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from features.events import EVENT_SCHEMA
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.scoring import state
from pipeline.scoring.state_manifest import Manifest, StateError
from pipeline.stores.database import materialise

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

SHOWN_DAYS = 5


def check_continuity(
    con: Backend,
    params: Params,
    source: Source,
    folder: Path,
    manifest: Manifest,
    since: datetime,
    older_row_count: int,
) -> list[str]:
    """Check that the source continues where the state ends; returns notes on silent periods and late rows.

    Creates the view state_events (all saved events), and the tables old_late_events (those from ``since`` on) and
    new_events (those that were read now).

    Raises
    ------
    StateError
        The log has a gap or an overlap.
    """
    state_end, end = manifest.as_of.replace(tzinfo=None), params.as_of.replace(tzinfo=None)
    saved = state.view_parts(con, folder, manifest.events)
    old = materialise(con, saved.filter(saved.occurred_at >= since), "old_late_events")
    new = materialise(con, source.events.filter(source.events.occurred_at < end).select(*EVENT_SCHEMA), "new_events")
    _refuse_lost_days(old, new, since, params)
    is_silent = _refuse_gap(new, state_end, end, params)
    _refuse_overlap(old, new, since, state_end)
    notes = []
    if is_silent:
        notes.append(
            f"No events from {state_end:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}: only the time since each customer's "
            "last activity has changed. Check that the log is complete; the next --update reads events that arrive late"
        )
    late = older_row_count - manifest.older_row_count
    if late > 0:
        notes.append(
            f"Too late: {late:,} rows from before {since:%Y-%m-%d %H:%M} UTC arrived after the last update and are not "
            f"in the scores (score.late_days: {params.score.late_days:g}). Delete {folder} to include them"
        )
    return notes


def _refuse_lost_days(old: ir.Table, new: ir.Table, since: datetime, params: Params) -> None:
    before, now = (events.select(day=events.occurred_at.date()).distinct() for events in (old, new))
    lost = before.anti_join(now, "day").order_by("day").limit(SHOWN_DAYS).to_pyarrow()["day"].to_pylist()
    if lost:
        raise StateError(
            f"source.events: expected the log to still contain the days from {since:%Y-%m-%d}, which are read again "
            f"for late events (score.late_days: {params.score.late_days:g}). There is a gap: no events on "
            f"{', '.join(map(str, lost))}. Restore those days."
        )


def _refuse_gap(new: ir.Table, state_end: datetime, end: datetime, params: Params) -> bool:
    """Refuse a gap longer than ``score.late_days``; returns whether there is a shorter one."""
    last = new.occurred_at.max().to_pyarrow().as_py()
    is_silent = (last is None or last < state_end) and end > state_end
    # Events that arrive within late_days are read by the next updates; later ones would be lost.
    if is_silent and (last is None or last < end - timedelta(days=params.score.late_days)):
        raise StateError(
            f"source.events: expected events from {state_end:%Y-%m-%d %H:%M}, where the state ends, to "
            f"{end:%Y-%m-%d %H:%M}; found none for longer than score.late_days ({params.score.late_days:g}). There is "
            "a gap: add the missing log, or wait for it. If the shop really had no visitors, score without --update "
            "until it does."
        )
    return is_silent


def _refuse_overlap(old: ir.Table, new: ir.Table, since: datetime, state_end: datetime) -> None:
    before, now = (events.filter(events.occurred_at >= since, events.occurred_at < state_end) for events in (old, new))
    count_before, count_now = (int(events.count().to_pyarrow().as_py()) for events in (before, now))
    if not count_before or count_now < 2 * count_before:
        return
    if count_now >= 2 * int(now.distinct().count().to_pyarrow().as_py()):
        raise StateError(
            f"source.events: expected each event once; those from {since:%Y-%m-%d} to {state_end:%Y-%m-%d} appear "
            "twice. There is an overlap: remove the duplicate files, or set source.drop_duplicates: true."
        )
