"""Loads CSV and JSON lines as raw tables of texts: rows that cannot be split are rejected, and no line is lost.

DuckDB numbers the rows of a text file, not its lines, and a rejected row has no number at all. Each file is therefore
scanned a second time as bytes. This checks that every line was read or rejected, and finds the line and raw text of
rejected rows, for which DuckDB gives a byte position. Table `<name>_shifts` maps row numbers to lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.config.sections.source import Table
from pipeline.ingest.files.encodings import UTF8, Encoding, copy_as_utf8, find_encoding, guess_encoding
from pipeline.ingest.files.formats import FileError, TextFile, naming_file, open_bytes
from pipeline.ingest.files.headers import Dialect, find_dialect, refuse_reserved
from pipeline.ingest.sql import FILE, ROW, create_table
from pipeline.stores.databases.sql import literal, quoted
from pipeline.stores.local.file_names import as_glob

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ENCODING = "INVALID ENCODING"
JSON_LINES = "header = false, delim = '\x01', quote = '', escape = '', columns = {'line': 'VARCHAR'}"
"""Arguments of read_csv; the delimiter is a byte that cannot occur unescaped in JSON."""


@dataclass(frozen=True)
class Unreadable:
    r"""A row that could not be split into columns.

    Attributes
    ----------
    reason : str
        Rule: unreadable_row or broken_encoding.
    detail : str
        The database's error types.
    raw : str
        The line; bytes that are not UTF-8 appear as ``\xff``.
    """

    file: int
    line: int
    reason: str
    detail: str
    raw: str


@dataclass
class LoadedLines:
    """What was read from text files besides rows.

    Attributes
    ----------
    line_count : int
        Physical lines, also those of headers and rejected rows.
    assumed_encodings : dict of str to list of str
        Encoding -> names of files that are not UTF-8 and do not say what they are.
    """

    unreadable: list[Unreadable] = field(default_factory=list)
    line_count: int = 0
    assumed_encodings: dict[str, list[str]] = field(default_factory=dict)


def load_lines(
    db: DuckDBPyConnection,
    files: Sequence[TextFile],
    name: str,
    table: Table,
    *,
    is_csv: bool,
    folder: Path,
    is_temporary: bool = False,
) -> LoadedLines:
    """Create table ``name`` with all columns as text, kindred_file and kindred_row.

    Parameters
    ----------
    folder : Path
        A private folder for copies of files that are not UTF-8.

    Raises
    ------
    FileError
        Lines are missing from what was read, or a header or an encoding is invalid.
    """
    loaded, create = LoadedLines(), create_table(name, is_temporary=is_temporary)
    db.execute(f"create or replace table {name}_shifts (file integer, starts_at bigint, shift bigint)")
    db.execute("set preserve_insertion_order = true")
    for index, file in enumerate(files):
        with naming_file(file.name.name):
            encoding = find_encoding(file, table.encoding)
            part = _insert_rows(db, file, name, table, create, index, encoding, is_csv=is_csv, folder=folder)
            likely = guess_encoding(file.path) if _may_be_another_encoding(db, encoding) else encoding
            if likely.name != encoding.name:
                encoding = likely
                db.execute(f"delete from {name} where {FILE} = {index}")
                part = _insert_rows(db, file, name, table, create, index, encoding, is_csv=is_csv, folder=folder)
            rejects, lines = _check_all_lines(db, part, name, index)
            if part.path != file.path:
                part.path.unlink()
        loaded.unreadable += rejects
        loaded.line_count += lines
        if not encoding.is_known and encoding.name != UTF8:
            loaded.assumed_encodings.setdefault(encoding.name, []).append(part.name)
    db.execute("set preserve_insertion_order = false")
    if not is_csv:
        loaded.unreadable += _json_columns(db, name, create)
    return loaded


def encoding_warnings(assumed: dict[str, list[str]], *, key: str) -> list[str]:
    """A warning for each encoding that was assumed for files."""
    return [
        f"{key}: {names[0]}{f' and {len(names) - 1:,} other files' if len(names) > 1 else ''} "
        f"{'are' if len(names) > 1 else 'is'} not in UTF-8; read as {encoding}, which suits the letters best. "
        f"Declare the right one, such as {key}.encoding: {encoding}"
        for encoding, names in assumed.items()
    ]


def with_lines(name: str, query: str) -> str:
    """SQL: ``query`` over table ``name``, with kindred_file and kindred_row, and the first line of each row."""
    return (
        f"select numbered.*, numbered.{ROW} + shifts.shift as line from ({query}) numbered "
        f"asof left join {name}_shifts shifts "
        f"on numbered.{FILE} = shifts.file and numbered.{ROW} >= shifts.starts_at"
    )


@dataclass(frozen=True)
class _Part:
    """One file as it was read.

    Attributes
    ----------
    path : Path
        The file itself, or a copy in UTF-8.
    dialect : Dialect or None
        None: JSON lines.
    """

    name: str
    path: Path
    dialect: Dialect | None

    @property
    def lines_before(self) -> int:
        """Lines before the first row."""
        return self.dialect.lines_before if self.dialect else 0


def _insert_rows(
    db: DuckDBPyConnection,
    file: TextFile,
    name: str,
    table: Table,
    create: str,
    index: int,
    encoding: Encoding,
    *,
    is_csv: bool,
    folder: Path,
) -> _Part:
    """Append the rows of a file to the table ``name``, which the first file creates."""
    path, dialect = file.path, None
    if encoding.name != UTF8:
        path = copy_as_utf8(file, encoding.name, folder)
    if is_csv:
        with open_bytes(path) as handle:
            dialect = find_dialect(handle, table, name=file.name.name)
    options = dialect.options() if dialect else JSON_LINES
    db.execute("drop table if exists reject_errors; drop table if exists reject_scans")
    rows = (
        f"read_csv({literal(as_glob(path))}, {options}, auto_detect = false, store_rejects = true, rejects_limit = 0)"
    )
    numbered = f"select *, {index} as {FILE}, row_number() over () as {ROW} from {rows}"
    db.execute(f"insert into {name} by name {numbered}" if index else f"{create} as {numbered}")
    return _Part(file.name.name, path, dialect)


def _may_be_another_encoding(db: DuckDBPyConnection, encoding: Encoding) -> bool:
    """Whether a file that was taken for UTF-8 has a row that is not."""
    if encoding.is_known or encoding.name != UTF8:
        return False
    broken = f"select exists (from reject_errors where error_type::varchar = {literal(ENCODING)})"
    return bool(db.execute(broken).fetchall()[0][0])


def _json_columns(db: DuckDBPyConnection, name: str, create: str) -> list[Unreadable]:
    """Turn the table of lines into one of columns; return the lines that are not JSON objects."""
    is_object = "coalesce(case when json_valid(line) then json_type(line) = 'OBJECT' end, false)"
    db.execute(f"create or replace temp table json_lines as select *, {is_object} as is_object from {name}")
    others = f"select {FILE}, {ROW}, line as raw from json_lines where not is_object and trim(line) <> ''"
    broken = db.execute(f"select {FILE}, line, raw from ({with_lines(name, others)}) order by all").fetchall()
    keys = db.execute("select distinct unnest(json_keys(line)) from json_lines where is_object").fetchall()
    if not keys:
        raise FileError("expected one JSON object per line, found none with keys.")
    refuse_reserved([key for (key,) in keys])
    picked = "".join(f"{_json_text(key)} as {quoted(key)}, " for (key,) in sorted(keys) if key)
    db.execute(f"{create} as select {picked}{FILE}, {ROW} from json_lines where is_object; drop table json_lines")
    return [Unreadable(file, line, "unreadable_row", "NO JSON OBJECT", raw) for file, line, raw in broken]


def _json_text(key: str) -> str:
    """SQL for a value as text: the number 17850.0 is 17850, as in a column of floats; the text "17850.0" stays."""
    pointer = literal("/" + key.replace("~", "~0").replace("/", "~1"))
    text = f"line ->> {pointer}"
    return f"case json_type(line, {pointer}) when 'DOUBLE' then regexp_replace({text}, '\\.0$', '') else {text} end"


def _check_all_lines(db: DuckDBPyConnection, part: _Part, name: str, index: int) -> tuple[list[Unreadable], int]:
    """Refuse a file in which some line became neither a row nor a reject; return rejects and line count."""
    kinds: dict[int, set[str]] = {}
    # After a line that it skips, DuckDB's positions are one too small if lines end in two bytes.
    shift = int(part.dialect is not None and part.dialect.has_separator_line)
    for position, kind in db.execute("select line_byte_position, error_type::varchar from reject_errors").fetchall():
        kinds.setdefault(position + shift, set()).add(kind)
    rejects, blanks, lines = _scan_lines(part.path, index, kinds)
    rows, within = _rows_and_breaks(db, name, index)
    known = rows + within + len(kinds) + part.lines_before
    if not lines - len(blanks) <= known <= lines:
        open_quotes = [reject.line for reject in rejects if "QUOTE" in reject.detail]
        where = f" (see line {open_quotes[0]:,})" if open_quotes else ""
        raise FileError(
            f"{part.name} has {lines:,} lines, but {known:,} were accounted for ({rows:,} rows read, "
            f"{len(kinds):,} rejected). The usual cause is an unclosed quote, which swallows the lines after "
            f"it{where}. Fix the file."
        )
    extra = [reject.line for reject in rejects] + (blanks if known < lines else [])
    _record_line_offsets(db, name, index, sorted(extra), lines_before=part.lines_before, has_breaks=within > 0)
    return rejects, lines


def _scan_lines(path: Path, index: int, kinds: dict[int, set[str]]) -> tuple[list[Unreadable], list[int], int]:
    """Rejects with line and raw text, the numbers of blank lines, and the number of lines."""
    positions = sorted(kinds, reverse=True)
    rejects: list[Unreadable] = []
    blanks: list[int] = []
    lines = offset = 0
    with open_bytes(path) as handle:
        for line in handle:
            lines += 1
            offset += len(line)
            if not line.strip():
                blanks.append(lines)
            while positions and positions[-1] <= offset:
                kind = kinds[positions.pop()]
                reason = "broken_encoding" if ENCODING in kind else "unreadable_row"
                raw = line.rstrip(b"\r\n").decode("utf-8", errors="backslashreplace")
                rejects.append(Unreadable(index, lines, reason, ", ".join(sorted(kind)), raw))
    return rejects, blanks, lines


def _rows_and_breaks(db: DuckDBPyConnection, name: str, index: int) -> tuple[int, int]:
    """Numbers of rows of a file and of line breaks within their values."""
    texts = [row[0] for row in db.execute(f"describe {name}").fetchall() if row[1] == "VARCHAR"]
    counting = f"select count(*), coalesce(sum({_all_line_breaks(texts)}), 0) from {name} where {FILE} = {index}"
    [(row_count, break_count)] = db.execute(counting).fetchall()
    return int(row_count), int(break_count)


def _all_line_breaks(columns: Sequence[str]) -> str:
    """SQL for the line breaks in a row; a list, as DuckDB allows sums of at most a thousand parts."""
    return f"coalesce(list_sum([{', '.join(map(_line_breaks, columns))}]), 0)"


def _line_breaks(column: str) -> str:
    text = quoted(column)
    return f"case when contains({text}, chr(10)) then length({text}) - length(replace({text}, chr(10), '')) else 0 end"


def _record_line_offsets(
    db: DuckDBPyConnection, name: str, index: int, extra: list[int], *, lines_before: int, has_breaks: bool
) -> None:
    """Record by how much the line number exceeds the row number, and from which row on."""
    jumps = [(0, lines_before)]
    if has_breaks:
        texts = [row[0] for row in db.execute(f"describe {name}").fetchall() if row[1] == "VARCHAR"]
        many = _all_line_breaks(texts)
        jumps += db.execute(
            f"select {ROW} + 1, n from (select {ROW}, {many} as n from {name} where {FILE} = {index}) where n > 0 "
            f"order by 1"
        ).fetchall()
    shifts: list[tuple[int, int]] = []
    shift = 0
    waiting = list(reversed(extra))
    for place, (start, step) in enumerate(jumps):
        shift += step
        shifts.append((start, shift))
        end = jumps[place + 1][0] if place + 1 < len(jumps) else None
        # `waiting[-1] - shift` is the row that follows this extra line, unless a jump comes first.
        while waiting and (end is None or waiting[-1] - shift < end):
            first = waiting.pop() - shift
            shift += 1
            shifts.append((max(first, start), shift))
    last = dict(shifts)
    starts = pa.table({"starts_at": pa.array(last, pa.int64()), "shift": pa.array(last.values(), pa.int64())})
    db.register("new_shifts", starts)
    db.execute(f"insert into {name}_shifts select {index}, starts_at, shift from new_shifts")
    db.unregister("new_shifts")
