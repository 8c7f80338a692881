"""Files of any kind as raw tables: every row with the file it stands in and its number there."""

from __future__ import annotations

import csv
import difflib
import gzip
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import duckdb

from pipeline.params import Params, Table, UserError
from pipeline.parsing import literal, quoted

KINDS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".ndjson": "json"}
KINDS[".json"] = "json"
COMPRESSIONS = (".gz", ".zst")
WHOLE_DIGEST_BYTES = 2**30
FILE, ROW = "kindred_file", "kindred_row"


class SourceError(UserError):
    """The source cannot be read, or too much of it is wrong."""


@dataclass(frozen=True)
class RawTable:
    """A table as it stands in its files, and what could not be read at all.

    Attributes
    ----------
    columns : dict of str to str
        Their columns and DuckDB types.
    unreadable : list of (str, int, str)
        File, line and kind of each row that could not be split into columns.
    """

    name: str
    columns: dict[str, str]
    files: list[Path]
    digest: str
    unreadable: list[tuple[str, int, str]]
    physical_line_count: int | None


def resolve(table: Table, params: Params, *, key: str) -> list[Path]:
    """Files that ``table.path`` names, sorted.

    Raises
    ------
    SourceError
        A path names nothing, or files of several kinds.
    """
    given = [table.path] if isinstance(table.path, str) else table.path or []
    found: list[Path] = []
    for text in given:
        place = params.path(text)
        if place.is_dir():
            matches = sorted(path for path in place.iterdir() if _kind(path))
        elif any(sign in text for sign in "*?["):
            anchor = Path(place.anchor)
            matches = sorted(anchor.glob(str(place.relative_to(anchor))))
        else:
            matches = [place] if place.is_file() else []
        if not matches:
            raise SourceError(
                f"{key}.path: expected Parquet, CSV or JSON lines files at {text}, found none. "
                f"Relative paths start at {params.folder}."
            )
        found += matches
    kinds = {_kind(path) for path in found}
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


def _kind(path: Path) -> str | None:
    bare = path.with_suffix("") if path.suffix in COMPRESSIONS else path
    return KINDS.get(bare.suffix.lower())


def read_raw(con: Any, table: Table, params: Params, *, name: str, key: str) -> RawTable:
    """Load ``table`` as the raw table or view ``name``, with columns kindred_file and kindred_row added."""
    db = con.con
    if table.query is not None:
        return _from_query(db, table.query, params, name=name, key=key)
    files = resolve(table, params, key=key)
    kind = _kind(files[0])
    digest = files_digest(files, params.folder)
    try:
        if kind == "parquet":
            _parquet_view(db, files, name)
            unreadable: list[tuple[str, int, str]] = []
            lines: int | None = None
        else:
            unreadable, lines = _load_lines(db, files, name, is_csv=kind == "csv", key=key)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise SourceError(f"{key}.path: expected readable {kind} files. {str(error).splitlines()[0][:300]}") from None
    columns = {row[0]: row[1] for row in db.execute(f"describe {name}").fetchall() if row[0] not in (FILE, ROW)}
    return RawTable(name, columns, files, digest, unreadable, lines)


def map_columns(
    raw: RawTable, given: dict[str, str], known: list[str], required: tuple[str, ...], *, key: str
) -> dict[str, str]:
    """Ours -> theirs for the columns that are there.

    Raises
    ------
    SourceError
        A column is missing; names the nearest one found.
    """
    for ours in given:
        if len(known) > 1 and ours not in known:
            near = difflib.get_close_matches(ours, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise SourceError(f"{key}.columns: {ours!r} is no column of Kindred's.{hint} There are {', '.join(known)}.")
    found = {ours: given.get(ours, ours) for ours in [*known, *given] if given.get(ours, ours) in raw.columns}
    for ours in [*required, *given]:
        if ours not in found:
            wanted = given.get(ours, ours)
            near = difflib.get_close_matches(wanted, list(raw.columns), n=1, cutoff=0.4)
            hint = f" The nearest found is {near[0]!r}: write {key}.columns: {{{ours}: {near[0]}}}." if near else ""
            raise SourceError(f"{key}: expected a column {wanted!r}.{hint} Found: {', '.join(raw.columns)}.")
    return found


def _parquet_view(db: Any, files: Sequence[Path], name: str) -> None:
    listed = ", ".join(literal(str(path)) for path in files)
    db.execute(
        f"create or replace view {name} as select * exclude (filename, file_row_number), filename as {FILE}, "
        f"file_row_number + 1 as {ROW} "
        f"from read_parquet([{listed}], union_by_name = true, filename = true, file_row_number = true)"
    )


def _from_query(db: Any, query: str, params: Params, *, name: str, key: str) -> RawTable:
    try:
        statements = duckdb.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise SourceError(f"{key}.query: expected one SELECT.")
        db.execute(f"set file_search_path = {literal(str(params.folder))}")
        body = query.strip().rstrip(";")
        db.execute(
            f"create or replace table {name} as "
            f"select *, 'query' as {FILE}, row_number() over () as {ROW} from ({body})"
        )
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise SourceError(
            f"{key}.query: expected SQL that DuckDB can run. {str(error).splitlines()[0][:300]}"
        ) from None
    columns = {row[0]: row[1] for row in db.execute(f"describe {name}").fetchall() if row[0] not in (FILE, ROW)}
    # Order-free digest of what the query gave.
    listed = ", ".join(quoted(column) for column in columns)
    total = db.execute(f"select count(*), sum(hash({listed})::hugeint) from {name}").fetchone()
    return RawTable(name, columns, [], hashlib.sha256(f"{query}{total}".encode()).hexdigest(), [], None)


def _load_lines(
    db: Any, files: Sequence[Path], name: str, *, is_csv: bool, key: str
) -> tuple[list[tuple[str, int, str]], int]:
    """CSV or JSON lines, file by file and in order, so that rows have numbers; all columns as text."""
    unreadable: list[tuple[str, int, str]] = []
    physical = 0
    db.execute("set preserve_insertion_order = true")
    for index, path in enumerate(files):
        db.execute("drop table if exists reject_errors; drop table if exists reject_scans")
        rows = _csv_rows(db, path) if is_csv else _json_rows(path)
        numbered = f"select *, {literal(path.name)} as {FILE}, row_number() over () as {ROW} from {rows}"
        if index == 0:
            db.execute(f"create or replace table {name} as {numbered}")
        else:
            db.execute(f"insert into {name} by name {numbered}")
        rejected = db.execute("select distinct line, error_type::varchar from reject_errors order by all").fetchall()
        once = {line: kind for line, kind in rejected}
        unreadable += [(path.name, line, kind) for line, kind in once.items()]
        physical += _reconcile(db, path, name, rejected_count=len(once), has_header=is_csv, key=key)
    db.execute("set preserve_insertion_order = false")
    if not is_csv:
        unreadable += _json_columns(db, name)
    return unreadable, physical


def _csv_rows(db: Any, path: Path) -> str:
    sniffed = db.execute(
        f"select Delimiter, Columns from sniff_csv({literal(str(path))}, ignore_errors = true)"
    ).fetchone()
    delimiter, columns = sniffed[0], [column["name"] for column in sniffed[1]]
    with _opened(path) as handle:
        header = handle.readline().decode("utf-8", errors="replace").lstrip("\ufeff").rstrip("\r\n")
    names = next(csv.reader([header], delimiter=delimiter or ","), columns)
    declared = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in names)
    return (
        f"read_csv({literal(str(path))}, header = true, auto_detect = false, delim = {literal(delimiter or ',')}, "
        f"quote = '\"', escape = '\"', columns = {{{declared}}}, store_rejects = true, rejects_limit = 0)"
    )


