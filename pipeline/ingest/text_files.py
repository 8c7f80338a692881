"""CSV and JSON lines as raw tables of texts: rows that cannot be split are set aside, and every line is accounted for.

DuckDB numbers the rows of a text file, not its lines, and a rejected row has no number at all. Each file is therefore
walked once more by its bytes: the lines are counted against what was read, and rejected rows, whose place in bytes
DuckDB gives, get their line and their raw text. Table `<name>_shifts` turns the number of a row into its line.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from pipeline.ingest.column_sql import FILE, ROW, literal, quoted

UTF16 = (b"\xff\xfe", b"\xfe\xff")
ENCODING = "INVALID ENCODING"


class LinesError(ValueError):
    """A text file that cannot be read as it stands."""


@dataclass(frozen=True)
class Unreadable:
    r"""A row that could not be split into columns.

    Attributes
    ----------
    reason : str
        Rule: unreadable_row or broken_encoding.
    detail : str
        What was wrong, in the database's words.
    raw : str
        The line, bytes that are no UTF-8 as ``\xff``.
    """

    file: int
    line: int
    reason: str
    detail: str
    raw: str


def load_lines(db: Any, files: Sequence[Path], name: str, *, is_csv: bool) -> tuple[list[Unreadable], int]:
    """Table ``name`` of all columns as text, with kindred_file and kindred_row; the rejects; the number of lines.

    Raises
    ------
    LinesError
        Lines are missing from what was read, or a header is no header.
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
        rejects, lines = _account(db, path, name, index, has_header=is_csv)
        unreadable += rejects
        physical += lines
    db.execute("set preserve_insertion_order = false")
    if not is_csv:
        unreadable += _json_columns(db, name)
    return unreadable, physical


def with_lines(name: str, query: str) -> str:
    """SQL: ``query`` over table ``name``, with kindred_file and kindred_row, and the line in which each row begins."""
    return (
        f"select numbered.*, numbered.{ROW} + shifts.shift as line from ({query}) numbered "
        f"asof left join {name}_shifts shifts "
        f"on numbered.{FILE} = shifts.file and numbered.{ROW} >= shifts.starts_at"
    )


def _csv_rows(path: Path) -> str:
    with opened(path) as handle:
        first = handle.readline()
    if first.startswith(UTF16):
        raise LinesError(f"{path.name}: expected UTF-8, found UTF-16. Save the file as UTF-8.")
    header = first.decode("utf-8", errors="replace").lstrip("\ufeff").rstrip("\r\n")
    delimiter = max(",;\t|", key=header.count)
    names = next(csv.reader([header], delimiter=delimiter), [])
    repeated = sorted({name for name in names if sum(name.lower() == other.lower() for other in names) > 1})
    if repeated or not all(names):
        found = f"more than once: {', '.join(repeated)}" if repeated else "one without a name"
        raise LinesError(f"{path.name}: expected a header that names each column once. Found {found}.")
    declared = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in names)
    return (
        f"read_csv({literal(str(path))}, header = true, auto_detect = false, delim = {literal(delimiter)}, "
        f"quote = '\"', escape = '\"', columns = {{{declared}}}, store_rejects = true, rejects_limit = 0)"
    )


def _json_rows(path: Path) -> str:
    # A byte that no JSON text may hold as it is.
    return (
        f"read_csv({literal(str(path))}, header = false, auto_detect = false, delim = '\x01', quote = '', "
        "escape = '', columns = {'line': 'VARCHAR'}, store_rejects = true, rejects_limit = 0)"
    )


def _json_columns(db: Any, name: str) -> list[Unreadable]:
    """Turn the table of lines into one of columns; lines that are no JSON object are given back."""
    is_object = "coalesce(case when json_valid(line) then json_type(line) = 'OBJECT' end, false)"
    db.execute(f"create or replace temp table json_lines as select *, {is_object} as is_object from {name}")
    others = f"select {FILE}, {ROW}, line as raw from json_lines where not is_object and trim(line) <> ''"
    broken = db.execute(f"select {FILE}, line, raw from ({with_lines(name, others)}) order by all").fetchall()
    keys = db.execute("select distinct unnest(json_keys(line)) from json_lines where is_object").fetchall()
    if not keys:
        raise LinesError("expected one JSON object a line, found none with keys.")
    picked = "".join(f"{_json_text(key)} as {quoted(key)}, " for (key,) in sorted(keys) if key)
    db.execute(
        f"create or replace table {name} as select {picked}{FILE}, {ROW} from json_lines where is_object; "
        "drop table json_lines"
    )
    return [Unreadable(file, line, "unreadable_row", "NO JSON OBJECT", raw) for file, line, raw in broken]


