"""P(category | query): the categories customers turn to after a search.

The meaning of a query is learned from what customers do next. The actions of a search are the views, carts, favourites
and purchases that follow it in the same visit, before the next search and within a time limit. P is the mean over
searches of the category's share of these actions. A search without actions counts as 0. To keep rare queries low,
``prior_searches`` further searches without actions are assumed.

The weight of an action depends on its type (a purchase counts more than a view) and on how soon it follows. The weight
of a search is that of its heaviest action type, and it is divided among its actions. So a category with two views and a
purchase is not outweighed by one with twenty clicks.

Queries that fewer than ``min_customers`` customers typed are left out: they are weak evidence and may be private.
Categories below ``min_probability`` are left out too: they are mostly accidental visits, and by far the most rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import ibis
import ibis.expr.types as ir

from features.events import EventType, epoch_seconds, exact_sum, type_weight
from features.sessions import SECONDS_PER_MINUTE

APOSTROPHES = "'`\u2019\u02bc\u00b4"
"""Part of a word in Ukrainian, typed as any of these characters."""
MAX_QUERY_LENGTH = 200
"""Characters of a query that are read; the limit keeps a pasted page cheap."""
MAX_SEARCHES_PER_VISIT = 1_000
"""Later searches of a visit are a program's and left out, since each is compared with all actions of the visit."""


def normalised_query(query: ir.StringValue) -> ir.StringValue:
    """Lower case, no punctuation, single blanks; an empty query is null.

    Steps that differ between engines (NFKC, accents, Cyrillic in Latin letters) are left to `models.queries.folded`,
    which maps a query and its normalised form to the same text.
    """
    words = query.substr(0, MAX_QUERY_LENGTH).lower().re_replace(f"[{APOSTROPHES}]", "")
    return words.re_replace(r"[^\p{L}\p{M}\p{N}]+", " ").strip().nullif("")


def query_categories(
    events: ir.Table,
    *,
    window_minutes: float,
    min_customers: int,
    prior_searches: float,
    min_probability: float,
    outcome_weights: Mapping[EventType, float],
    half_life_minutes: float,
) -> ir.Table:
    """Probability that a search for a query means a category.

       events (customer_id, session_key, occurred_at, event_type, query (normalised), column)
    -> query_categories (query, column, probability, customer_count)     probability sums to at most 1 per query

    Parameters
    ----------
    outcome_weights : mapping
        Weight of each action type; a search without actions has weight 1. Types without a weight are ignored.
    half_life_minutes : float, > 0
        Time after which an action counts half.
    """
    searches = _searches(events)
    weights = {kind: weight for kind, weight in outcome_weights.items() if weight > 0}
    followed = _actions_after(searches, events, weights, window_minutes)
    led_to = _actions_by_query(followed, half_life_minutes)
    query_counts = searches.group_by("query").aggregate(
        search_count=searches.count(),
        customer_count=searches.customer_id.nunique(),
    )
    known = led_to.join(query_counts.filter(query_counts.customer_count >= min_customers), "query")
    # The shares of a search sum to 1 and each search was counted as 1. This adds the rest of its weight.
    added = (known.led_to - known.search_share).sum().over(ibis.window(group_by="query"))
    total_weight = known.search_count.cast("float64") + added + ibis.literal(float(prior_searches)).cast("float64")
    meanings = known.select("query", "column", "customer_count", probability=known.led_to / total_weight)
    return meanings.filter(meanings.probability >= min_probability)


def _actions_after(
    searches: ir.Table, events: ir.Table, weights: Mapping[EventType, float], window_minutes: float
) -> ir.Table:
    """Actions in the same visit after a search and before the next one.

    -> followed (customer_id, session_key, searched_at, query, column, event_type, since (seconds), weight)
    """
    actions = events.filter(
        events.event_type.isin([str(kind) for kind in weights]),
        events.column.notnull(),
        events.session_key.notnull(),
    ).select("customer_id", "session_key", "event_type", action_at="occurred_at", column="column")
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
    ).select(searches.customer_id, searches.session_key, "searched_at", "query", "column", "event_type", since=since)
    return followed.mutate(weight=type_weight(followed, weights))


def _actions_by_query(followed: ir.Table, half_life_minutes: float) -> ir.Table:
    """Each search divided among the categories of its actions.

    -> led_to (query, column, led_to (shares times the weights of the searches), search_share (sum of shares))
    """
    # Of two queries at the same moment only the last has actions, so these three identify a search.
    search_keys = ("customer_id", "session_key", "searched_at")
    by_search = followed.group_by(*search_keys, "query", "column").aggregate(
        action_weight=exact_sum(followed.weight * _decay(followed.since, half_life_minutes)),
        search_weight=followed.weight.max(),
    )
    within_search = ibis.window(group_by=search_keys)
    by_search = by_search.mutate(
        # Null if all actions came so late that their weights round to 0.
        share=by_search.action_weight / by_search.action_weight.sum().over(within_search).nullif(0.0),
        search_weight=by_search.search_weight.max().over(within_search),
    )
    return by_search.group_by("query", "column").aggregate(
        led_to=exact_sum(by_search.share * by_search.search_weight), search_share=exact_sum(by_search.share)
    )


def _decay(since_seconds: ir.FloatingValue, half_life_minutes: float) -> ir.FloatingValue:
    halves = -since_seconds / ibis.literal(half_life_minutes * SECONDS_PER_MINUTE).cast("float64")
    return ibis.literal(2.0).cast("float64").pow(halves)


def _searches(events: ir.Table) -> ir.Table:
    """Searches (customer_id, session_key, query, searched_at, next_search_at): one row per query and moment."""
    searches = events.filter(events.event_type == str(EventType.SEARCH), events.session_key.notnull())
    searches = searches.filter(searches.query.notnull())
    searches = searches.select("customer_id", "session_key", "query", searched_at="occurred_at").distinct()
    visit = ["customer_id", "session_key"]
    in_order = ibis.window(group_by=visit, order_by=["searched_at", "query"])
    searches = searches.mutate(
        next_search_at=searches.searched_at.lead().over(in_order), number=ibis.row_number().over(in_order)
    )
    return searches.filter(searches.number < MAX_SEARCHES_PER_VISIT).drop("number")
