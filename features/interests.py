"""The interest formula: what a customer's events say about each category, compared with the whole shop.

For customer u, category c, events e before as_of, b days before the customer's own last counted event:

    S(u,c)     = sum over e of  weight(type of e) * P(c | e) * 2^(-b / half_life_days)
    share(u,c) = share(u,p) * (S(u,c) + kappa * mix(c) / mix(p)) / (S(u,p) + kappa)      p: the category above c
    lift(u,c)  = share(u,c) / expected(u,c)

P(c | e) is 1 for an event on a product of c, and P(c | query) for a search. A counted event is one of a type with a
weight above 0: a search with a query, or another with a product or a category. So evidence says how much was seen of a
customer, where what is old compared with the customer's own last event counts less; it does not shrink while the
customer is away, since a customer who lapsed still likes what they liked. How fresh it is other columns say
(days_since_last_event, activity).

mix(c) is the shop's share of evidence in c, of events weighted by their age at as_of: what the shop turns to now.
Above all stands the root, with share and mix 1 and S(u), the evidence: how much is known at all. So each category
is divided among those below it as the customer divides it, shrunk toward how the shop does (a Dirichlet tree; Dennis,
1991): three views of cat litter say a little about cat food too. Shares add up to 1, at each level, and an only child
has the share of its parent.

expected(u,c) is the share of a customer with as much evidence at the same times, who turned to what the shop as a whole
turned to then: the same formula with E(u,c) in place of S(u,c), where

    E(u,c)     = sum over periods t of  S(u,t) * mix_t(c)

S(u,t) is the customer's evidence that fell into period t, and mix_t the shop's mix of it (`features.seasons`). So a
rush that everybody joined, as long as a period or longer, is no interest, and a customer who does as the shop does has
lifts of about 1. A promotion of a day or two is shorter than a period, and may still be shown.
Lifts of segments are compared with the same times in their own way (`models.seasons.seasonal_lean`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import ibis
import ibis.expr.types as ir

from features.categories import SEPARATOR, CategoryCut, lowered_parts
from features.events import (
    FINE_POINT,
    EventType,
    ObservationWindow,
    constant,
    days_between,
    exact_sum,
    type_weight,
)

SHARE_PREFIX = "interest: "
EVIDENCE_PREFIX = "evidence: "


def decayed_weight(
    events: ir.Table,
    *,
    window: ObservationWindow,
    signal_weights: Mapping[EventType, float],
    half_life_days: float,
) -> ir.FloatingValue:
    """weight(type of e) * 2^(-a / half_life_days), a being the age at the end of the window; one number per event."""
    weight = type_weight(events, signal_weights)
    return weight * _halved(window.age_days(events.occurred_at), half_life_days)


def own_weight(
    events: ir.Table, *, signal_weights: Mapping[EventType, float], half_life_days: float
) -> ir.FloatingValue:
    """weight(type of e) * 2^(-b / half_life_days), b counted back from the customer's own last counted event.

        events (occurred_at, event_type, last_counted_at), one number per event

    It is computed event by event, not by rescaling sums: so that what was measured last night is, bit by bit, what
    measuring it tonight gives, as long as the customer did nothing in between.
    """
    days = days_between(events.occurred_at, events.last_counted_at)
    # After the last counted event nothing counts: weights are 0 there, and 0 times a large power is to stay 0.
    return type_weight(events, signal_weights) * _halved(ibis.greatest(days, constant(0.0)), half_life_days)


def is_counted(events: ir.Table, signal_weights: Mapping[EventType, float]) -> ir.BooleanValue:
    """Whether events count for interests: of a type with a weight, a search with a query, others with what it is of."""
    counted = [str(kind) for kind, weight in signal_weights.items() if weight > 0]
    is_search = events.event_type == str(EventType.SEARCH)
    is_of_something = events.product_id.notnull() | events.category_path.notnull()
    return events.event_type.isin(counted) & is_search.ifelse(events.query.notnull(), is_of_something)


def _halved(days: ir.FloatingValue, half_life_days: float) -> ir.FloatingValue:
    # A power of e takes half the time of a power of 2.
    return (days * constant(-math.log(2.0) / half_life_days)).exp()


def event_evidence(events: ir.Table, query_categories: ir.Table | None, *, weight: ir.FloatingValue) -> ir.Table:
    """What each event says of each category: weight * P(c | e), a row per event and category.

        events (customer_id, occurred_at, event_type, query, column), query_categories (query, column, probability)
     -> evidence (customer_id, occurred_at, event_type, column, probability, weight)

    Parameters
    ----------
    query_categories : table or None
        P(c | query); the query of ``events`` is normalised as in it. None where nobody searches.
    weight : float64 column of ``events``
        `own_weight`.
    """
    names = ("customer_id", "occurred_at", "event_type", "column", "probability", "weight")
    weighed = events.mutate(weight=weight)
    # A search reaches categories only through its query, even where the log names a category beside it.
    is_search = weighed.event_type == str(EventType.SEARCH)
    certain = weighed.filter(~is_search, weighed.column.notnull())
    evidence = certain.mutate(probability=ibis.literal(1.0).cast("float64")).select(names)
    if query_categories is None:
        return evidence
    meant = weighed.filter(is_search).drop("column").join(query_categories, "query")
    return evidence.union(meant.mutate(weight=meant.weight * meant.probability).select(names))


def voices(evidence: ir.Table, customers: ir.Table, *, window: ObservationWindow, period_days: float) -> ir.Table:
    """When the customers of each segment said what: each has one voice, of which a part is what shrinking adds.

        evidence (customer_id, occurred_at, column, weight) as in `event_evidence`,
        customers (customer_id, segment_id, share_per_evidence)
     -> voices (segment_id, period, column, voice)     period counts back from as_of

    Parameters
    ----------
    customers : table
        share_per_evidence is 1 / (S(u) + kappa): what a unit of evidence adds to a share at the top of the tree.
    """
    said = evidence.join(customers, "customer_id")
    period = (window.age_days(said.occurred_at) / ibis.literal(float(period_days)).cast("float64")).floor()
    said = said.mutate(period=period.cast("int64"), voice=said.weight * said.share_per_evidence)
    return said.group_by("segment_id", "period", "column").aggregate(voice=exact_sum(said.voice, unit=FINE_POINT))


def category_evidence(said: ir.Table) -> ir.Table:
    """S(u,c): each customer's weighted evidence per category.

       said (customer_id, column, weight, ...) as in `event_evidence`
    -> evidence (customer_id, column, evidence)     one row per customer x category with any
    """
    evidence = said.group_by("customer_id", "column").aggregate(evidence=exact_sum(said.weight, unit=FINE_POINT))
    return evidence.filter(evidence.evidence > 0)


def wide_evidence(evidence: ir.Table, cut: CategoryCut) -> ir.Table:
    """Evidence with a column per category.

       evidence (customer_id, column, evidence)
    -> wide (customer_id, evidence, "evidence: <category>"...)     one row per customer; 0 where there is none
    """
    # Two lists of the same rows come in the same order. A sum for each category costs twice as much.
    gathered = evidence.group_by("customer_id").aggregate(
        of_column=ibis.map(evidence.column.collect(), evidence.evidence.collect()),
        evidence=exact_sum(evidence.evidence, unit=FINE_POINT),
    )
    return gathered.select(
        "customer_id",
        "evidence",
        **{
            EVIDENCE_PREFIX + category: gathered.of_column.get(column, 0.0)
            for column, category in enumerate(cut.categories)
        },
    )


def interest_shares(wide: ir.Table, cut: CategoryCut, *, kappa: float) -> ir.Table:
    """share(u,c) for every category of the cut, from the root down.

        wide (customer_id, evidence, "evidence: <category>"..., ...)
     -> shares (customer_id, evidence, ..., "interest: <category>"...)     same rows and other columns; shares sum to 1

    Parameters
    ----------
    kappa : float, > 0
        Evidence, in views, at which a customer's own counts as much as the shop's mix; below each category anew.
    """
    paths = [lowered_parts(category) for category in cut.categories]
    # Of each category above: what a unit of evidence below it is worth, share(u,p) / (S(u,p) + kappa). The expressions
    # name columns of the level above, so each level is a table of its own.
    worths: dict[tuple[str, ...], str | None] = {(): None}
    mix: dict[tuple[str, ...], float] = {(): 1.0}
    table = wide
    others = [name for name in wide.columns if not name.startswith(EVIDENCE_PREFIX)]
    for level in range(1, cut.level + 1):
        is_last = level == cut.level
        below: dict[tuple[str, ...], list[int]] = {}
        for column, path in enumerate(paths):
            # A path that ends above the deepest level is its own only child.
            below.setdefault(path if is_last else path[:level], []).append(column)
        columns: dict[str, ir.FloatingValue] = {}
        level_worths: dict[tuple[str, ...], str | None] = {}
        level_mix: dict[tuple[str, ...], float] = {}
        for node, places in below.items():
            parent = node[: level - 1]
            node_mix = sum(cut.mix[place] for place in places)
            spread = node_mix / mix[parent] if mix[parent] > 0 else 0.0
            evidence = _sum([table[EVIDENCE_PREFIX + cut.categories[place]] for place in places])
            share = _worth(table, worths[parent], kappa) * (evidence + constant(kappa * spread))
            name = SHARE_PREFIX + cut.categories[places[0]] if is_last else f"level {level}: {SEPARATOR.join(node)}"
            columns[name] = share if is_last else share / (evidence + constant(kappa))
            level_worths[node], level_mix[node] = name, node_mix
        table = table.mutate(**columns)
        worths, mix = level_worths, level_mix
    return table.select(*others, *[SHARE_PREFIX + category for category in cut.categories])


def _worth(table: ir.Table, name: str | None, kappa: float) -> ir.FloatingValue:
    return constant(1.0) / (table.evidence + constant(kappa)) if name is None else table[name]


def _sum(values: list[ir.FloatingValue]) -> ir.FloatingValue:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
