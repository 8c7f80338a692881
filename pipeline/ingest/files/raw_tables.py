"""Loads files, queries and databases as raw tables, in which each row has its file and its number in that file."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.redaction import redact_message, redact_text
from pipeline.config.sections.source import Table
from pipeline.ingest.files.archives import text_files
from pipeline.ingest.files.database_tables import load_rows
from pipeline.ingest.files.digests import blaming_changes, files_digest
from pipeline.ingest.files.formats import FileError, file_kind, is_archive
from pipeline.ingest.files.headers import refuse_reserved
from pipeline.ingest.files.queries import NOT_ALLOWED, QueryNames, names_in_query, query_hint, replace_files
from pipeline.ingest.files.text_files import Unreadable, encoding_warnings, load_lines
from pipeline.ingest.files.workbooks import load_workbooks
from pipeline.ingest.sql import FILE, ROW
from pipeline.stores.database import is_allowed, is_disk_full, private_folder
from pipeline.stores.databases.rows import source_file
from pipeline.stores.databases.sql import literal, quoted
from pipeline.stores.local.file_names import as_glob, matching_files

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from ibis.backends.duckdb import Backend


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
        Column kindred_file is an index into this list; null for a SELECT. A file in a zip archive lies below it.
    unreadable : list of Unreadable
        Rows that could not be split into columns.
    sources : list of Path
        The files that `path` names; empty for a query.
    is_view : bool
        Whether the rows are read from the files each time, and not copied.
    warnings : list of str
        In plain words, without any customer's data.
    assumed_encodings : dict of str to list of str
        Encoding -> names of the files that are not UTF-8 and do not say what they are.
    select_key : str
        Key of the table's SELECT in params.yaml, if it has one.
    """

    name: str
    columns: dict[str, str]
    files: list[Path]
    digest: str
    unreadable: list[Unreadable] = field(default_factory=list)
    physical_line_count: int | None = None
    sources: list[Path] = field(default_factory=list)
    is_view: bool = False
    warnings: list[str] = field(default_factory=list)
    assumed_encodings: dict[str, list[str]] = field(default_factory=dict)
    select_key: str = "query"

    @property
    def has_lines(self) -> bool:
        """Whether the table comes from text files, so that rows can be reported by line."""
        return self.physical_line_count is not None

    @property
    def assumed_encoding(self) -> str | None:
        """The encoding in which all files were read, if it is another than UTF-8 and neither marked nor declared."""
        encodings = self.assumed_encodings.items()
        return next((encoding for encoding, names in encodings if len(names) == len(self.files)), None)

    def file_name(self, index: int | None, folder: Path) -> str:
        """A file relative to ``folder``, for messages."""
        if index is None:
            return self.select_key
        path = self.files[index]
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path.name)


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
        matches = _files_in(place, table, key=key) if place.is_dir() else matching_files(place)
        if not matches:
            raise SourceError(
                f"{key}.path: expected Parquet, CSV, JSON lines, Excel or zip files at {redact_text(text)}, found "
                f"none. Relative paths start at {params.folder}.{_how_to_leave_out(key)}"
            )
        found += matches
    kinds = {kind_of(path, table, key=key) for path in found}
    if len(kinds) > 1 or None in kinds:
        names = ", ".join(sorted({"".join(path.suffixes) or path.name for path in found}))
        raise SourceError(
            f"{key}.path: expected files of one kind (.parquet, .csv, .jsonl, .xlsx, or .zip, .gz or .zst of text). "
            f"Found {names}. Files with another suffix need {key}.format: csv, json, parquet or excel."
        )
    empty = [path.name for path in found if path.stat().st_size == 0]
    if empty:
        raise SourceError(f"{key}.path: expected files with rows. Empty: {', '.join(empty[:5])}.")
    return found


def kind_of(path: Path, table: Table, *, key: str) -> str | None:
    """The kind of a file as declared, or else by its suffix; None if unknown."""
    if table.format != "auto":
        return table.format
    with _translate_file_errors(key):
        return file_kind(path)


def _files_in(folder: Path, table: Table, *, key: str) -> list[Path]:
    """Files in a folder, not below it, that are of a known kind and not hidden."""
    shown = [path for path in folder.iterdir() if path.name[0] != "." and path.is_file()]
    return sorted(path for path in shown if kind_of(path, table, key=key))


