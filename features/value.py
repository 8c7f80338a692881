"""Customer value: orders, RFM measures and scores, and value tiers.

Purchases with the same order_id form an order. Without an order_id, a customer's purchases of a day form an order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ibis
import ibis.expr.types as ir

from features.events import EventType, ObservationWindow, constant

UNITS = {"spend": 100.0, "order_count": 1.0}
"""Measure that decides value tiers -> its smallest parts per unit: cents of spend, or whole orders."""
ONE_MOMENT = ibis.interval(microseconds=1)
MONEY_COLUMNS = {"spend": "net_spend", "average_order_value": "average_order_value"}
"""Setting of money in RFM -> its column. Spend is net of refunds, so a cancelled order makes nobody a VIP."""


@dataclass(frozen=True)
class ValueCuts:
    """Bounds between scores and tiers, fixed at training from the buyers at that time.

    Attributes
    ----------
    days_since_last_purchase, order_count, money : tuple of float, ascending
        Inner quantiles, or cut points from params.yaml; four of them give scores from 1 to 5. Empty without buyers.
        ``money`` is also empty if no purchase had a price; money is then ignored.
    vip_value, regular_value : float
        Spend or order count, whichever decides tiers, above which a buyer is in the tier.
    """

    days_since_last_purchase: tuple[float, ...]
    order_count: tuple[float, ...]
    money: tuple[float, ...]
    vip_value: float
    regular_value: float

    @staticmethod
    def from_lists(raw: Mapping[str, Any]) -> ValueCuts:
        """The cuts from the row of `value_quantiles`; without buyers its figures are null and the cuts empty."""
        return ValueCuts(
            days_since_last_purchase=tuple(raw["days_since_last_purchase"] or ()),
            order_count=tuple(raw["order_count"] or ()),
            money=tuple(raw["money"] or ()),
            vip_value=float(raw["vip_value"] or 0.0),
            regular_value=float(raw["regular_value"] or 0.0),
        )


def exact_large_sum(values: ir.NumericValue, where: ir.BooleanValue | None = None) -> ir.FloatingValue:
    """`exact_sum` for money and quantities: decimals of 1e-9 that hold up to 1e29, at half the speed."""
    return values.cast("decimal(38, 9)").sum(where=where).fill_null(0).cast("float64")


def order_key(purchases: ir.Table) -> ir.StringValue:
    """Key of an order within a customer: its id, or the day."""
    return ibis.coalesce(purchases.order_id, purchases.occurred_at.truncate("D").cast("string"))


def order_table(events: ir.Table) -> ir.Table:
    """Purchases grouped into orders.

        events (customer_id, occurred_at, event_type, order_id, quantity, unit_price, discount, column)
     -> orders (customer_id, order_key, ordered_at, spend, item_count, line_count, discounted_line_count,
                previous_order_at)

    Spend is quantity * unit_price less the discount, in the shop's currency; 0 if the price is unknown. Lines are rows
    of the log.
    """
    bought = events.filter(events.event_type == str(EventType.PURCHASE))
    bought = bought.mutate(
        order_key=order_key(bought),
        paid=_paid(bought),
    )
    orders = bought.group_by("customer_id", "order_key").aggregate(
        ordered_at=bought.occurred_at.min(),
        spend=exact_large_sum(bought.paid),
        item_count=exact_large_sum(bought.quantity),
        line_count=bought.count(),
        discounted_line_count=bought.count(where=bought.discount > 0),
    )
    # Orders at the same moment (logs by day) are peers with the same previous order.
    earlier = ibis.range_window(group_by="customer_id", order_by="ordered_at", preceding=(None, ONE_MOMENT))
    return orders.mutate(previous_order_at=orders.ordered_at.max().over(earlier))


def has_prices(orders: ir.Table) -> ir.BooleanScalar:
    """Whether any order has a spend other than 0; also true without orders."""
    return (orders.spend != 0).any().fill_null(True)


def return_table(events: ir.Table) -> ir.Table:
    """Returned (customer_id, returned_at, spend, item_count): one row per return, with items and refund.

    A refund is never negative: a discount above the price, such as one for a whole order, leaves 0. Of a return without
    product_id and items, the refund is the unit_price.
    """
    returns = events.filter(events.event_type == str(EventType.RETURN))
    has_no_items = returns.product_id.isnull() & (returns.quantity == 0)
    amount = has_no_items.ifelse(returns.unit_price.fill_null(0.0), _paid(returns))
    refund = ibis.greatest(amount, constant(0.0))
    return returns.select("customer_id", returned_at=returns.occurred_at, spend=refund, item_count=returns.quantity)


def _paid(lines: ir.Table) -> ir.FloatingValue:
    """Amount paid for each row, less the discount; 0 if the price is unknown."""
    return (lines.quantity * lines.unit_price - lines.discount.fill_null(0.0)).fill_null(0.0)


def value_measures(
    orders: ir.Table,
    returned: ir.Table,
    *,
    window: ObservationWindow,
    tier_by: str = "spend",
    tier_days: float | None = None,
) -> ir.Table:
    """Recency, frequency and monetary value of each buyer.

        orders (customer_id, ordered_at, spend, item_count, line_count, discounted_line_count, previous_order_at),
        returned (customer_id, returned_at, spend)
     -> value (customer_id, order_count, spend, net_spend, average_order_value, item_count, days_since_first_purchase,
               days_since_last_purchase, days_before_last_purchase, discount_share, tier_value)   one row per buyer

    ``spend`` is the amount paid. ``net_spend`` is spend less refunds, but never below 0, since returned items may have
    been bought before the window. ``average_order_value`` is based on ``net_spend``. ``days_before_last_purchase`` is
    the gap before the last order; null after a first order. ``discount_share`` counts lines and not items, because
    petrol by the litre would outweigh all else. ``tier_value`` is the measure that decides the value tier.

    Parameters
    ----------
    tier_by : str
        spend or order_count.
    tier_days : float, optional
        Only orders of this many days before as_of decide the tier. Default: all of the window.
    """
    orders = orders.mutate(
        age=window.age_days(orders.ordered_at),
        silence=window.age_days(orders.previous_order_at) - window.age_days(orders.ordered_at),
    )
    since = None if tier_days is None else window.end - timedelta(days=tier_days)
    is_recent = None if since is None else orders.ordered_at >= since
    measured = orders.group_by("customer_id").aggregate(
        order_count=orders.count().cast("float64"),
        spend=exact_large_sum(orders.spend),
        item_count=exact_large_sum(orders.item_count),
        line_count=orders.line_count.sum(),
        discounted_line_count=orders.discounted_line_count.sum(),
        days_since_first_purchase=orders.age.max(),
        days_since_last_purchase=orders.age.min(),
        days_before_last_purchase=orders.silence.argmin(orders.age),
        recent_spend=exact_large_sum(orders.spend, where=is_recent),
        recent_order_count=orders.count(where=is_recent).cast("float64"),
    )
    refunds = returned.group_by("customer_id").aggregate(
        returned_spend=exact_large_sum(returned.spend),
        recent_returned_spend=exact_large_sum(
            returned.spend, where=None if since is None else returned.returned_at >= since
        ),
    )
    measured = measured.left_join(refunds, "customer_id").drop("customer_id_right")
    net_spend = _net_of_refunds(measured.spend, measured.returned_spend)
    recent_spend = _net_of_refunds(measured.recent_spend, measured.recent_returned_spend)
    return measured.mutate(
        net_spend=net_spend,
        average_order_value=net_spend / measured.order_count,
        discount_share=measured.discounted_line_count.cast("float64") / measured.line_count.cast("float64"),
        tier_value=recent_spend if tier_by == "spend" else measured.recent_order_count,
    ).drop(
        *("line_count", "discounted_line_count", "returned_spend"),
        *("recent_spend", "recent_order_count", "recent_returned_spend"),
    )


def _net_of_refunds(paid: ir.FloatingValue, refunded: ir.FloatingValue) -> ir.FloatingValue:
    """The amount paid less refunds: at least 0, but never above the amount paid, which discounts can make negative."""
    return ibis.least(paid, ibis.greatest(paid - refunded.fill_null(0.0), constant(0.0)))


def returned_items(returned: ir.Table) -> ir.Table:
    """Returned (customer_id, returned_item_count, returned_spend): one row per customer with a return."""
    return returned.group_by("customer_id").aggregate(
        returned_item_count=exact_large_sum(returned.item_count), returned_spend=exact_large_sum(returned.spend)
    )


def value_quantiles(
    value: ir.Table, *, rfm_quantiles: int, rfm_money: str, vip_quantile: float, regular_quantile: float
) -> ir.Table:
    """The figures of `ValueCuts` in one row: lists of inner quantiles (``rfm_money`` for money) and the tier bounds."""
    # Customers without a purchase in the tier period must not lower its bounds.
    tier_value = value.tier_value.nullif(0.0)
    inner = [step / rfm_quantiles for step in range(1, rfm_quantiles)]
    return value.aggregate(
        days_since_last_purchase=value.days_since_last_purchase.quantile(inner),
        order_count=value.order_count.quantile(inner),
        money=value[MONEY_COLUMNS[rfm_money]].quantile(inner),
        vip_value=tier_value.quantile(vip_quantile),
        regular_value=tier_value.quantile(regular_quantile),
    )


def value_tier(
    customers: ir.Table,
    *,
    cuts: ValueCuts,
    difficult_return_rate: float,
    difficult_min_returns: int,
    difficult_contact_rate: float,
    difficult_min_contacts: int,
) -> ir.StringValue:
    """difficult, vip, regular or occasional; null for customers who never bought.

    Difficult customers return a large share of their purchases, or contact support often relative to their orders. A
    ``tier_value`` of 0 is never vip or regular. Without buyers at training there is no vip or regular customer.
    """
    contacts_per_order = customers.contact_count / customers.order_count.nullif(0.0)
    is_difficult = (customers.return_rate >= difficult_return_rate) & (
        customers.returned_item_count >= difficult_min_returns
    )
    is_difficult = is_difficult.fill_null(False) | (
        (contacts_per_order >= difficult_contact_rate) & (customers.contact_count >= difficult_min_contacts)
    )

    def above(bound: float) -> ir.BooleanValue:
        return (customers.tier_value > ibis.literal(bound).cast("float64")) & bool(cuts.order_count)

    return ibis.cases(
        (customers.days_since_last_purchase.isnull(), ibis.null("string")),
        (is_difficult.fill_null(False), "difficult"),
        (above(cuts.vip_value), "vip"),
        (above(cuts.regular_value), "regular"),
        else_="occasional",
    )


def tier_above(customers: ir.Table, *, cuts: ValueCuts, near: float, tier_by: str = "spend") -> dict[str, ir.Value]:
    """The next value tier for customers close to it, and how much they need to reach it.

       customers (value_tier, tier_value)
    -> next_tier, next_tier_needs     null for customers who are far from it, difficult, vip, or never bought

    A tier begins above its bound, so the amount needed is above 0: whole orders, or hundredths of the currency.

    Parameters
    ----------
    near : float, 0 to 1
        A customer is close to the next tier if at most this share of its bound is missing.
    tier_by : str
        Whether spend or order_count decides tiers.
    """
    tier, unknown = customers.value_tier, ibis.null("float64")
    is_occasional, is_regular = tier == "occasional", tier == "regular"
    bound = ibis.cases(
        (is_occasional, constant(cuts.regular_value)), (is_regular, constant(cuts.vip_value)), else_=unknown
    )
    above = ibis.cases((is_occasional, "regular"), (is_regular, "vip"), else_=ibis.null("string"))
    missing = bound - customers.tier_value
    # Without buyers at training all bounds are 0, and nobody is close to a tier.
    is_near = ((bound > 0.0) & (missing <= constant(near) * bound)).fill_null(False)
    units = constant(UNITS[tier_by])
    # Rounding is needed because (1.29 - 1.0) * 100 may fall just short of 29 as a float.
    needs = ((missing * units).round(6).floor().cast("float64") + constant(1.0)) / units
    return {
        "next_tier": is_near.ifelse(above, ibis.null("string")),
        "next_tier_needs": is_near.ifelse(needs, unknown),
    }
