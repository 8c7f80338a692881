"""Runs floor 1 in order: checked events -> one profile per customer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pandas as pd

from features import benefits, categories, context, feasts, heat, interests, journey, rhythm, searches, sessions, value
from features.events import EventType, ObservationWindow, exact_sum
from features.profile import ProfileSpec, profile_table
from models.carving import carve
from models.queries import QueryModel
from pipeline.engines import fetch, materialise
from pipeline.params import Params, params_from_json
from pipeline.queries import fit_queries, query_meanings, query_table
from pipeline.sources import Source

MAX_CHANNELS = 6
OBSERVED = ("customer_id", "occurred_at", "event_type", "query", "channel", "session_key", "product_key", "column")
TRADED = (*OBSERVED[:3], "product_id", "order_id", "quantity", "unit_price", "discount", "column")
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Shop:
    """What is learned about the shop at training, and kept with the model.

    Attributes
    ----------
    spec : ProfileSpec
        Columns of the profile.
    queries : QueryModel
        P(category | query), of queries that enough customers typed and of those like them.
    known_categories : DataFrame
        category: every one seen at training, at the level of the cut.
    """

    spec: ProfileSpec
    queries: QueryModel
    known_categories: pd.DataFrame


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
    categories: pd.DataFrame
    query_counts: dict[str, int]
    said: ir.Table
    visits: ir.Table


@dataclass(frozen=True)
class Observed:
    """The events of a window, made ready to be measured.

    Attributes
    ----------
    customers : table
        customer_name, customer_id (a number), is_known_from_before.
    paths : table
        category_path, evidence, event_count.
    cut : CategoryCut
        Categories that are columns.
    columns : table
        category_path, column.
    events : expression
        All columns of the events, with the customers' numbers and the interest column.
    observed : table
        `OBSERVED` columns of the events, with visits and normalised queries.
    has_session_ids : bool
        Visits are the log's own, or found by gaps.
    """

    customers: ir.Table
    paths: ir.Table
    cut: categories.CategoryCut
    columns: ir.Table
    events: ir.Table
    observed: ir.Table
    has_session_ids: bool


def build_profiles(
    con: ibis.BaseBackend,
    source: Source,
    params: Params,
    *,
    shop: Shop | None = None,
    progress: Progress = lambda step: None,
) -> Profiles:
    """One profile per customer who is known at ``params.as_of``.

    Parameters
    ----------
    shop : Shop, optional
        Of the model to score with; without it, it is learned from the events.
    """
    measured = measure(con, source, params, shop=shop, progress=progress)
    named = measured.table.drop("customer_id").rename(customer_id="customer_name")
    new = new_categories(measured.categories, measured.shop)
    frame = finished(con, named, measured.shop.spec, params)
    return Profiles(frame, measured.shop, new, measured.query_counts, measured.said, measured.visits)


def new_categories(seen: pd.DataFrame, shop: Shop) -> pd.DataFrame:
    """Of the categories ``seen`` (category, event_count), those unknown at training."""
    return seen[~seen.category.str.lower().isin(shop.known_categories.category.str.lower())].reset_index(drop=True)


def finished(con: ibis.BaseBackend, measures: ir.Table, spec: ProfileSpec, params: Params) -> pd.DataFrame:
    """Measures of customers as profiles, sorted: with shares beside the shop's mix, and standings."""
    shares = interests.interest_shares(measures, spec.cut, kappa=params.interests.kappa)
    profiles = _standings(_shop_mix_where_unknown(shares, spec), spec, params)
    return fetch(con, profiles, order_by="customer_id")


