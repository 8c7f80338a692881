"""Looks at the files of an export: which have the same columns, and which are nested."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.sections.source import Table
from pipeline.ingest.columns.texts import is_nested
from pipeline.ingest.files.formats import FileError, file_kind
from pipeline.ingest.files.raw_tables import read_raw
from pipeline.ingest.sql import FILE, ROW
from pipeline.stores.databases.sql import literal, quoted
from pipeline.stores.local.file_names import as_glob

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

EXPECTED = "expected files such as CSV, JSON lines or Parquet, or a folder of them"
SNIFFED_OBJECTS = 1000
"""JSON objects that are enough to see which columns are nested."""


class ExportError(UserError):
    """The files are not what the command can describe."""


@dataclass(frozen=True)
class ExportTable:
    """Files with the same columns.

    Attributes
    ----------
    name : str
        The view in the database that has their rows; nested JSON has none.
    columns : dict of str to str
        Column -> DuckDB type.
    encoding : dict of str to str
        The key ``encoding`` of a params file, if all files were read in one that they do not declare.
    """

    name: str
    files: tuple[Path, ...]
    kind: str
    columns: dict[str, str]
    encoding: dict[str, str] = field(default_factory=dict)

    @property
    def is_nested(self) -> bool:
        """Whether a column holds lists or structures."""
        return any(is_nested(kind) for kind in self.columns.values())

    def row_count(self, con: Backend) -> int:
        """Number of rows; 0 for nested JSON, which is not loaded."""
        if self.is_nested and self.kind == "json":
            return 0
        return int(con.con.execute(f"select count(*) from {self.name}").fetchone()[0])


def find_files(places: Sequence[Path], *, leave_out: Collection[Path] = ()) -> list[Path]:
    """Files of readable kinds that are named, or that are in a folder or below it.

    Parameters
    ----------
    leave_out : collection of Path
        Folders whose files are not part of the export.

    Raises
    ------
    ExportError
        A place does not exist, or holds no such file.
    """
    found: list[Path] = []
    for place in places:
        _require_there(place)
        if place.is_file():
            found.append(place.resolve())
            continue
        folder = place.resolve()
        inside = sorted(folder.rglob("*")) if place.is_dir() else []
        shown = [path for path in inside if not any(part[0] == "." for part in path.relative_to(folder).parts)]
        try:
            files = [
                path
                for path in shown
                if path.is_file() and not {*leave_out}.intersection(path.parents) and file_kind(path)
            ]
        except FileError as error:
            raise ExportError(str(error)) from None
        if not files:
            raise ExportError(f"{place}: {EXPECTED}.")
        found += files
    return [*dict.fromkeys(found)]


def _require_there(place: Path) -> None:
    if place.exists():
        return
    names = sorted(path.name for path in place.resolve().parent.glob("*"))
    near = difflib.get_close_matches(place.name, names, n=1)
    hint = f" Did you mean {place.parent / near[0]}?" if near else ""
    raise ExportError(f"{place}: {EXPECTED}, but nothing is there.{hint}")


def load_tables(con: Backend, params: Params, files: Sequence[Path]) -> list[ExportTable]:
    """The files, grouped by their columns, as tables export_1 ...

    Parameters
    ----------
    params : Params
        For the limits of reading; its source is not used.

    Raises
    ------
    SourceError
        A file cannot be read.
    """
    groups: dict[tuple[str, ...], list[tuple[Path, str, dict[str, str]]]] = {}
    encodings: dict[Path, str | None] = {}
    for number, path in enumerate(files):
        name = f"export_file_{number}"
        columns = _nested_json(con, path)
        if columns is None:
            raw = read_raw(con, Table(path=str(path)), params, name=name, key=path.name)
            columns, encodings[path] = raw.columns, raw.assumed_encoding
        groups.setdefault((file_kind(path) or "", *sorted(columns)), []).append((path, name, columns))
    tables = []
    for number, ((kind, *_), members) in enumerate(groups.items()):
        paths = tuple(path for path, _, _ in members)
        assumed = {encodings.get(path) for path in paths}
        only = assumed.pop() if len(assumed) == 1 else None
        encoding = {"encoding": only} if only else {}
        table = ExportTable(f"export_{number}", paths, kind, members[0][2], encoding)
        if not (table.is_nested and kind == "json"):
            listed = ", ".join(quoted(column) for column in table.columns)
            rows = " union all ".join(f"select {listed}, {FILE}, {ROW} from {name}" for _, name, _ in members)
            con.con.execute(f"create or replace view {table.name} as {rows}")
        tables.append(table)
    return tables


def _nested_json(con: Backend, path: Path) -> dict[str, str] | None:
    """Columns and types of a JSON file with lists or structures, also one that is a single list; None for another."""
    if file_kind(path) != "json":
        return None
    try:
        described = con.con.execute(
            f"describe from read_json({literal(as_glob(path))}, sample_size = {SNIFFED_OBJECTS})"
        ).fetchall()
    except duckdb.Error:
        return None  # the reader of lines says what is wrong
    columns = {row[0]: row[1] for row in described}
    return columns if any(is_nested(kind) for kind in columns.values()) else None
