"""What a training found, as one plain dict that the report and `kindred compare` read; and its metrics."""

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
from pipeline.segmentation.predictive_validity import Validity
from pipeline.segmentation.profile_cards import Cards


@dataclass(frozen=True)
class FoundFacet:
    """What was found in one facet.

    Attributes
    ----------
    lineage : list of dict
        Rows of `pipeline.segmentation.lineage.Identified`, with names.
    """

    fitted: FittedClusters
    segments: Segments
    lineage: list[dict[str, Any]]


@dataclass(frozen=True)
class Found:
    """What a training read and found, before anything is kept of it."""

    source: Source
    profiles: Profiles
    facets: Sequence[FoundFacet]
    cards: Cards
    validity: Validity | None
    moved: dict[str, object] | None
    notes: Sequence[str]

    @property
    def lineage(self) -> list[dict[str, Any]]:
        """Of all facets."""
        return [row for facet in self.facets for row in facet.lineage]


def training_summary(params: Params, found: Found, run_id: str, *, is_fitted: bool) -> dict[str, Any]:
    """Everything that is shown of a training.

    Sections of the first facet stand at the top; ``facets`` has the quality and the interests of each, and ``segments``
    the rows of all. ``crossing`` is that of the first two facets.
    """
    first = found.facets[0]
    segments, profiles = first.segments, found.profiles
    summary = summarise(
        as_of=params.as_of,
        language=params.language,
        currency=params.currency,
        run_id=run_id,
        reading=found.source.summary.as_dict(),
        segments=segments.table,
        shop=segments.shop,
        lifts=segments.lifts,
        labels=segments.labels,
        lineage=lineage_table(found.lineage),
        profile=profiles.table,
        segment_ids=segments.segment_ids,
        clustered_count=int(first.fitted.is_clustered.sum()),
        quality={
            **_quality(first),
            "notes": list(found.notes),
            "validity": found.validity.as_dict() if found.validity else None,
        },
        method=_method(params, found, is_fitted=is_fitted),
        audiences=found.cards.audiences,
        attributes=found.cards.attributes,
        migration=found.moved,
    )
    return summary | {
        "segments": [*summary["segments"], *(row for facet in found.facets[1:] for row in _rows(facet))],
        "facets": [_facet_summary(facet) for facet in found.facets],
        "crossing": _crossing(found, params),
        "interests": lifts_by_category(found.facets),
    }


def _rows(facet: FoundFacet) -> list[dict[str, Any]]:
    """Segments of a facet that has no chart of lifecycle stages."""
    return [{**row, "stages": []} for row in facet.segments.table]


def _quality(facet: FoundFacet) -> dict[str, Any]:
    fitted, fidelity = facet.fitted, facet.segments.rules_fidelity
    return {
        "algorithm": fitted.algorithm,
        "n_segments": fitted.n_segments,
        "stability": fitted.mean_stability,
        "rules_fidelity": None if np.isnan(fidelity) else fidelity,
        "choice_reason": fitted.choice_reason,
        "candidates": [{**vars(one), "separation": one.separation} for one in fitted.candidates],
        **fitted.quality,
    }


def _facet_summary(facet: FoundFacet) -> dict[str, Any]:
    own = facet.segments.facet
    return {
        "name": own.name,
        "names": own.settings.names,
        "clustered_count": int(facet.fitted.is_clustered.sum()),
        "min_events": own.settings.min_events,
        "min_evidence": own.settings.min_evidence,
        "noise_policy": facet.fitted.clusters.model.get("noise"),
        "shop": dict(facet.segments.shop),
        "quality": _quality(facet),
    }


def _crossing(found: Found, params: Params) -> dict[str, Any] | None:
    if len(found.facets) < 2:
        return None
    first, second = found.facets[0].segments, found.facets[1].segments
    crossed = cross_facets(
        first.segment_ids,
        second.segment_ids,
        found.profiles.table.net_spend.to_numpy(np.float64),
        (found.profiles.table.order_count > 0).to_numpy(bool),
        min_group=params.naming.min_group,
    )
    return {"facets": [first.facet.name, second.facet.name], **crossed}


def _method(params: Params, found: Found, *, is_fitted: bool) -> dict[str, Any]:
    """What the numbers rest on."""
    first = found.facets[0]
    return {
        "history_days": params.history_days,
        "log_days": history_days(found.source, params),
        "usual_history_days": params.minimum.usual_history_days,
        "timezone": params.local_timezone,
        "tier_by": params.value.decided_by(has_prices=bool(found.profiles.shop.spec.value_cuts.money)),
        "min_events": first.segments.facet.settings.min_events,
        "min_group": params.naming.min_group,
        "min_known_share": params.cards.min_known_share,
        "noise_policy": first.fitted.clusters.model.get("noise"),
        "interests": params.interests.model_dump(mode="json", include={"half_life_days", "kappa", "signal_weights"}),
        "is_fitted": is_fitted,
        "query_counts": found.profiles.query_counts,
    }


def metrics(facets: Sequence[FoundFacet]) -> dict[str, float]:
    """Figures of each facet, under its name and a slash."""
    return {
        f"{facet.segments.facet.name}/{name}": value
        for facet in facets
        for name, value in _facet_metrics(facet).items()
    }


def _facet_metrics(facet: FoundFacet) -> Mapping[str, float]:
    fitted, segments = facet.fitted, facet.segments
    quality = {name: value for name, value in fitted.quality.items() if value is not None}
    sizes = [one["customer_share"] for one in segments.table if not one["is_standing"]]
    return {
        **quality,
        "n_segments": float(fitted.n_segments),
        "stability_mean": fitted.mean_stability,
        "stability_min": min(fitted.stability.values(), default=0.0),
        "low_evidence_share": float(1.0 - fitted.is_clustered.mean()),
        "largest_segment_share": max(sizes, default=0.0),
        "segments_with_archetype": float(sum(bool(one["archetype"]) for one in segments.table)),
        **({} if np.isnan(segments.rules_fidelity) else {"rules_fidelity": segments.rules_fidelity}),
        "segments_unstable": float(sum(not one["is_stable"] for one in segments.table)),
    }


def lifts_by_category(facets: Sequence[FoundFacet]) -> list[dict[str, Any]]:
    """What the workbook shows of interests: category, label, lifts (segment_id -> lift, where it is certain)."""
    columns: dict[str, dict[str, Any]] = {}
    for facet in facets:
        segments = facet.segments
        shown = [one["segment_id"] for one in segments.table if not one["is_small"] and not one["is_standing"]]
        for category, lifts in segments.lifts.loc[shown].items():
            name = str(category)
            own = columns.setdefault(name, {"category": name, "label": segments.labels[name], "lifts": {}})
            own["lifts"] |= {segment_id: float(lift) for segment_id, lift in lifts.dropna().items()}
    return list(columns.values())