def _how_to_leave_out(key: str) -> str:
    """How to say that there is no such table, if it may be missing."""
    section, _, name = key.partition(".")
    lost = {
        "products": "then categories come from the events' own category_path, if they have one",
        "categories": "then products need a category_path or level columns",
        "customers": "then customers without an event are unknown",
    }
    return f" If there is no such table, write {section}: {{{name}: null}}; {lost[name]}." if name in lost else ""


def source_files(params: Params) -> list[Path]:
    """Files of all tables of ``params.source``, those of queries and databases too, and the list of excluded customers.

    Raises
    ------
    SourceError
        See `resolve_files`.
    """
    source = params.source
    excluded = source.exclude.customer_ids
    found = [params.path(excluded)] if isinstance(excluded, str) else []
    tables = ("events", "products", "categories", "customers", "identities", "rates")
    for name in ("summaries", "identities") if source.summaries is not None else tables:
        table = getattr(source, name)
        if table is not None and table.query is not None:
            names = names_in_query(table.query)
            for text in [*(table.name for table in names.tables), *names.texts]:
                found += matching_files(params.path(os.path.expanduser(text)))
        elif table is not None and table.uri is not None:
            found += filter(None, [source_file(table.uri, params.folder)])
        elif table is not None:
            found += resolve_files(table, params, key=f"source.{name}")
    return found


def read_raw(con: Backend, table: Table, params: Params, *, name: str, key: str) -> RawTable:
    """Load ``table`` as the raw table or view ``name``, with columns kindred_file and kindred_row added."""
    db = con.con
    if table.sql is not None and table.uri is not None:
        warnings = load_rows(db, table.uri, table.sql, name, folder=params.folder, key=key)
        return replace(_query_result(db, name, []), warnings=warnings, select_key="sql")
    if table.query is not None:
        return _from_query(db, table, table.query, params, name=name, key=key)
    if table.table is not None:
        raise SourceError(
            f"{key}.table: expected engine.kind: spark, with check, train or score, which read tables of Spark. Name "
            f"files in {key}.path, or set engine.kind."
        )
    files = resolve_files(table, params, key=key)
    return replace(read_files(db, files, table, name=name, key=key), digest=files_digest(files))


def read_files(db: DuckDBPyConnection, files: list[Path], table: Table, *, name: str, key: str) -> RawTable:
    """Load files of one kind as `read_raw` does, without their digest."""
    kind = kind_of(files[0], table, key=key)
    if kind != "parquet":
        return _copy_files(db, files, table, name=name, kind=kind, key=key)
    with _translate_errors(f"{key}.path: expected readable Parquet files."), _translate_file_errors(key):
        _parquet_view(db, files, name)
        return RawTable(name, _columns(db, name), files, "", sources=files, is_view=True)


def _copy_files(
    db: DuckDBPyConnection,
    files: list[Path],
    table: Table,
    *,
    name: str,
    kind: str | None,
    key: str,
    is_temporary: bool = False,
) -> RawTable:
    """Load text files or workbooks as table ``name``, with all columns as text."""
    with (
        _translate_errors(f"{key}.path: expected readable {kind} files."),
        _translate_file_errors(key),
        blaming_changes(files),
        private_folder(db) as private,
    ):
        if kind == "excel":
            load_workbooks(db, files, name, table, is_temporary=is_temporary)
            return RawTable(name, _columns(db, name), files, "", sources=files)
        texts = text_files(files, Path(private))
        folder = Path(private)
        loaded = load_lines(db, texts, name, table, is_csv=kind == "csv", folder=folder, is_temporary=is_temporary)
    return RawTable(
        name,
        _columns(db, name),
        [text.name for text in texts],
        "",
        loaded.unreadable,
        loaded.line_count,
        sources=files,
        warnings=encoding_warnings(loaded.assumed_encodings, key=key),
        assumed_encodings=loaded.assumed_encodings,
    )


@contextmanager
def _translate_file_errors(key: str) -> Iterator[None]:
    """Turn a FileError into a SourceError that names the key in params.yaml."""
    try:
        yield
    except FileError as error:
        raise SourceError(f"{key}.{error.setting}: {error}") from None


@contextmanager
def _translate_errors(expected: str, hint: Callable[[str], str] = lambda _: "") -> Iterator[None]:
    """Turn database errors into a SourceError without the values and secrets that they may quote."""
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
        raise SourceError(f"{expected} {redact_message(message)}{hint(message)}") from None


