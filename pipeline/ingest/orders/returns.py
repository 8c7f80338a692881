"""Money given back: negative rows, refunds of an amount without a product, and refunds noted on the order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir

from features.events import EVENT_SCHEMA, EventType
from features.value import exact_large_sum
from pipeline.config.params import Params
from pipeline.config.sections.source import EventsTable
from pipeline.ingest.columns.column_mapping import map_event_columns
from pipeline.ingest.columns.texts import as_event_type
from pipeline.ingest.files.raw_tables import RawTable, SourceError
from pipeline.stores.database import TEMPORARY, materialise
from pipeline.stores.databases.sql import quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

SIGNED = ("quantity", "unit_price", "amount", "order_total", "order_discount", "discount")
OWN_TOTAL = "has_own_total"
"""Column: whether a negative row has a negative order_total; null for other rows."""
IS_AMOUNT = f"event_type = '{EventType.RETURN}' and product_id is null and category_path is null"


def has_negatives(con: Backend, params: Params, raw: RawTable) -> bool:
    """Whether a row may be a return with a negative quantity or price. Parquet's statistics answer for most numbers."""
    table = params.source.events
    found = map_event_columns(raw, table)
    columns = [found[name] for name in SIGNED if name in found]
    if any(raw.columns[column] == "VARCHAR" for column in columns):
        return True  # parsing each text twice would cost more than this saves
    negative = [f"{quoted(column)} < 0" for column in columns if _exists(con, raw, f"{quoted(column)} < 0")]
    if not negative or table.negative_rows == "return":
        return bool(negative)
    return _exists(con, raw, f"({' or '.join(negative)}) and {_is_return(raw, found, table)}")


def has_refunds_of_amounts(con: Backend, params: Params, raw: RawTable) -> bool:
    """Whether the log has products, but some return has none."""
    table = params.source.events
    found = map_event_columns(raw, table)
    if "product_id" not in found:
        return False
    if table.negative_rows == "return":
        return True
    return _exists(
        con,
        raw,
        f"{_is_return(raw, found, table)} and nullif(trim({quoted(found['product_id'])}::varchar), '') is null",
    )


def _is_return(raw: RawTable, found: Mapping[str, str], table: EventsTable) -> str:
    return f"{as_event_type(found['event_type'], raw.columns[found['event_type']], table)} = '{EventType.RETURN}'"


def _exists(con: Backend, raw: RawTable, condition: str) -> bool:
    return bool(con.con.execute(f"select exists (from {raw.name} where {condition})").fetchone()[0])


def with_positive_returns(query: str, names: Collection[str], *, negative_rows: str) -> str:
    """SQL for the same rows, in which the quantity and price of returns are positive.

    Parameters
    ----------
    names : collection of str
        Our columns that the log has.
    negative_rows : str
        `return`: purchases with a negative number are returns.
    """
    signed = [name for name in SIGNED if name in names]
    if negative_rows == "return":
        is_negative = " or ".join(f"{name} < 0" for name in signed if "discount" not in name)
        is_returned = f"event_type = '{EventType.PURCHASE}' and coalesce({is_negative}, false)"
        kind = f"case when {is_returned} then '{EventType.RETURN}' else event_type end"
        own_total = f", case when {is_returned} then coalesce(order_total < 0, false) end as {OWN_TOTAL}"
        more = own_total if "order_total" in names else ""
        query = f"select * replace ({kind} as event_type){more} from ({query})"
    positive = ", ".join(
        f"case when event_type = '{EventType.RETURN}' then abs({name}) else {name} end as {name}" for name in signed
    )
    return f"select * replace ({positive}) from ({query})"


def refuse_exchanges(con: Backend) -> None:
    """Refuse an order_total of rows bought and rows returned: it is their difference, not the sum of either.

    Raises
    ------
    SourceError
        Counts the orders. A negative order_total is that of the returned rows alone.
    """
    if OWN_TOTAL not in con.table("accepted_events", database=TEMPORARY).columns:
        return
    count = con.con.execute(
        "select count(*) from (select 1 from accepted_events where order_id is not null group by customer_id, order_id "
        f"having count(*) filter (event_type = '{EventType.PURCHASE}') > 0 and count(order_total) > 0 "
        f"and not bool_or({OWN_TOTAL}))"
    ).fetchone()[0]
    if count:
        raise SourceError(
            f"source.events.columns: expected an order_total of rows bought, or a negative one of rows returned. "
            f"{count:,} orders have both kinds of rows (source.events.negative_rows: return) under one order_total. "
            "Use amount, the total of a row, in place of order_total; or give the returned rows an order_id of their "
            "own and a negative order_total."
        )


def with_refunds_of_amounts(query: str) -> str:
    """SQL for the same rows, in which returns without a product have no items: unit_price is the money given back."""
    return (
        f"select * replace (case when {IS_AMOUNT} then quantity * unit_price else unit_price end as unit_price, "
        f"case when {IS_AMOUNT} then 0.0 else quantity end as quantity) from ({query})"
    )


def with_noted_refunds(con: Backend, rows: ir.Table) -> ir.Table:
    """The rows, with a return without items for each order that has ``refunded``, at the time of the order.

    Parameters
    ----------
    rows : table
        Columns of `EVENT_SCHEMA`, and row_refund if the log has ``refunded``; without the repeats that are dropped.
    """
    if "row_refund" not in rows.columns:
        return rows
    noted = rows.filter(rows.event_type == str(EventType.PURCHASE), rows.row_refund > 0)
    noted = noted.mutate(number=ibis.row_number())
    # A row without an order_id is an order of its own.
    orders = noted.group_by("customer_id", "order_id", row=noted.order_id.isnull().ifelse(noted.number, 0)).aggregate(
        occurred_at=noted.occurred_at.min(),
        unit_price=exact_large_sum(noted.row_refund),
        session_id=noted.session_id.min(),
        channel=noted.channel.min(),
    )
    returns = orders.mutate(event_type=ibis.literal(str(EventType.RETURN)), quantity=ibis.literal(0.0).cast("float64"))
    unknown = {name: ibis.null(EVENT_SCHEMA[name]) for name in EVENT_SCHEMA if name not in returns.columns}
    both = rows.select(*EVENT_SCHEMA).union(returns.mutate(**unknown).select(*EVENT_SCHEMA))
    return materialise(con, both, "events_and_refunds")
