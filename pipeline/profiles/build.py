"""Runs floor 1 in order: checked events -> one profile per customer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa

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
from pipeline.config.profile_params import JourneyParams
from pipeline.ingest.source import Source
from pipeline.profiles.prepare_events import OBSERVED, Observed, decayed, observe, own_weight
from pipeline.profiles.search_queries import fit_queries, query_meanings, query_table
from pipeline.profiles.shop import Shop
from pipeline.stores.database import batches, fetch, leave_room, materialise

MAX_CHANNELS = 6
BYTES_PER_FIGURE = 8
TRADED = (*OBSERVED[:3], "product_id", "order_id", "quantity", "unit_price", "discount", "column")
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Profiles:
    """Profiles, and the shop they belong to.

    Attributes
    ----------
    table : DataFrame
        One row per customer, sorted by customer_id.
    shop : Shop
        Learned now, or the one that was given.
    new_categories : DataFrame
        category, event_count: unknown at training, counted as OTHER.
    query_counts : dict
        Way of `models.queries.WAYS` -> distinct queries whose meaning was found so.
    said : expression, optional
        `features.interests.event_evidence`, while the database is open; customer_id is the place in ``table``.
    visits : expression, optional
        `features.sessions.session_table`, as long, and of the same numbers.
    """

    table: pd.DataFrame
    shop: Shop
    new_categories: pd.DataFrame
    query_counts: dict[str, int]
    said: ir.Table | None = None
    visits: ir.Table | None = None


@dataclass(frozen=True)
class Measured:
    """What customers' own events say of them, before they are set beside the shop.

    Attributes
    ----------
    table : expression
        One row per customer: customer_id (a number), customer_name, measures, "evidence: <category>"...
    shop : Shop
        Learned now, or the one that was given.
    customer_count : int
        Rows of ``table``.
    categories : DataFrame
        category, event_count, at the level of the cut.
    query_counts : dict
        Way of `models.queries.WAYS` -> distinct queries whose meaning was found so.
    said : expression
        `features.interests.event_evidence` of the customers' numbers.
    visits : expression
        `features.sessions.session_table` of the customers' numbers.
    """

    table: ir.Table
    shop: Shop
    customer_count: int
    categories: pd.DataFrame
    query_counts: dict[str, int]
    said: ir.Table
    visits: ir.Table


@dataclass(frozen=True)
class Measures:
    """Measures of every customer by own id, of which profiles are made, and what was noticed on the way.

    Attributes
    ----------
    table : expression
        One row per customer: customer_id, measures, "evidence: <category>"...
    shop : Shop
        What they are set beside.
    customer_count : int
        Rows of ``table``, at most.
    new_categories : DataFrame
        category, event_count: unknown at training, counted as OTHER.
    query_counts : dict
        Way of `models.queries.WAYS` -> distinct queries whose meaning was found so.
    """

    table: ir.Table
    shop: Shop
    customer_count: int
    new_categories: pd.DataFrame
    query_counts: dict[str, int]


def build_profiles(
    con: ibis.BaseBackend,
    source: Source,
    params: Params,
    *,
    shop: Shop | None = None,
    progress: Progress = lambda step: None,
    columns: Collection[str] | None = None,
) -> Profiles:
    """One profile per customer who is known at ``params.as_of``.

    Parameters
    ----------
    shop : Shop, optional
        Of the model to score with; without it, it is learned from the events.
    columns : collection of str, optional
        Those to fetch; without it, all but `features.seasons.SEASONS`.
    """
    with_seasons = columns is not None and seasons.SEASONS in columns
    measured = measure(con, source, params, shop=shop, progress=progress, with_seasons=with_seasons)
    measures = measures_of(measured)
    frame = whole_profiles(con, measures, params, columns=columns)
    new, counts = measures.new_categories, measures.query_counts
    return Profiles(frame, measures.shop, new, counts, measured.said, measured.visits)


def measures_of(measured: Measured) -> Measures:
    """What was measured, as profiles are made of it."""
    new = new_categories(measured.categories, measured.shop)
    return Measures(by_name(measured), measured.shop, measured.customer_count, new, measured.query_counts)


def by_name(measured: Measured) -> ir.Table:
    """The measures with the customers' own ids in place of numbers."""
    return measured.table.drop("customer_id").rename(customer_id="customer_name")


def new_categories(seen: pd.DataFrame, shop: Shop) -> pd.DataFrame:
    """Of the categories ``seen`` (category, event_count), those unknown at training."""
    return seen[~seen.category.str.lower().isin(shop.known_categories.category.str.lower())].reset_index(drop=True)


def whole_profiles(
    con: ibis.BaseBackend, measures: Measures, params: Params, *, columns: Collection[str] | None = None
) -> pd.DataFrame:
    """Measures of customers as profiles, sorted: with shares beside the shop's mix, and standings."""
    return fetch(con, _finished(con, measures, params, columns), order_by="customer_id")


