"""A result as a table of a database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from models.disclosure import rounded_count

KEY = "outputs.tables"
"""Section of params.yaml that says where tables are written."""
AUDIENCE_PREFIX = "audience_"
FIXED_NAMES = ("scores", "changes")
CUSTOMER = "customer_id"


@dataclass(frozen=True)
class TargetTable:
    """What a table is to hold.

    Attributes
    ----------
    rows : Table
        May have more or fewer columns than the table in the database.
    key : tuple of str
        Columns that tell rows apart; never null.
    as_of : datetime or None
        Only rows of this moment are replaced, by column as_of; None: all rows.
    """

    name: str
    rows: pa.Table
    key: tuple[str, ...] = (CUSTOMER,)
    as_of: datetime | None = None

    @property
    def known_columns(self) -> pa.Table:
        """The rows without columns that have no type, as they are null everywhere."""
        return self.rows.select([field.name for field in self.rows.schema if not pa.types.is_null(field.type)])

    @property
    def empty_columns(self) -> list[str]:
        """Columns that are null everywhere and have no type."""
        return [field.name for field in self.rows.schema if pa.types.is_null(field.type)]


@dataclass(frozen=True)
class WrittenRows:
    """How a table was changed.

    Attributes
    ----------
    table : str
        Its name, for messages.
    row_count : int
        Rows that it was to hold.
    changed_count : int
        Rows that were written, as they were missing or different.
    """

    table: str
    row_count: int
    changed_count: int

    def published(self, min_group: int) -> WrittenRows:
        """The counts as they may be published (`models.disclosure`)."""
        counts = (rounded_count(count, min_group) for count in (self.row_count, self.changed_count))
        return WrittenRows(self.table, *counts)

    def as_text(self) -> str:
        """The table and its counts in a few words."""
        return f"{self.table} ({self.row_count:,} rows, {self.changed_count:,} written)"


def is_written_by_kindred(name: str) -> bool:
    """Whether a table of this name is one of Kindred's."""
    return name in FIXED_NAMES or name.startswith(AUDIENCE_PREFIX)
