"""Loads files and queries as raw tables, in which each row has its file and its number in that file."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from pipeline.config.errors import UserError, without_passwords
from pipeline.config.params import Params
from pipeline.config.sections.source import Table
from pipeline.ingest.files.text_files import LinesError, Unreadable, load_lines
from pipeline.ingest.sql import FILE, ROW, literal, quoted
from pipeline.stores.database import is_disk_full

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from ibis.backends.duckdb import Backend

KINDS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".ndjson": "json"}
KINDS[".json"] = "json"
COMPRESSIONS = (".gz", ".zst")
READERS = {"parquet": "read_parquet({})", "csv": "read_csv({}, all_varchar = true)", "json": "read_json({})"}
WHOLE_DIGEST_BYTES = 2**30


class SourceError(UserError):
    """The source cannot be read, or too much of it is wrong."""


@dataclass(frozen=True)
class RawTable:
    """A table as in its files, and the rows that could not be read.

    Attributes
    ----------
    columns : dict of str to str
        The user's columns and their DuckDB types.
    files : list of Path
        Column kindred_file is an index into this list; null for a query.
    unreadable : list of Unreadable
        Rows that could not be split into columns.
    """

    name: str
    columns: dict[str, str]
    files: list[Path]
    digest: str
    unreadable: list[Unreadable] = field(default_factory=list)
    physical_line_count: int | None = None

    @property
    def has_lines(self) -> bool:
        """Whether the table comes from text files, so that rows can be reported by line."""
        return self.physical_line_count is not None

    def file_name(self, index: int | None, folder: Path) -> str:
        """A file relative to ``folder``, for messages."""
        return "query" if index is None else _relative_name(self.files[index], folder)


def resolve_files(table: Table, params: Params, *, key: str) -> list[Path]:
    """Files that ``table.path`` names, sorted.

    Raises
    ------
    SourceError
        A path matches no file, or the files are of several kinds.
    """
    texts = [table.path] if isinstance(table.path, str) else table.path or []
    found: list[Path] = []
    for text in texts:
        place = params.path(text)
        if place.is_dir():
            matches = sorted(path for path in place.iterdir() if file_kind(path) and path.name[0] != ".")
        else:
            matches = _matching_files(place)
        if not matches:
            raise SourceError(
                f"{key}.path: expected Parquet, CSV or JSON lines files at {text}, found none. "
                f"Relative paths start at {params.folder}.{_how_to_leave_out(key)}"
            )
        found += matches
    kinds = {file_kind(path) for path in found}
    if len(kinds) > 1 or None in kinds:
        names = ", ".join(sorted({"".join(path.suffixes) or path.name for path in found}))
        raise SourceError(
            f"{key}.path: expected files of one kind (.parquet, .csv, .jsonl, or those with .gz or .zst). "
            f"Found {names}."
        )
    empty = [path.name for path in found if path.stat().st_size == 0]
    if empty:
        raise SourceError(f"{key}.path: expected files with rows. Empty: {', '.join(empty[:5])}.")
    return found


def _how_to_leave_out(key: str) -> str:
    """How to say that there is no such table, if it may be missing."""
    section, _, name = key.partition(".")
    lost = {
        "products": "then categories come from the events' own category_path, if they have one",
        "categories": "then products need a category_path or level columns",
        "customers": "then customers without an event are unknown",
    }
    return f" If there is no such table, write {section}: {{{name}: null}}; {lost[name]}." if name in lost else ""


def _matching_files(place: Path) -> list[Path]:
    """Files that a path or a glob names, sorted."""
    if any(sign in str(place) for sign in "*?["):
        anchor = Path(place.anchor)
        return sorted(anchor.glob(str(place.relative_to(anchor))))
    return [place] if os.path.isfile(place) else []  # a text in a query need not be a file name


def source_files(params: Params) -> list[Path]:
    """Files of all tables of ``params.source``, also those that a query names.

    Raises
    ------
    SourceError
        See `resolve_files`.
    """
    source = params.source
    used = ("summaries",) if source.summaries is not None else ("events", "products", "categories", "customers")
    tables = {name: getattr(source, name) for name in used}
    found: list[Path] = []
    for name, table in tables.items():
        if table is not None and table.query is not None:
            for text in _names_in_query(table.query):
                found += _matching_files(params.path(os.path.expanduser(text)))
        elif table is not None:
            found += resolve_files(table, params, key=f"source.{name}")
    return found


def _names_in_query(query: str) -> list[str]:
    """Possible file names in SQL: table names, and texts given to table functions such as read_csv."""
    parsed = duckdb.execute("select json_serialize_sql(?::varchar)", [query]).fetchone()
    found: list[str] = []

    def walk(node: Any, *, is_read: bool) -> None:
        if isinstance(node, dict):
            kind, value = node.get("type"), node.get("value")
            is_read = is_read or kind == "TABLE_FUNCTION"
            if kind == "BASE_TABLE":
                found.append(node["table_name"])
            elif is_read and kind == "VALUE_CONSTANT" and isinstance(value, dict):
                found.append(str(value.get("value")))
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(child, is_read=is_read)

    walk(json.loads(parsed[0] if parsed else "{}"), is_read=False)
    return found


def file_kind(path: Path) -> str | None:
    """parquet, csv or json by the suffix; None for another."""
    bare = path.with_suffix("") if path.suffix in COMPRESSIONS else path
    return KINDS.get(bare.suffix.lower())


def read_raw(con: Backend, table: Table, params: Params, *, name: str, key: str) -> RawTable:
    """Load ``table`` as the raw table or view ``name``, with columns kindred_file and kindred_row added."""
    db = con.con
    if table.query is not None:
        return _from_query(db, table.query, params, name=name, key=key)
    files = resolve_files(table, params, key=key)
    kind = file_kind(files[0])
    with _translate_errors(f"{key}.path: expected readable {kind} files."):
        if kind == "parquet":
            _parquet_view(db, files, name)
            line_report: tuple[list[Unreadable], int | None] = ([], None)
        else:
            try:
                line_report = load_lines(db, files, name, is_csv=kind == "csv")
            except LinesError as error:
                raise SourceError(f"{key}.path: {error}") from None
        columns = _columns(db, name)
    return RawTable(name, columns, files, files_digest(files), *line_report)


@contextmanager
def _translate_errors(expected: str) -> Iterator[None]:
    """Turn database errors into a SourceError without the values and passwords that they may quote."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        if is_disk_full(error):
            raise
        message = str(error).splitlines()[0][:300]
        if isinstance(error, duckdb.ConversionException | duckdb.InvalidInputException | duckdb.OutOfRangeException):
            message = re.sub(r"'[^']*'?|\"[^\"]*\"?", "...", message)
        raise SourceError(f"{expected} {without_passwords(message)}") from None