def profile_batches(
    con: ibis.BaseBackend, measures: Measures, params: Params, *, columns: Collection[str]
) -> Iterator[pa.RecordBatch]:
    """The same, some customers at a time and in any order."""
    return batches(con, _finished(con, measures, params, columns))


def _finished(con: ibis.BaseBackend, measures: Measures, params: Params, columns: Collection[str] | None) -> ir.Table:
    spec = measures.shop.spec
    shares = interests.interest_shares(measures.table, spec.cut, kappa=params.interests.kappa)
    profiles = _standings(_shop_mix_where_unknown(shares, spec), spec, params)
    if columns is not None:  # each column of a million customers takes time to compute, and more to fetch
        profiles = profiles.select([name for name in profiles.columns if name in columns])
        profiles = seasons.season_columns(profiles) if seasons.SEASONS in columns else profiles
    elif seasons.SEASONS in profiles.columns:
        profiles = profiles.drop(seasons.SEASONS)
    leave_room(con, BYTES_PER_FIGURE * len(profiles.columns) * measures.customer_count)
    return profiles


def measure(
    con: ibis.BaseBackend,
    source: Source,
    params: Params,
    *,
    shop: Shop | None,
    progress: Progress,
    with_seasons: bool = False,
) -> Measured:
    """Everything that a profile is made of, of each customer alone where ``shop`` is given.

    Parameters
    ----------
    with_seasons : bool
        With `features.seasons.season_evidence`, by which lifts are told.
    """
    window = ObservationWindow(params.as_of, shop.spec.history_days if shop else params.history_days)
    known = observe(con, source, params, window, spec=shop.spec if shop else None)
    observed, cut = known.observed, known.cut

    progress("sessions and orders")
    visits = materialise(con, sessions.session_table(observed), "sessions")
    traded = known.events.filter(known.events.event_type.isin([str(EventType.PURCHASE), str(EventType.RETURN)]))
    transactions = materialise(con, traded.select(TRADED), "transactions")
    orders = materialise(con, value.order_table(transactions), "orders")
    tiers = params.value
    returned = value.return_table(transactions)
    has_prices = bool(shop.spec.value_cuts.money if shop else value.has_prices(orders).to_pyarrow().as_py())
    tier_by = tiers.decided_by(has_prices=has_prices)
    worth = value.value_measures(orders, returned, window=window, tier_by=tier_by, tier_days=tiers.tier_days)
    measured_value = materialise(con, worth, "value")
    progress("searches")
    queries = shop.queries if shop else fit_queries(observed, known.columns, len(cut.categories), params)
    meanings, query_counts = query_meanings(observed, queries, params)
    spec = (
        shop.spec
        if shop
        else _fit_spec(*(transactions, visits, measured_value, known, window, params), has_prices=has_prices)
    )

    progress("interests")
    said = interests.event_evidence(observed, query_table(con, meanings), weight=own_weight(observed, params))
    wide = materialise(con, interests.wide_evidence(interests.category_evidence(said), cut), "wide_evidence")
    ring = seasons.season_evidence(said, history_days=window.history_days, season_days=params.naming.season_days)

    progress("profiles")
    weight, points = decayed(observed, window, params.interests.activity), _points(observed, window, params)
    measured_activity = journey.activity_measures(observed, window=window, activity=weight, points=points)
    activity = materialise(con, measured_activity, "activity")
    table = profile_table(
        known.customers.drop("last_counted_at"),
        [
            activity,
            _product_points(observed, activity, window, params.journey),
            journey.visit_measures(visits, window=window),
            context.visit_context(visits, channels=spec.channels, timezone=params.local_timezone, window=window),
            measured_value,
            rhythm.order_rhythm(orders),
            calendar.occasion_shares(
                orders,
                window=window,
                timezone=params.local_timezone,
                **params.calendar.of_country(),
            ),
            value.returned_items(returned),
            benefits.price_level(transactions, mean_prices=spec.mean_prices),
            benefits.purchase_habits(transactions, source.products),
            wide,
            *([ring] if with_seasons else []),
        ],
    )
    table = seasons.zero_where_unknown(table) if with_seasons else table
    seen = categories.roll_up(known.paths, cut.level, count="event_count").to_pandas()
    at_training = shop.known_categories if shop else seen[["category"]]
    customer_count = int(known.customers.count().to_pyarrow().as_py())
    return Measured(table, Shop(spec, queries, at_training), customer_count, seen, query_counts, said, visits)


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
    # Nobody else is hot, and most customers need not be counted product by product.
    warm = activity.filter(activity.temperature_points >= rules.warm_points)
    return product_interest.product_points(
        observed.semi_join(warm, "customer_id"),
        window=window,
        half_life_days=rules.temperature_half_life_days,
        searched_points=rules.searched_points,
    )


