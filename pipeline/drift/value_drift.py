"""RFM groups and value tiers keep the cut points of the training; how many customers today's would put elsewhere."""

from __future__ import annotations

import ibis.expr.types as ir

from features import value
from features.profile import ProfileSpec
from features.rfm import with_rfm
from pipeline.config.params import Params
from pipeline.profiles.measures import CustomerMeasures
from pipeline.profiles.profile_spec import fit_value_cuts
from pipeline.stores.engines.engine import Engine

GROUPS = ("rfm_group", "value_tier")
READ = (
    *("days_since_last_purchase", "order_count", "net_spend", "average_order_value", "tier_value"),
    *("return_rate", "returned_item_count", "contact_count"),
    *("event_count", "days_since_last_event", "is_known_from_before", "is_buyer_from_before"),
)
"""Measures that decide the groups."""


def moved_shares(engine: Engine, measures: CustomerMeasures, params: Params) -> dict[str, float]:
    """Share of the customers with an RFM group or value tier who would be in another one by today's cut points.

    Parameters
    ----------
    measures : CustomerMeasures
        Measures as of ``params.as_of``, with the shop of the model.
    params : Params
        Params of the model: cut points that they fix are the same today.

    Returns
    -------
    dict of str to float
        By name in `GROUPS`; empty if there are no buyers now or at training.
    """
    spec = measures.shop.spec
    # Each use of the measures would join all of them again.
    table = engine.materialise(measures.table.select(READ), "value_drift")
    buyers = table.filter(table.days_since_last_purchase.notnull())
    today = fit_value_cuts(buyers, params, has_prices=bool(spec.value_cuts.money))
    if not (today.order_count and spec.value_cuts.order_count):
        return {}
    before = _grouped(table, spec.value_cuts, spec, params)
    renamed = before.mutate(**{f"{name}_before": before[name] for name in GROUPS})
    both = _grouped(renamed, today, spec, params)
    counts = both.aggregate(
        **{name: (both[name] != both[f"{name}_before"]).sum() for name in GROUPS},
        **{f"{name}_count": both[f"{name}_before"].count() for name in GROUPS},
    )
    row = counts.to_pyarrow().to_pylist()[0]
    return {name: (row[name] or 0) / row[f"{name}_count"] for name in GROUPS if row[f"{name}_count"]}


def _grouped(table: ir.Table, cuts: value.ValueCuts, spec: ProfileSpec, params: Params) -> ir.Table:
    """The table with rfm_group and value_tier by these cuts."""
    tiers = params.value
    scored = with_rfm(
        table, cuts=cuts, groups=tiers.rfm_groups(), history_days=spec.history_days, money=tiers.rfm_money
    )
    tier = value.value_tier(
        scored,
        cuts=cuts,
        difficult_return_rate=tiers.difficult_return_rate,
        difficult_min_returns=tiers.difficult_min_returns,
        difficult_contact_rate=tiers.difficult_contact_rate,
        difficult_min_contacts=tiers.difficult_min_contacts,
    )
    return scored.mutate(value_tier=tier)
