"""P(category | query): what people turn to after searching.

A query says nothing about a category by itself; what its customers did next does. For each search, the views,
carts, favourites and purchases that follow in the same visit, before the next search and within a time, are its
actions. P is the mean over searches of the category's share in what followed; a search that led nowhere counts as 0,
and ``prior_searches`` more of them are assumed, so that a rare query promises little.

An action counts by its kind (a purchase says more than a view) and by how soon it came, and a search by the weightiest
kind that it led to. Each search has one voice, shared among its actions: a category where people buy after two views is
not outvoted by one where they click twenty times.

Queries that fewer than ``min_customers`` customers typed are left out: they show little, and may be private. So are
categories below ``min_probability``: what people strayed into, not what they meant, and by far the most rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import ibis
import ibis.expr.types as ir

from features.events import EventType, epoch_seconds, exact_sum, type_weight
from features.sessions import SECONDS_PER_MINUTE

APOSTROPHES = "'`\u2019\u02bc\u00b4"
"""Part of a word in Ukrainian; typed in many ways."""
MAX_QUERY_LENGTH = 200
"""Characters of a query that are read; nobody means more, and a pasted page is cheap."""


def normalised_query(query: ir.StringValue) -> ir.StringValue:
    """Lower case, no punctuation, single blanks; an empty query is null.

    What engines do not have in common (NFKC, accents, Cyrillic in Latin letters) is left to `models.queries.folded`,
    to which a query and its normalised form are the same.
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
        What each kind of `ACTIONS` counts, a search that led nowhere being 1; a kind without a weight says nothing.
    half_life_minutes : float, > 0
        After so long an action counts half.
    """
    searches = _searches(events)
    weights = {kind: weight for kind, weight in outcome_weights.items() if weight > 0}
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
    followed = followed.mutate(weight=type_weight(followed, weights))
    # Of two queries at one moment only the last has actions, so these three name a search.
    one_search = ("customer_id", "session_key", "searched_at")
    by_search = followed.group_by(*one_search, "query", "column").aggregate(
        said=exact_sum(followed.weight * _fading(followed.since, half_life_minutes)), voice=followed.weight.max()
    )
    whole = ibis.window(group_by=one_search)
    by_search = by_search.mutate(
        # Null where all of it came so late that it says less than a grain of the sum.
        share=by_search.said / by_search.said.sum().over(whole).nullif(0.0),
        voice=by_search.voice.max().over(whole),
    )
    led_to = by_search.group_by("query", "column").aggregate(
        led_to=exact_sum(by_search.share * by_search.voice), search_share=exact_sum(by_search.share)
    )
    made = searches.group_by("query").aggregate(
        search_count=searches.count(),
        customer_count=searches.customer_id.nunique(),
    )
    known = led_to.join(made.filter(made.customer_count >= min_customers), "query")
    # Shares of a search add up to 1, so that this is what its weight adds to the one it has been counted with.
    added = (known.led_to - known.search_share).sum().over(ibis.window(group_by="query"))
    voices = known.search_count.cast("float64") + added + ibis.literal(float(prior_searches)).cast("float64")
    found = known.select("query", "column", "customer_count", probability=known.led_to / voices)
    return found.filter(found.probability >= min_probability)


def _fading(since_seconds: ir.FloatingValue, half_life_minutes: float) -> ir.FloatingValue:
    halves = -since_seconds / ibis.literal(half_life_minutes * SECONDS_PER_MINUTE).cast("float64")
    return ibis.literal(2.0).cast("float64").pow(halves)


def _searches(events: ir.Table) -> ir.Table:
    """Searches (customer_id, session_key, query, searched_at, next_search_at): one row per query at a moment."""
    made = events.filter(events.event_type == str(EventType.SEARCH), events.session_key.notnull())
    made = made.filter(made.query.notnull())
    made = made.select("customer_id", "session_key", "query", searched_at="occurred_at").distinct()
    in_order = ibis.window(group_by=["customer_id", "session_key"], order_by=["searched_at", "query"])
    return made.mutate(next_search_at=made.searched_at.lead().over(in_order))
