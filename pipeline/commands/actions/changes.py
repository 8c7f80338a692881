"""`kindred changes`: who entered and left which segment, interest segment, tier and audience, for people and syncs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from pipeline.audiences.changes import (
    AUDIENCE,
    FOLDER,
    column_label,
    kept_changes,
    last_changes,
    net_changes,
    tag_changes,
)
from pipeline.audiences.scores import read_scores
from pipeline.audiences.segment_conditions import read_history, scored_segments
from pipeline.audiences.selection import AudienceError
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.report.next_steps import command
from pipeline.report.terminal import align_columns, counted
from pipeline.stores import files, mlflow_runs
from pipeline.stores.workspace import Workspace, workspace
from pipeline.stores.writers import EXPORTS, export_table, require_known_suffix

MOMENT = "%Y-%m-%d %H:%M:%S"


def changes(params: Params, *, since: datetime | None, out: Path, tags: bool) -> str:
    """Write the changes of the last scoring, or all after ``since`` as one step; returns a summary.

    Parameters
    ----------
    tags : bool
        One row per customer, with the tags to add and to remove, instead of one per customer and change.

    Raises
    ------
    UserError
        No changes are kept for that time.
    """
    require_known_suffix(out, key="--out", suffixes=EXPORTS)
    files.require_not_read(out, [params.path(params.outputs.scores)])
    with workspace(params) as session:
        paths = [last_changes(session.folder)] if since is None else kept_changes(session.folder, since=since)
        frames = [pq.read_table(path).to_pandas() for path in paths if path is not None]
        if not frames:
            raise UserError(_none_kept(session.folder, since))
        net = net_changes(pd.concat(frames, ignore_index=True))
        names = _segment_names(session)
        table = tag_changes(net, names) if tags else _with_names(net, names)
        files.note_elsewhere(session.folder, out)
        export_table(out, table, name="tags" if tags else "changes", mode=files.PRIVATE)
    first, last = frames[0]["previous_as_of"].min(), frames[-1]["as_of"].max()
    moved = counted(net["customer_id"].nunique(), "customer")
    lines = [f"Changes from {first:%Y-%m-%d} to {last:%Y-%m-%d}: {moved}" if len(net) else "Nobody moved."]
    lines += _counts(net, names)
    lines.append(f"{'Tags' if tags else 'Changes':<16}{out} ({counted(len(table), 'row')})")
    if not tags:
        lines.append(f"Next            {command(params, 'changes', '--tags')}    # tags to add and remove, for a sync")
    return "\n".join(lines)


def _none_kept(folder: Path, since: datetime | None) -> str:
    kept = kept_changes(folder)
    if since is None or not kept:
        return (
            f"{folder / FOLDER}: no changes are kept yet, as they need two scorings. `kindred score` keeps them from "
            "its second scoring on, compared with the scores that it replaces: score again once the log has new events."
        )
    return f"--since {since:%Y-%m-%d %H:%M}: expected a date before the last scores ({kept[-1].stem[:10]})."


def _segment_names(session: Workspace) -> dict[str, str]:
    """segment_id -> name, for the segments of the scores, of their model, and of those before them."""
    params = session.params
    try:
        scores = read_scores(session.con, params.path(params.outputs.scores))
    except AudienceError:
        return {}
    names: dict[str, str] = {}
    if mlflow_runs.has_store(params):
        run_id = session.con.to_pandas(scores.select("run_id").limit(1))["run_id"].iloc[0]
        history = read_history(session.store, run_id)
        names |= {row["segment_id"]: row["name"] for row in history.lineage if row.get("name")}
        names |= history.names | history.given_names
    for segments in scored_segments(session.con, scores).values():
        names |= segments
    return names


def _with_names(net: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """The changes as people read them: what changed, from, to, when."""
    is_audience = net["column"].str.startswith(AUDIENCE)
    columns = {
        "customer_id": net["customer_id"],
        "what": net["column"].map(column_label),
        "from": net["before"].map(names).fillna(net["before"]),
        "to": net["after"].map(names).fillna(net["after"]),
        "previous_as_of": net["previous_as_of"].dt.strftime(MOMENT),
        "as_of": net["as_of"].dt.strftime(MOMENT),
        "entry_count": net["entry_count"].astype("Int64"),
    }
    order = is_audience.astype(int).sort_values(kind="stable").index
    return pd.DataFrame(columns).loc[order].reset_index(drop=True)


def _counts(net: pd.DataFrame, names: dict[str, str]) -> list[str]:
    """A table: who entered, who left, and who came back, by segment, tier and audience."""
    if net.empty:
        return []
    entered = net.groupby(["column", "after"]).agg(entered=("customer_id", "size"), again=("entry_count", _again))
    left = net.groupby(["column", "before"]).size().rename("left")
    entered.index.names = left.index.names = ["column", "value"]
    table = entered.join(left, how="outer").fillna(0).astype(int).sort_index()
    rows = [["", "", "Entered", "Left", "Net", "Not for the first time"]]
    for row in table.reset_index().itertuples(index=False):
        column, value, entered_count, again_count, left_count = row
        cells = [f"{entered_count:,}", f"{left_count:,}", f"{entered_count - left_count:+,}", f"{again_count:,}"]
        rows.append([column_label(column), names.get(value, value), *cells])
    return align_columns(rows, right=(2, 3, 4, 5))


def _again(entry_counts: pd.Series) -> int:
    return int((entry_counts > 1).sum())
