"""Results -> one plain dict of numbers and keys; `report.texts.wording` turns it into texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from features.journey import RESPONSES, STAGES
from models.crosstabs import crossing, funnel
from models.migration_tables import GROUP_ORDER
from models.pareto import revenue

MAX_CATEGORIES = 40
CROSSTAB_GROUPS = {
    "lifecycle_stage": STAGES,
    "temperature": ("cold", "warm", "hot"),
    "value_tier": ("vip", "regular", "occasional", "difficult"),
    "rfm_group": GROUP_ORDER["rfm_group"],
    "campaign_response": RESPONSES,
}
"""Profile columns crosstabulated with the segments -> their groups in order; other groups follow."""


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
        Language of the training; the report can be made in another.
    currency : str, optional
        ISO 4217 code of all amounts.
    segments : list of dict
        The segments, in the order of the report.
    shop : mapping
        Figures of all clustered customers.
    lifts : DataFrame
        segment_id x category, in display order.
    lineage : mapping
        `pipeline.report.terminal.lineage_table`.
    profile, segment_ids : DataFrame, array, n rows
        One row per customer, and the segment of each.
    method : mapping
        How the numbers were computed: history_days, min_events, min_group, min_known_share, noise_policy, interests
        (half_life_days, kappa, signal_weights), is_fitted, query_counts, usual_history_days.
    audiences, attributes : sequence of mapping, mapping or None
        `pipeline.segmentation.profile_cards.Cards`.
    migration : mapping
        `models.migration_tables.stage_moves`.

    Returns
    -------
    dict
        Can be stored as JSON; contains no customer ids.
    """
    clustered = [segment for segment in segments if not segment["is_standing"]]
    return {
        "run_id": run_id,
        "language": language,
        "currency": currency,
        "as_of": f"{as_of:%Y-%m-%d %H:%M} UTC",
        "customer_count": len(profile),
        "clustered_count": clustered_count,
        "segments": [{**segment, "stages": _stages(segment["figures"])} for segment in segments],
        "shop": dict(shop),
        "totals": _totals(profile),
        "spend_is": spend_basis(profile),
        "revenue": revenue(profile.net_spend, profile.value_tier, min_group=method["min_group"])
        if "value_tier" in profile
        else None,
        "has_spend": any((segment["spend_share"] or 0.0) > 0 for segment in segments),
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
    """Sums over all customers; ``spend`` is revenue net of refunds."""
    return {
        "buyers": int((profile.order_count > 0).sum()),
        "repeat_buyers": int((profile.order_count > 1).sum()),
        "orders": float(profile.order_count.sum()),
        "paid": float(profile.spend.sum()),
        "spend": float(profile.net_spend.sum()),
    }


def spend_basis(profile: pd.DataFrame) -> str:
    """net: minus refunds; paid: there were no returns; before: returns have no prices, so refunds are unknown."""
    if profile.returned_spend.sum() > 0:
        return "net"
    return "before" if profile.returned_item_count.sum() > 0 else "paid"


def _heat_map(clustered: list[dict[str, Any]], lifts: pd.DataFrame, labels: Mapping[str, str]) -> dict[str, Any]:
    ids = [segment["segment_id"] for segment in clustered if not segment["is_small"]]
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
    """Crosstabs of the behaviour segments, in their order, with each rule-based segmentation."""
    ids = [segment["segment_id"] for segment in clustered if not segment["is_small"]]
    is_shown = np.isin(segment_ids.astype(str), ids)
    segments = pd.Series(pd.Categorical(segment_ids[is_shown], ids), index=profile.index[is_shown])
    tables = {}
    for name, order in CROSSTAB_GROUPS.items():
        if name in profile:
            groups = profile.loc[is_shown, name]
            others = sorted(set(groups.dropna()) - set(order))
            tables[name] = crossing(
                segments, groups.astype(pd.CategoricalDtype([*order, *others])), min_group=min_group
            )
    return [{"by": name, **table} for name, table in tables.items() if table]
