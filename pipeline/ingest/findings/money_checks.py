"""Signs that prices or discounts are not what they are taken for, from the purchases of a log."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.events import EventType, constant

MAJORITY = 0.5
"""A share of purchases above this is no accident."""
MIN_ROWS, MIN_ORDERS = 100, 30
"""Fewer purchases of several items, or orders with a discount on several rows, are not checked."""
NEAR = 0.2
"""Prices that differ by at most this share are taken as the same; of two items, the total is twice the price."""


def check_line_totals(events: ir.Table) -> list[str]:
    """Warn if a product's price grows with the quantity, which shows that totals of rows were read as unit prices.

    events (event_type, product_id, quantity, unit_price)     of the window; only purchases count
    """
    bought = events.filter(events.event_type == str(EventType.PURCHASE), events.unit_price > 0, events.quantity >= 1)
    single = (
        bought.filter(bought.quantity == 1).group_by("product_id").aggregate(price_of_one=ibis._.unit_price.median())
    )
    several = bought.filter(bought.quantity > 1).inner_join(single, "product_id")
    ratio = several.unit_price / several.price_of_one
    counts = several.aggregate(
        count=several.count(),
        totals=((ratio / several.quantity - 1).abs() <= constant(NEAR)).sum(),
    )
    count, totals = (value or 0 for value in counts.to_pyarrow().to_pylist()[0].values())
    if count < MIN_ROWS or totals <= MAJORITY * count:
        return []
    return [
        f"in {totals / count:.0%} of the purchases of several items, unit_price is the price of one item times the "
        "quantity, so it holds the total of the row. Name that column as amount in source.events.columns, in place of "
        "unit_price; otherwise spend is too high"
    ]


def check_repeated_discounts(events: ir.Table) -> list[str]:
    """Warn if all rows of an order have the same discount, which shows that discounts of orders were read as of rows.

    events (customer_id, event_type, order_id, quantity, unit_price, discount)     of the window
    """
    bought = events.filter(events.event_type == str(EventType.PURCHASE), events.order_id.notnull())
    bought = bought.mutate(price=bought.quantity * bought.unit_price)
    orders = bought.group_by("customer_id", "order_id").aggregate(
        low=bought.discount.fill_null(0.0).min(),
        high=bought.discount.fill_null(0.0).max(),
        has_several_prices=bought.price.min() < bought.price.max(),
    )
    discounted = orders.filter(orders.has_several_prices, orders.high > 0)
    counts = discounted.aggregate(count=discounted.count(), same=(discounted.low == discounted.high).sum())
    count, same = (value or 0 for value in counts.to_pyarrow().to_pylist()[0].values())
    if count < MIN_ORDERS or same <= MAJORITY * count:
        return []
    return [
        f"in {same / count:.0%} of the orders with a discount and several prices, each row has the same discount. If "
        "it is of the whole order, name the column as order_discount in source.events.columns, in place of discount; "
        "otherwise it is taken off once for each row"
    ]