def _json_rows(path: Path) -> str:
    return (
        f"read_csv({literal(str(path))}, header = false, auto_detect = false, delim = '\\x01', quote = '', "
        "escape = '', "
        "columns = {'line': 'VARCHAR'}, store_rejects = true, rejects_limit = 0)"
    )


def _json_columns(db: Any, name: str) -> list[tuple[str, int, str]]:
    """Turn the table of lines into one of columns; lines that are no JSON object are given back."""
    is_object = "coalesce(case when json_valid(line) then json_type(line) = 'OBJECT' end, false)"
    db.execute(f"create or replace temp table json_lines as select *, {is_object} as is_object from {name}")
    broken = db.execute(f"select {FILE}, {ROW} from json_lines where not is_object and trim(line) <> ''").fetchall()
    db.execute("create or replace temp table json_objects as select * from json_lines where is_object")
    keys = db.execute(
        "select distinct unnest(json_keys(line)) from (select line from json_objects limit 100000)"
    ).fetchall()
    picked = "".join(
        f"json_extract_string(line, {literal('$.' + quoted(key))}) as {quoted(key)}, " for (key,) in sorted(keys)
    )
    db.execute(f"create or replace table {name} as select {picked}{FILE}, {ROW} from json_objects")
    db.execute("drop table json_lines; drop table json_objects")
    return [(file, row, "NO JSON OBJECT") for file, row in broken]


def _reconcile(db: Any, path: Path, name: str, *, rejected_count: int, has_header: bool, key: str) -> int:
    """Every line of a file must have become a row or a reject; returns the number of lines."""
    lines = blank = 0
    with _opened(path) as handle:
        for line in handle:
            lines += 1
            blank += not line.strip()
    texts = [row[0] for row in db.execute(f"describe {name}").fetchall() if row[1] == "VARCHAR" and row[0] != FILE]
    inner = " + ".join(f"coalesce(length({quoted(c)}) - length(replace({quoted(c)}, chr(10), '')), 0)" for c in texts)
    rows, within = db.execute(
        f"select count(*), coalesce(sum({inner or '0'}), 0) from {name} where {FILE} = {literal(path.name)}"
    ).fetchone()
    found = rows + within + rejected_count + has_header
    if not lines - blank <= found <= lines:
        raise SourceError(
            f"{key}.path: {path.name} has {lines:,} lines, but {found:,} were accounted for ({rows:,} rows read, "
            f"{rejected_count:,} set aside). Most often a quote that is never closed swallows the lines after it; "
            "mend the file."
        )
    return lines


def _opened(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def files_digest(files: Sequence[Path], folder: Path) -> str:
    """SHA-256 over names, sizes and contents; of a file beyond 1 GiB, its first and last 64 MiB."""
    total = hashlib.sha256()
    for path in files:
        name = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
        total.update(f"{name}\0{path.stat().st_size}\0".encode())
        for chunk in _digest_chunks(path):
            total.update(chunk)
    return total.hexdigest()


def _digest_chunks(path: Path) -> Iterator[bytes]:
    size, part = path.stat().st_size, 2**26
    with path.open("rb") as handle:
        if size > WHOLE_DIGEST_BYTES:
            yield handle.read(part)
            handle.seek(size - part)
        while chunk := handle.read(2**22):
            yield chunk
