"""Measures of customers from ready summaries: what is not in them is null, never 0."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from pipeline.profiles.prepare_events import FROM_BEFORE

KNOWN = (
    *("order_count", "spend", "net_spend", "average_order_value", "days_since_last_purchase"),
    *("days_since_first_purchase", "tier_value"),
)
"""Measures that summaries hold."""


def value_of_summaries(summaries: ir.Table, customers: ir.Table, measured: ir.Table, *, tier_by: str) -> ir.Table:
    """The columns of `features.value.value_measures`, one row per buyer.

        summaries (customer_id, recency_days, order_count, spend), customers (customer_name, customer_id)
     -> value (customer_id, order_count, spend, net_spend, average_order_value, days_since_last_purchase, ...)

    Parameters
    ----------
    measured : table
        The measures of the log, whose columns the result has.
    """
    named = summaries.rename(customer_name="customer_id").join(
        customers.select("customer_name", "customer_id"), "customer_name"
    )
    buyers = named.filter(named.order_count > 0)
    known = {
        "customer_id": buyers.customer_id,
        "order_count": buyers.order_count,
        "spend": buyers.spend,
        "net_spend": buyers.spend,
        "average_order_value": buyers.spend / buyers.order_count,
        "days_since_last_purchase": buyers.recency_days,
        # The first order is known only if it is also the last.
        "days_since_first_purchase": (buyers.order_count == 1).ifelse(buyers.recency_days, ibis.null("float64")),
        "tier_value": buyers.spend if tier_by == "spend" else buyers.order_count,
    }
    return buyers.select(**{name: known.get(name, ibis.null(measured[name].type())) for name in measured.columns})


def without_events(table: ir.Table) -> ir.Table:
    """Measures of customers whose events are not known: all that summaries do not hold is null."""
    kept = {*KNOWN, *FROM_BEFORE, "customer_id", "customer_name", "evidence"}
    unknown = [name for name in table.columns if name not in kept]
    return table.mutate(**{name: ibis.null(table[name].type()) for name in unknown})
