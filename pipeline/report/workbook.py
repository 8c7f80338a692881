"""The summary of a run -> one workbook for spreadsheets: a sheet per table, typed cells, no formula anywhere."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import xlsxwriter

from pipeline.report.sheets import Cell, Sheet, moment, sheets, words
from pipeline.stores import files

FORMATS = {
    "text": "@",
    "flag": "General",
    "count": "#,##0",
    "number": "#,##0.00",
    "money": "#,##0.00",
    "share": "0.0%",
    "times": '0.00"×"',
    "moment": "yyyy-mm-dd hh:mm",
}
MAX_TEXT_CHARS = 32_767
"""Of a cell, in Excel; a longer text would be dropped."""
MIN_WIDTH, MAX_WIDTH = 9, 60
"""Of a column, in characters."""
MORE, LESS = "#2b6cb0", "#c05621"
"""Blue and orange, as in the report; told apart by the colour-blind."""


def write_workbook(path: Path, summary: Mapping[str, Any], lineage: Sequence[Mapping[str, Any]]) -> None:
    """Write the workbook, whole or not at all; the same summary gives the same bytes.

    Parameters
    ----------
    summary : mapping
        `pipeline.report.summarise.summarise`, with the interests that training adds.
    lineage : sequence of mapping
        Rows of `pipeline.segmentation.lineage.Identified`.

    Raises
    ------
    KeyError
        The summary lacks a part.
    OutputError
        It cannot be written.
    """
    title = words(summary["language"])("Customer segments")
    made = workbook(
        sheets(summary, lineage), created=moment(summary["as_of"]), title=title, currency=summary.get("currency")
    )
    with files.replacing(path) as temporary:
        temporary.write_bytes(made)


def workbook(
    tables: Sequence[Sheet], *, created: datetime, title: str = "Customer segments", currency: str | None = None
) -> bytes:
    """The tables as the bytes of an .xlsx; ``created`` is noted in it as its date, which the clock must not decide."""
    made = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(made, options) as book:
        book.set_properties({"title": title, "created": created})
        codes = FORMATS | ({"money": f"{FORMATS['money']} [${currency}]"} if currency else {})
        formats = {name: book.add_format({"num_format": code, "valign": "top"}) for name, code in codes.items()}
        formats["text"].set_text_wrap()
        head = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bottom": 1})
        for table in tables:
            _write(book.add_worksheet(table.name), table, formats, head)
    return made.getvalue()


def _write(sheet: Any, table: Sheet, formats: Mapping[str, Any], head: Any) -> None:
    for place, (title, form) in enumerate(table.columns.items()):
        shown = [_shown(row[place]) for row in table.rows]
        width = max([MIN_WIDTH, len(title) + 3, *(len(text) + 1 for text in shown)])
        sheet.set_column(place, place, min(width, MAX_WIDTH))
        sheet.write_string(0, place, title, head)
        for number, row in enumerate(table.rows, start=1):
            value, own = row[place] if isinstance(row[place], tuple) else (row[place], form)
            _put(sheet, number, place, value, formats[own])
    sheet.freeze_panes(1, table.frozen)
    sheet.autofilter(0, 0, len(table.rows), len(table.columns) - 1)
    if table.is_map and table.rows:
        sheet.conditional_format(
            *(1, 1, len(table.rows), len(table.columns) - 1),
            {
                **{"type": "3_color_scale", "min_color": LESS, "mid_color": "#ffffff", "max_color": MORE},
                **{"min_type": "num", "min_value": 0.25, "mid_type": "num", "mid_value": 1},
                **{"max_type": "num", "max_value": 4},
            },
        )


def _put(sheet: Any, row: int, place: int, value: Any, form: Any) -> None:
    """One cell, of the type of its value; a text is never read as a formula, a number or an address."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        sheet.write_blank(row, place, None, form)
    elif isinstance(value, bool):
        sheet.write_boolean(row, place, value, form)
    elif isinstance(value, int | float):
        sheet.write_number(row, place, value, form)
    elif isinstance(value, datetime):
        sheet.write_datetime(row, place, value, form)
    else:
        sheet.write_string(row, place, str(value)[:MAX_TEXT_CHARS], form)


def _shown(cell: Cell) -> str:
    value = cell[0] if isinstance(cell, tuple) else cell
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str("" if value is None else value)
