"""Builds the features in order: checked events -> one profile per customer."""

from __future__ import annotations

from collections.abc import Collection, Iterator
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
from pipeline.config.progress import SILENT, Progress
from pipeline.ingest.source import Source
from pipeline.profiles.prepare_events import (
    OBSERVED_COLUMNS,
    PreparedEvents,
    decayed_weight,
    own_weight,
    prepare_events,
)
from pipeline.profiles.search_queries import fit_queries, query_meanings, query_table
from pipeline.profiles.shop import Shop
from pipeline.stores.database import batches, fetch, leave_room, materialise

MAX_CHANNELS = 6
BYTES_PER_FIGURE = 8
TRANSACTION_COLUMNS = (*OBSERVED_COLUMNS[:3], "product_id", "order_id", "quantity", "unit_price", "discount", "column")


@dataclass(frozen=True)
class Profiles:
    """Profiles and the shop they belong to.

    Attributes
    ----------
    table : DataFrame
        One row per customer, sorted by customer_id.
    shop : Shop
        The shop learned from the events, or the one passed in.
    new_categories : DataFrame
        category, event_count: categories unknown at training, counted as OTHER.
    query_counts : dict
        Method of `models.queries.WAYS` -> number of distinct queries it interpreted.
    event_evidence : expression, optional
        `features.interests.event_evidence`, usable while the database is open; customer_id is the row number in
        ``table``.
    visits : expression, optional
        `features.sessions.session_table`, usable while the database is open, with the same numbers.
    """

    table: pd.DataFrame
    shop: Shop
    new_categories: pd.DataFrame
    query_counts: dict[str, int]
    event_evidence: ir.Table | None = None
    visits: ir.Table | None = None


