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

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from features.events import EVENT_SCHEMA, ObservationWindow
from pipeline.scoring.state_manifest import (
    MANIFEST,
    REMEDY,
    EventsPart,
    Manifest,
    MeasuresFile,
    StateError,
    StateFile,
    StateFingerprint,
)
from pipeline.stores import files
from pipeline.stores.database import TEMPORARY
from pipeline.stores.databases.sql import literal
from pipeline.stores.local.file_names import as_glob

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

FOLDER = "state"
PRODUCT_COLUMNS = ("product_id", "category_path", "brand")
SEASON_SUMS = "season_sums"
"""Table of `pipeline.profiles.seasonality.period_totals`."""
OWN_PREFIXES = ("measures-", "events-", "products-", "seasons-", files.TEMPORARY)
"""Prefixes of the files that Kindred writes here. All other files are left alone."""


@dataclass(frozen=True)
class Night:
    """What an update read and measured.

    Attributes
    ----------
    fingerprint : StateFingerprint
    window : ObservationWindow
        Events before it are dropped.
    since : datetime
        UTC without a zone, as the next. Events from it on were read again.
    kept_until : datetime
        Events from it on are read again by the next update.
    older_row_count : int
        Rows of the log before ``kept_until``.
    parts : sequence of EventsPart
        The saved events before ``since``.
    has_products : bool
        Whether the source has a catalogue.
    """

    fingerprint: StateFingerprint
    window: ObservationWindow
    since: datetime
    kept_until: datetime
    older_row_count: int
    parts: Sequence[EventsPart]
    has_products: bool


@dataclass(frozen=True)
class NumberedFiles:
    """Writes the files of one update, with its number in their names."""

    con: Backend
    folder: Path
    number: int

    def write(self, name: str, query: str) -> StateFile:
        """Write the rows of ``query``."""
        path = self.folder / f"{name}-{self.number:06}.parquet"
        files.copy_query(self.con, query, path, mode=files.PRIVATE, storage=files.FAST)
        return StateFile(file=path.name, sha256=files.file_digest(path))

    def count(self, rows: str) -> int:
        """Number of rows of a table, or of a table with a condition."""
        return int(self.con.con.execute(f"select count(*) from {rows}").fetchone()[0])


def require_columns(folder: Path, manifest: Manifest) -> None:
    """Refuse files that are as the manifest lists them, but hold other tables.

    Raises
    ------
    StateError
        A file lacks a column.
    """
    required = [
        *((entry, ("customer_id", "measured_at")) for entry in manifest.measures),
        *((entry, (*EVENT_SCHEMA,)) for entry in manifest.events),
        (manifest.seasons, ("period", "product_id", "category_path")),
        *([(manifest.products, PRODUCT_COLUMNS)] if manifest.products else []),
    ]
    for entry, columns in required:
        try:
            names = pq.read_schema(folder / entry.file).names
        except (pa.ArrowException, OSError):
            names = []
        if not {*columns} <= {*names}:
            raise StateError(f"{folder / entry.file}: this file of the state holds another table. {REMEDY}")


def parts_before(parts: Sequence[EventsPart], moment: datetime) -> list[EventsPart]:
    """The event parts before ``moment``; a part that spans it is cut."""
    cut = [part.model_copy(update={"until": min(part.until, moment)}) for part in parts]
    return [part for part in cut if part.start < part.until]


def view_parts(con: Backend, folder: Path, parts: Sequence[EventsPart]) -> ir.Table:
    """View state_events: the checked events saved in the state."""
    selects = [
        f"select {', '.join(EVENT_SCHEMA)} from {_rows(folder, part)} where {_span(part.start, part.until)}"
        for part in parts
    ]
    return _view(con, "state_events", " union all ".join(selects or ["select * from events limit 0"]))


def view_measures(con: Backend, folder: Path, parts: Sequence[MeasuresFile]) -> ir.Table:
    """View old_measures: each customer's row from the last file that has one."""
    kept_files = [_rows(folder, part) for part in parts]
    selects = [
        f"select * from {file} where measured_at is not null"
        + "".join(f" and customer_id not in (select customer_id from {later})" for later in kept_files[number + 1 :])
        for number, file in enumerate(kept_files)
    ]
    return _view(con, "old_measures", " union all ".join(selects))


