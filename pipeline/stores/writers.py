"""Tables as files, by the suffix of the file: `FORMATS` are read again by Kindred, `EXPORTS` are for other programs."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import xlsxwriter

from pipeline.stores.databases.sql import quoted
from pipeline.stores.files import OutputError, replacing, require_writable_path
from pipeline.stores.local.file_names import parquet_files

ROW_GROUP_ROWS = 2**20
"""Rows of a row group of Parquet: Arrow's own number."""
MAX_SHEET_ROWS, MAX_SHEET_NAME_CHARS = 2**20 - 1, 31
"""Excel's limits; one row is the header."""
CREATED = datetime(2000, 1, 1, tzinfo=UTC)
"""The date in a workbook, so that the same table gives the same bytes."""
FORMULA = r"([=@\t\r]|[+\-](\d*\D|$))"
Types = Mapping[str, pa.DataType]


@dataclass(frozen=True)
class TableFormat:
    """How tables are written in one format, and read again.

    Attributes
    ----------
    write : callable
        (tables of one schema, the schema, file) -> number of rows that the file has now.
    names : callable
        file -> names of its columns.
    read : callable
        (file, names of columns and their types) -> table with at least these columns.
    """

    write: Callable[[Iterable[pa.Table], pa.Schema, Path], int]
    names: Callable[[Path], list[str]]
    read: Callable[[Path, Types], pa.Table]


def require_known_suffix(path: Path, *, key: str, suffixes: Collection[str] = ()) -> None:
    """Refuse a file whose suffix stands for no format.

    Parameters
    ----------
    key : str
        The option or parameter that names the file.
    suffixes : collection of str
        Those that are allowed; empty: those of `FORMATS`.

    Raises
    ------
    OutputError
        Lists the suffixes there are.
    """
    known = suffixes or FORMATS
    if path.suffix not in known:
        raise OutputError(f"{key} {path.name}: expected a file name ending in {' or '.join(known)}.")


def write_table(path: Path, table: pd.DataFrame | pa.Table, *, mode: int | None = None) -> None:
    """Write a table, completely or not at all, in the format of the suffix.

    In CSV, lists are joined by `; `, and a text that a spreadsheet would run as a formula gets a leading apostrophe. A
    number such as +380441234567 gets none, as it may be an id.

    Raises
    ------
    OutputError
        The suffix stands for no format, or the file cannot be written.
    """
    require_known_suffix(path, key="the file")
    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata(None)
    _write_parts(path, [arrow], arrow.schema, mode=mode)


