"""What the campaign of an audience brought, from the groups that were kept and the purchases in the log since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.value import has_prices, order_table, return_table
from models.campaign_effect import CampaignEffect, campaign_effect
from pipeline.audiences.build import HELD_OUT
from pipeline.audiences.storage import StoredAudience

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

FACETS = {"segment": "segment", "interest_segment": "interest segment"}
"""Column of the audience -> what its values are."""
LOGARITHMS = ("order_count", "spend", "days_since_last_purchase", "activity", "expected_spend")
"""Covariates whose largest values would outweigh all others."""
COVARIATES = (*LOGARITHMS, "buy_probability")
NO_SEGMENT = "none"


@dataclass(frozen=True)
class MeasuredEffect:
    """The effect of a campaign.

    Attributes
    ----------
    by_facet : dict of str to CampaignEffect
        Column of `FACETS` -> the effect by its segments; all have the same overall effect.
    last_event_at : datetime
        Of the log, in the time that counts.
    """

    audience: StoredAudience
    until: datetime
    by_facet: dict[str, CampaignEffect]
    last_event_at: datetime


def measure_effect(
    con: Backend, events: ir.Table, audience: StoredAudience, *, until: datetime, min_group: int
) -> MeasuredEffect:
    """Compare treated and held-out customers of ``audience`` by their purchases from its as_of to ``until``.

    Parameters
    ----------
    events : Table
        The log with the columns of `features.events.EVENT_SCHEMA`; other times are left out.
    """
    in_time = events.filter((events.occurred_at >= _moment(audience.as_of)) & (events.occurred_at < _moment(until)))
    by_facet = effect_by_facet(
        audience.table(),
        purchases(con, in_time),
        has_spend=bool(con.execute(has_prices(order_table(in_time)))),
        planned_share=audience.holdout_share,
        min_group=min_group,
    )
    last = con.execute(in_time.occurred_at.max())
    return MeasuredEffect(audience, until, by_facet, last.to_pydatetime().replace(tzinfo=UTC))


def effect_by_facet(
    table: pd.DataFrame, bought: pd.DataFrame, *, has_spend: bool, planned_share: float, min_group: int
) -> dict[str, CampaignEffect]:
    """Column of `FACETS` -> the effect by its segments.

    Parameters
    ----------
    table : DataFrame
        `pipeline.audiences.build.Audience.table`.
    bought : DataFrame
        Result of `purchases`.
    """
    outcome = table[["customer_id"]].merge(bought, on="customer_id", how="left", validate="one_to_one")
    covariates = pd.DataFrame({name: _covariate(table, name) for name in COVARIATES if name in table})
    return {
        column: campaign_effect(
            (table["group"] == HELD_OUT).to_numpy(),
            outcome["order_count"].notna().to_numpy(),
            outcome["spend"].fillna(0.0).to_numpy(dtype=np.float64) if has_spend else None,
            planned_share=planned_share,
            segments=table[column].fillna(NO_SEGMENT),
            covariates=covariates,
            min_group=min_group,
        )
        for column in FACETS
        if column in table
    }


def purchases(con: Backend, events: ir.Table) -> pd.DataFrame:
    """customer_id, order_count and spend, net of refunds, of customers with an order."""
    orders = order_table(events)
    bought = orders.group_by("customer_id").agg(order_count=orders.count(), paid=orders.spend.sum())
    returned = return_table(events)
    refunds = returned.group_by("customer_id").agg(refund=returned.spend.sum())
    joined = bought.left_join(refunds, "customer_id")
    spend = joined.paid - joined.refund.fill_null(0.0)
    return con.to_pandas(joined.select("customer_id", "order_count", spend=spend))


def _covariate(table: pd.DataFrame, name: str) -> pd.Series:
    values = table[name].astype("float64")
    return pd.Series(np.log1p(values.clip(lower=0.0))) if name in LOGARITHMS else values


def _moment(value: datetime) -> ir.TimestampScalar:
    return ibis.timestamp(value.astimezone(UTC).replace(tzinfo=None))
