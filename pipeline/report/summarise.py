"""The results of a training -> its `Summary`: numbers and keys; `pipeline.report.texts` turns it into texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import pandas as pd

from features.journey import RESPONSES, STAGES
from models.crosstabs import crossing, funnel
from models.disclosure import rounded_count, rounded_total, shown_measure, significant, total_step
from models.migration_tables import GROUP_ORDER
from models.pareto import revenue
from pipeline.report.lineage import lineage_records, lineage_table
from pipeline.report.summary import ActionFigures, Summary

MAX_CATEGORIES = 40
MIN_SPEND_STEP = 0.05
"""Revenue that is rounded to a smaller share of itself needs no note."""
CROSSTAB_GROUPS = {
    "lifecycle_stage": STAGES,
    "temperature": ("cold", "warm", "hot"),
    "value_tier": ("vip", "regular", "occasional", "difficult"),
    "rfm_group": GROUP_ORDER["rfm_group"],
    "campaign_response": RESPONSES,
}
"""Profile columns crosstabulated with the segments -> their groups in order; other groups follow."""


@dataclass(frozen=True)
class Training:
    """The results of a training that its summary is made of.

    Attributes
    ----------
    language : str
        Language of the training; the report can be made in another.
    currency : str or None
        ISO 4217 code of all amounts.
    profile : DataFrame, n rows
        One row per customer.
    facets : sequence of (SegmentTables, mapping)
        The segments of each facet, and its `pipeline.report.summary.FacetSummary`.
    quality : mapping
        `pipeline.report.summary.TrainingQuality`.
    method : mapping
        `pipeline.report.summary.Method`.
    lineage : sequence of mapping
        Rows of `pipeline.segmentation.lineage.SegmentIdentity`, with names.
    crossing : mapping or None
        `pipeline.report.summary.FacetCrosstab`.
    interests : sequence of mapping
        `pipeline.report.summary.CategoryLifts`.
    actions : sequence of ActionFigures
        What to do first, most money at stake first.
    """

    run_id: str
    as_of: datetime
    language: str
    currency: str | None
    profile: pd.DataFrame
    facets: Sequence[tuple[SegmentTables, Mapping[str, Any]]]
    reading: Mapping[str, Any]
    quality: Mapping[str, Any]
    method: Mapping[str, Any]
    lineage: Sequence[Mapping[str, Any]]
    audiences: Sequence[Mapping[str, Any]]
    attributes: Mapping[str, Any] | None
    migration: Mapping[str, Any] | None
    crossing: Mapping[str, Any] | None
    interests: Sequence[Mapping[str, Any]]
    actions: Sequence[ActionFigures] = ()


class SegmentTables(Protocol):
    """The parts of a facet's segments that the summary uses."""

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row per segment, in order: `pipeline.report.summary.Segment` without its stages."""

    @property
    def shop(self) -> dict[str, float]:
        """The figures of all clustered customers."""

    @property
    def lifts(self) -> pd.DataFrame:
        """segment_id x category, in display order."""

    @property
    def labels(self) -> dict[str, str]:
        """Category -> label."""

    @property
    def segment_ids(self) -> np.ndarray:
        """The segment of each customer, shape (n,)."""


def summarise(training: Training) -> Summary:
    """The report as data; contains no customer ids."""
    profile, min_group = training.profile, training.method["min_group"]
    first, first_facet = training.facets[0]
    clustered = [segment for segment in first.table if not segment["is_standing"]]
    has_tiers = "value_tier" in profile
    further = [row for tables, _ in training.facets[1:] for row in tables.table]
    return Summary.model_validate(
        {
            "run_id": training.run_id,
            "language": training.language,
            "currency": training.currency,
            "as_of": f"{training.as_of:%Y-%m-%d %H:%M} UTC",
            "customer_count": rounded_count(len(profile), min_group),
            "clustered_count": first_facet["clustered_count"],
            "segments": [
                *({**segment, "stages": stage_shares(segment, min_group)} for segment in first.table),
                *({**segment, "stages": []} for segment in further),  # the stages of a further facet are not shown
            ],
            "shop": first.shop,
            "totals": _totals(profile, min_group),
            "spend_is": spend_basis(profile),
            "spend_step": spend_step(profile.net_spend, min_group),
            "revenue": revenue(profile.net_spend, profile.value_tier, min_group=min_group) if has_tiers else None,
            "has_spend": any((segment["spend_share"] or 0.0) > 0 for segment in first.table),
            "heat_map": _heat_map(clustered, first.lifts, first.labels, min_group),
            "lineage": lineage_table(lineage_records(training.lineage)),
            "funnel": funnel(profile, first.segment_ids, min_group=min_group),
            "crossings": _crossings(clustered, profile, first.segment_ids, min_group),
            "reading": training.reading,
            "quality": training.quality,
            "method": training.method,
            "audiences": training.audiences,
            "attributes": training.attributes or None,
            "migration": training.migration or None,
            "facets": [facet for _, facet in training.facets],
            "crossing": training.crossing,
            "interests": training.interests,
            "actions": [action.model_dump() for action in training.actions],
        }
    )


def stage_shares(segment: Mapping[str, Any], min_group: int) -> list[dict[str, Any]]:
    """The lifecycle stages of a segment, and the share of the customers whose stage is hidden.

    Stages of fewer than ``min_group`` customers are hidden (``too_few``). If larger ones are hidden as well, because a
    small one could be worked out from them, the remainder is ``rest``.
    """
    figures, size = segment["figures"], segment["customer_count"]
    shown = {stage: figures.get(f"stage_{stage}_share", 0.0) for stage in STAGES}
    if not any(shown.values()):
        return []
    is_complete = all(f"stage_{stage}_share" in figures for stage in STAGES)
    total = sum(shown.values())
    # Rounded shares do not add up to 1.
    remainder, scale = 0.0 if is_complete else max(1.0 - total, 0.0), total if is_complete else max(total, 1.0)
    hidden_count = round(remainder * size)
    stages = [{"stage": stage, "share": share / scale} for stage, share in shown.items() if share > 0]
    if hidden_count > 0:
        stages.append({"stage": "too_few" if hidden_count < min_group else "rest", "share": remainder})
    return stages


def _totals(profile: pd.DataFrame, min_group: int) -> dict[str, float]:
    """Rounded sums over all customers; ``spend`` is revenue net of refunds."""
    return {
        "buyers": rounded_count((profile.order_count > 0).sum(), min_group),
        "repeat_buyers": rounded_count((profile.order_count > 1).sum(), min_group),
        "orders": rounded_total(profile.order_count, min_group),
        "paid": rounded_total(profile.spend, min_group),
        "spend": rounded_total(profile.net_spend, min_group),
    }


def spend_step(spend: pd.Series, min_group: int) -> float:
    """The rounding step of revenue as a share of all of it, at most 1; 0 if it is below `MIN_SPEND_STEP`."""
    total = rounded_total(spend, min_group)
    if min_group <= 1 or total <= 0:
        return 0.0
    step = min(significant(total_step(spend, min_group) / total, 1), 1.0)
    return step if step >= MIN_SPEND_STEP else 0.0


def spend_basis(profile: pd.DataFrame) -> str:
    """net: minus refunds; paid: there were no returns; before: returns have no prices, so refunds are unknown."""
    if profile.returned_spend.sum() > 0:
        return "net"
    return "before" if profile.returned_item_count.sum() > 0 else "paid"


def _heat_map(
    clustered: list[dict[str, Any]], lifts: pd.DataFrame, labels: Mapping[str, str], min_group: int
) -> dict[str, Any]:
    sizes = {segment["segment_id"]: segment["customer_count"] for segment in clustered if not segment["is_small"]}
    columns = list(lifts.columns[:MAX_CATEGORIES]) if sizes else []
    values = lifts.loc[[*sizes], columns].to_numpy(float)
    return {
        "segment_ids": [*sizes],
        "categories": [labels[column] for column in columns],
        "lifts": [
            [shown_measure(lift, size, min_group) for lift in row]
            for row, size in zip(values, sizes.values(), strict=True)
        ],
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
