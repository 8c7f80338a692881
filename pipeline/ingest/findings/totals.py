"""Totals of a shop that a person recognises: spend, orders, the largest order, refunds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import ibis.expr.types as ir

from features.value import exact_large_sum, order_table, return_table


@dataclass(frozen=True)
class Totals:
    """Money of the events before as_of, in the shop's currency.

    Attributes
    ----------
    largest_customer_share : float
        Of spend, by the customer who spent most. Like all figures here, it is 0 if nothing was spent.
    refunded, return_count : float, int
        Money given back, and the rows about it.
    """

    spend: float = 0.0
    order_count: int = 0
    average_order: float = 0.0
    largest_order: float = 0.0
    largest_customer_share: float = 0.0
    refunded: float = 0.0
    return_count: int = 0


def shop_totals(events: ir.Table, as_of: datetime) -> Totals:
    """Totals of the checked events; orders and spend are those of `features.value`."""
    known = events.filter(events.occurred_at < as_of.astimezone(UTC).replace(tzinfo=None))
    orders = order_table(known)
    customers = orders.group_by("customer_id").aggregate(
        paid=exact_large_sum(orders.spend), count=orders.count(), largest_order=orders.spend.max()
    )
    bought = customers.aggregate(
        spend=exact_large_sum(customers.paid),
        order_count=customers["count"].sum(),
        largest_order=customers.largest_order.max(),
        largest_customer=customers.paid.max(),
    )
    returns = return_table(known)
    given_back = returns.aggregate(refunded=exact_large_sum(returns.spend), return_count=returns.count())
    figures = {name: value or 0 for name, value in bought.cross_join(given_back).to_pyarrow().to_pylist()[0].items()}
    spend, order_count, largest = figures["spend"], figures["order_count"], figures.pop("largest_customer")
    return Totals(
        **figures,
        average_order=spend / order_count if order_count else 0.0,
        largest_customer_share=largest / spend if spend > 0 else 0.0,
    )
