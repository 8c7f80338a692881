"""Checks that the log continues where the state of `score --update` ends: no gap, no overlap, no late rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from features.events import EVENT_SCHEMA
from pipeline.config.params import Params
from pipeline.ingest.column_sql import literal
from pipeline.ingest.source import Source
from pipeline.scoring import state
from pipeline.stores.database import materialise


def check_continuity(
    con: Any,
    params: Params,
    source: Source,
    folder: Path,
    manifest: dict[str, Any],
    since: datetime,
    older_row_count: int,
) -> list[str]:
    """Check that the source continues where the state ends; returns notes on silent periods and late rows.

    Raises
    ------
    StateError
        The log has a gap or an overlap.
    """
    state_end = datetime.fromisoformat(manifest["as_of"]).replace(tzinfo=None)
    end = params.as_of.replace(tzinfo=None)
    old = state.view_parts(con, folder, manifest["events"])
    materialise(con, old.filter(old.occurred_at >= since), "old_late_events")
    materialise(con, source.events.filter(source.events.occurred_at < end).select(*EVENT_SCHEMA), "new_events")
    span = f"occurred_at >= timestamp {literal(str(since))} and occurred_at < timestamp {literal(str(state_end))}"
    lost = con.con.execute(
        "select distinct occurred_at::date from old_late_events "
        "where occurred_at::date not in (select distinct occurred_at::date from new_events) order by 1"
    ).fetchall()
    if lost:
        days = ", ".join(str(row[0]) for row in lost[:5])
        raise state.StateError(
            f"source.events: expected the log to still contain the days from {since:%Y-%m-%d}, which are read again "
            f"for late events (score.late_days: {params.score.late_days:g}). There is a gap: no events on {days}. "
            "Restore those days."
        )
    last = con.con.execute("select max(occurred_at) from new_events").fetchone()[0]
    is_silent = (last is None or last < state_end) and end > state_end
    # Events that arrive within late_days are read by the next updates; later ones would be lost.
    if is_silent and (last is None or last < end - timedelta(days=params.score.late_days)):
        raise state.StateError(
            f"source.events: expected events from {state_end:%Y-%m-%d %H:%M}, where the state ends, to "
            f"{end:%Y-%m-%d %H:%M}; found none for longer than score.late_days ({params.score.late_days:g}). There is "
            "a gap: add the missing log, or wait for it. If the shop really had no visitors, score without --update "
            "until it does."
        )
    before, now = (
        con.con.execute(f"select count(*), count(distinct hash(t)) from {name} t where {span}").fetchone()
        for name in ("old_late_events", "new_events")
    )
    if before[0] and now[0] >= 2 * before[0] and now[0] >= 2 * now[1]:
        raise state.StateError(
            f"source.events: expected each event once; those from {since:%Y-%m-%d} to {state_end:%Y-%m-%d} appear "
            "twice. There is an overlap: remove the duplicate files, or set source.drop_duplicates: true."
        )
    notes = []
    if is_silent:
        notes.append(
            f"No events from {state_end:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}: only the time since each customer's "
            "last activity has changed. Check that the log is complete; the next --update reads events that arrive late"
        )
    late = older_row_count - manifest["older_row_count"]
    if late > 0:
        notes.append(
            f"Too late: {late:,} rows from before {since:%Y-%m-%d %H:%M} UTC arrived after the last update and are not "
            f"in the scores (score.late_days: {params.score.late_days:g}). Delete {folder} to include them"
        )
    return notes
