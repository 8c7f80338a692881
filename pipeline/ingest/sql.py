"""Pieces of SQL that all steps of the reading use."""

from __future__ import annotations

from pipeline.config.errors import UserError
from pipeline.stores.databases.sql import quoted

FILE, ROW = "kindred_file", "kindred_row"
"""Columns of every raw table: the index of the file, and the number of the row in it."""


class ParsingError(UserError):
    """The type of a column does not fit its meaning, or its format is unclear."""


def create_table(name: str, *, is_temporary: bool) -> str:
    """The beginning of SQL that creates a table. A temporary one takes a sixth of the time, but more memory."""
    return f"create or replace {'temp ' if is_temporary else ''}table {quoted(name)}"
