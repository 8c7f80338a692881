"""What the campaign of an audience brought, from the groups that were kept and the purchases in the log since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from features.value import has_prices, order_table, return_table
from models.campaign_effect import CampaignEffect, Outcome, campaign_effect
from models.published_effect import published_effect
from pipeline.audiences.build import HELD_OUT
from pipeline.audiences.selection import AudienceError
from pipeline.audiences.storage import StoredAudience
from pipeline.config.params import Params
from pipeline.report.next_steps import command
from pipeline.stores import files

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
    audience : str
        Its name.
    as_of, until : datetime
        Purchases in between count.
    last_event_at : datetime
        Of the log, in the time that counts.
    decided_by : {"buyers", "spend"}
        The outcome that verdicts are about.
    by_facet : dict of str to CampaignEffect
        Column of `FACETS` -> the effect by its segments; all have the same overall effect.
    """

    audience: str
    as_of: datetime
    until: datetime
    last_event_at: datetime
    decided_by: Outcome
    by_facet: dict[str, CampaignEffect]

    @property
    def overall(self) -> CampaignEffect:
        """The effect on all customers, and how they were split."""
        return next(iter(self.by_facet.values()))


EFFECT = TypeAdapter(MeasuredEffect)


def measure_effect(
    con: Backend, events: ir.Table, audience: StoredAudience, *, until: datetime, decide_by: Outcome, min_group: int
) -> MeasuredEffect:
    """Compare treated and held-out customers of ``audience`` by their purchases from its as_of to ``until``.

    Parameters
    ----------
    events : Table
        The log with the columns of `features.events.EVENT_SCHEMA`; other times are left out.

    Raises
    ------
    AudienceError
        Spend is to decide, but the log has no prices.
    """
    in_time = events.filter((events.occurred_at >= _moment(audience.as_of)) & (events.occurred_at < _moment(until)))
    has_spend = bool(con.execute(has_prices(order_table(in_time))))
    if decide_by == "spend" and not has_spend:
        raise AudienceError(
            "--by spend: expected purchases with a price, found none. Name the column in source.events.columns, such "
            "as {unit_price: price}, or leave --by out."
        )
    by_facet = effect_by_facet(
        audience.table(),
        purchases(con, in_time),
        has_spend=has_spend,
        planned_share=audience.holdout_share,
        decide_by=decide_by,
        min_group=min_group,
    )
    last = con.execute(in_time.occurred_at.max()).to_pydatetime().replace(tzinfo=UTC)
    return MeasuredEffect(audience.name, audience.as_of, until, last, decide_by, by_facet)


def keep_effect(stored: StoredAudience, measured: MeasuredEffect, sentences: Sequence[str]) -> None:
    """Write the effect next to its audience. It replaces one that was measured before."""
    content = EFFECT.dump_python(measured, mode="json")
    files.write_json(stored.effect_path, {**content, "sentences": [*sentences]})


def kept_effect(stored: StoredAudience) -> MeasuredEffect | None:
    """The effect that was measured last; None if there is none, or one of another version."""
    try:
        return EFFECT.validate_json(stored.effect_path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def effect_command(params: Params, name: str, as_of: datetime) -> str:
    """The command that measures the campaign of an audience after the time for which spend is predicted."""
    until = as_of + timedelta(days=params.backtest.horizon_days)
    return command(params, "effect", name, "--until", f"{until:%Y-%m-%d}")


def effect_by_facet(
    table: pd.DataFrame,
    bought: pd.DataFrame,
    *,
    has_spend: bool,
    planned_share: float,
    decide_by: Outcome = "buyers",
    min_group: int,
) -> dict[str, CampaignEffect]:
    """Column of `FACETS` -> the effect by its segments, with rounded figures.

    Parameters
    ----------
    table : DataFrame
        `pipeline.audiences.build.Audience.table`.
    bought : DataFrame
        Result of `purchases`.
    """
    outcome = table[["customer_id"]].merge(bought, on="customer_id", how="left", validate="one_to_one")
    known = {name: _covariate(table, name) for name in COVARIATES if name in table}
    covariates = pd.DataFrame(known, index=table.index)
    is_held_out, is_buyer = (table["group"] == HELD_OUT).to_numpy(), outcome["order_count"].notna().to_numpy()
    spend = outcome["spend"].fillna(0.0).to_numpy(dtype=np.float64) if has_spend else None
    effects = {}
    for column in [column for column in FACETS if column in table]:
        segments = table[column].fillna(NO_SEGMENT)
        measured = campaign_effect(
            is_held_out,
            is_buyer,
            spend,
            planned_share=planned_share,
            segments=segments,
            covariates=covariates,
            decide_by=decide_by,
            min_group=min_group,
        )
        effects[column] = published_effect(measured, is_held_out, is_buyer, spend, segments, min_group=min_group)
    return effects


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
