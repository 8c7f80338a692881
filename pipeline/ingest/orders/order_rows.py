"""What params.yaml declares about orders, applied to the rows of the log; rows of other logs stay as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import ibis

from features import checks
from pipeline.config.params import Params
from pipeline.config.sections.source import EventsTable
from pipeline.ingest.columns.column_mapping import CHARGES, map_event_columns
from pipeline.ingest.columns.numbers import as_number, declared_format
from pipeline.ingest.columns.texts import as_text
from pipeline.ingest.duplicates import is_first
from pipeline.ingest.files.raw_tables import RawTable
from pipeline.ingest.orders.amounts import IS_COUNTED, OF_ORDERS, row_weight, with_row_prices
from pipeline.ingest.orders.currencies import converted, currency_code
from pipeline.ingest.orders.returns import (
    has_negatives,
    has_refunds_of_amounts,
    with_positive_returns,
    with_refunds_of_amounts,
)
from pipeline.ingest.orders.statuses import status_group

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

ORDER_NUMBERS = ("amount", *OF_ORDERS, *CHARGES)


def order_inputs(raw: RawTable, found: Mapping[str, str], table: EventsTable) -> dict[str, str]:
    """Our column -> SQL, for the columns of orders that the log has, and status_group if statuses are declared."""
    kinds, form = {name: raw.columns[column] for name, column in found.items()}, declared_format(table)
    selected = {name: as_number(found[name], kinds[name], form) for name in ORDER_NUMBERS if name in found}
    if "order_total" in found:
        selected.setdefault("amount", "null::double")
    if "currency" in found:
        selected["currency"] = currency_code(as_text(found["currency"], kinds["currency"]))
    if table.has_statuses:
        selected["status_group"] = status_group(as_text(found["status"], kinds["status"]), table.statuses)
    return selected


def with_order_facts(con: Backend, params: Params, raw: RawTable, query: str, rules: tuple[checks.Rule, ...]) -> str:
    """SQL for the rows of ``query`` with returns, prices and currencies as declared.

    Rows that break one of the ``rules``, and repeats that are dropped, take no part of what is about their order.
    """
    table = params.source.events
    found = map_event_columns(raw, table)
    if has_negatives(con, params, raw):
        query = with_positive_returns(query, found, negative_rows=table.negative_rows)
    if {*OF_ORDERS} & {*found}:
        query = _with_usable(con, query, rules)
        is_counted = f"is_usable and {is_first(params, weight=row_weight(found))}"
        query = f"select * exclude (is_usable), {is_counted} as {IS_COUNTED} from ({query})"
    query = with_row_prices(query, found)
    if has_refunds_of_amounts(con, params, raw):
        query = with_refunds_of_amounts(query)
    if params.source.rates is not None and "currency" in found:
        money = ("unit_price", "discount", "row_refund") if "refunded" in found else ("unit_price", "discount")
        query = converted(query, params, money)
    return query


def _with_usable(con: Backend, query: str, rules: tuple[checks.Rule, ...]) -> str:
    """SQL for the rows with is_usable: whether a row breaks no rule, whatever price it will have."""
    rows = con.sql(query)
    own = rows.mutate(own_price=rows.unit_price, own_discount=rows.discount)
    unpriced = own.mutate(unit_price=ibis.null("float64"), discount=ibis.null("float64"))
    checked = checks.with_reasons(unpriced, rules)
    usable = checked.mutate(
        unit_price=checked.own_price, discount=checked.own_discount, is_usable=checked[checks.REASONS] == 0
    )
    return str(con.compile(usable.drop("own_price", "own_discount", checks.REASONS)))


def needs_copy(found: Collection[str], params: Params) -> bool:
    """Whether the rows depend on others of their order, or on rates, which should be looked up once."""
    return bool({*OF_ORDERS} & {*found}) or params.source.rates is not None
