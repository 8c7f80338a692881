"""Signals: how often each customer did what in which category, and how long ago.

These few counts hold all that the interest formula needs, so that a hundred weights and half-lives can be tried without
reading the log again.
"""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from features.events import EventType, ObservationWindow, exact_sum

AGE_BIN_DAYS = (1.0, 3.0, 7.0, 14.0, 30.0, 60.0, 120.0, 240.0)
"""Ages that part the bins; finer where a half-life of days or weeks makes a difference."""


def signal_counts(
    events: ir.Table,
    query_categories: ir.Table | None,
    *,
    window: ObservationWindow,
    kinds: Sequence[EventType],
    age_bin_days: Sequence[float] = AGE_BIN_DAYS,
) -> ir.Table:
    """Counts by customer, category, event type and age.

        events (customer_id, occurred_at, event_type, query (normalised), column),
        query_categories (query, column, probability)
     -> signals (customer_id, column, event_type, age_bin, event_count, mean_age_days, min_age_days)

    A search counts for a category as much as P(category | query) says. ``age_bin`` counts from 0, the latest.
    """
    used = events.filter(events.event_type.isin([str(kind) for kind in kinds]))
    used = used.mutate(age_days=window.age_days(used.occurred_at), event_count=ibis.literal(1.0).cast("float64"))
    names = ("customer_id", "column", "event_type", "age_days", "event_count")
    is_search = used.event_type == str(EventType.SEARCH)
    both = used.filter(~is_search, used.column.notnull()).select(names)
    if query_categories is not None:
        searches = used.filter(is_search).drop("column", "event_count")
        both = both.union(searches.join(query_categories, "query").rename(event_count="probability").select(names))
    age_bin = ibis.literal(0)
    for bound in age_bin_days:
        age_bin = age_bin + (both.age_days >= ibis.literal(bound).cast("float64")).cast("int64")
    binned = both.mutate(age_bin=age_bin, aged=both.age_days * both.event_count)
    summed = binned.group_by("customer_id", "column", "event_type", "age_bin").aggregate(
        event_count=exact_sum(binned.event_count),
        aged=exact_sum(binned.aged),
        min_age_days=binned.age_days.min(),
    )
    return summed.mutate(mean_age_days=summed.aged / summed.event_count).drop("aged")


def purchases_by_category(events: ir.Table) -> ir.Table:
    """Purchases (customer_id, column): one row per customer and category bought in.

    events (customer_id, event_type, column)
    """
    bought = events.filter(events.event_type == str(EventType.PURCHASE), events.column.notnull())
    return bought.select("customer_id", "column").distinct()