def _fit_spec(
    transactions: ir.Table,
    visits: ir.Table,
    measured_value: ir.Table,
    known: Observed,
    window: ObservationWindow,
    params: Params,
    *,
    has_prices: bool,
) -> ProfileSpec:
    log = known.observed.aggregate(
        start=known.observed.occurred_at.min(),
        has_campaigns=known.observed.event_type.isin(journey.CAMPAIGN_EVENTS).any(),
    )
    log_start, has_campaigns = log.to_pyarrow().to_pylist()[0].values()
    named = visits.filter(visits.channel.notnull())
    by_channel = named.group_by("channel").aggregate(visit_count=named.count())
    largest = by_channel.order_by(ibis.desc("visit_count"), "channel").limit(MAX_CHANNELS).to_pandas()
    prices = benefits.price_means(transactions).to_pandas().set_index("column")["mean_price"].to_dict()
    cuts = (
        value.value_quantiles(
            measured_value,
            rfm_quantiles=params.value.rfm_quantiles,
            rfm_money=params.value.rfm_money,
            vip_quantile=params.value.vip_quantile,
            regular_quantile=params.value.regular_quantile,
        )
        .to_pyarrow()
        .to_pylist()[0]
    )
    return ProfileSpec(
        cut=known.cut,
        channels=tuple(largest.channel),
        mean_prices=tuple(prices.get(column) for column in range(len(known.cut.categories))),
        value_cuts=value.ValueCuts.from_lists(
            cuts | params.value.given_cuts(is_known=bool(cuts["money"])) | ({} if has_prices else {"money": None})
        ),
        has_session_ids=known.has_session_ids,
        has_campaigns=bool(has_campaigns),
        log_start=log_start or window.start,
        history_days=params.history_days,
        journey_columns=tuple(params.clustering.journey_columns),
    )


def _shop_mix_where_unknown(table: ir.Table, spec: ProfileSpec) -> ir.Table:
    """A customer without evidence has the shop's mix: what the formula gives for S(u) = 0."""
    return table.mutate(
        **{
            name: table[name].fill_null(share)
            for name, share in zip(
                [interests.SHARE_PREFIX + category for category in spec.cut.categories],
                spec.cut.mix,
                strict=True,
            )
        }
    )


def _standings(table: ir.Table, spec: ProfileSpec, params: Params) -> ir.Table:
    rules, tiers = params.journey, params.value
    window = ObservationWindow(params.as_of, spec.history_days)
    scored = value.rfm(
        table,
        cuts=spec.value_cuts,
        groups=tiers.rfm_groups(),
        history_days=spec.history_days,
        money=tiers.rfm_money,
    )
    happened = journey.journey_events(scored, **rules.events.model_dump())
    is_warm = scored.temperature_points >= rules.warm_points
    tiered = scored.mutate(
        # Of those who were warm when they were measured, and no longer are.
        product_points=is_warm.ifelse(scored.product_points, ibis.null("float64")),
        **{journey.JOURNEY_PREFIX + name: held for name, held in happened.items()},
        campaign_response=journey.campaign_response(scored, has_campaigns=spec.has_campaigns),
        click_rate=scored.email_click_count
        / ibis.greatest(scored.email_open_count, scored.email_click_count).nullif(0.0),
        redemptions_per_order=scored.redemption_count / scored.order_count.nullif(0.0),
        views_per_order=benefits.views_per_order(scored),
        lifecycle_stage=journey.lifecycle_stage(
            scored,
            log_days=spec.log_days(window),
            first_order_days=rules.first_order_days,
            active_days=rules.active_days,
            lapsed_days=rules.lapsed_days,
            lost_days=rules.lost_days,
            slipping_min_orders=rules.slipping_min_orders,
            slipping_intervals=rules.slipping_intervals,
            slipping_min_days=rules.slipping_min_days,
        ),
        temperature=journey.temperature(
            scored.temperature_points,
            scored.product_points,
            warm_points=rules.warm_points,
            hot_points=rules.hot_points,
            hot_product_points=rules.hot_product_points,
        ),
        value_tier=value.value_tier(
            scored,
            cuts=spec.value_cuts,
            difficult_return_rate=tiers.difficult_return_rate,
            difficult_min_returns=tiers.difficult_min_returns,
            difficult_contact_rate=tiers.difficult_contact_rate,
            difficult_min_contacts=tiers.difficult_min_contacts,
        ),
    )
    tier_by = tiers.decided_by(has_prices=bool(spec.value_cuts.money))
    return tiered.mutate(**value.tier_above(tiered, cuts=spec.value_cuts, near=tiers.near_tier, tier_by=tier_by))
