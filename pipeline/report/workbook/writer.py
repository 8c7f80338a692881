"""The summary of a run -> one workbook for spreadsheets: a sheet per table, typed cells, no formula anywhere."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import xlsxwriter

from pipeline.report.lineage import LineageRecord
from pipeline.report.summary import Summary
from pipeline.report.workbook.sheets import sheets
from pipeline.report.workbook.table import Cell, Sheet, moment, translator
from pipeline.stores import files

FORMATS = {
    "text": "@",
    "flag": "General",
    "count": "#,##0",
    "number": "[>=20]#,##0;[=0]0;#,##0.0",
    "money": "[>=100]#,##0{unit};[=0]0{unit};#,##0.00{unit}",
    "share": "[>=0.0995]0%;[=0]0%;0.0%",
    "score": "#,##0.00",
    "times": '0.0"×"',
    "moment": "yyyy-mm-dd hh:mm",
}
"""The digits are those of the report: `pipeline.report.texts.formats.number`."""
MAX_TEXT_CHARS = 32_767
"""Excel's limit for a cell; xlsxwriter would drop a longer text."""
MIN_WIDTH, MAX_WIDTH = 9, 60
"""Width of a column, in characters."""
MORE, LESS = "#2b6cb0", "#c05621"
"""Blue and orange, as in the report; colour-blind readers can distinguish them."""


def write_workbook(path: Path, summary: Summary, lineage: Sequence[LineageRecord]) -> None:
    """Write the workbook atomically; the same summary gives the same bytes.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    title = translator(summary.language)("Customer segments")
    content = workbook(sheets(summary, lineage), created=moment(summary.as_of), title=title, currency=summary.currency)
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)


def workbook(
    tables: Sequence[Sheet], *, created: datetime, title: str = "Customer segments", currency: str | None = None
) -> bytes:
    """The tables as the bytes of an .xlsx file, dated ``created`` so that the bytes do not depend on the clock."""
    buffer = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(buffer, options) as book:
        book.set_properties({"title": title, "created": created})
        unit = f" [${currency}]" if currency else ""
        formats = {
            name: book.add_format({"num_format": code.replace("{unit}", unit), "valign": "top"})
            for name, code in FORMATS.items()
        }
        formats["text"].set_text_wrap()
        head = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bottom": 1})
        for table in tables:
            _write(book.add_worksheet(table.name), table, formats, head)
    return buffer.getvalue()


def _write(sheet: Any, table: Sheet, formats: Mapping[str, Any], head: Any) -> None:
    for column, (title, column_form) in enumerate(table.columns.items()):
        texts = [_displayed(row[column]) for row in table.rows]
        width = max([MIN_WIDTH, len(title) + 3, *(len(text) + 1 for text in texts)])
        sheet.set_column(column, column, min(width, MAX_WIDTH))
        sheet.write_string(0, column, title, head)
        for number, row in enumerate(table.rows, start=1):
            cell = row[column]
            value, form = cell if isinstance(cell, tuple) else (cell, column_form)
            _write_cell(sheet, number, column, value, formats[form])
    sheet.freeze_panes(1, table.frozen)
    sheet.autofilter(0, 0, len(table.rows), len(table.columns) - 1)
    if table.is_heat_map and table.rows:
        sheet.conditional_format(
            *(1, 1, len(table.rows), len(table.columns) - 1),
            {
                **{"type": "3_color_scale", "min_color": LESS, "mid_color": "#ffffff", "max_color": MORE},
                **{"min_type": "num", "min_value": 0.25, "mid_type": "num", "mid_value": 1},
                **{"max_type": "num", "max_value": 4},
            },
        )


def _write_cell(sheet: Any, row: int, column: int, value: Any, form: Any) -> None:
    """Write one cell with the type of its value; a text never becomes a formula, a number or a link."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        sheet.write_blank(row, column, None, form)
    elif isinstance(value, bool):
        sheet.write_boolean(row, column, value, form)
    elif isinstance(value, int | float):
        sheet.write_number(row, column, value, form)
    elif isinstance(value, datetime):
        sheet.write_datetime(row, column, value, form)
    else:
        sheet.write_string(row, column, str(value)[:MAX_TEXT_CHARS], form)


def _displayed(cell: Cell) -> str:
    value = cell[0] if isinstance(cell, tuple) else cell
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str("" if value is None else value)