def _columns(db: DuckDBPyConnection, name: str) -> dict[str, str]:
    return {row[0]: row[1] for row in db.execute(f"describe {name}").fetchall() if row[0] not in (FILE, ROW)}


def _parquet_view(db: DuckDBPyConnection, files: Sequence[Path], name: str) -> None:
    listed = ", ".join(literal(as_glob(path)) for path in files)
    rows = f"read_parquet([{listed}], union_by_name = true)"
    refuse_reserved(row[0] for row in db.execute(f"describe from {rows}").fetchall())
    db.execute(
        f"create or replace view {name} as select *, file_index::integer as {FILE}, file_row_number + 1 as {ROW} "
        f"from {rows}"
    )


def _from_query(db: DuckDBPyConnection, table: Table, query: str, params: Params, *, name: str, key: str) -> RawTable:
    """Load the result of a query.

    A CSV file or workbook after FROM is read as one of `path` is: in any encoding, with all columns as text. DuckDB
    would guess types, by which 00115 becomes 115, and which change with the rows. Its lines that cannot be split are
    set aside as well.
    """
    with _translate_errors(f"{key}.query: expected SQL that DuckDB can run."):
        statements = duckdb.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise SourceError(f"{key}.query: expected one SELECT.")
    names = names_in_query(query)
    parts: dict[str, RawTable] = {}
    for text, (kind, files) in _copied_files(names, table, params, key=key).items():
        if not all(is_allowed(db, path) for path in files):
            raise SourceError(
                f"{key}.query: expected files that a query may read, found {redact_text(text)}.{NOT_ALLOWED}"
            )
        part = f"{name}_part_{len(parts)}"
        parts[text] = _copy_files(db, files, table, name=part, kind=kind, key=key, is_temporary=True)
    copies = {text: f"(select * exclude ({FILE}, {ROW}) from {copied.name})" for text, copied in parts.items()}
    with _translate_file_errors(key):
        body = replace_files(query, names.tables, copies).strip().rstrip(";")
    # chdir, so that relative paths start at the params file: DuckDB's file_search_path prefers the working directory.
    with (
        _translate_file_errors(key),
        _translate_errors(
            f"{key}.query: expected SQL that DuckDB can run.", lambda message: query_hint(message, query, key=key)
        ),
        chdir(params.folder),
    ):
        refuse_reserved(row[0] for row in db.execute(f"describe {body}").fetchall())
        db.execute(
            f"create or replace table {name} as "
            f"select *, null::integer as {FILE}, row_number() over () as {ROW} from (\n{body}\n)"
        )
    for copied in parts.values():
        db.execute(f"drop table {copied.name}; drop table if exists {copied.name}_shifts")
    return _query_result(db, name, [*parts.values()])


def _copied_files(names: QueryNames, table: Table, params: Params, *, key: str) -> dict[str, tuple[str, list[Path]]]:
    """Name in the query -> kind and files, for names after FROM that are CSV files, workbooks or zip archives."""
    found: dict[str, tuple[str, list[Path]]] = {}
    for text in dict.fromkeys(table.name for table in names.tables):
        files = matching_files(params.path(os.path.expanduser(text)))
        with _translate_file_errors(key):
            kinds = {file_kind(path) for path in files}
        kind = kinds.pop() if len(kinds) == 1 else None
        kind = table.format if files and kind is None and table.format != "auto" else kind
        if kind in ("csv", "excel") or (kind and any(map(is_archive, files))):
            found[text] = kind, files
    return found


def _query_result(db: DuckDBPyConnection, name: str, parts: Sequence[RawTable]) -> RawTable:
    """The table ``name`` that a query filled, with what was found in the files that were copied for it."""
    files: list[Path] = []
    unreadable: list[Unreadable] = []
    for part in parts:
        unreadable += [replace(row, file=row.file + len(files)) for row in part.unreadable]
        files += part.files
    columns = _columns(db, name)
    # The sum of hashes does not depend on the order of rows. The SQL is left out: it names the files.
    listed = ", ".join(quoted(column) for column in columns)
    total = db.execute(f"select count(*), sum(hash({listed})::hugeint) from {name}").fetchone()
    digest = hashlib.sha256(f"{columns}{total}".encode()).hexdigest()
    warnings = [warning for part in parts for warning in part.warnings]
    return RawTable(name, columns, files, digest, unreadable, warnings=warnings)