def _json_text(key: str) -> str:
    """A value as text: the number 17850.0 is 17850, as in a column of floats; the text "17850.0" stays."""
    pointer = literal("/" + key.replace("~", "~0").replace("/", "~1"))
    text = f"line ->> {pointer}"
    return f"case json_type(line, {pointer}) when 'DOUBLE' then regexp_replace({text}, '\\.0$', '') else {text} end"


def _account(db: Any, path: Path, name: str, index: int, *, has_header: bool) -> tuple[list[Unreadable], int]:
    """Every line of a file must have become a row or a reject."""
    kinds: dict[int, set[str]] = {}
    for position, kind in db.execute("select line_byte_position, error_type::varchar from reject_errors").fetchall():
        kinds.setdefault(position, set()).add(kind)
    rejects, blanks, lines = _walk(path, index, kinds)
    rows, within = _rows_and_breaks(db, name, index)
    known = rows + within + len(kinds) + has_header
    if not lines - len(blanks) <= known <= lines:
        unclosed = [reject.line for reject in rejects if "QUOTE" in reject.detail]
        where = f" (see line {unclosed[0]:,})" if unclosed else ""
        raise LinesError(
            f"{path.name} has {lines:,} lines, but {known:,} were accounted for ({rows:,} rows read, "
            f"{len(kinds):,} set aside). Most often a quote that is never closed swallows the lines after it{where}; "
            "mend the file."
        )
    extra = [reject.line for reject in rejects] + (blanks if known < lines else [])
    _note_shifts(db, name, index, sorted(extra), has_header=has_header, has_breaks=within > 0)
    return rejects, lines


def _walk(path: Path, index: int, kinds: dict[int, set[str]]) -> tuple[list[Unreadable], list[int], int]:
    """Rejects with line and raw text, the lines that are blank, and the number of lines."""
    awaited = sorted(kinds, reverse=True)
    rejects: list[Unreadable] = []
    blanks: list[int] = []
    lines = offset = 0
    with opened(path) as handle:
        for line in handle:
            lines += 1
            offset += len(line)
            if not line.strip():
                blanks.append(lines)
            while awaited and awaited[-1] <= offset:
                kind = kinds[awaited.pop()]
                reason = "broken_encoding" if ENCODING in kind else "unreadable_row"
                raw = line.rstrip(b"\r\n").decode("utf-8", errors="backslashreplace")
                rejects.append(Unreadable(index, lines, reason, ", ".join(sorted(kind)), raw))
    return rejects, blanks, lines


def _rows_and_breaks(db: Any, name: str, index: int) -> tuple[int, int]:
    """Rows of a file, and the line breaks within their values."""
    texts = [row[0] for row in db.execute(f"describe {name}").fetchall() if row[1] == "VARCHAR"]
    within = " + ".join(f"coalesce({_breaks(column)}, 0)" for column in texts) or "0"
    found = db.execute(f"select count(*), coalesce(sum({within}), 0) from {name} where {FILE} = {index}").fetchone()
    return int(found[0]), int(found[1])


def _breaks(column: str) -> str:
    text = quoted(column)
    return f"case when contains({text}, chr(10)) then length({text}) - length(replace({text}, chr(10), '')) else 0 end"


def _note_shifts(db: Any, name: str, index: int, extra: list[int], *, has_header: bool, has_breaks: bool) -> None:
    """From which row on the line is how much larger than the row's number."""
    jumps = [(0, int(has_header))]
    if has_breaks:
        texts = [row[0] for row in db.execute(f"describe {name}").fetchall() if row[1] == "VARCHAR"]
        many = " + ".join(f"coalesce({_breaks(column)}, 0)" for column in texts)
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
        # The row before which line `waiting[-1]` stands, were nothing else between.
        while waiting and (end is None or waiting[-1] - shift < end):
            first = waiting.pop() - shift
            shift += 1
            shifts.append((max(first, start), shift))
    last = dict(shifts)
    starts = pa.table({"starts_at": pa.array(last, pa.int64()), "shift": pa.array(last.values(), pa.int64())})
    db.register("new_shifts", starts)
    db.execute(f"insert into {name}_shifts select {index}, starts_at, shift from new_shifts")
    db.unregister("new_shifts")


def opened(path: Path) -> BinaryIO:
    """A file's bytes, unpacked."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zst":
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")
