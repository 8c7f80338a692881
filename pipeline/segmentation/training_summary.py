"""The results of a training as its summary, read by the report and `kindred compare`, and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

import numpy as np

from features.categories import OTHER
from models.disclosure import (
    rounded_count,
    rounded_events,
    rounded_share,
    shown_measure,
    significant_figures,
)
from models.facet_crossing import cross_facets
from models.segmentation import FittedClusters
from pipeline.config.params import Params
from pipeline.ingest.findings.summary import ReadingSummary
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles
from pipeline.report.next_steps import shown_params_file
from pipeline.report.summarise import Training, summarise
from pipeline.report.summary import ActionFigures, Summary
from pipeline.segmentation.data_requirements import history_days
from pipeline.segmentation.describe import Segments
from pipeline.segmentation.expected_values import ExpectedValue
from pipeline.segmentation.lineage import LineageRow
from pipeline.segmentation.predictive_validity import Validity
from pipeline.segmentation.profile_cards import Cards

SHARES_OF_CUSTOMERS = ("smallest_share", "noise_share", "noise_share_fitted")
"""Measures of the quality of clusters that count customers."""
COUNTS_BY_KIND = ("event_types", "other_event_types", "rejected_by_rule", "noted_by_rule", "left_out")
COUNTS_OF_ROWS = ("accepted_count", "rejected_count", "duplicate_count", "unlisted_count")
"""Counts of `ReadingSummary` that are published rounded."""


@dataclass(frozen=True)
class FacetFindings:
    """The results of one facet; the lineage has names."""

    fitted: FittedClusters
    segments: Segments
    lineage: tuple[LineageRow, ...]


@dataclass(frozen=True)
class TrainingFindings:
    """The input and results of a training, before they are written or logged."""

    source: Source
    profiles: Profiles
    facets: Sequence[FacetFindings]
    cards: Cards
    validity: Validity | None
    moved: dict[str, object] | None
    notes: Sequence[str]
    expected_value: ExpectedValue

    @property
    def lineage(self) -> list[dict[str, Any]]:
        """The lineage of all facets, ready for JSON."""
        return [row.as_dict() for facet in self.facets for row in facet.lineage]


def training_summary(
    params: Params, findings: TrainingFindings, run_id: str, *, is_fitted: bool, actions: Sequence[ActionFigures]
) -> Summary:
    """Everything shown of a training."""
    first = findings.facets[0]
    return summarise(
        Training(
            run_id=run_id,
            as_of=params.as_of,
            language=params.language,
            currency=params.currency,
            profile=findings.profiles.table,
            facets=[(facet.segments, _facet_summary(facet, params.naming.min_group)) for facet in findings.facets],
            reading=_reading(findings.source.summary, params.naming.min_group),
            quality={
                **_quality(first, params.naming.min_group),
                "notes": list(findings.notes),
                "validity": _validity(findings.validity, params.naming.min_group) if findings.validity else None,
            },
            method=_method(params, findings, is_fitted=is_fitted),
            lineage=findings.lineage,
            audiences=findings.cards.audiences,
            attributes=findings.cards.attributes,
            migration=findings.moved,
            crossing=_crossing(findings, params),
            interests=lifts_by_category(findings.facets, params.naming.min_group),
            actions=actions,
        )
    )


def _quality(facet: FacetFindings, min_group: int) -> dict[str, Any]:
    fitted = facet.fitted
    figures = {
        "algorithm": fitted.algorithm,
        "n_segments": fitted.n_segments,
        "stability": _mean_stability(facet),
        "choice_reason": fitted.choice_reason,
        "candidates": [
            {**candidate.as_dict(), "separation": candidate.separation}
            for candidate in (candidate.published(min_group) for candidate in fitted.candidates)
        ],
        **_rounded_quality(facet, min_group),
    }
    rounded: dict[str, Any] = significant_figures(figures)
    return rounded


def _stabilities(facet: FacetFindings) -> list[float]:
    """The published stabilities of the segments that were clustered; 0 if none was measured."""
    known = [segment.stability for segment in facet.segments.rows if segment.stability is not None]
    return known if facet.fitted.stability else [0.0]


def _mean_stability(facet: FacetFindings) -> float | None:
    stabilities = _stabilities(facet)
    return float(np.mean(stabilities)) if stabilities else None


def _rounded_quality(facet: FacetFindings, min_group: int) -> dict[str, float | None]:
    """The quality of the clusters and of their rules, rounded."""
    count = int(facet.fitted.is_clustered.sum())
    quality = {
        name: rounded_share(value * count, count, min_group)
        if name in SHARES_OF_CUSTOMERS and value is not None
        else shown_measure(value, count, min_group)
        for name, value in facet.fitted.quality.items()
    }
    return {**quality, "rules_fidelity": shown_measure(facet.segments.rules_fidelity, count, min_group)}


def _reading(summary: ReadingSummary, min_group: int) -> dict[str, Any]:
    """What was read, rounded and to the day: exact rows of files would tell the exact events of a short time.

    Rows of forgotten customers are not counted. The rows read are the sum of the others, so that counts add up.
    """
    reading = {name: value for name, value in summary.as_dict().items() if name != "forgotten_count"}

    def rounded(counts: Mapping[str, int]) -> dict[str, int]:
        shown = rounded_events([*counts.values()], summary.customer_count, min_group)
        return dict(zip(counts, shown.astype(int).tolist(), strict=True))

    days = {
        name: f"{datetime.fromisoformat(reading[name]):%Y-%m-%d} 00:00:00" if reading[name] else ""
        for name in ("first_event_at", "last_event_at")
    }
    counts = {name: rounded(reading[name]) for name in COUNTS_BY_KIND}
    rows = rounded({name: reading[name] for name in COUNTS_OF_ROWS})
    customers = {name: rounded_count(reading[name], min_group) for name in ("customer_count", "joined_count")}
    read = rows["accepted_count"] + rows["rejected_count"] + sum(counts["left_out"].values())
    exact: dict[str, Any] = {"physical_line_count": None, "warnings": []}  # for the terminal alone
    return reading | counts | rows | customers | days | exact | {"read_count": read}


def _validity(validity: Validity, min_group: int) -> dict[str, Any]:
    counts = {name: rounded_count(getattr(validity, name), min_group) for name in ("customer_count", "buyer_count")}
    figures: dict[str, Any] = significant_figures(validity.as_dict())
    return figures | counts


def _facet_summary(facet: FacetFindings, min_group: int) -> dict[str, Any]:
    config = facet.segments.facet
    return {
        "name": config.name,
        "names": config.settings.names,
        "clustered_count": rounded_count(facet.fitted.is_clustered.sum(), min_group),
        "min_events": config.settings.min_events,
        **({"min_orders": config.settings.min_orders} if config.settings.min_orders else {}),
        "min_evidence": config.settings.min_evidence,
        "noise_policy": facet.fitted.clusters.model.get("noise"),
        "shop": dict(facet.segments.shop),
        "quality": _quality(facet, min_group),
    }


def _crossing(findings: TrainingFindings, params: Params) -> dict[str, Any] | None:
    if len(findings.facets) < 2:
        return None
    first, second = findings.facets[0].segments, findings.facets[1].segments
    crossed = cross_facets(
        first.segment_ids,
        second.segment_ids,
        findings.profiles.table.net_spend.to_numpy(np.float64),
        (findings.profiles.table.order_count > 0).to_numpy(bool),
        min_group=params.naming.min_group,
    )
    return {"facets": [first.facet.name, second.facet.name], **crossed}


def _method(params: Params, findings: TrainingFindings, *, is_fitted: bool) -> dict[str, Any]:
    """The settings that explain the figures."""
    first = findings.facets[0]
    return {
        "history_days": params.history_days,
        "log_days": _shown_days(history_days(findings.source, params)),
        "usual_history_days": params.minimum.usual_history_days,
        "horizon_days": params.backtest.horizon_days,
        "timezone": params.local_timezone,
        "tier_by": params.value.tier_measure(has_prices=bool(findings.profiles.shop.spec.value_cuts.money)),
        "min_events": first.segments.facet.settings.min_events,
        "min_group": params.naming.min_group,
        "min_known_share": params.cards.min_known_share,
        "noise_policy": first.fitted.clusters.model.get("noise"),
        "interests": params.interests.model_dump(mode="json", include={"half_life_days", "kappa", "signal_weights"}),
        "is_fitted": is_fitted,
        "query_counts": findings.profiles.query_counts,
        "min_separation": params.sweep.min_separation,
        "min_stable_share": params.sweep.min_stable_share,
        "params_file": shown_params_file(params),
    }


def _shown_days(days: float) -> float:
    """The length of a log to the day, or to the hour below two days: the time of its first event is one customer's."""
    return float(round(days)) if days >= 2 else round(days * 24) / 24


