"""Tables as files, by the suffix of the file. A new export target is one more entry of `FORMATS`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.stores.files import OutputError, replacing

FORMULA = r"([=@\t\r]|[+\-](\d*\D|$))"
Types = Mapping[str, pa.DataType]


@dataclass(frozen=True)
class TableFormat:
    """How tables are written in one format, and read again.

    Attributes
    ----------
    write : callable
        (table, file) -> number of rows that the file has now.
    names : callable
        file -> names of its columns.
    read : callable
        (file, names of columns and their types) -> table with at least these columns.
    """

    write: Callable[[pa.Table, Path], int]
    names: Callable[[Path], list[str]]
    read: Callable[[Path, Types], pa.Table]


def require_known_suffix(path: Path, *, key: str) -> None:
    """Refuse a file whose suffix stands for no format.

    Parameters
    ----------
    key : str
        The option or parameter that names the file.

    Raises
    ------
    OutputError
        Lists the suffixes there are.
    """
    if path.suffix not in FORMATS:
        raise OutputError(f"{key} {path.name}: expected a file name ending in {' or '.join(FORMATS)}.")


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
    with replacing(path, mode=mode) as temporary:
        if FORMATS[path.suffix].write(arrow.replace_schema_metadata(None), temporary) != arrow.num_rows:
            raise OutputError(f"{path}: expected {arrow.num_rows:,} rows in the written file. Run the command again.")


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


def _format_of(path: Path) -> TableFormat:
    # A table that another tool wrote may have any name; it is most likely Parquet.
    return FORMATS.get(path.suffix, FORMATS[".parquet"])


def _write_parquet(table: pa.Table, path: Path) -> int:
    pq.write_table(table, path, compression="zstd")
    return int(pq.read_metadata(path).num_rows)


def _parquet_names(path: Path) -> list[str]:
    return list(pq.read_schema(path).names)


def _read_parquet(path: Path, types: Types) -> pa.Table:
    return pq.read_table(path, columns=[*types])


def _write_csv(table: pa.Table, path: Path) -> int:
    pyarrow.csv.write_csv(_for_spreadsheets(table), path)
    return int(table.num_rows)


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
