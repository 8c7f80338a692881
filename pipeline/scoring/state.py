"""The state that `kindred score --update` keeps between runs. It is loaded and saved as a whole or not at all.

The state folder is inside the outputs folder. It contains:

- `measures`: measures of customers, each as of the time it was taken. The last file with a customer counts.
- `events`: the checked events of the window, in parts by time.
- `products`: the catalogue.
- `seasons`: the shop's totals by period.
- manifest.json: the names and SHA-256 digests of the files that belong together. It is written last.

Files are never changed. New files get new names, and old files are deleted once the manifest no longer lists them, so a
crash leaves either the old state or the new one.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis.expr.types as ir

from features.events import EVENT_SCHEMA, ObservationWindow
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.ingest.column_sql import literal
from pipeline.ingest.source import Source
from pipeline.stores import files
from pipeline.stores.database import TEMPORARY

FOLDER = "state"
MANIFEST = "manifest.json"
SEASON_SUMS = "season_sums"
"""Table of `pipeline.profiles.seasonality.period_totals`."""
OWN_PREFIXES = ("measures-", "events-", "products-", "seasons-", files.TEMPORARY)
"""Prefixes of the files that Kindred writes here. All other files are left alone."""
LAYOUT = 8
REMEDY = "Delete that folder to start again; the next --update then rebuilds the state."


class StateError(UserError):
    """The state cannot be used, or the source does not fit it."""


def load(folder: Path, fingerprint: dict[str, Any], as_of: datetime) -> dict[str, Any] | None:
    """The manifest, after checking that every file it lists is present and intact; None if there is no state."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kept_files = [*manifest["measures"], manifest["products"], *manifest["events"]]
        kept_files += [manifest["seasons"]] if manifest["layout"] == fingerprint["layout"] else []
        digests = {entry["file"]: entry["sha256"] for entry in kept_files if entry}
        state_as_of = datetime.fromisoformat(manifest["as_of"])
        edges = [datetime.fromisoformat(part[edge]) for part in manifest["events"] for edge in ("start", "until")]
        own = {key: manifest[key] for key in (*fingerprint, "number", "reread_from", "older_row_count")}
    except (ValueError, KeyError, TypeError):
        raise StateError(f"{path}: the state's manifest is damaged. {REMEDY}") from None
    if any(own[key] != fingerprint[key] for key in fingerprint):
        differing = " and ".join(
            {
                "layout": "another version of Kindred",
                "model_uri": f"another model ({str(own['model_uri'])[:80]}, not {fingerprint['model_uri']})",
                "params_sha256": "a model trained with other parameters",
                "source_sha256": "a source with other settings in params.yaml",
            }[key]
            for key in fingerprint
            if own[key] != fingerprint[key]
        )
        raise StateError(f"{folder}: expected a state from this model and source; it comes from {differing}. {REMEDY}")
    if state_as_of > as_of:
        raise StateError(
            f"as_of: expected {state_as_of:%Y-%m-%d %H:%M:%S} (the date of the state) or later; got "
            f"{as_of:%Y-%m-%d %H:%M:%S}. A state cannot go back in time: score without --update. Or delete {folder} to "
            "start again; the next --update then rebuilds the state."
        )
    if edges != sorted(edges):
        raise StateError(f"{path}: expected event parts that follow one another; they overlap. {REMEDY}")
    for name, digest in digests.items():
        file = folder / Path(name).name
        if not file.is_file() or files.file_digest(file) != digest:
            raise StateError(f"{file}: this file of the state is missing or damaged. {REMEDY}")
    return manifest


def parts_before(parts: list[dict[str, Any]], moment: datetime) -> list[dict[str, Any]]:
    """The event parts before ``moment``; a part that spans it is cut."""
    cut = [part | {"until": min(part["until"], str(moment))} for part in parts]
    return [part for part in cut if part["start"] < part["until"]]


def view_parts(con: Any, folder: Path, parts: list[dict[str, Any]]) -> ir.Table:
    """View state_events: the checked events saved in the state."""
    selects = [
        f"select {', '.join(EVENT_SCHEMA)} from read_parquet({literal(str(folder / part['file']))}) "
        f"where occurred_at >= timestamp {literal(part['start'])} and occurred_at < timestamp {literal(part['until'])}"
        for part in parts
    ]
    listed = " union all ".join(selects or ["select * from events limit 0"])
    con.con.execute(f"create or replace temp view state_events as {listed}")
    return con.table("state_events", database=TEMPORARY)


