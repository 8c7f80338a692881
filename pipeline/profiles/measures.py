"""Measures of customers from their own events alone: checked events -> one row per customer."""

from __future__ import annotations

from dataclasses import dataclass

import ibis.expr.types as ir
import pandas as pd

from features import (
    benefits,
    calendar,
    categories,
    context,
    interests,
    journey,
    product_interest,
    rhythm,
    seasons,
    sessions,
    value,
)
from features.events import EventType, ObservationWindow
from features.profile import ProfileSpec, profile_table
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.config.sections.profiles import JourneyParams
from pipeline.ingest.source import Source
from pipeline.profiles.prepare_events import (
    OBSERVED_COLUMNS,
    PreparedEvents,
    decayed_weight,
    own_weight,
    prepare_events,
)
from pipeline.profiles.profile_spec import Trade, fit_spec
from pipeline.profiles.search_queries import fit_queries, query_meanings, query_table
from pipeline.profiles.shop import Shop
from pipeline.profiles.summaries import value_of_summaries, without_events
from pipeline.stores.engines.engine import Engine

TRANSACTION_COLUMNS = (*OBSERVED_COLUMNS[:3], "product_id", "order_id", "quantity", "unit_price", "discount", "column")


@dataclass(frozen=True)
class RawMeasures:
    """Measures from customers' own events, before they are compared with the shop.

    Attributes
    ----------
    table : expression
        One row per customer: customer_id (a number), customer_name, measures, and `features.interests.evidence_lists`.
    shop : Shop
        The shop learned from the events, or the one passed in.
    customer_count : int
        Rows of ``table``.
    categories : DataFrame
        category, event_count, at the level of the cut.
    query_counts : dict
        Method of `models.queries.WAYS` -> number of distinct queries it interpreted.
    event_evidence : expression
        `features.interests.event_evidence` by customer number.
    visits : expression
        `features.sessions.session_table` by customer number.
    """

    table: ir.Table
    shop: Shop
    customer_count: int
    categories: pd.DataFrame
    query_counts: dict[str, int]
    event_evidence: ir.Table
    visits: ir.Table


@dataclass(frozen=True)
class CustomerMeasures:
    """Measures by the customers' own ids, the input of profiles, with counts for the summary.

    Attributes
    ----------
    table : expression
        One row per customer: customer_id, measures, and `features.interests.evidence_lists`.
    shop : Shop
        The shop that customers are compared with.
    customer_count : int
        Upper bound of the rows of ``table``.
    new_categories : DataFrame
        category, event_count: categories unknown at training, counted as OTHER.
    query_counts : dict
        Method of `models.queries.WAYS` -> number of distinct queries it interpreted.
    """

    table: ir.Table
    shop: Shop
    customer_count: int
    new_categories: pd.DataFrame
    query_counts: dict[str, int]


def measure(
    engine: Engine,
    source: Source,
    params: Params,
    *,
    shop: Shop | None,
    progress: Progress,
    with_seasons: bool = False,
) -> RawMeasures:
    """All measures behind the profiles. With ``shop`` given, each customer's depend only on that customer's events.

    Parameters
    ----------
    with_seasons : bool
        Add `features.seasons.season_evidence`, which seasonal lifts need.
    """
    window = ObservationWindow(params.as_of, shop.spec.history_days if shop else params.history_days)
    prepared = prepare_events(engine, source, params, window, spec=shop.spec if shop else None)
    observed, cut = prepared.observed, prepared.cut
    progress("sessions and orders")
    trade = _measure_trade(engine, source, prepared, params, window, shop)
    progress("searches")
    queries = shop.queries if shop else fit_queries(observed, prepared.columns, len(cut.categories), params)
    meanings, query_counts = query_meanings(observed, queries, params)
    spec = shop.spec if shop else fit_spec(trade, prepared, window, params)
    progress("interests")
    evidence = interests.event_evidence(observed, query_table(engine, meanings), weight=own_weight(observed, params))
    vectors = engine.materialise(interests.evidence_lists(interests.category_evidence(evidence)), "evidence")
    ring = seasons.season_evidence(evidence, history_days=window.history_days, season_days=params.naming.season_days)
    progress("profiles")
    activity = _measure_activity(engine, observed, window, params)
    parts = [
        *_journey_parts(observed, activity, trade, spec, params, window),
        *_value_parts(trade, source, spec, params, window),
        vectors,
        *([ring] if with_seasons else []),
    ]
    table = profile_table(prepared.customers.drop("last_counted_at"), parts)
    table = table if source.summaries is None else without_events(table)
    seen = categories.roll_up(prepared.paths, cut.level, count="event_count").to_pandas()
    used_shop = Shop(spec, queries, shop.known_categories if shop else seen[["category"]])
    customer_count = int(prepared.customers.count().to_pyarrow().as_py())
    return RawMeasures(table, used_shop, customer_count, seen, query_counts, evidence, trade.visits)


