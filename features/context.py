"""When and through which channel customers come, and at what prices they buy."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from features.events import EventType
from features.value import exact_large_sum

PARTS_OF_DAY = {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}
"""Hours of each part, the end not included; UTC, as all times are."""
CHANNEL_PREFIX = "channel: "


def visit_context(sessions: ir.Table, *, channels: Sequence[str]) -> ir.Table:
    """Shares of each customer's visits by time and channel.

       sessions (customer_id, started_at, channel)
    -> context (customer_id, weekend_share, <part>_share..., "channel: <name>"...)     one row per visiting customer
    """
    visits = sessions
    hour = visits.started_at.hour()
    total = visits.count().cast("float64")

    def share(condition: ir.BooleanValue) -> ir.FloatingScalar:
        return visits.count(where=condition).cast("float64") / total

    parts = {f"{part}_share": share((hour >= a) & (hour < b)) for part, (a, b) in PARTS_OF_DAY.items()}
    return visits.group_by("customer_id").aggregate(
        weekend_share=share(visits.started_at.day_of_week.index() >= 5),
        **parts,
        **{CHANNEL_PREFIX + channel: share(visits.channel == channel) for channel in channels},
    )


def price_means(events: ir.Table) -> ir.Table:
    """Prices (column, mean_price): the mean price of what is bought in each category, weighed by items."""
    bought = _priced(events)
    sums = bought.group_by("column").aggregate(
        paid=exact_large_sum(bought.unit_price * bought.quantity), items=exact_large_sum(bought.quantity)
    )
    return sums.select("column", mean_price=sums.paid / sums.items.nullif(0.0))


def price_level(events: ir.Table, *, mean_prices: Sequence[float | None]) -> ir.Table:
    """How dearly each customer buys within a category.

        events (customer_id, event_type, quantity, unit_price, column)
     -> price (customer_id, price_level)     one row per customer with a priced purchase

    Parameters
    ----------
    mean_prices : sequence of float or None, by column
        `price_means`, fixed at training. The level is what was paid beside what the same categories cost on average.
    """
    bought = _priced(events)
    cases = [(column, ibis.literal(float(price)).cast("float64")) for column, price in enumerate(mean_prices) if price]
    if not cases:
        return bought.group_by("customer_id").aggregate(price_level=ibis.null("float64"))
    bought = bought.mutate(expected=bought.column.cases(*cases, else_=bought.unit_price))
    sums = bought.group_by("customer_id").aggregate(
        paid=exact_large_sum(bought.unit_price * bought.quantity),
        expected=exact_large_sum(bought.expected * bought.quantity),
    )
    return sums.select("customer_id", price_level=sums.paid / sums.expected.nullif(0.0))


def _priced(events: ir.Table) -> ir.Table:
    is_priced = (events.unit_price > 0) & events.column.notnull() & (events.quantity > 0)
    return events.filter(events.event_type == str(EventType.PURCHASE), is_priced)
