"""How regularly a customer orders, and the usual time between orders."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.events import days_between, exact_sum

MIN_INTERVALS = 3
"""Fewest intervals for which regularity is computed: two are often similar by chance."""


def order_rhythm(orders: ir.Table) -> ir.Table:
    """The usual time between orders and how much it varies.

        orders (customer_id, ordered_at)
     -> rhythm (customer_id, order_day_count, usual_interval_days, interval_variation)     one row per buyer

    ``usual_interval_days`` is the mean number of days between days with an order (UTC); null with only one such day.
    ``interval_variation`` is their coefficient of variation, population standard deviation over mean. It is 0 for
    perfectly regular orders and 1 for random ones; null below three intervals.
    """
    days = orders.select("customer_id", ordered_on=orders.ordered_at.truncate("D")).distinct()
    in_order = ibis.window(group_by="customer_id", order_by="ordered_on")
    days = days.mutate(interval=days_between(days.ordered_on.lag().over(in_order), days.ordered_on))
    sums = days.group_by("customer_id").aggregate(
        order_day_count=days.count().cast("float64"),
        interval_count=days.interval.count().cast("float64"),
        total=exact_sum(days.interval),
        squares=exact_sum(days.interval * days.interval),
    )
    mean = sums.total / sums.interval_count.nullif(0.0)
    variance = (sums.squares / sums.interval_count.nullif(0.0) - mean * mean).clip(lower=0.0)
    is_known = sums.interval_count >= MIN_INTERVALS
    return sums.select(
        "customer_id",
        "order_day_count",
        usual_interval_days=mean,
        interval_variation=is_known.ifelse(variance.sqrt() / mean, ibis.null("float64")),
    )
