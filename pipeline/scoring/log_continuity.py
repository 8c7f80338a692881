"""Whether the log goes on where the state of `score --update` ends: no gap, no overlap, nothing that came too late."""

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
    """Whether the source goes on from where the state ends; what to tell of events that came too late."""
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
            f"source.events: expected it still to hold the days from {since:%Y-%m-%d}, which are read again for events "
            f"that come late (score.late_days: {params.score.late_days:g}). A gap: nothing of {days}. Bring them back."
        )
    last = con.con.execute("select max(occurred_at) from new_events").fetchone()[0]
    is_silent = (last is None or last < state_end) and end > state_end
    # What comes of that time within late_days is read by the updates to come; what comes later would be lost.
    if is_silent and (last is None or last < end - timedelta(days=params.score.late_days)):
        raise state.StateError(
            f"source.events: expected events from {state_end:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}, since the state "
            f"ends there; found none within score.late_days ({params.score.late_days:g}). A gap: bring the log of that "
            "time, or wait for it; if the shop was silent, score without --update until somebody comes."
        )
    before, now = (
        con.con.execute(f"select count(*), count(distinct hash(t)) from {name} t where {span}").fetchone()
        for name in ("old_late_events", "new_events")
    )
    if before[0] and now[0] >= 2 * before[0] and now[0] >= 2 * now[1]:
        raise state.StateError(
            f"source.events: expected each event once; those from {since:%Y-%m-%d} to {state_end:%Y-%m-%d} are there "
            "twice. An overlap: leave the files that repeat others out, or set source.drop_duplicates: true."
        )
    told = []
    if is_silent:
        told.append(
            f"No event from {state_end:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}: everybody is as they were, a little "
            "older. Is the log there? If it comes, the next --update reads it"
        )
    late = older_row_count - manifest["older_row_count"]
    if late > 0:
        told.append(
            f"Too late: {late:,} rows from before {since:%Y-%m-%d %H:%M} UTC came since the last update and are not in "
            f"the scores (score.late_days: {params.score.late_days:g}). Remove {folder} to have them counted"
        )
    return told