def measure(
    con: ibis.BaseBackend, source: Source, params: Params, *, shop: Shop | None, progress: Progress
) -> Measured:
    """Everything that a profile is made of, of each customer alone where ``shop`` is given."""
    window = ObservationWindow(params.as_of, shop.spec.history_days if shop else params.history_days)
    known = observe(con, source, params, window, spec=shop.spec if shop else None)
    observed, cut = known.observed, known.cut

    progress("sessions and orders")
    visits = materialise(con, sessions.session_table(observed), "sessions")
    traded = known.events.filter(known.events.event_type.isin([str(EventType.PURCHASE), str(EventType.RETURN)]))
    transactions = materialise(con, traded.select(TRADED), "transactions")
    orders = materialise(con, value.order_table(transactions), "orders")
    tiers = params.value
    worth = value.value_measures(orders, window=window, tier_by=tiers.tier_by, tier_days=tiers.tier_days)
    measured_value = materialise(con, worth, "value")
    progress("searches")
    queries = shop.queries if shop else fit_queries(observed, known.columns, len(cut.categories), params)
    meanings, query_counts = query_meanings(observed, queries, params)
    spec = shop.spec if shop else _fit_spec(transactions, visits, measured_value, known, params)

    progress("interests")
    said = interests.event_evidence(
        observed, query_table(con, meanings), weight=_signal_weight(observed, window, params)
    )
    wide = materialise(con, interests.wide_evidence(interests.category_evidence(said), cut), "wide_evidence")

    progress("profiles")
    table = profile_table(
        known.customers,
        [
            journey.activity_measures(
                observed,
                window=window,
                activity=_activity_weight(observed, window, params),
                points=_points(observed, window, params),
            ),
            heat.product_points(
                observed,
                window=window,
                half_life_days=params.journey.temperature_half_life_days,
                searched_points=params.journey.searched_points,
            ),
            journey.visit_measures(visits, window=window),
            context.visit_context(visits, channels=spec.channels),
            measured_value,
            rhythm.order_rhythm(orders),
            feasts.occasion_shares(
                orders,
                window=window,
                timezone=params.cards.timezone or params.source.events.timezone,
                **params.calendar.of_country(),
            ),
            value.returned_items(transactions),
            benefits.price_level(transactions, mean_prices=spec.mean_prices),
            benefits.purchase_habits(transactions, source.products),
            wide,
        ],
    )
    seen = categories.roll_up(known.paths, cut.level, count="event_count").to_pandas()
    at_training = shop.known_categories if shop else seen[["category"]]
    return Measured(table, Shop(spec, queries, at_training), seen, query_counts, said, visits)


def observe(
    con: ibis.BaseBackend, source: Source, params: Params, window: ObservationWindow, *, spec: ProfileSpec | None = None
) -> Observed:
    """What is known at the end of ``window``; with the categories of ``spec``, or those that the events show."""
    in_window = window.of(source.events)
    customers = materialise(con, _customers(source, window), "known_customers")
    paths = materialise(con, _evidence_by_path(in_window, source, window, params), "category_paths")
    cut = spec.cut if spec else _fit_cut(paths, params.interests.max_categories)
    columns = materialise(con, categories.category_columns(paths, cut), "category_columns")
    events = with_columns(numbered(in_window, customers), source, columns)
    has_session_ids = spec.has_session_ids if spec else _has_any(source.events, "session_id")
    keyed = sessions.with_session_key(events, has_session_ids=has_session_ids, gap_minutes=params.sessions.gap_minutes)
    # A number is grouped faster than a text.
    keyed = keyed.mutate(query=searches.normalised_query(keyed.query), product_key=keyed.product_id.hash())
    observed = materialise(con, keyed.select(OBSERVED), "observed_events")
    return Observed(customers, paths, cut, columns, events, observed, has_session_ids)


def _customers(source: Source, window: ObservationWindow) -> ir.Table:
    """Everybody seen or registered before as_of, numbered: whole numbers are joined and grouped faster than texts.

    customers (customer_name, customer_id, is_known_from_before); customer_id counts from 0 in order of the names
    """
    seen = source.events.filter(source.events.occurred_at < window.end)
    known = seen.select("customer_id", is_known_from_before=seen.occurred_at < window.start)
    registered = registered_customers(source, window)
    if registered is not None:
        known = known.union(registered.mutate(is_known_from_before=ibis.literal(False)))
    once = known.group_by("customer_id").aggregate(is_known_from_before=known.is_known_from_before.any())
    number = ibis.row_number().over(ibis.window(order_by=once.customer_id))
    return once.select("is_known_from_before", customer_name="customer_id", customer_id=number)


def registered_customers(source: Source, window: ObservationWindow) -> ir.Table | None:
    """Customers (customer_id) registered before as_of, or nobody knows when; None without a table of customers."""
    if source.customers is None:
        return None
    registered = source.customers
    if "registered_at" in registered.columns:
        registered = registered.filter((registered.registered_at < window.end) | registered.registered_at.isnull())
    return registered.select("customer_id")


def numbered(events: ir.Table, customers: ir.Table) -> ir.Table:
    """Events with the number of their customer; those of others are left out."""
    named = events.rename(customer_name="customer_id")
    return named.join(customers.select("customer_name", "customer_id"), "customer_name").drop("customer_name")


