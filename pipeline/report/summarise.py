"""Results -> one plain dict of numbers and keys, without a word: `report.texts.wording` says it in a language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from features.journey import RESPONSES, STAGES
from models.crosstabs import crossing, funnel
from models.migration_tables import ORDERS
from models.pareto import revenue

MAX_CATEGORIES = 40
CROSSED = {
    "lifecycle_stage": STAGES,
    "temperature": ("cold", "warm", "hot"),
    "value_tier": ("vip", "regular", "occasional", "difficult"),
    "rfm_group": ORDERS["rfm_group"],
    "campaign_response": RESPONSES,
}
"""Columns of the profile that segments are crossed with, where they are; their groups in order, others after them."""


def summarise(
    *,
    as_of: datetime,
    language: str,
    currency: str | None,
    run_id: str,
    reading: Mapping[str, Any],
    segments: list[dict[str, Any]],
    shop: Mapping[str, float],
    lifts: pd.DataFrame,
    labels: Mapping[str, str],
    lineage: Mapping[str, Any],
    profile: pd.DataFrame,
    segment_ids: np.ndarray,
    clustered_count: int,
    quality: Mapping[str, Any],
    method: Mapping[str, Any],
    audiences: Sequence[Mapping[str, Any]] = (),
    attributes: Mapping[str, Any] | None = None,
    migration: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report as data.

    Parameters
    ----------
    language : str
        Of the training; the report may be made in another one.
    currency : str, optional
        Of all amounts, as in ISO 4217.
    segments : list of dict
        The segments contract, in the order of the report.
    shop : mapping
        Figures of everybody clustered.
    lifts : DataFrame
        segment_id x category, in the order to show them.
    lineage : mapping
        `pipeline.report.terminal.lineage_table`.
    profile, segment_ids : DataFrame, array, n rows
        One row per customer, and the segment of each.
    method : mapping
        What the numbers rest on: history_days, min_events, min_group, min_known_share, noise_policy, interests
        (half_life_days, kappa, signal_weights), is_fitted, query_counts, usual_history_days.
    audiences, attributes : sequence of mapping, mapping or None
        `pipeline.segmentation.profile_cards.Cards`.
    migration : mapping
        `models.migration_tables.stage_moves`.

    Returns
    -------
    dict
        JSON-able; no customer's id.
    """
    clustered = [one for one in segments if not one["is_standing"]]
    return {
        "run_id": run_id,
        "language": language,
        "currency": currency,
        "as_of": f"{as_of:%Y-%m-%d %H:%M} UTC",
        "customer_count": len(profile),
        "clustered_count": clustered_count,
        "segments": [{**one, "stages": _stages(one["figures"])} for one in segments],
        "shop": dict(shop),
        "totals": _totals(profile),
        "spend_is": _spend_is(profile),
        "revenue": revenue(profile.net_spend, profile.value_tier, min_group=method["min_group"])
        if "value_tier" in profile
        else None,
        "has_spend": any((one["spend_share"] or 0.0) > 0 for one in segments),
        "heat_map": _heat_map(clustered, lifts, labels),
        "lineage": dict(lineage),
        "funnel": funnel(profile, segment_ids, min_group=method["min_group"]),
        "crossings": _crossings(clustered, profile, segment_ids, method["min_group"]),
        "reading": dict(reading),
        "quality": dict(quality),
        "method": dict(method),
        "audiences": list(audiences),
        "attributes": dict(attributes) if attributes else None,
        "migration": dict(migration) if migration else None,
    }


def _stages(figures: Mapping[str, float]) -> list[dict[str, Any]]:
    shares = {stage: figures.get(f"stage_{stage}_share", 0.0) for stage in STAGES}
    if any(shares.values()):
        shares["too_few"] = 1.0 - sum(shares.values())
    return [{"stage": stage, "share": share} for stage, share in shares.items() if share >= 0.005]


def _totals(profile: pd.DataFrame) -> dict[str, float]:
    """Sums over all customers: spend is what the shop kept of what was paid."""
    return {
        "buyers": int((profile.order_count > 0).sum()),
        "repeat_buyers": int((profile.order_count > 1).sum()),
        "orders": float(profile.order_count.sum()),
        "paid": float(profile.spend.sum()),
        "spend": float(profile.net_spend.sum()),
    }


def _spend_is(profile: pd.DataFrame) -> str:
    """net: less what was given back; paid: nothing came back; before: what came back has no price."""
    if profile.returned_spend.sum() > 0:
        return "net"
    return "before" if profile.returned_item_count.sum() > 0 else "paid"


def _heat_map(clustered: list[dict[str, Any]], lifts: pd.DataFrame, labels: Mapping[str, str]) -> dict[str, Any]:
    ids = [one["segment_id"] for one in clustered if not one["is_small"]]
    columns = list(lifts.columns[:MAX_CATEGORIES]) if ids else []
    values = lifts.loc[ids, columns]
    return {
        "segment_ids": ids,
        "categories": [labels[column] for column in columns],
        "lifts": [[None if np.isnan(lift) else float(lift) for lift in row] for row in values.to_numpy(float)],
    }


def _crossings(
    clustered: list[dict[str, Any]], profile: pd.DataFrame, segment_ids: np.ndarray, min_group: int
) -> list[dict[str, Any]]:
    """Segments by behaviour, in their order, beside each segmentation by rule."""
    ids = [one["segment_id"] for one in clustered if not one["is_small"]]
    inside = np.isin(segment_ids.astype(str), ids)
    own = pd.Series(pd.Categorical(segment_ids[inside], ids), index=profile.index[inside])
    found = {}
    for name, order in CROSSED.items():
        if name in profile:
            groups = profile.loc[inside, name]
            others = sorted(set(groups.dropna()) - set(order))
            found[name] = crossing(own, groups.astype(pd.CategoricalDtype([*order, *others])), min_group=min_group)
    return [{"by": name, **table} for name, table in found.items() if table]
