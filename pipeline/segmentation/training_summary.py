"""The results of a training as one plain dict, read by the report and `kindred compare`, and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.facet_crossing import cross_facets
from models.segmentation import FittedClusters
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles
from pipeline.report.summarise import summarise
from pipeline.report.terminal import lineage_table
from pipeline.segmentation.data_requirements import history_days
from pipeline.segmentation.describe import Segments
from pipeline.segmentation.expected_values import ExpectedValue
from pipeline.segmentation.predictive_validity import Validity
from pipeline.segmentation.profile_cards import Cards


@dataclass(frozen=True)
class FacetFindings:
    """The results of one facet.

    Attributes
    ----------
    lineage : list of dict
        Rows of `pipeline.segmentation.lineage.SegmentIdentity`, with names.
    """

    fitted: FittedClusters
    segments: Segments
    lineage: list[dict[str, Any]]


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
        """The lineage of all facets."""
        return [row for facet in self.facets for row in facet.lineage]


def training_summary(params: Params, findings: TrainingFindings, run_id: str, *, is_fitted: bool) -> dict[str, Any]:
    """Everything shown of a training.

    The top level holds the sections of the first facet. ``facets`` has the quality of each facet, ``segments`` the rows
    of all, and ``crossing`` compares the first two.
    """
    first = findings.facets[0]
    segments, profiles = first.segments, findings.profiles
    summary = summarise(
        as_of=params.as_of,
        language=params.language,
        currency=params.currency,
        run_id=run_id,
        reading=findings.source.summary.as_dict(),
        segments=segments.table,
        shop=segments.shop,
        lifts=segments.lifts,
        labels=segments.labels,
        lineage=lineage_table(findings.lineage),
        profile=profiles.table,
        segment_ids=segments.segment_ids,
        clustered_count=int(first.fitted.is_clustered.sum()),
        quality={
            **_quality(first),
            "notes": list(findings.notes),
            "validity": findings.validity.as_dict() if findings.validity else None,
        },
        method=_method(params, findings, is_fitted=is_fitted),
        audiences=findings.cards.audiences,
        attributes=findings.cards.attributes,
        migration=findings.moved,
    )
    return summary | {
        "segments": [*summary["segments"], *(row for facet in findings.facets[1:] for row in _rows(facet))],
        "facets": [_facet_summary(facet) for facet in findings.facets],
        "crossing": _crossing(findings, params),
        "interests": lifts_by_category(findings.facets),
    }


def _rows(facet: FacetFindings) -> list[dict[str, Any]]:
    """Segments of a further facet, which has no chart of lifecycle stages."""
    return [{**row, "stages": []} for row in facet.segments.table]


def _quality(facet: FacetFindings) -> dict[str, Any]:
    fitted, fidelity = facet.fitted, facet.segments.rules_fidelity
    return {
        "algorithm": fitted.algorithm,
        "n_segments": fitted.n_segments,
        "stability": fitted.mean_stability,
        "rules_fidelity": None if np.isnan(fidelity) else fidelity,
        "choice_reason": fitted.choice_reason,
        "candidates": [{**vars(candidate), "separation": candidate.separation} for candidate in fitted.candidates],
        **fitted.quality,
    }


def _facet_summary(facet: FacetFindings) -> dict[str, Any]:
    config = facet.segments.facet
    return {
        "name": config.name,
        "names": config.settings.names,
        "clustered_count": int(facet.fitted.is_clustered.sum()),
        "min_events": config.settings.min_events,
        "min_evidence": config.settings.min_evidence,
        "noise_policy": facet.fitted.clusters.model.get("noise"),
        "shop": dict(facet.segments.shop),
        "quality": _quality(facet),
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
        "log_days": history_days(findings.source, params),
        "usual_history_days": params.minimum.usual_history_days,
        "timezone": params.local_timezone,
        "tier_by": params.value.tier_measure(has_prices=bool(findings.profiles.shop.spec.value_cuts.money)),
        "min_events": first.segments.facet.settings.min_events,
        "min_group": params.naming.min_group,
        "min_known_share": params.cards.min_known_share,
        "noise_policy": first.fitted.clusters.model.get("noise"),
        "interests": params.interests.model_dump(mode="json", include={"half_life_days", "kappa", "signal_weights"}),
        "is_fitted": is_fitted,
        "query_counts": findings.profiles.query_counts,
    }


def metrics(facets: Sequence[FacetFindings]) -> dict[str, float]:
    """Metrics of each facet, named ``<facet>/<metric>``."""
    return {
        f"{facet.segments.facet.name}/{name}": value
        for facet in facets
        for name, value in _facet_metrics(facet).items()
    }


def _facet_metrics(facet: FacetFindings) -> Mapping[str, float]:
    fitted, segments = facet.fitted, facet.segments
    quality = {name: value for name, value in fitted.quality.items() if value is not None}
    sizes = [row["customer_share"] for row in segments.table if not row["is_standing"]]
    return {
        **quality,
        "n_segments": float(fitted.n_segments),
        "stability_mean": fitted.mean_stability,
        "stability_min": min(fitted.stability.values(), default=0.0),
        "low_evidence_share": float(1.0 - fitted.is_clustered.mean()),
        "largest_segment_share": max(sizes, default=0.0),
        "segments_with_archetype": float(sum(bool(row["archetype"]) for row in segments.table)),
        **({} if np.isnan(segments.rules_fidelity) else {"rules_fidelity": segments.rules_fidelity}),
        "segments_unstable": float(sum(not row["is_stable"] for row in segments.table)),
    }


def lifts_by_category(facets: Sequence[FacetFindings]) -> list[dict[str, Any]]:
    """The workbook's table of interests: category, label, lifts (segment_id -> lift, only where it is reliable)."""
    columns: dict[str, dict[str, Any]] = {}
    for facet in facets:
        segments = facet.segments
        shown = [row["segment_id"] for row in segments.table if not row["is_small"] and not row["is_standing"]]
        for category, lifts in segments.lifts.loc[shown].items():
            name = str(category)
            column = columns.setdefault(name, {"category": name, "label": segments.labels[name], "lifts": {}})
            column["lifts"] |= {segment_id: float(lift) for segment_id, lift in lifts.dropna().items()}
    return list(columns.values())
