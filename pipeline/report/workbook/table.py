"""A table of the workbook, and its translation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path

import yaml

TEXTS = Path(__file__).with_name("sheets.yaml")
Value = str | bool | int | float | datetime | None
Cell = Value | tuple[Value, str]
"""A value, or a tuple of a value and the format that replaces its column's."""


@dataclass(frozen=True)
class Sheet:
    """A table of the workbook.

    Attributes
    ----------
    columns : dict of str to str
        Heading -> format, one of `pipeline.report.workbook.writer.FORMATS`.
    is_heat_map : bool
        Whether numbers are coloured by their distance from 1.
    translated : tuple of int
        Columns whose texts are translated into the language of the workbook.
    frozen : int
        Columns that stay visible while scrolling.
    """

    name: str
    about: str
    columns: dict[str, str]
    rows: list[tuple[Cell, ...]]
    is_heat_map: bool = False
    translated: tuple[int, ...] = ()
    frozen: int = 1


@cache
def texts() -> dict[str, dict[str, str]]:
    """English text -> language -> text."""
    found: dict[str, dict[str, str]] = yaml.safe_load(TEXTS.read_text(encoding="utf-8"))
    return found


def translator(language: str) -> Callable[[str], str]:
    """English text -> the same in a language; a text without a translation, such as a segment's name, is kept."""
    return lambda text: texts().get(text, {}).get(language, text)


def translated(table: Sheet, translate: Callable[[str], str]) -> Sheet:
    """The table with its name, headings and texts in another language."""
    columns = {translate(title): form for title, form in table.columns.items()}
    rows = [
        tuple(
            translate(cell) if column in table.translated and isinstance(cell, str) else cell
            for column, cell in enumerate(row)
        )
        for row in table.rows
    ]
    return replace(table, name=translate(table.name), about=translate(table.about), columns=columns, rows=rows)


def moment(text: str) -> datetime:
    """A UTC time without its zone, because spreadsheets have no time zones."""
    return datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=None)