@dataclass(frozen=True)
class RawMeasures:
    """Measures from customers' own events, before they are compared with the shop.

    Attributes
    ----------
    table : expression
        One row per customer: customer_id (a number), customer_name, measures, "evidence: <category>"...
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
        One row per customer: customer_id, measures, "evidence: <category>"...
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


def build_profiles(
    con: ibis.BaseBackend,
    source: Source,
    params: Params,
    *,
    shop: Shop | None = None,
    progress: Progress = SILENT,
    columns: Collection[str] | None = None,
) -> Profiles:
    """One profile per customer known at ``params.as_of``.

    Parameters
    ----------
    shop : Shop, optional
        Shop of the model to score with. Default: learn it from the events.
    columns : collection of str, optional
        Columns to fetch. Default: all but `features.seasons.SEASON_EVIDENCE`.
    """
    with_seasons = columns is not None and seasons.SEASON_EVIDENCE in columns
    raw = measure(con, source, params, shop=shop, progress=progress, with_seasons=with_seasons)
    measures = to_customer_measures(raw)
    frame = fetch_profiles(con, measures, params, columns=columns)
    new, counts = measures.new_categories, measures.query_counts
    return Profiles(frame, measures.shop, new, counts, raw.event_evidence, raw.visits)


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


def fetch_profiles(
    con: ibis.BaseBackend, measures: CustomerMeasures, params: Params, *, columns: Collection[str] | None = None
) -> pd.DataFrame:
    """Profiles from measures, sorted by customer: with interest shares and rule-based groups."""
    return fetch(con, _profile_expression(con, measures, params, columns), order_by="customer_id")


def profile_batches(
    con: ibis.BaseBackend, measures: CustomerMeasures, params: Params, *, columns: Collection[str]
) -> Iterator[pa.RecordBatch]:
    """The same in batches of customers, in any order."""
    return batches(con, _profile_expression(con, measures, params, columns))


def _profile_expression(
    con: ibis.BaseBackend, measures: CustomerMeasures, params: Params, columns: Collection[str] | None
) -> ir.Table:
    spec = measures.shop.spec
    shares = interests.interest_shares(measures.table, spec.cut, kappa=params.interests.kappa)
    profiles = _rule_based_groups(_shop_mix_where_unknown(shares, spec), spec, params)
    if columns is not None:  # computing and fetching unused columns is slow with a million customers
        profiles = profiles.select([name for name in profiles.columns if name in columns])
        profiles = seasons.season_columns(profiles) if seasons.SEASON_EVIDENCE in columns else profiles
    elif seasons.SEASON_EVIDENCE in profiles.columns:
        profiles = profiles.drop(seasons.SEASON_EVIDENCE)
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
) -> RawMeasures:
    """All measures behind the profiles. With ``shop`` given, each customer's depend only on that customer's events.

    Parameters
    ----------
    with_seasons : bool
        Add `features.seasons.season_evidence`, which seasonal lifts need.
    """
    window = ObservationWindow(params.as_of, shop.spec.history_days if shop else params.history_days)
    prepared = prepare_events(con, source, params, window, spec=shop.spec if shop else None)
    observed, cut = prepared.observed, prepared.cut

    progress("sessions and orders")
    visits = materialise(con, sessions.session_table(observed), "sessions")
    purchases_and_returns = prepared.events.filter(
        prepared.events.event_type.isin([str(EventType.PURCHASE), str(EventType.RETURN)])
    )
    transactions = materialise(con, purchases_and_returns.select(TRANSACTION_COLUMNS), "transactions")
    orders = materialise(con, value.order_table(transactions), "orders")
    tiers = params.value
    returned = value.return_table(transactions)
    has_prices = bool(shop.spec.value_cuts.money if shop else value.has_prices(orders).to_pyarrow().as_py())
    tier_by = tiers.tier_measure(has_prices=has_prices)
    value_table = value.value_measures(orders, returned, window=window, tier_by=tier_by, tier_days=tiers.tier_days)
    measured_value = materialise(con, value_table, "value")
    progress("searches")
    queries = shop.queries if shop else fit_queries(observed, prepared.columns, len(cut.categories), params)
    meanings, query_counts = query_meanings(observed, queries, params)
    spec = (
        shop.spec
        if shop
        else _fit_spec(*(transactions, visits, measured_value, prepared, window, params), has_prices=has_prices)
    )

    progress("interests")
    evidence = interests.event_evidence(observed, query_table(con, meanings), weight=own_weight(observed, params))
    wide = materialise(con, interests.wide_evidence(interests.category_evidence(evidence), cut), "wide_evidence")
    ring = seasons.season_evidence(evidence, history_days=window.history_days, season_days=params.naming.season_days)

    progress("profiles")
    weight, points = decayed_weight(observed, window, params.interests.activity), _points(observed, window, params)
    measured_activity = journey.activity_measures(observed, window=window, activity=weight, points=points)
    activity = materialise(con, measured_activity, "activity")
    table = profile_table(
        prepared.customers.drop("last_counted_at"),
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
                **params.calendar.country_days(),
            ),
            value.returned_items(returned),
            benefits.price_level(transactions, mean_prices=spec.mean_prices),
            benefits.purchase_habits(transactions, source.products),
            wide,
            *([ring] if with_seasons else []),
        ],
    )
    table = seasons.zero_where_unknown(table) if with_seasons else table
    seen = categories.roll_up(prepared.paths, cut.level, count="event_count").to_pandas()
    known_categories = shop.known_categories if shop else seen[["category"]]
    customer_count = int(prepared.customers.count().to_pyarrow().as_py())
    used_shop = Shop(spec, queries, known_categories)
    return RawMeasures(table, used_shop, customer_count, seen, query_counts, evidence, visits)


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


def _fit_spec(
    transactions: ir.Table,
    visits: ir.Table,
    measured_value: ir.Table,
    prepared: PreparedEvents,
    window: ObservationWindow,
    params: Params,
    *,
    has_prices: bool,
) -> ProfileSpec:
    log = prepared.observed.aggregate(
        start=prepared.observed.occurred_at.min(),
        has_campaigns=prepared.observed.event_type.isin(journey.CAMPAIGN_EVENTS).any(),
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
        cut=prepared.cut,
        channels=tuple(largest.channel),
        mean_prices=tuple(prices.get(column) for column in range(len(prepared.cut.categories))),
        value_cuts=value.ValueCuts.from_lists(
            cuts | params.value.fixed_cuts(is_known=bool(cuts["money"])) | ({} if has_prices else {"money": None})
        ),
        has_session_ids=prepared.has_session_ids,
        has_campaigns=bool(has_campaigns),
        log_start=log_start or window.start,
        history_days=params.history_days,
        journey_columns=tuple(params.clustering.journey_columns),
    )


def _shop_mix_where_unknown(table: ir.Table, spec: ProfileSpec) -> ir.Table:
    """Customers without evidence get the shop's mix, which is what the formula gives for S(u) = 0."""
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


def _rule_based_groups(table: ir.Table, spec: ProfileSpec, params: Params) -> ir.Table:
    rules, tiers = params.journey, params.value
    window = ObservationWindow(params.as_of, spec.history_days)
    scored = value.rfm(
        table,
        cuts=spec.value_cuts,
        groups=tiers.rfm_groups(),
        history_days=spec.history_days,
        money=tiers.rfm_money,
    )
    events = journey.journey_events(scored, **rules.events.model_dump())
    is_warm = scored.temperature_points >= rules.warm_points
    tiered = scored.mutate(
        # Customers who were warm when they were measured may have cooled down since.
        product_points=is_warm.ifelse(scored.product_points, ibis.null("float64")),
        **{journey.JOURNEY_PREFIX + name: applies for name, applies in events.items()},
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
    tier_by = tiers.tier_measure(has_prices=bool(spec.value_cuts.money))
    return tiered.mutate(**value.tier_above(tiered, cuts=spec.value_cuts, near=tiers.near_tier, tier_by=tier_by))
