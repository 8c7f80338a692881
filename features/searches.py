"""P(category | query): what people turn to after searching.

A query says nothing about a category by itself; what its customers did next does. For each search, the views,
carts, favourites and purchases that follow in the same visit, before the next search and within a time, are its
actions. P is the mean over searches of the share of actions in the category; a search that led nowhere counts as 0,
and ``prior_searches`` more of them are assumed, so that a rare query promises little.

Queries that fewer than ``min_customers`` customers typed are left out: they show little, and may be private. So are
categories below ``min_probability``: what people strayed into, not what they meant, and by far the most rows.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.events import EventType, epoch_seconds, exact_sum
from features.sessions import SECONDS_PER_MINUTE

ACTIONS = (EventType.VIEW, EventType.FAVOURITE, EventType.CART, EventType.PURCHASE)


def normalised_query(query: ir.StringValue) -> ir.StringValue:
    """Lower case, outer blanks off, inner blanks single; an empty query is null."""
    return query.lower().re_replace(r"\s+", " ").strip().nullif("")


def query_categories(
    events: ir.Table,
    *,
    window_minutes: float,
    min_customers: int,
    prior_searches: float,
    min_probability: float,
) -> ir.Table:
    """Probability that a search for a query means a category.

       events (customer_id, session_key, occurred_at, event_type, query (normalised), column)
    -> query_categories (query, column, probability)     sums to at most 1 per query
    """
    searches = _searches(events)
    actions = events.filter(
        events.event_type.isin([str(kind) for kind in ACTIONS]),
        events.column.notnull(),
        events.session_key.notnull(),
    ).select("customer_id", "session_key", action_at="occurred_at", column="column")
    since = epoch_seconds(actions.action_at) - epoch_seconds(searches.searched_at)
    followed = searches.join(
        actions,
        [
            searches.customer_id == actions.customer_id,
            searches.session_key == actions.session_key,
            since >= 0.0,
            since <= window_minutes * SECONDS_PER_MINUTE,
            searches.next_search_at.isnull() | (actions.action_at < searches.next_search_at),
        ],
    ).select(searches.customer_id, searches.session_key, "searched_at", "query", "column")
    # Of two queries at one moment only the last has actions, so these three name a search.
    one_search = ("customer_id", "session_key", "searched_at")
    by_search = followed.group_by(*one_search, "query", "column").aggregate(action_count=followed.count())
    share = by_search.action_count.cast("float64") / by_search.action_count.sum().over(
        ibis.window(group_by=one_search)
    ).cast("float64")
    by_search = by_search.mutate(share=share)
    led_to = by_search.group_by("query", "column").aggregate(led_to=exact_sum(by_search.share))
    made = searches.group_by("query").aggregate(
        search_count=searches.count(),
        customer_count=searches.customer_id.nunique(),
    )
    known = led_to.join(made.filter(made.customer_count >= min_customers), "query")
    found = known.select(
        "query", "column", probability=known.led_to / (known.search_count.cast("float64") + prior_searches)
    )
    return found.filter(found.probability >= min_probability)


def _searches(events: ir.Table) -> ir.Table:
    """Searches (customer_id, session_key, query, searched_at, next_search_at): one row per query at a moment."""
    made = events.filter(events.event_type == str(EventType.SEARCH), events.session_key.notnull())
    made = made.filter(made.query.notnull())
    made = made.select("customer_id", "session_key", "query", searched_at="occurred_at").distinct()
    in_order = ibis.window(group_by=["customer_id", "session_key"], order_by=["searched_at", "query"])
    return made.mutate(next_search_at=made.searched_at.lead().over(in_order))
