"""The interest formula: a customer's evidence for each category, compared with the whole shop.

For customer u, category c, and events e before as_of that lie b days before the customer's own last counted event:

    S(u,c)     = sum over e of  weight(type of e) * P(c | e) * 2^(-b / half_life_days)
    share(u,c) = share(u,p) * (S(u,c) + kappa * mix(c) / mix(p)) / (S(u,p) + kappa)      p: the category above c
    lift(u,c)  = share(u,c) / expected(u,c)

P(c | e) is 1 for an event on a product of c, and P(c | query) for a search. A counted event has a type with a weight
above 0. It is either a search with a query, or another event with a product or a category. Evidence measures how much
is known about a customer. Events that are old relative to the customer's own last event count less. Evidence does not
shrink while the customer is away: lapsed customers still like what they liked. Other columns measure how recent the
activity is (days_since_last_event, activity).

mix(c) is the shop's share of evidence in c, with events weighted by their age at as_of: the shop's current mix. The
root has share and mix 1, and its evidence S(u) is the customer's total evidence. Each category is divided among its
children as the customer divides it, shrunk toward the shop's division (a Dirichlet tree; Dennis, 1991). So three views
of cat litter also raise the share of cat food a little. Shares sum to 1 at each level, and an only child has the share
of its parent.

expected(u,c) is the share of a customer with the same evidence at the same times who followed the shop's mix of those
times. It is the same formula with E(u,c) in place of S(u,c), where

    E(u,c)     = sum over periods t of  S(u,t) * mix_t(c)

S(u,t) is the customer's evidence in period t, and mix_t is the shop's mix in that period (`features.seasons`). So a
rush that all customers join does not count as an interest if it lasts a period or longer, and a customer who follows
the shop has lifts of about 1. A promotion of a day or two is shorter than a period and may still show.
Lifts of segments are adjusted for season separately (`models.seasons.segment_seasonal_lift`).

This module computes S(u,c) from a log. `models.interests` computes shares from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import ibis
import ibis.expr.types as ir

from features.events import (
    FINE_POINT,
    EventType,
    ObservationWindow,
    constant,
    days_between,
    exact_sum,
    has_type,
    type_weight,
)

SHARE_PREFIX = "interest: "
EVIDENCE_LISTS = ("evidence_columns", "evidence_values")
"""Columns of the measures: the sparse vector of S(u,c), as lists of category columns and of values."""


def decayed_weight(
    events: ir.Table,
    *,
    window: ObservationWindow,
    signal_weights: Mapping[EventType, float],
    half_life_days: float,
) -> ir.FloatingValue:
    """weight(type of e) * 2^(-a / half_life_days), with a the age at the end of the window; one number per event."""
    weight = type_weight(events, signal_weights)
    return weight * _decay(window.age_days(events.occurred_at), half_life_days)


def own_weight(
    events: ir.Table, *, signal_weights: Mapping[EventType, float], half_life_days: float
) -> ir.FloatingValue:
    """weight(type of e) * 2^(-b / half_life_days), with b counted back from the customer's own last counted event.

        events (occurred_at, event_type, last_counted_at), one number per event

    It is computed event by event and not by rescaling sums. So measuring again gives the same bits for every customer
    without new events.
    """
    days = days_between(events.occurred_at, events.last_counted_at)
    # Later events have weight 0. Clipping their days avoids 0 times a huge power.
    return type_weight(events, signal_weights) * _decay(ibis.greatest(days, constant(0.0)), half_life_days)


def is_counted(events: ir.Table, signal_weights: Mapping[EventType, float]) -> ir.BooleanValue:
    """Whether events count for interests: a type with a weight, and a query (searches) or a product or category."""
    counted = [kind for kind, weight in signal_weights.items() if weight > 0]
    is_search = events.event_type == str(EventType.SEARCH)
    has_category_source = events.product_id.notnull() | events.category_path.notnull()
    return has_type(events, counted) & is_search.ifelse(events.query.notnull(), has_category_source)


def _decay(days: ir.FloatingValue, half_life_days: float) -> ir.FloatingValue:
    # exp takes half the time of a power of 2.
    return (days * constant(-math.log(2.0) / half_life_days)).exp()


def event_evidence(events: ir.Table, query_categories: ir.Table | None, *, weight: ir.FloatingValue) -> ir.Table:
    """Evidence of each event for each category: weight * P(c | e), one row per event and category.

        events (customer_id, occurred_at, event_type, query, column), query_categories (query, column, probability)
     -> evidence (customer_id, occurred_at, event_type, column, probability, weight)

    Parameters
    ----------
    query_categories : table or None
        P(c | query), with queries normalised as in ``events``. None if there are no searches.
    weight : float64 column of ``events``
        `own_weight`.
    """
    names = ("customer_id", "occurred_at", "event_type", "column", "probability", "weight")
    weighted = events.mutate(weight=weight)
    # A search reaches categories only through its query, even if the log also names a category.
    is_search = weighted.event_type == str(EventType.SEARCH)
    certain = weighted.filter(~is_search, weighted.column.notnull())
    evidence = certain.mutate(probability=ibis.literal(1.0).cast("float64")).select(names)
    if query_categories is None:
        return evidence
    by_query = weighted.filter(is_search).drop("column").join(query_categories, "query")
    by_query = by_query.mutate(
        weight=by_query.weight * by_query.probability, column=by_query.column.cast(events.column.type())
    )
    return evidence.union(by_query.select(names))


def segment_weights(
    evidence: ir.Table, customers: ir.Table, *, window: ObservationWindow, period_days: float
) -> ir.Table:
    """Evidence of each segment by period and category, with the same total weight for every customer.

        evidence (customer_id, occurred_at, column, weight) as in `event_evidence`,
        customers (customer_id, segment_id, share_per_evidence)
     -> weights (segment_id, period, column, weight)     period counts back from as_of

    Parameters
    ----------
    customers : table
        share_per_evidence is 1 / (S(u) + kappa): the share at the root that a unit of evidence adds. So a customer's
        weights sum to less than 1; the rest is the part that shrinkage adds.
    """
    joined = evidence.join(customers, "customer_id")
    period = (window.age_days(joined.occurred_at) / ibis.literal(float(period_days)).cast("float64")).floor()
    joined = joined.mutate(period=period.cast("int64"), weight=joined.weight * joined.share_per_evidence)
    by_period = joined.group_by("segment_id", "period", "column")
    return by_period.aggregate(weight=exact_sum(joined.weight, unit=FINE_POINT))


def category_evidence(event_evidence: ir.Table) -> ir.Table:
    """S(u,c): each customer's weighted evidence per category.

       event_evidence (customer_id, column, weight, ...)
    -> evidence (customer_id, column, evidence)     one row per customer x category with evidence
    """
    by_category = event_evidence.group_by("customer_id", "column")
    evidence = by_category.aggregate(evidence=exact_sum(event_evidence.weight, unit=FINE_POINT))
    return evidence.filter(evidence.evidence > 0)


def evidence_lists(evidence: ir.Table) -> ir.Table:
    """Each customer's evidence as a sparse vector, because most customers have evidence in a few categories.

       evidence (customer_id, column, evidence)
    -> vectors (customer_id, evidence, evidence_columns, evidence_values)     one row per customer; lists in one order

    ``evidence`` is S(u), the sum of the values. `models.interests.interest_shares` computes the shares.
    """
    return evidence.group_by("customer_id").aggregate(
        evidence=exact_sum(evidence.evidence, unit=FINE_POINT),
        # Both lists are collected from the same rows, so their order agrees.
        evidence_columns=evidence.column.cast("int16").collect(),
        evidence_values=evidence.evidence.collect(),
    )
