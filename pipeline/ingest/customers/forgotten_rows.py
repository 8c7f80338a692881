"""Leaves the rows of forgotten customers out of a reading."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.ingest.columns.texts import as_text
from pipeline.ingest.files.raw_tables import RawTable
from pipeline.stores.forgotten import ForgottenList

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

TABLE = "forgotten_customers"
IS_KEPT = f"(customer_id is null or customer_id not in (select customer_id from {TABLE}))"
"""Condition on rows with our column customer_id."""
NARROW, WIDE = re.compile(r"[\s,;|:{}\[\]\"']+"), re.compile(r"[,;|\t]")
"""What separates the values of a line that could not be read; an id may contain the signs of the one or the other."""


@dataclass(frozen=True)
class LeftOut:
    """Rows of the events that belong to forgotten customers.

    Attributes
    ----------
    row_count : int
        Rows that could be split into columns; they are in no later table, but in raw_events.
    unreadable_count : int
        Lines that could not be split, and hold the id.
    """

    row_count: int = 0
    unreadable_count: int = 0

    @property
    def total_count(self) -> int:
        """All of them."""
        return self.row_count + self.unreadable_count


def find_forgotten(
    con: Backend, forgotten: ForgottenList, raw: RawTable, customer_column: str
) -> tuple[RawTable, LeftOut]:
    """Create the table `TABLE` with the forgotten customers of the events.

    Each distinct id is hashed once, not each row.

    Returns
    -------
    RawTable
        ``raw`` without the unreadable lines that hold the id of a forgotten customer.
    LeftOut
    """
    ids = f"select {as_text(customer_column, raw.columns[customer_column])} as customer_id from {raw.name}"
    _create_table(con, _among(con, forgotten, ids))
    rows = con.con.execute(
        f"select count(*) from ({ids}) where customer_id in (select customer_id from {TABLE})"
    ).fetchone()[0]
    kept = [row for row in raw.unreadable if not any(map(forgotten.holds, possible_ids(row.raw)))]
    return replace(raw, unreadable=kept), LeftOut(rows, len(raw.unreadable) - len(kept))


def drop_forgotten(con: Backend, forgotten: ForgottenList, table: str) -> None:
    """Delete the forgotten customers from a table of customers."""
    ids = _among(con, forgotten, f"select customer_id from {table}")
    con.con.execute(f"delete from {table} where list_contains(?::varchar[], customer_id)", [ids])


def possible_ids(line: str) -> set[str]:
    """Parts of an unreadable line that may be an id."""
    return {*NARROW.split(line), *(part.strip().strip("\"'") for part in WIDE.split(line))} - {""}


def _among(con: Backend, forgotten: ForgottenList, query: str) -> list[str]:
    ids = con.con.execute(f"select distinct customer_id from ({query}) where customer_id is not null").fetchnumpy()
    return [str(customer_id) for customer_id in ids["customer_id"] if forgotten.holds(str(customer_id))]


def _create_table(con: Backend, customer_ids: Iterable[str]) -> None:
    con.con.execute(f"create or replace temp table {TABLE} (customer_id varchar)")
    con.con.execute(f"insert into {TABLE} select unnest(?::varchar[])", [list(customer_ids)])