def view_products(con: Backend, folder: Path, file: StateFile) -> ir.Table:
    """View old_products: product_id, category_path, brand."""
    return _view(con, "old_products", f"select * from {_rows(folder, file)}")


def view_seasons(con: Backend, folder: Path, file: StateFile) -> ir.Table:
    """View old_seasons: the saved result of `features.seasons.weights_by_period`."""
    return _view(con, "old_seasons", f"select * from {_rows(folder, file)}")


def _view(con: Backend, name: str, query: str) -> ir.Table:
    con.con.execute(f"create or replace temp view {name} as {query}")
    view: ir.Table = con.table(name, database=TEMPORARY)
    return view


def _rows(folder: Path, entry: StateFile) -> str:
    return f"read_parquet({literal(as_glob(folder / entry.file))})"


def _span(start: datetime, until: datetime) -> str:
    return f"occurred_at >= timestamp {literal(str(start))} and occurred_at < timestamp {literal(str(until))}"


def save(con: Backend, folder: Path, previous: Manifest | None, night: Night) -> None:
    """Write new files, then the manifest, then delete the files it no longer lists.

    Reads the tables events, state_events, touched_measures, measures, products and `SEASON_SUMS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = NumberedFiles(con, folder, number=previous.number + 1 if previous else 1)
    manifest = Manifest(
        **night.fingerprint.model_dump(),
        number=new.number,
        as_of=night.window.as_of,
        reread_from=night.kept_until,
        older_row_count=night.older_row_count,
        measures=_append_or_rewrite_measures(new, previous.measures if previous else ()),
        events=_merge_small_parts(new, night),
        products=new.write("products", f"select {', '.join(PRODUCT_COLUMNS)} from products order by product_id")
        if night.has_products
        else None,
        seasons=write_seasons(new),
    )
    files.write_json(folder / MANIFEST, manifest.as_json())
    delete_unlisted(folder, manifest)


def _append_or_rewrite_measures(new: NumberedFiles, kept: tuple[MeasuresFile, ...]) -> tuple[MeasuresFile, ...]:
    """Usually few customers change, so only their rows are written; all are, once such files hold half of all rows."""
    rows, row_count = "touched_measures", new.count("touched_measures")
    if kept and 2 * (row_count + sum(file.row_count for file in kept[1:])) > kept[0].row_count:
        kept, rows, row_count = (), "measures", new.count("measures")
    written = new.write("measures", f"select * from {rows}")
    return *kept, MeasuresFile(file=written.file, sha256=written.sha256, row_count=row_count)


def _merge_small_parts(new: NumberedFiles, night: Night) -> tuple[EventsPart, ...]:
    """The kept parts and a new one; parts of similar size are merged, so their number is logarithmic in the events."""
    parts = [part for part in night.parts if part.until > night.window.start]
    reread, start = _span(night.since, night.window.end), night.since
    count = new.count(f"events where {reread}")
    while parts and parts[-1].row_count <= count:
        merged = parts.pop()
        start, count = merged.start, count + merged.row_count
    listed = ", ".join(EVENT_SCHEMA)
    written = new.write(
        "events",
        f"select {listed} from events where {reread} "
        f"union all select {listed} from state_events where {_span(start, night.since)} "
        # Sorted rows let a scan of a few days skip the rest of the file.
        "order by occurred_at",
    )
    part = EventsPart(file=written.file, sha256=written.sha256, start=start, until=night.window.end, row_count=count)
    return *parts, part


def write_seasons(new: NumberedFiles) -> StateFile:
    """Write the rows of `SEASON_SUMS`."""
    return new.write("seasons", f"select * from {SEASON_SUMS} order by period, product_id, category_path")


def delete_unlisted(folder: Path, manifest: Manifest | None) -> None:
    """Delete the files that the manifest does not list; without a manifest that can be used, the whole state."""
    listed = {MANIFEST, *(entry.file for entry in manifest.listed())} if manifest else set()
    if manifest is None:
        (folder / MANIFEST).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.name not in listed and path.name.startswith(OWN_PREFIXES):
            path.unlink()