def to_customer_measures(raw: RawMeasures) -> CustomerMeasures:
    """The raw measures in the form that profiles are built from."""
    new = new_categories(raw.categories, raw.shop)
    return CustomerMeasures(with_customer_ids(raw), raw.shop, raw.customer_count, new, raw.query_counts)


def with_customer_ids(raw: RawMeasures) -> ir.Table:
    """The measures with the customers' own ids instead of numbers."""
    return raw.table.drop("customer_id").rename(customer_id="customer_name")


def new_categories(seen: pd.DataFrame, shop: Shop) -> pd.DataFrame:
    """The categories in ``seen`` (category, event_count) that were unknown at training."""
    return seen[~seen.category.str.lower().isin(shop.known_categories.category.str.lower())].reset_index(drop=True)


def _measure_trade(
    engine: Engine,
    source: Source,
    prepared: PreparedEvents,
    params: Params,
    window: ObservationWindow,
    shop: Shop | None,
) -> Trade:
    """Visits, orders and value, as tables of the database."""
    visits = engine.materialise(sessions.session_table(prepared.observed), "sessions")
    purchases_and_returns = prepared.events.filter(
        prepared.events.event_type.isin([str(EventType.PURCHASE), str(EventType.RETURN)])
    )
    transactions = engine.materialise(purchases_and_returns.select(TRANSACTION_COLUMNS), "transactions")
    orders = engine.materialise(value.order_table(transactions), "orders")
    returned, tiers = value.return_table(transactions), params.value
    paid = orders if source.summaries is None else source.summaries
    has_prices = bool(shop.spec.value_cuts.money if shop else value.has_prices(paid).to_pyarrow().as_py())
    tier_by = tiers.tier_measure(has_prices=has_prices)
    value_table = value.value_measures(orders, returned, window=window, tier_by=tier_by, tier_days=tiers.tier_days)
    if source.summaries is not None:
        value_table = value_of_summaries(source.summaries, prepared.customers, value_table, tier_by=tier_by)
    return Trade(visits, transactions, orders, returned, engine.materialise(value_table, "value"), has_prices)


def _measure_activity(engine: Engine, observed: ir.Table, window: ObservationWindow, params: Params) -> ir.Table:
    weight, points = decayed_weight(observed, window, params.interests.activity), _points(observed, window, params)
    return engine.materialise(
        journey.activity_measures(observed, window=window, activity=weight, points=points), "activity"
    )


def _journey_parts(
    observed: ir.Table,
    activity: ir.Table,
    trade: Trade,
    spec: ProfileSpec,
    params: Params,
    window: ObservationWindow,
) -> list[ir.Table]:
    """What customers do: activity, visits and where they come from."""
    return [
        activity,
        _product_points(observed, activity, window, params.journey),
        journey.visit_measures(trade.visits, window=window),
        context.visit_context(trade.visits, channels=spec.channels, timezone=params.local_timezone, window=window),
    ]


def _value_parts(
    trade: Trade, source: Source, spec: ProfileSpec, params: Params, window: ObservationWindow
) -> list[ir.Table]:
    """What customers buy, and how."""
    days = params.calendar.country_days()
    return [
        trade.value,
        rhythm.order_rhythm(trade.orders),
        calendar.occasion_shares(trade.orders, window=window, timezone=params.local_timezone, **days),
        value.returned_items(trade.returned),
        benefits.price_level(trade.transactions, mean_prices=spec.mean_prices),
        benefits.purchase_habits(trade.transactions, source.products),
    ]


def _points(events: ir.Table, window: ObservationWindow, params: Params) -> ir.FloatingValue:
    return journey.temperature_points(
        events,
        window=window,
        points=params.journey.temperature_points,
        half_life_days=params.journey.temperature_half_life_days,
    )


def _product_points(
    observed: ir.Table, activity: ir.Table, window: ObservationWindow, rules: JourneyParams
) -> ir.Table:
    # Only warm customers can be hot, so most need no counts by product.
    warm = activity.filter(activity.temperature_points >= rules.warm_points)
    return product_interest.product_points(
        observed.semi_join(warm, "customer_id"),
        window=window,
        half_life_days=rules.temperature_half_life_days,
        searched_points=rules.searched_points,
    )
