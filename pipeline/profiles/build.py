"""Builds the features in order: checked events -> one profile per customer."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa

from features import benefits, journey, outliers, value
from features.events import ObservationWindow
from features.interests import EVIDENCE_LISTS, SHARE_PREFIX
from features.profile import ProfileSpec
from features.rfm import with_rfm
from features.seasons import SEASON_LISTS
from models.disclosure import rounded_count
from models.scorer import IS_UNUSUAL, UNUSUAL_STAGE
from pipeline.config.params import Params
from pipeline.config.progress import SILENT, Progress
from pipeline.ingest.source import Source
from pipeline.profiles.measures import CustomerMeasures, measure, to_customer_measures
from pipeline.profiles.shop import Shop
from pipeline.profiles.unusual import cap_unusual
from pipeline.profiles.vectors import with_dense_columns
from pipeline.stores.database import in_order
from pipeline.stores.engines.engine import Engine

BYTES_PER_FIGURE = 8


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
        Method of `models.queries.WAYS` -> number of distinct queries it interpreted, as it may be published.
    event_evidence : expression, optional
        `features.interests.event_evidence`, usable while the database is open; customer_id is the row number in
        ``table``.
    visits : expression, optional
        `features.sessions.session_table`, usable while the database is open, with the same numbers.
    caps : dict
        Column -> the value at which unusual customers are capped in ``table``; empty unless `outliers.action` is cap
        and the shop was learned.
    """

    table: pd.DataFrame
    shop: Shop
    new_categories: pd.DataFrame
    query_counts: dict[str, int]
    event_evidence: ir.Table | None = None
    visits: ir.Table | None = None
    caps: dict[str, float] = field(default_factory=dict)


def build_profiles(
    engine: Engine,
    source: Source,
    params: Params,
    *,
    shop: Shop | None = None,
    progress: Progress = SILENT,
    columns: Collection[str] | None = None,
    as_scored: bool = False,
) -> Profiles:
    """One profile per customer known at ``params.as_of``.

    Parameters
    ----------
    shop : Shop, optional
        Shop of the model to score with. Default: learn it from the events.
    columns : collection of str, optional
        Columns to fetch, which may include `features.seasons.season_evidence`. Default: all but these.
    as_scored : bool
        Leave out the customers without scores (`outliers.action`). Rows are then no longer the customers' numbers.
    """
    with_seasons = columns is not None and SEASON_LISTS[0] in columns
    raw = measure(engine, source, params, shop=shop, progress=progress, with_seasons=with_seasons)
    measures = to_customer_measures(raw)
    found = profile_batches(engine, measures, params, columns=columns, as_scored=as_scored)
    frame = in_order(found, order_by="customer_id")
    caps: dict[str, float] = {}
    if shop is None and params.outliers.action == "cap":
        frame, caps = cap_unusual(frame)
    counts = {way: rounded_count(count, params.naming.min_group) for way, count in measures.query_counts.items()}
    new = measures.new_categories
    return Profiles(frame, measures.shop, new, counts, raw.event_evidence, raw.visits, caps)


def fetch_profiles(
    engine: Engine, measures: CustomerMeasures, params: Params, *, columns: Collection[str] | None = None
) -> pd.DataFrame:
    """Profiles of the customers with scores, sorted by customer: with interest shares and rule-based groups."""
    return in_order(profile_batches(engine, measures, params, columns=columns), order_by="customer_id")


def profile_batches(
    engine: Engine,
    measures: CustomerMeasures,
    params: Params,
    *,
    columns: Collection[str] | None = None,
    as_scored: bool = True,
) -> Iterator[pa.RecordBatch]:
    """The same in batches of customers, in any order."""
    expression = profile_expression(engine, measures, params, columns, as_scored=as_scored)
    for batch in engine.batches(expression):
        yield with_dense_columns(batch, measures.shop.spec, params, columns)


def profile_expression(
    engine: Engine,
    measures: CustomerMeasures,
    params: Params,
    columns: Collection[str] | None,
    *,
    as_scored: bool = True,
) -> ir.Table:
    """The same as an expression, with the lists of the measures: `with_dense_columns` takes batches of it."""
    spec = measures.shop.spec
    profiles = _rule_based_groups(measures.table, spec, params)
    profiles = _set_unusual_apart(profiles, params, as_scored=as_scored)
    # Computing and fetching unused columns is slow with a million customers.
    if columns is None:
        columns = {*profiles.columns} - {*SEASON_LISTS}
    elif any(SHARE_PREFIX + category in columns for category in spec.cut.categories):
        columns = {name for name in profiles.columns if name in columns} | {*EVIDENCE_LISTS}
    profiles = profiles.select([name for name in profiles.columns if name in columns])
    width = len(profiles.columns) + len(spec.cut.categories)
    engine.leave_room(BYTES_PER_FIGURE * width * measures.customer_count)
    return profiles


def _set_unusual_apart(profiles: ir.Table, params: Params, *, as_scored: bool) -> ir.Table:
    """Profiles after the `outliers.action` of the model, whose limits were fixed at training."""
    is_unusual = outliers.is_unusual(profiles, params.outliers.limits)
    match params.outliers.action:
        case "own_segment":
            return profiles.mutate(lifecycle_stage=is_unusual.ifelse(UNUSUAL_STAGE, profiles.lifecycle_stage))
        case "exclude" if as_scored:
            return profiles.filter(~is_unusual)
        case "cap":
            return profiles.mutate(**{IS_UNUSUAL: is_unusual})
    return profiles


def _rule_based_groups(table: ir.Table, spec: ProfileSpec, params: Params) -> ir.Table:
    rules, tiers = params.journey, params.value
    window = ObservationWindow(params.as_of, spec.history_days)
    groups = tiers.rfm_groups()
    scored = with_rfm(table, cuts=spec.value_cuts, groups=groups, history_days=spec.history_days, money=tiers.rfm_money)
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
        temperature=scored.temperature_points.isnull().ifelse(
            ibis.null("string"),
            journey.temperature(
                scored.temperature_points,
                scored.product_points,
                warm_points=rules.warm_points,
                hot_points=rules.hot_points,
                hot_product_points=rules.hot_product_points,
            ),
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