def write_batches(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema, *, mode: int | None = None) -> None:
    """Write a table that need not fit in memory, as `write_table` would write it."""
    _write_parts(path, _row_groups(batches, schema), schema, mode=mode)


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Tables of `ROW_GROUP_ROWS`; the last may have fewer."""
    waiting, count, is_first = [], 0, True
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        while count >= ROW_GROUP_ROWS:
            table = pa.Table.from_batches(waiting, schema)
            yield table.slice(0, ROW_GROUP_ROWS).combine_chunks()
            waiting, count, is_first = table.slice(ROW_GROUP_ROWS).to_batches(), count - ROW_GROUP_ROWS, False
    if count or is_first:
        yield pa.Table.from_batches(waiting, schema).combine_chunks()


def _write_parts(path: Path, parts: Iterable[pa.Table], schema: pa.Schema, *, mode: int | None) -> None:
    count = 0

    def counted() -> Iterator[pa.Table]:
        nonlocal count
        for part in parts:
            count += part.num_rows
            yield part

    with replacing(path, mode=mode) as temporary:
        if FORMATS[path.suffix].write(counted(), schema, temporary) != count:
            raise OutputError(f"{path}: expected {count:,} rows in the written file. Run the command again.")


def export_table(path: Path, table: pd.DataFrame, *, name: str, mode: int | None = None) -> None:
    """Write a table for another program, completely or not at all, in the format of the suffix.

    In a database, only the table ``name`` is replaced, in one transaction. Spreadsheets run no text as a formula.

    Raises
    ------
    OutputError
        The suffix stands for no format, or the file cannot be written.
    """
    require_known_suffix(path, key="the file", suffixes=EXPORTS)
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    try:
        if path.suffix in DATABASES and path.exists():
            require_writable_path(path)
            count = EXPORTS[path.suffix](arrow, path, name)
        else:
            with replacing(path, mode=mode) as temporary:
                count = EXPORTS[path.suffix](arrow, temporary, name)
    except (duckdb.Error, sqlite3.Error):
        raise OutputError(
            f"{path}: expected a {path.suffix[1:]} database that can be written to. Close the programs that use it, or "
            "name another file."
        ) from None
    if count != arrow.num_rows:
        raise OutputError(f"{path}: expected {arrow.num_rows:,} rows in the written table. Run the command again.")


def column_names(path: Path) -> list[str]:
    """Names of the columns of a table written by `write_table`."""
    return _format_of(path).names(path)


def read_table(path: Path, types: Types) -> pa.Table:
    """Columns of a table written by `write_table`, as these types.

    Raises
    ------
    ArrowException, OSError, KeyError
        The file is of another kind, or lacks a column.
    """
    table = _format_of(path).read(path, types)
    return table.select([*types]).cast(pa.schema([*types.items()]))


def row_count(path: Path) -> int:
    """Number of rows of a Parquet file, or of those of a folder."""
    return sum(int(pq.read_metadata(part).num_rows) for part in parquet_files(path))


def _format_of(path: Path) -> TableFormat:
    # A table that another tool wrote may have any name; it is most likely Parquet.
    return FORMATS.get(path.suffix, FORMATS[".parquet"])


def _write_parquet(parts: Iterable[pa.Table], schema: pa.Schema, path: Path) -> int:
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for part in parts:
            file.write_table(part)
    return row_count(path)


def _parquet_names(path: Path) -> list[str]:
    return list(pq.ParquetDataset(path).schema.names)


def _read_parquet(path: Path, types: Types) -> pa.Table:
    return pq.read_table(path, columns=[*types])


def _write_csv(parts: Iterable[pa.Table], schema: pa.Schema, path: Path) -> int:
    count = 0
    with pyarrow.csv.CSVWriter(path, _for_spreadsheets(schema.empty_table()).schema) as file:
        for part in parts:
            file.write_table(_for_spreadsheets(part))
            count += part.num_rows
    return count


def _write_xlsx(table: pa.Table, path: Path, name: str) -> int:
    if table.num_rows > MAX_SHEET_ROWS:
        raise OutputError(
            f"{path.name}: expected at most {MAX_SHEET_ROWS:,} rows, as a sheet holds no more; got {table.num_rows:,}. "
            "Write a .csv or .parquet file instead."
        )
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(path, {**options, "strings_to_numbers": False}) as book:
        book.set_properties({"created": CREATED})
        sheet = book.add_worksheet(name[:MAX_SHEET_NAME_CHARS])
        sheet.freeze_panes(1, 0)
        sheet.write_row(0, 0, table.column_names)
        for number, row in enumerate(zip(*(column.to_pylist() for column in _without_lists(table)), strict=True), 1):
            for place, value in enumerate(row):
                if isinstance(value, str):
                    sheet.write_string(number, place, value)
                elif value is not None:
                    sheet.write(number, place, value)
    return int(table.num_rows)


def _write_sqlite(table: pa.Table, path: Path, name: str) -> int:
    columns = ", ".join(f"{quoted(field.name)} {_sqlite_type(field.type)}" for field in table.schema)
    marks = ", ".join("?" * table.num_columns)
    rows = zip(*(column.to_pylist() for column in _without_lists(table)), strict=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as con:
        con.execute("begin immediate")
        try:
            con.execute(f"drop table if exists {quoted(name)}")
            con.execute(f"create table {quoted(name)} ({columns})")
            con.executemany(f"insert into {quoted(name)} values ({marks})", rows)
            count = con.execute(f"select count(*) from {quoted(name)}").fetchone()[0]
        except BaseException:
            con.execute("rollback")
            raise
        con.execute("commit")
    return int(count)


def _write_duckdb(table: pa.Table, path: Path, name: str) -> int:
    mode = path.stat().st_mode
    if not path.stat().st_size:
        path.unlink()  # DuckDB opens no empty file, but creates one
    with closing(duckdb.connect(path)) as con:
        path.chmod(mode)
        con.register("kindred_rows", table)
        con.execute(f"create or replace table {quoted(name)} as select * from kindred_rows")  # one transaction
        return int(con.execute(f"select count(*) from {quoted(name)}").fetchall()[0][0])


def _sqlite_type(type_: pa.DataType) -> str:
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_):
        return "integer"
    return "real" if pa.types.is_floating(type_) else "text"


def _without_lists(table: pa.Table) -> list[pa.ChunkedArray]:
    """Columns with lists joined by `; `, and times as texts in ISO format."""
    columns = []
    for column in table.columns:
        if pa.types.is_list(column.type):
            columns.append(pc.binary_join(column, "; "))
        elif pa.types.is_timestamp(column.type):
            columns.append(pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ"))
        else:
            columns.append(column)
    return columns


def _csv_names(path: Path) -> list[str]:
    with pyarrow.csv.open_csv(path) as reader:
        return list(reader.schema.names)


def _read_csv(path: Path, types: Types) -> pa.Table:
    options = pyarrow.csv.ConvertOptions(
        include_columns=[*types],
        column_types=dict(types),
        strings_can_be_null=True,
        null_values=[""],  # "NA" may be a customer id
    )
    table = pyarrow.csv.read_csv(path, convert_options=options)
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            table = table.set_column(index, field.name, _from_spreadsheet(table[index]))
    return table


def _from_spreadsheet(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts of a CSV without the apostrophes that `_for_spreadsheets` put before formulas."""
    return pc.if_else(pc.match_substring_regex(texts, f"^'{FORMULA}"), pc.utf8_slice_codeunits(texts, 1), texts)


def without_apostrophe(text: str) -> str:
    """A text of a CSV without the apostrophe that `write_table` put before a formula."""
    return text[1:] if re.match(f"'{FORMULA}", text) else text


def _for_spreadsheets(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        column = table[index]
        if pa.types.is_list(field.type):
            column = pc.binary_join(column, "; ")
        if pa.types.is_large_string(column.type):
            column = column.cast(pa.string())
        if pa.types.is_string(column.type):
            risky = pc.fill_null(pc.match_substring_regex(column, f"^{FORMULA}"), False)
            column = pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)
        table = table.set_column(index, field.name, column)
    return table


FORMATS: Mapping[str, TableFormat] = {
    ".parquet": TableFormat(_write_parquet, _parquet_names, _read_parquet),
    ".csv": TableFormat(_write_csv, _csv_names, _read_csv),
}
"""Suffix -> format."""
EXPORTS: Mapping[str, Callable[[pa.Table, Path, str], int]] = {
    ".csv": lambda table, path, _: _write_csv([table], table.schema, path),
    ".parquet": lambda table, path, _: _write_parquet([table], table.schema, path),
    ".xlsx": _write_xlsx,
    ".duckdb": _write_duckdb,
    ".sqlite": _write_sqlite,
}
"""Suffix -> (table, file, name of the table or sheet) -> rows written."""
DATABASES = (".duckdb", ".sqlite")
"""Files that hold other tables as well."""
