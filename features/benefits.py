"""What buyers look for: low or high prices, a familiar brand, something new, or large orders.

Discounts are in `features.value`, with their orders. A figure is null where there is too little data.
"""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from features.events import EventType
from features.value import exact_large_sum, order_key

MIN_ORDERS = 2.0
"""Fewest orders for which habits are computed."""
MIN_ITEMS = 2.0
"""Fewest items in a category, or with a known brand, for which habits are computed."""


def purchase_habits(transactions: ir.Table, products: ir.Table | None) -> ir.Table:
    """Order size, share of new products and brand loyalty.

        transactions (customer_id, occurred_at, event_type, order_id, product_id, quantity),
        products (product_id, brand)
     -> habits (customer_id, items_per_order, novelty_share, brand_loyalty)     one row per buyer

    ``novelty_share`` is the share of order lines whose product the customer had not ordered before. ``brand_loyalty``
    is the share of the customer's most bought brand among items with a brand. Both need at least two orders.
    """
    bought = transactions.filter(transactions.event_type == str(EventType.PURCHASE))
    bought = bought.mutate(order_key=order_key(bought))
    items = bought.group_by("customer_id").aggregate(
        order_count=bought.order_key.nunique().cast("float64"), item_count=exact_large_sum(bought.quantity)
    )
    named = bought.filter(bought.product_id.notnull())
    lines = named.select("customer_id", "order_key", "product_id").distinct()
    products_by_customer = lines.group_by("customer_id").aggregate(
        line_count=lines.count().cast("float64"), product_count=lines.product_id.nunique().cast("float64")
    )
    habits = items.left_join(products_by_customer, "customer_id").drop("customer_id_right")
    habits = habits.left_join(_brand_loyalty(bought, products), "customer_id").drop("customer_id_right")
    is_known = habits.order_count >= MIN_ORDERS
    return habits.select(
        "customer_id",
        items_per_order=habits.item_count / habits.order_count,
        novelty_share=is_known.ifelse(habits.product_count / habits.line_count, ibis.null("float64")),
        brand_loyalty=is_known.ifelse(habits.brand_loyalty, ibis.null("float64")),
    )


def views_per_order(customers: ir.Table) -> ir.FloatingValue:
    """Views per order. Null for customers who ordered without a view: they looked elsewhere.

    customers (view_count, order_count)
    """
    return customers.view_count.nullif(0.0) / customers.order_count.nullif(0.0)


def _brand_loyalty(bought: ir.Table, products: ir.Table | None) -> ir.Table:
    """Loyalty (customer_id, brand_loyalty): one row per customer with at least two items of known brands."""
    if products is None:
        return bought.group_by("customer_id").aggregate(brand_loyalty=ibis.null("float64"))
    branded = bought.join(products.filter(products.brand.notnull()).select("product_id", "brand"), "product_id")
    by_brand = branded.group_by("customer_id", "brand").aggregate(item_count=exact_large_sum(branded.quantity))
    summed = by_brand.group_by("customer_id").aggregate(
        top_brand_count=by_brand.item_count.max(), item_count=exact_large_sum(by_brand.item_count)
    )
    enough = summed.filter(summed.item_count >= MIN_ITEMS)
    return enough.select("customer_id", brand_loyalty=enough.top_brand_count / enough.item_count)


def price_means(events: ir.Table) -> ir.Table:
    """Prices (column, mean_price): the mean price paid in each category, weighted by items."""
    bought = _priced(events)
    sums = bought.group_by("column").aggregate(
        paid=exact_large_sum(bought.unit_price * bought.quantity), items=exact_large_sum(bought.quantity)
    )
    return sums.select("column", mean_price=sums.paid / sums.items.nullif(0.0))


def price_level(events: ir.Table, *, mean_prices: Sequence[float | None]) -> ir.Table:
    """How expensively each customer buys within categories.

        events (customer_id, event_type, quantity, unit_price, column)
     -> price (customer_id, price_level)     one row per customer with a priced purchase

    Parameters
    ----------
    mean_prices : sequence of float or None, by column
        `price_means`, fixed at training. The level is the amount paid divided by the average price of the same items.
    """
    return _price_level(events, "customer_id", mean_prices=mean_prices)


def category_benefits(events: ir.Table, *, mean_prices: Sequence[float | None]) -> ir.Table:
    """What each customer looks for in each category.

        events (customer_id, event_type, quantity, unit_price, discount, column)
     -> benefits (customer_id, column, item_count, discount_share, price_level)     one row per buyer and category

    ``discount_share`` is the share of order lines with a discount. ``price_level`` is that of `price_level`. Both are
    null below two items.
    """
    bought = events.filter(events.event_type == str(EventType.PURCHASE), events.column.notnull())
    keys = ("customer_id", "column")
    items = bought.group_by(*keys).aggregate(
        item_count=exact_large_sum(bought.quantity),
        discount_share=(bought.discount.fill_null(0.0) > 0).cast("float64").mean(),
    )
    priced = _price_level(events, *keys, mean_prices=mean_prices)
    both = items.left_join(priced, keys)
    is_known = both.item_count >= MIN_ITEMS
    return both.select(
        *keys,
        "item_count",
        discount_share=is_known.ifelse(both.discount_share, ibis.null("float64")),
        price_level=is_known.ifelse(both.price_level, ibis.null("float64")),
    )


def _price_level(events: ir.Table, *keys: str, mean_prices: Sequence[float | None]) -> ir.Table:
    """Level (<keys>, price_level): one row per group with a priced purchase."""
    bought = _priced(events)
    cases = [(column, ibis.literal(float(price)).cast("float64")) for column, price in enumerate(mean_prices) if price]
    if not cases:
        return bought.group_by(*keys).aggregate(price_level=ibis.null("float64"))
    bought = bought.mutate(expected=bought.column.cases(*cases, else_=bought.unit_price))
    sums = bought.group_by(*keys).aggregate(
        paid=exact_large_sum(bought.unit_price * bought.quantity),
        expected=exact_large_sum(bought.expected * bought.quantity),
    )
    return sums.select(*keys, price_level=sums.paid / sums.expected.nullif(0.0))


def _priced(events: ir.Table) -> ir.Table:
    is_priced = (events.unit_price > 0) & events.column.notnull() & (events.quantity > 0)
    return events.filter(events.event_type == str(EventType.PURCHASE), is_priced)