def view_measures(con: Any, folder: Path, parts: list[dict[str, Any]]) -> ir.Table:
    """View old_measures: each customer's row from the last file that has one."""
    kept_files = [f"read_parquet({literal(str(folder / part['file']))})" for part in parts]
    selects = [
        f"select * from {file} where measured_at is not null"
        + "".join(f" and customer_id not in (select customer_id from {later})" for later in kept_files[number + 1 :])
        for number, file in enumerate(kept_files)
    ]
    con.con.execute(f"create or replace temp view old_measures as {' union all '.join(selects)}")
    return con.table("old_measures", database=TEMPORARY)


def view_seasons(con: Any, folder: Path, file: dict[str, Any]) -> ir.Table:
    """View old_seasons: the saved result of `features.seasons.weights_by_period`."""
    path = literal(str(folder / file["file"]))
    con.con.execute(f"create or replace temp view old_seasons as select * from read_parquet({path})")
    return con.table("old_seasons", database=TEMPORARY)


def save(
    con: Any,
    params: Params,
    folder: Path,
    manifest: dict[str, Any] | None,
    fingerprint: dict[str, Any],
    parts: list[dict[str, Any]],
    since: datetime,
    window: ObservationWindow,
    kept_until: datetime,
    source: Source,
    older_row_count: int,
) -> None:
    """Write new files, then the manifest, then delete the files it no longer lists."""
    folder.mkdir(parents=True, exist_ok=True)
    number = manifest["number"] + 1 if manifest else 1
    parts = [part for part in parts if part["until"] > str(window.start)]
    listed = ", ".join(EVENT_SCHEMA)
    span = f"occurred_at >= timestamp {literal(str(since))} and occurred_at < timestamp {literal(str(window.end))}"
    count = con.con.execute(f"select count(*) from events where {span}").fetchone()[0]
    start = str(since)
    # Merging parts of similar size keeps their number logarithmic in the number of events.
    while parts and parts[-1]["row_count"] <= count:
        count += parts[-1]["row_count"]
        start = parts.pop()["start"]
    merged = (
        f"select {listed} from events where {span} union all select {listed} from state_events "
        f"where occurred_at >= timestamp {literal(start)} and occurred_at < timestamp {literal(str(since))} "
        # Sorted rows let a scan of a few days skip the rest of the file.
        "order by occurred_at"
    )

    def write(name: str, query: str) -> dict[str, Any]:
        path = folder / f"{name}-{number:06}.parquet"
        files.copy_query(con, query, path, mode=files.PRIVATE, storage=files.FAST)
        return {"file": path.name, "sha256": files.file_digest(path)}

    # Usually few customers change, so only their rows are written. Once such files hold half of all rows, all are
    # rewritten.
    measures, rows = manifest["measures"] if manifest else [], "touched_measures"
    row_count = con.con.execute("select count(*) from touched_measures").fetchone()[0]
    if measures and 2 * (row_count + sum(entry["row_count"] for entry in measures[1:])) > measures[0]["row_count"]:
        measures, rows = [], "measures"
        row_count = con.con.execute("select count(*) from measures").fetchone()[0]
    measured = write("measures", f"select * from {rows}") | {"row_count": row_count}
    part = write("events", merged) | {"start": start, "until": str(window.end), "row_count": count}
    saved = {
        **fingerprint,
        "number": number,
        "as_of": params.as_of.isoformat(),
        "reread_from": str(kept_until),
        "older_row_count": older_row_count,
        "measures": [*measures, measured],
        "products": None
        if source.products is None
        else write("products", "select product_id, category_path, brand from products order by product_id"),
        "seasons": write("seasons", f"select * from {SEASON_SUMS} order by period, product_id, category_path"),
        "events": [*parts, part],
    }
    files.write_json(folder / MANIFEST, saved)
    listed_files = {MANIFEST, *(entry["file"] for entry in [*saved["measures"], saved["seasons"], *saved["events"]])}
    listed_files |= {saved["products"]["file"]} if saved["products"] else set()
    for path in folder.iterdir():
        if path.name not in listed_files and path.name.startswith(OWN_PREFIXES):
            path.unlink()
