"""Prices of rows from totals of rows or orders, and discounts and refunds of whole orders.

Each function takes SQL for rows with our columns, and returns SQL for the same rows with other values.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from pipeline.config.params import Params
from pipeline.ingest.columns.column_mapping import CHARGES, map_event_columns
from pipeline.ingest.files.raw_tables import RawTable, SourceError

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

OF_ORDERS = ("order_total", "order_discount", "refunded")
"""Columns about a whole order, which stand on its first row or on all."""
MAX_UNEQUAL_SHARE = 0.1
"""Of orders with several rows: if more have several values of such a column, it is probably not about the order."""
ORDER = "over (partition by customer_id, order_id, event_type)"
IS_COUNTED = "is_counted"
"""Column: whether a row has a part in what is about its order, as repeats that are dropped have none."""


def with_row_prices(query: str, found: Collection[str]) -> str:
    """Rows with a unit_price and discount of their own, and with row_refund if orders have ``refunded``.

    Parameters
    ----------
    found : collection of str
        Our columns that the log has.
    """
    query = _spread_over_rows(query, found)
    if not {"amount", "order_total"} & {*found}:
        return query
    # An amount without items would be lost, as prices are multiplied by the quantity.
    items = "case when quantity = 0 and amount is not null then 1.0 else quantity end"
    price = f"coalesce((amount + coalesce(discount, 0.0)) / ({items}), unit_price)"
    return f"select * replace ({items} as quantity, {price} as unit_price) from ({query})"


def row_weight(found: Collection[str]) -> str:
    """SQL for the part of a row in its order: by its price; if no price is known, by its quantity."""
    price = "amount" if "amount" in found else "quantity * unit_price" if "unit_price" in found else "quantity"
    return f"greatest(coalesce({price}, 0.0), 0.0)::decimal(38, 9)"


def _spread_over_rows(query: str, found: Collection[str]) -> str:
    """Divide what is about an order among its rows (is_counted) by `row_weight`; equally if all weigh nothing.

    A row that is not counted takes what it would if it were the one that is, so that either can be dropped. Sums of
    decimals do not depend on the order of rows.
    """
    of_orders = [name for name in OF_ORDERS if name in found]
    if not of_orders:
        return query
    weight, counted = row_weight(found), f"filter ({IS_COUNTED}) {ORDER}"
    total, count = f"sum({weight}) {counted}", f"greatest(count(*) {counted}, 1)"
    share = f"case when {total} > 0 then {weight}::double / {total}::double else 1.0 / {count} end"
    of_order = {name: f"max({name}) {ORDER}" for name in of_orders}
    of_row = {name: name for name in of_orders}
    for charge in [name for name in CHARGES if name in found]:
        of_order["order_total"] += f" - coalesce(max({charge}) {ORDER}, 0.0)"
        of_row["order_total"] += f" - coalesce({charge}, 0.0)"
    own = {
        name: f"case when order_id is null then {of_row[name]} else ({of_order[name]}) * ({share}) end"
        for name in of_orders
    }
    values, more = {}, f", {own['refunded']} as row_refund" if "refunded" in own else ""
    if "order_discount" in own:
        values["discount"] = f"coalesce(discount, 0.0) + coalesce({own['order_discount']}, 0.0)"
    if "order_total" in own:
        values["amount"] = own["order_total"]
    replaced = ", ".join(f"{value} as {name}" for name, value in values.items())
    unchanged = f" replace ({replaced})" if replaced else ""
    return f"select * exclude ({IS_COUNTED}){unchanged}{more} from ({query})"


def refuse_row_values(con: Backend, params: Params, raw: RawTable) -> None:
    """Refuse a column about orders that differs from row to row, such as row totals mapped to order_total.

    Raises
    ------
    SourceError
        Names the column and the one it should be mapped to.
    """
    instead = {"order_total": "amount", "order_discount": "discount", "refunded": "a query with a row for each return"}
    found = map_event_columns(raw, params.source.events)
    for name in [name for name in OF_ORDERS if name in found]:
        value = f"nullif({name}, 0)"
        unequal, several = con.con.execute(
            f"select count(*) filter (low <> high), count(*) from (select min({value}) as low, max({value}) as high "
            f"from accepted_events where order_id is not null group by customer_id, order_id, event_type "
            f"having count({value}) > 1)"
        ).fetchone()
        if unequal > MAX_UNEQUAL_SHARE * several:
            raise SourceError(
                f"source.events.columns: {name} is about a whole order, but {unequal:,} of {several:,} orders with "
                f"several values of column {found[name]!r} have different ones. If it is about the row, use "
                f"{instead[name]} in place of {name}."
            )
