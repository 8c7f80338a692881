"""The folder that `kindred score --update` keeps from night to night: loaded, refused or saved, whole or not at all.

It lies beside the outputs: measures of customers, each as of the moment it was taken (`measures`, in files of which the
last one that has a customer counts); the checked events of the window (`events`, in parts by time); the catalogue
(`products`); what the shop turned to by period (`seasons`); and manifest.json, written last, which names the files that
belong together and holds their SHA-256. Files are never changed: new ones get new names, and old ones go once the
manifest no longer names them, so that a crash leaves the old state or the new.
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
"""Table of `pipeline.profiles.seasonality.shop_sums`."""
OURS = ("measures-", "events-", "products-", "seasons-", files.TEMPORARY)
"""Beginnings of the names of files that are written here; others are somebody else's and are let alone."""
LAYOUT = 8
REMEDY = "Remove that folder to begin anew; the next --update then builds the state in full."


class StateError(UserError):
    """The state cannot be used, or the source does not fit it."""


def load(folder: Path, belongs: dict[str, Any], as_of: datetime) -> dict[str, Any] | None:
    """The manifest, once everything that it names is there and whole; None where there is no state."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kept_files = [*manifest["measures"], manifest["products"], *manifest["events"]]
        kept_files += [manifest["seasons"]] if manifest["layout"] == belongs["layout"] else []
        named = {one["file"]: one["sha256"] for one in kept_files if one}
        state_as_of = datetime.fromisoformat(manifest["as_of"])
        edges = [datetime.fromisoformat(part[edge]) for part in manifest["events"] for edge in ("start", "until")]
        own = {key: manifest[key] for key in (*belongs, "number", "reread_from", "older_row_count")}
    except (ValueError, KeyError, TypeError):
        raise StateError(f"{path}: expected the manifest of a state; it is damaged. {REMEDY}") from None
    if any(own[key] != belongs[key] for key in belongs):
        differing = " and ".join(
            {
                "layout": "another version of Kindred",
                "model_uri": f"another model ({str(own['model_uri'])[:80]}, not {belongs['model_uri']})",
                "params_sha256": "a model trained with other parameters",
                "source_sha256": "a source that is described otherwise in params.yaml",
            }[key]
            for key in belongs
            if own[key] != belongs[key]
        )
        raise StateError(f"{folder}: expected the state of this model and source; it is of {differing}. {REMEDY}")
    if state_as_of > as_of:
        raise StateError(
            f"as_of: expected the state's ({state_as_of:%Y-%m-%d %H:%M:%S}) or later; got {as_of:%Y-%m-%d %H:%M:%S}. "
            f"A state cannot go back: score without --update. Or remove {folder} to begin anew; "
            "the next --update then builds the state in full."
        )
    if edges != sorted(edges):
        raise StateError(f"{path}: expected parts of events one after another; they overlap. {REMEDY}")
    for name, digest in named.items():
        file = folder / Path(name).name
        if not file.is_file() or files.file_digest(file) != digest:
            raise StateError(
                f"{file}: expected the file that the state was saved with; it is missing or damaged. {REMEDY}"
            )
    return manifest


def parts_before(parts: list[dict[str, Any]], moment: datetime) -> list[dict[str, Any]]:
    """Parts of events cut off at ``moment``."""
    cut = [part | {"until": min(part["until"], str(moment))} for part in parts]
    return [part for part in cut if part["start"] < part["until"]]


def view_parts(con: Any, folder: Path, parts: list[dict[str, Any]]) -> ir.Table:
    """View state_events: the checked events that the state holds."""
    selects = [
        f"select {', '.join(EVENT_SCHEMA)} from read_parquet({literal(str(folder / part['file']))}) "
        f"where occurred_at >= timestamp {literal(part['start'])} and occurred_at < timestamp {literal(part['until'])}"
        for part in parts
    ]
    listed = " union all ".join(selects or ["select * from events limit 0"])
    con.con.execute(f"create or replace temp view state_events as {listed}")
    return con.table("state_events", database=TEMPORARY)


def view_measures(con: Any, folder: Path, parts: list[dict[str, Any]]) -> ir.Table:
    """View old_measures: each customer's row in the last of the files that have one."""
    kept_files = [f"read_parquet({literal(str(folder / part['file']))})" for part in parts]
    selects = [
        f"select * from {file} where measured_at is not null"
        + "".join(f" and customer_id not in (select customer_id from {later})" for later in kept_files[number + 1 :])
        for number, file in enumerate(kept_files)
    ]
    con.con.execute(f"create or replace temp view old_measures as {' union all '.join(selects)}")
    return con.table("old_measures", database=TEMPORARY)


def view_seasons(con: Any, folder: Path, file: dict[str, Any]) -> ir.Table:
    """View old_seasons: `features.seasons.period_sums` as they were."""
    path = literal(str(folder / file["file"]))
    con.con.execute(f"create or replace temp view old_seasons as select * from read_parquet({path})")
    return con.table("old_seasons", database=TEMPORARY)


def save(
    con: Any,
    params: Params,
    folder: Path,
    manifest: dict[str, Any] | None,
    belongs: dict[str, Any],
    parts: list[dict[str, Any]],
    since: datetime,
    window: ObservationWindow,
    kept_until: datetime,
    source: Source,
    older_row_count: int,
) -> None:
    """Write the state: new files under new names, then the manifest, then what it no longer names goes."""
    folder.mkdir(parents=True, exist_ok=True)
    number = manifest["number"] + 1 if manifest else 1
    parts = [part for part in parts if part["until"] > str(window.start)]
    listed = ", ".join(EVENT_SCHEMA)
    span = f"occurred_at >= timestamp {literal(str(since))} and occurred_at < timestamp {literal(str(window.end))}"
    count = con.con.execute(f"select count(*) from events where {span}").fetchone()[0]
    start = str(since)
    # As small parts are merged with their like, there are never more of them than binary digits in their number.
    while parts and parts[-1]["row_count"] <= count:
        count += parts[-1]["row_count"]
        start = parts.pop()["start"]
    merged = (
        f"select {listed} from events where {span} union all select {listed} from state_events "
        f"where occurred_at >= timestamp {literal(start)} and occurred_at < timestamp {literal(str(since))} "
        # Scans of a few days then skip the rest.
        "order by occurred_at"
    )

    def write(name: str, query: str) -> dict[str, Any]:
        path = folder / f"{name}-{number:06}.parquet"
        files.copy_query(con, query, path, mode=files.PRIVATE, storage=files.FAST)
        return {"file": path.name, "sha256": files.file_digest(path)}

    # Most nights few customers change: a file of theirs alone is written, until such files add up to half of all.
    measures, rows = manifest["measures"] if manifest else [], "touched_measures"
    row_count = con.con.execute("select count(*) from touched_measures").fetchone()[0]
    if measures and 2 * (row_count + sum(one["row_count"] for one in measures[1:])) > measures[0]["row_count"]:
        measures, rows = [], "measures"
        row_count = con.con.execute("select count(*) from measures").fetchone()[0]
    measured = write("measures", f"select * from {rows}") | {"row_count": row_count}
    part = write("events", merged) | {"start": start, "until": str(window.end), "row_count": count}
    saved = {
        **belongs,
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
    named = {MANIFEST, *(one["file"] for one in [*saved["measures"], saved["seasons"], *saved["events"]])}
    named |= {saved["products"]["file"]} if saved["products"] else set()
    for path in folder.iterdir():
        if path.name not in named and path.name.startswith(OURS):
            path.unlink()