def _columns(db: DuckDBPyConnection, name: str) -> dict[str, str]:
    return {row[0]: row[1] for row in db.execute(f"describe {name}").fetchall() if row[0] not in (FILE, ROW)}


def _parquet_view(db: DuckDBPyConnection, files: Sequence[Path], name: str) -> None:
    listed = ", ".join(literal(str(path)) for path in files)
    db.execute(
        f"create or replace view {name} as select *, file_index::integer as {FILE}, file_row_number + 1 as {ROW} "
        f"from read_parquet([{listed}], union_by_name = true)"
    )


def _from_query(db: DuckDBPyConnection, query: str, params: Params, *, name: str, key: str) -> RawTable:
    # chdir, so that relative paths start at the params file: DuckDB's file_search_path prefers the working directory.
    with _translate_errors(f"{key}.query: expected SQL that DuckDB can run."), chdir(params.folder):
        statements = duckdb.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise SourceError(f"{key}.query: expected one SELECT.")
        body = query.strip().rstrip(";")
        db.execute(
            f"create or replace table {name} as "
            f"select *, null::integer as {FILE}, row_number() over () as {ROW} from (\n{body}\n)"
        )
    columns = _columns(db, name)
    # The sum of hashes does not depend on the order of rows. The SQL is left out: it names the files.
    listed = ", ".join(quoted(column) for column in columns)
    total = db.execute(f"select count(*), sum(hash({listed})::hugeint) from {name}").fetchone()
    return RawTable(name, columns, [], hashlib.sha256(f"{columns}{total}".encode()).hexdigest())


def _relative_name(path: Path, folder: Path) -> str:
    """A path relative to ``folder`` if it is in there, else its file name."""
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path.name)


def files_digest(files: Sequence[Path]) -> str:
    """SHA-256 over sizes and contents, whatever the names; of a file over 1 GiB, only its first and last 64 MiB."""
    digests = []
    for path in files:
        contents = hashlib.sha256(f"{path.stat().st_size}\0".encode())
        for chunk in _digest_chunks(path):
            contents.update(chunk)
        digests.append(contents.hexdigest())
    # Sorted, because another name may put a file in another place.
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _digest_chunks(path: Path) -> Iterator[bytes]:
    size, part = path.stat().st_size, 2**26
    with path.open("rb") as handle:
        if size > WHOLE_DIGEST_BYTES:
            yield handle.read(part)
            handle.seek(size - part)
        while chunk := handle.read(2**22):
            yield chunk
