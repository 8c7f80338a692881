"""What training learns about a shop's profiles: categories, channels, mean prices, and the bounds of value groups."""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from features import benefits, journey, rfm, value
from features.events import ObservationWindow
from features.profile import ProfileSpec
from pipeline.config.params import Params
from pipeline.profiles.prepare_events import PreparedEvents

MAX_CHANNELS = 6


@dataclass(frozen=True)
class Trade:
    """Visits, orders and value of customers, by customer number.

    Attributes
    ----------
    visits : expression
        `features.sessions.session_table`.
    transactions : expression
        Purchases and returns, one row per item.
    orders, returned : expression
        `features.value.order_table`, `features.value.return_table`.
    value : expression
        `features.value.value_measures`; one row per customer.
    has_prices : bool
        Whether purchases have prices, in the log or in that of the model.
    """

    visits: ir.Table
    transactions: ir.Table
    orders: ir.Table
    returned: ir.Table
    value: ir.Table
    has_prices: bool


def fit_spec(trade: Trade, prepared: PreparedEvents, window: ObservationWindow, params: Params) -> ProfileSpec:
    """The columns of the profiles and their bounds, from the events of all customers."""
    log = prepared.observed.aggregate(
        start=prepared.observed.occurred_at.min(),
        has_campaigns=prepared.observed.event_type.isin(journey.CAMPAIGN_EVENTS).any(),
    )
    log_start, has_campaigns = log.to_pyarrow().to_pylist()[0].values()
    named = trade.visits.filter(trade.visits.channel.notnull())
    by_channel = named.group_by("channel").aggregate(visit_count=named.count())
    largest = by_channel.order_by(ibis.desc("visit_count"), "channel").limit(MAX_CHANNELS).to_pandas()
    prices = benefits.price_means(trade.transactions).to_pandas().set_index("column")["mean_price"].to_dict()
    return ProfileSpec(
        cut=prepared.cut,
        channels=tuple(largest.channel),
        mean_prices=tuple(prices.get(column) for column in range(len(prepared.cut.categories))),
        value_cuts=fit_value_cuts(trade.value, params, has_prices=trade.has_prices),
        has_session_ids=prepared.has_session_ids,
        has_campaigns=bool(has_campaigns),
        log_start=log_start or window.start,
        history_days=params.history_days,
        journey_columns=tuple(params.clustering.journey_columns),
    )


def fit_value_cuts(buyers: ir.Table, params: Params, *, has_prices: bool) -> value.ValueCuts:
    """The bounds between scores and tiers: quantiles of the buyers, or those that params.yaml fixes.

    Where many buyers have the same number of orders or the same spend, several quantiles are equal; see
    `rfm.divide_ties`.
    """
    settings = params.value
    quantiles = value.value_quantiles(
        buyers,
        rfm_quantiles=settings.rfm_quantiles,
        rfm_money=settings.rfm_money,
        vip_quantile=settings.vip_quantile,
        regular_quantile=settings.regular_quantile,
    )
    cuts = quantiles.to_pyarrow().to_pylist()[0]
    for name, column in (("order_count", "order_count"), ("money", value.MONEY_COLUMNS[settings.rfm_money])):
        if cuts[name] and len(set(cuts[name])) < len(cuts[name]):
            by_value = buyers.group_by(column).aggregate(count=buyers.count()).order_by(column).to_pandas()
            cuts[name] = rfm.divide_ties(
                by_value[column].tolist(), by_value["count"].tolist(), groups=settings.rfm_quantiles
            )
    fixed = settings.fixed_cuts(is_known=bool(cuts["money"]))
    return value.ValueCuts.from_lists(cuts | fixed | ({} if has_prices else {"money": None}))
