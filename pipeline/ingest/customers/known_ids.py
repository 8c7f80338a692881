"""All customer ids of a source: each distinct id is looked at once, not once per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from pipeline.config.params import Params
from pipeline.config.sections.source import ExcludeParams
from pipeline.ingest.columns.texts import text_of
from pipeline.ingest.customers.exclusions import find_excluded
from pipeline.ingest.customers.forgotten_rows import find_forgotten, without_forgotten_lines
from pipeline.ingest.customers.identities import resolved
from pipeline.ingest.customers.ids import is_not_a_customer, normalised
from pipeline.ingest.files.raw_tables import RawTable
from pipeline.stores.databases.sql import literal
from pipeline.stores.forgotten import ForgottenList, read_list

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

LEFT_OUT, CHANGED = "left_out_customers", "changed_ids"


@dataclass(frozen=True)
class LeftOut:
    """Rows of the events that are left out of a reading, and are in no later table but raw_events.

    Attributes
    ----------
    forgotten_row_count, excluded_row_count : int
        Rows of forgotten customers, and rows that `source.exclude` leaves out.
    forgotten_line_count : int
        Lines that could not be split into columns, and hold the id of a forgotten customer.
    """

    forgotten_row_count: int = 0
    forgotten_line_count: int = 0
    excluded_row_count: int = 0

    @property
    def forgotten_count(self) -> int:
        """All rows and lines of forgotten customers."""
        return self.forgotten_row_count + self.forgotten_line_count


@dataclass(frozen=True)
class CustomerIds:
    """SQL for the rows of raw_events, and for those with our column customer_id.

    Attributes
    ----------
    customer_id : str
        The customer of a row of raw_events.
    is_not_a_customer, is_kept : str
        Whether a customer_id stands for nobody, and whether it is neither forgotten nor excluded.
    joined_count : int
        Ids of the events that another id stands for.
    left_out : LeftOut
        Without the rows that `source.exclude.where` leaves out, which is not a matter of ids.
    """

    customer_id: str
    is_not_a_customer: str = "false"
    is_kept: str = "true"
    joined_count: int = 0
    left_out: LeftOut = LeftOut()


def find_customer_ids(
    con: Backend, params: Params, raw: RawTable, column: str, customers: ir.Table | None, counted: str | None = None
) -> tuple[RawTable, CustomerIds]:
    """Create the table customer_ids, and leave out of ``customers`` those who are not to be read.

    The table has a row for each distinct id: source_id (as in the source), own_id (normalised), customer_id (of the
    person), row_count (of the events). Ids of ``customers`` without an event are in it if somebody may be left out.

    Parameters
    ----------
    column : str
        The user's column of customer ids in ``raw``.
    counted : str, optional
        SQL for the ids if they are counted already (`count_ids`).

    Returns
    -------
    RawTable
        ``raw`` without unreadable lines of forgotten customers.
    CustomerIds
    """
    db, text = con.con, text_of(con, raw.name, column, raw.columns[column])
    own = normalised("source_id", params.source.ids.normalise)
    db.execute(
        f"create or replace temp table customer_ids as select source_id, {own} as own_id, "
        f"{resolved('source_id', params)} as customer_id, row_count "
        f"from ({counted or count_ids(raw, text)})"
    )
    forgotten = read_list(params)
    if customers is not None and (forgotten is not None or params.source.exclude != ExcludeParams()):
        registered = (
            "select customer_id as source_id, customer_id as own_id, customer_id, 0 as row_count from customers"
        )
        db.execute(f"insert into customer_ids {registered}")
    raw, left_out = _create_left_out(con, params, raw, customers, forgotten)
    nobody = is_not_a_customer("customer_id", params.source.ids.not_customers)
    names = [row[0] for row in db.execute(f"select distinct customer_id from customer_ids where {nobody}").fetchall()]
    is_listed = f"coalesce(customer_id in ({', '.join(map(literal, sorted(names)))}), false)" if names else "false"
    has_left_out = db.execute(f"select count(*) from {LEFT_OUT}").fetchone()[0] > 0
    is_kept = f"(customer_id is null or customer_id not in (select customer_id from {LEFT_OUT}))"
    is_kept = is_kept if has_left_out else "true"
    if customers is not None:
        db.execute(f"delete from customers where {nobody} or not {is_kept}")
    is_joined = "row_count > 0 and customer_id <> own_id"
    joined = db.execute(f"select count(distinct own_id) from customer_ids where {is_joined}").fetchone()[0]
    return raw, CustomerIds(
        customer_id=_with_changes(con, text),
        is_not_a_customer=is_listed,
        is_kept=is_kept,
        joined_count=joined,
        left_out=left_out,
    )


def count_ids(raw: RawTable, text: str) -> str:
    """SQL for the rows of each id of ``raw``: source_id, row_count."""
    return f"select {text} as source_id, count(*) as row_count from {raw.name} group by 1"


def _with_changes(con: Backend, text: str) -> str:
    """SQL for the customer of an id in the source. Ids that stay as they are need no look-up."""
    con.con.execute(
        f"create or replace temp table {CHANGED} as select source_id as kindred_source, "
        "coalesce(customer_id, '') as kindred_customer from customer_ids where kindred_customer <> source_id"
    )
    if not con.con.execute(f"select count(*) from {CHANGED}").fetchone()[0]:
        return text
    return f"coalesce((select kindred_customer from {CHANGED} where kindred_source = {text}), {text})"


def _create_left_out(
    con: Backend, params: Params, raw: RawTable, customers: ir.Table | None, forgotten: ForgottenList | None
) -> tuple[RawTable, LeftOut]:
    """Table `LEFT_OUT` (customer_id, is_forgotten), and how many rows of the events are theirs."""
    kept = raw
    persons = [] if forgotten is None else find_forgotten(con, forgotten)
    if forgotten is not None and raw.unreadable:
        kept = without_forgotten_lines(con, params, forgotten, persons, raw)
    excluded = sorted({*find_excluded(con, params, customers)} - {*persons})
    con.con.execute(
        f"create or replace temp table {LEFT_OUT} as select unnest(?::varchar[]) as customer_id, true as is_forgotten "
        "union all select unnest(?::varchar[]), false",
        [persons, excluded],
    )
    sums = [f"coalesce(sum(row_count) filter ({one}), 0)::bigint" for one in ("is_forgotten", "not is_forgotten")]
    rows = f"{LEFT_OUT} join customer_ids using (customer_id)"
    forgotten_rows, excluded_rows = con.con.execute(f"select {', '.join(sums)} from {rows}").fetchone()
    return kept, LeftOut(forgotten_rows, len(raw.unreadable) - len(kept.unreadable), excluded_rows)


def count_customers(con: Backend, ids: CustomerIds) -> int:
    """Customers with an event, from the table customer_ids, if no row was rejected or left out by `where`."""
    known = f"row_count > 0 and {ids.is_kept} and not {ids.is_not_a_customer}"
    return int(con.con.execute(f"select count(distinct customer_id) from customer_ids where {known}").fetchone()[0])