def with_columns(events: ir.Table, source: Source, columns: ir.Table) -> ir.Table:
    """Events with the interest column of their product's category, or of their own."""
    has_own_paths = _has_any(source.events, "category_path")
    return categories.with_column(events, source.products, columns, has_own_paths=has_own_paths)


def _has_any(events: ir.Table, column: str) -> bool:
    """Whether a column holds anything; the first row with a value answers."""
    return bool(events.filter(events[column].notnull()).limit(1).count().to_pyarrow().as_py())


def _signal_weight(events: ir.Table, window: ObservationWindow, params: Params) -> ir.FloatingValue:
    return interests.decayed_weight(
        events,
        window=window,
        signal_weights=params.interests.signal_weights,
        half_life_days=params.interests.half_life_days,
    )


def _activity_weight(events: ir.Table, window: ObservationWindow, params: Params) -> ir.FloatingValue:
    return interests.decayed_weight(
        events,
        window=window,
        signal_weights=params.interests.activity.signal_weights,
        half_life_days=params.interests.activity.half_life_days,
    )


def _points(events: ir.Table, window: ObservationWindow, params: Params) -> ir.FloatingValue:
    return journey.temperature_points(
        events,
        window=window,
        points=params.journey.temperature_points,
        half_life_days=params.journey.temperature_half_life_days,
    )


def _evidence_by_path(events: ir.Table, source: Source, window: ObservationWindow, params: Params) -> ir.Table:
    """Paths (category_path, evidence, event_count): by product first, so that few rows meet the catalogue."""
    # A search reaches categories through its query alone, and is no part of the shop's mix.
    weighed = events.filter(events.event_type != str(EventType.SEARCH))
    weighed = weighed.mutate(weight=_signal_weight(weighed, window, params))
    by_product = weighed.group_by("product_id", "category_path").aggregate(
        evidence=exact_sum(weighed.weight), event_count=weighed.count()
    )
    paths = categories.with_category_path(by_product, source.products)
    paths = paths.filter(paths.category_path.notnull())
    return paths.group_by("category_path").aggregate(
        evidence=exact_sum(paths.evidence), event_count=paths.event_count.sum()
    )


def _fit_cut(paths: ir.Table, max_categories: int) -> categories.CategoryCut:
    nodes = categories.node_evidence(paths).to_pandas()
    total = float(paths.aggregate(total=exact_sum(paths.evidence)).to_pandas().total.iloc[0])
    columns = carve(nodes.category.tolist(), nodes.evidence.tolist(), total, max_categories)
    return categories.category_cut(columns, total)


def _fit_spec(
    transactions: ir.Table,
    visits: ir.Table,
    measured_value: ir.Table,
    known: Observed,
    params: Params,
) -> ProfileSpec:
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
        value_cuts=value.ValueCuts.from_lists(cuts | params.value.given_cuts(is_known=bool(cuts["money"]))),
        has_session_ids=known.has_session_ids,
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
    scored = value.rfm(
        table,
        cuts=spec.value_cuts,
        groups=tiers.rfm_groups(),
        history_days=spec.history_days,
        money=tiers.rfm_money,
    )
    happened = journey.journey_events(scored, **rules.events.model_dump())
    return scored.mutate(
        **{journey.JOURNEY_PREFIX + name: held for name, held in happened.items()},
        campaign_response=journey.campaign_response(scored),
        click_rate=scored.email_click_count
        / ibis.greatest(scored.email_open_count, scored.email_click_count).nullif(0.0),
        lifecycle_stage=journey.lifecycle_stage(
            scored,
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


def save_shop(shop: Shop, params: Params, folder: Path) -> None:
    """Write what scoring needs beside the clusters: spec, parameters, P(category | query), known categories."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(shop.spec.to_json(), encoding="utf-8")
    text = json.dumps(params.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    (folder / "params.json").write_text(text, encoding="utf-8")
    shop.queries.save(folder)
    shop.known_categories.to_parquet(folder / "known_categories.parquet", index=False)


def load_shop(folder: Path, params_folder: Path) -> tuple[Shop, Params]:
    """The shop as a model knows it, and the parameters the model was trained with."""
    # First of all, since these say whether another version wrote the rest.
    trained = params_from_json((folder / "params.json").read_text(encoding="utf-8"), params_folder)
    shop = Shop(
        ProfileSpec.from_json((folder / "spec.json").read_text(encoding="utf-8")),
        QueryModel.load(folder),
        pd.read_parquet(folder / "known_categories.parquet"),
    )
    return shop, trained
