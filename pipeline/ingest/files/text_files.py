"""Loads CSV and JSON lines as raw tables of texts: rows that cannot be split are rejected, and no line is lost.

DuckDB numbers the rows of a text file, not its lines, and a rejected row has no number at all. Each file is therefore
scanned a second time as bytes. This checks that every line was read or rejected, and finds the line and raw text of
rejected rows, for which DuckDB gives a byte position. Table `<name>_shifts` maps row numbers to lines.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from pipeline.ingest.sql import FILE, ROW, literal, quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

UTF16 = (b"\xff\xfe", b"\xfe\xff")
ENCODING = "INVALID ENCODING"


class LinesError(ValueError):
    """A text file that cannot be read as it is."""


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


def load_lines(
    db: DuckDBPyConnection, files: Sequence[Path], name: str, *, is_csv: bool
) -> tuple[list[Unreadable], int]:
    """Create table ``name`` with all columns as text, kindred_file and kindred_row; return rejects and line count.

    Raises
    ------
    LinesError
        Lines are missing from what was read, or a header is invalid.
    """
    unreadable: list[Unreadable] = []
    physical = 0
    db.execute(f"create or replace table {name}_shifts (file integer, starts_at bigint, shift bigint)")
    db.execute("set preserve_insertion_order = true")
    for index, path in enumerate(files):
        db.execute("drop table if exists reject_errors; drop table if exists reject_scans")
        rows = _csv_rows(path) if is_csv else _json_rows(path)
        numbered = f"select *, {index} as {FILE}, row_number() over () as {ROW} from {rows}"
        if index == 0:
            db.execute(f"create or replace table {name} as {numbered}")
        else:
            db.execute(f"insert into {name} by name {numbered}")
        rejects, lines = _check_all_lines(db, path, name, index, has_header=is_csv)
        unreadable += rejects
        physical += lines
    db.execute("set preserve_insertion_order = false")
    if not is_csv:
        unreadable += _json_columns(db, name)
    return unreadable, physical


def with_lines(name: str, query: str) -> str:
    """SQL: ``query`` over table ``name``, with kindred_file and kindred_row, and the first line of each row."""
    return (
        f"select numbered.*, numbered.{ROW} + shifts.shift as line from ({query}) numbered "
        f"asof left join {name}_shifts shifts "
        f"on numbered.{FILE} = shifts.file and numbered.{ROW} >= shifts.starts_at"
    )


def _csv_rows(path: Path) -> str:
    with open_bytes(path) as handle:
        first = handle.readline()
    if first.startswith(UTF16):
        raise LinesError(f"{path.name}: expected UTF-8, found UTF-16. Save the file as UTF-8.")
    header = first.decode("utf-8", errors="replace").lstrip("\ufeff").rstrip("\r\n")
    delimiter = max(",;\t|", key=header.count)
    names = next(csv.reader([header], delimiter=delimiter), [])
    repeated = sorted({name for name in names if sum(name.lower() == other.lower() for other in names) > 1})
    if repeated or not all(names):
        problem = f"more than once: {', '.join(repeated)}" if repeated else "one without a name"
        raise LinesError(f"{path.name}: expected a header that names each column once. Found {problem}.")
    declared = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in names)
    return (
        f"read_csv({literal(str(path))}, header = true, auto_detect = false, delim = {literal(delimiter)}, "
        f"quote = '\"', escape = '\"', columns = {{{declared}}}, store_rejects = true, rejects_limit = 0)"
    )


def _json_rows(path: Path) -> str:
    # The delimiter is a byte that cannot occur unescaped in JSON.
    return (
        f"read_csv({literal(str(path))}, header = false, auto_detect = false, delim = '\x01', quote = '', "
        "escape = '', columns = {'line': 'VARCHAR'}, store_rejects = true, rejects_limit = 0)"
    )


def _json_columns(db: DuckDBPyConnection, name: str) -> list[Unreadable]:
    """Turn the table of lines into one of columns; return the lines that are not JSON objects."""
    is_object = "coalesce(case when json_valid(line) then json_type(line) = 'OBJECT' end, false)"
    db.execute(f"create or replace temp table json_lines as select *, {is_object} as is_object from {name}")
    others = f"select {FILE}, {ROW}, line as raw from json_lines where not is_object and trim(line) <> ''"
    broken = db.execute(f"select {FILE}, line, raw from ({with_lines(name, others)}) order by all").fetchall()
    keys = db.execute("select distinct unnest(json_keys(line)) from json_lines where is_object").fetchall()
    if not keys:
        raise LinesError("expected one JSON object per line, found none with keys.")
    picked = "".join(f"{_json_text(key)} as {quoted(key)}, " for (key,) in sorted(keys) if key)
    db.execute(
        f"create or replace table {name} as select {picked}{FILE}, {ROW} from json_lines where is_object; "
        "drop table json_lines"
    )
    return [Unreadable(file, line, "unreadable_row", "NO JSON OBJECT", raw) for file, line, raw in broken]


def _json_text(key: str) -> str:
    """SQL for a value as text: the number 17850.0 is 17850, as in a column of floats; the text "17850.0" stays."""
    pointer = literal("/" + key.replace("~", "~0").replace("/", "~1"))
    text = f"line ->> {pointer}"
    return f"case json_type(line, {pointer}) when 'DOUBLE' then regexp_replace({text}, '\\.0$', '') else {text} end"


def _check_all_lines(
    db: DuckDBPyConnection, path: Path, name: str, index: int, *, has_header: bool
) -> tuple[list[Unreadable], int]:
    """Refuse a file in which some line became neither a row nor a reject; return rejects and line count."""
    kinds: dict[int, set[str]] = {}
    for position, kind in db.execute("select line_byte_position, error_type::varchar from reject_errors").fetchall():
        kinds.setdefault(position, set()).add(kind)
    rejects, blanks, lines = _scan_lines(path, index, kinds)
    rows, within = _rows_and_breaks(db, name, index)
    known = rows + within + len(kinds) + has_header
    if not lines - len(blanks) <= known <= lines:
        open_quotes = [reject.line for reject in rejects if "QUOTE" in reject.detail]
        where = f" (see line {open_quotes[0]:,})" if open_quotes else ""
        raise LinesError(
            f"{path.name} has {lines:,} lines, but {known:,} were accounted for ({rows:,} rows read, "
            f"{len(kinds):,} rejected). The usual cause is an unclosed quote, which swallows the lines after "
            f"it{where}. Fix the file."
        )
    extra = [reject.line for reject in rejects] + (blanks if known < lines else [])
    _record_line_offsets(db, name, index, sorted(extra), has_header=has_header, has_breaks=within > 0)
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
    within = " + ".join(f"coalesce({_line_breaks(column)}, 0)" for column in texts) or "0"
    counting = f"select count(*), coalesce(sum({within}), 0) from {name} where {FILE} = {index}"
    [(row_count, break_count)] = db.execute(counting).fetchall()
    return int(row_count), int(break_count)


def _line_breaks(column: str) -> str:
    text = quoted(column)
    return f"case when contains({text}, chr(10)) then length({text}) - length(replace({text}, chr(10), '')) else 0 end"


def _record_line_offsets(
    db: DuckDBPyConnection, name: str, index: int, extra: list[int], *, has_header: bool, has_breaks: bool
) -> None:
    """Record by how much the line number exceeds the row number, and from which row on."""
    jumps = [(0, int(has_header))]
    if has_breaks:
        texts = [row[0] for row in db.execute(f"describe {name}").fetchall() if row[1] == "VARCHAR"]
        many = " + ".join(f"coalesce({_line_breaks(column)}, 0)" for column in texts)
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


def open_bytes(path: Path) -> BinaryIO:
    """A file's bytes, decompressed."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zst":
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")
