"""Signals: event counts by customer, category, event type and age.

These counts are all the interest formula needs, so many weights and half-lives can be tried without reading the log
again.
"""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from features.events import EventType, ObservationWindow, exact_sum

AGE_BIN_DAYS = (1.0, 3.0, 7.0, 14.0, 30.0, 60.0, 120.0, 240.0)
"""Bounds of the age bins; finer where half-lives of days or weeks make a difference."""


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

    A search counts P(category | query) for a category. ``age_bin`` counts from 0, the most recent.
    """
    used = events.filter(events.event_type.isin([str(kind) for kind in kinds]))
    used = used.mutate(age_days=window.age_days(used.occurred_at), event_count=ibis.literal(1.0).cast("float64"))
    names = ("customer_id", "column", "event_type", "age_days", "event_count")
    is_search = used.event_type == str(EventType.SEARCH)
    counted = used.filter(~is_search, used.column.notnull()).select(names)
    if query_categories is not None:
        searches = used.filter(is_search).drop("column", "event_count").join(query_categories, "query")
        searches = searches.mutate(column=searches.column.cast(used.column.type()))
        counted = counted.union(searches.rename(event_count="probability").select(names))
    age_bin = ibis.literal(0)
    for bound in age_bin_days:
        age_bin = age_bin + (counted.age_days >= ibis.literal(bound).cast("float64")).cast("int64")
    binned = counted.mutate(age_bin=age_bin, aged=counted.age_days * counted.event_count)
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