def metrics(facets: Sequence[FacetFindings], min_group: int) -> dict[str, float]:
    """Metrics of each facet, named ``<facet>/<metric>``."""
    return {
        f"{facet.segments.facet.name}/{name}": value
        for facet in facets
        for name, value in _facet_metrics(facet, min_group).items()
    }


def _facet_metrics(facet: FacetFindings, min_group: int) -> Mapping[str, float]:
    fitted, segments = facet.fitted, facet.segments
    is_clustered = fitted.is_clustered
    sizes = [segment.customer_share for segment in segments.rows if not segment.is_rule_based]
    measures = {
        **_rounded_quality(facet, min_group),
        "stability_mean": _mean_stability(facet),
        "stability_min": min(_stabilities(facet), default=None),
    }
    return {
        **{name: value for name, value in measures.items() if value is not None},
        "n_segments": float(fitted.n_segments),
        "low_evidence_share": rounded_share((~is_clustered).sum(), is_clustered.size, min_group),
        "largest_segment_share": max(sizes, default=0.0),
        "segments_with_archetype": float(sum(bool(segment.naming.archetype) for segment in segments.rows)),
        "segments_unstable": float(sum(not segment.is_stable for segment in segments.rows)),
    }


class CategoryLifts(TypedDict):
    """A row of the workbook's table of interests; ``lifts``: segment_id -> lift, only where it is reliable."""

    category: str
    label: str
    lifts: dict[str, float]


def lifts_by_category(facets: Sequence[FacetFindings], min_group: int) -> list[CategoryLifts]:
    """The workbook's table of interests, for the segments of all facets; empty for a log without categories."""
    columns: dict[str, CategoryLifts] = {}
    for facet in facets:
        segments = facet.segments
        sizes = {segment.segment_id: segment.customer_count for segment in segments.rows if segment.is_shown_in_detail}
        for category, lifts in segments.lifts.loc[[*sizes]].items():
            name = str(category)
            column = columns.setdefault(name, {"category": name, "label": segments.labels[name], "lifts": {}})
            column["lifts"] |= {
                str(segment_id): shown
                for segment_id, lift in lifts.items()
                if (shown := shown_measure(lift, sizes[str(segment_id)], min_group)) is not None
            }
    return list(columns.values()) if columns.keys() - {OTHER} else []
