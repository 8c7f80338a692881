"""Loads sheets of Excel and OpenDocument workbooks as raw tables of texts."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import python_calamine as calamine

from pipeline.config.sections.source import Table
from pipeline.ingest.files.formats import FileError
from pipeline.ingest.files.headers import check_header
from pipeline.ingest.sql import FILE, ROW, create_table
from pipeline.stores.databases.sql import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BATCH_ROWS = 50_000
SIGNIFICANT_DIGITS = ".15g"
"""As many as Excel shows, so that 434.99999999999994 is 435."""
Cell = str | float | bool | date | datetime | object
NumberedRow = tuple[int, list[str | None]]


def load_workbooks(
    db: DuckDBPyConnection, files: Sequence[Path], name: str, table: Table, *, is_temporary: bool = False
) -> None:
    """Create table ``name`` with all columns as text, kindred_file, and kindred_row: the row's number in its sheet.

    Empty rows are left out. A column that only some files have is null in the others.

    Raises
    ------
    FileError
        A file is no workbook; the sheet is missing or not named; the header is invalid; a cell has no column.
    """
    parts = [_read_sheet(path, index, table) for index, path in enumerate(files)]
    names = list(dict.fromkeys(column for part in parts for column in part.column_names))
    listed = ", ".join(f"{quoted(column)} varchar" for column in names if column not in (FILE, ROW))
    create = create_table(name, is_temporary=is_temporary)
    db.execute(f"{create} ({listed}, {FILE} integer, {ROW} bigint)")
    for part in parts:
        db.register("sheet_rows", part)
        db.execute(f"insert into {name} by name from sheet_rows")
        db.unregister("sheet_rows")


def _read_sheet(path: Path, index: int, table: Table) -> pa.Table:
    sheet = _find_sheet(path, table.sheet)
    texts = ((number, [_as_text(cell) for cell in row]) for number, row in enumerate(sheet.iter_rows(), start=1))
    rows = ((number, row) for number, row in texts if any(row))
    columns = _name_columns(sheet, rows, table, name=path.name)
    types = {**dict.fromkeys(columns.values(), pa.string()), FILE: pa.int32(), ROW: pa.int64()}
    batches = []
    while chunk := list(islice(rows, BATCH_ROWS)):
        _refuse_unnamed(chunk, columns, name=path.name)
        values = [pa.array([row[place] for _, row in chunk], pa.string()) for place in columns]
        numbers = [pa.array([index] * len(chunk), pa.int32()), pa.array([number for number, _ in chunk], pa.int64())]
        batches.append(pa.record_batch([*values, *numbers], schema=pa.schema(types)))
    return pa.Table.from_batches(batches, schema=pa.schema(types))


def _find_sheet(path: Path, name: str | None) -> calamine.CalamineSheet:
    """The sheet of that name, or the only one that is not hidden."""
    try:
        workbook = calamine.CalamineWorkbook.from_filelike(io.BytesIO(path.read_bytes()))
        sheets = [
            sheet.name
            for sheet in workbook.sheets_metadata
            if sheet.typ == calamine.SheetTypeEnum.WorkSheet
            and (sheet.visible == calamine.SheetVisibleEnum.Visible or sheet.name == name)
        ]
        wanted = name or (sheets[0] if len(sheets) == 1 else None)
        if wanted in sheets:
            return workbook.get_sheet_by_name(wanted)
    except calamine.PasswordError:
        raise FileError(f"{path.name}: expected a workbook without a password. Save it without one.") from None
    except calamine.CalamineError:
        raise FileError(
            f"{path.name}: expected an Excel or OpenDocument workbook. If it is text with another suffix, write csv.",
            setting="format",
        ) from None
    expected = f"a sheet {name!r}" if name else "the name of a sheet"
    raise FileError(
        f"{path.name}: expected {expected}. The workbook has {', '.join(map(repr, sheets))}.", setting="sheet"
    )


def _name_columns(
    sheet: calamine.CalamineSheet, rows: Iterator[NumberedRow], table: Table, *, name: str
) -> dict[int, str]:
    """Place of each column in the rows -> its name, from params.yaml or the first row that is not empty."""
    if isinstance(table.header, list):
        (_, first), (_, last) = sheet.start or (0, 0), sheet.end or (0, 0)
        if last - first + 1 != len(table.header):
            raise FileError(
                f"expected one name for each column. Got {len(table.header)} names; the sheet of {name} has "
                f"{last - first + 1} columns.",
                setting="header",
            )
        return dict(enumerate(table.header, start=first))
    _, header = next(rows, (0, []))
    columns = {place: text for place, text in enumerate(header) if text}
    check_header(list(columns.values()), table, name=name)
    return columns


def _refuse_unnamed(rows: Sequence[NumberedRow], columns: dict[int, str], *, name: str) -> None:
    """Refuse values in columns without a name."""
    for number, row in rows:
        if any(text and place not in columns for place, text in enumerate(row)):
            raise FileError(
                f"{name}: expected a name in the first row for each column with values. Row {number:,} has a value in "
                "a column without a name. Name it, delete it, or write the names of all columns.",
                setting="header",
            )


def _as_text(cell: Cell) -> str | None:
    """A cell as text: whole numbers without decimals, times as ISO 8601; what is text stays as it is."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else format(cell, SIGNIFICANT_DIGITS)
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ")
    return str(cell) or None
