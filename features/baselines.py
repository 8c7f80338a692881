"""Interest scores as other tools compute them, for comparison with Kindred's."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.events import exact_sum

FIRST_POINTS, LATER_POINTS = 10.0, 5.0


def adobe_affinity(events: ir.Table) -> ir.Table:
    """Category affinity by the rule that Adobe Target publishes.

       events (customer_id, session_key, occurred_at, column)
    -> affinity (customer_id, column, affinity)     one row per customer and category seen; may be below 0

    A category gets 10 points for its first event and 5 for each later one. It loses 1 point for every other category
    that appears after it. All points are halved at the end of a visit. The published rule keeps only a visitor's best
    five categories. Here all are kept and points may fall below 0, so the rule is a sum and does not depend on the
    order of rows.
    """
    seen = events.filter(events.column.notnull(), events.session_key.notnull())
    by_visit = seen.group_by("customer_id", "session_key").aggregate(started_at=seen.occurred_at.min())
    latest_first = ibis.window(group_by="customer_id", order_by=[ibis.desc("started_at"), "session_key"])
    numbered = by_visit.mutate(later_visits=ibis.row_number().over(latest_first))
    remains = ibis.literal(0.5).cast("float64").pow(numbered.later_visits.cast("float64") + 1.0)
    visits = numbered.mutate(remains=remains).drop("started_at", "later_visits")
    aged = seen.join(visits, ["customer_id", "session_key"]).select("customer_id", "column", "occurred_at", "remains")
    pairs = aged.group_by("customer_id", "column").aggregate(
        points=exact_sum(aged.remains * LATER_POINTS),
        first_at=aged.occurred_at.min(),
        first_remains=aged.remains.min(),  # the earliest visit has been halved most often
    )
    latest_new_first = ibis.range_window(
        group_by="customer_id", order_by=ibis.desc("first_at"), preceding=None, following=0
    )
    newer = pairs.first_remains.sum().over(latest_new_first) - pairs.first_remains
    bonus = pairs.first_remains * (FIRST_POINTS - LATER_POINTS)
    return pairs.select("customer_id", "column", affinity=pairs.points + bonus - newer)
