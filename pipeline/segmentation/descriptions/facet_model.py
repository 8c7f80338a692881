"""The model of a facet as `models.scorer.segment_columns` reads it: arrays and plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

from features.events import EventType
from models.identity import RULE_GROUP_PREFIX
from models.naming import in_languages
from models.scorer import NOISE, UNUSUAL_STAGE
from models.segment_names import Naming
from models.what_if import Move, MoveChanges, moves_as_changes, possible_moves
from pipeline.config.facets import BROAD_ID, UNKNOWN_ID, Facet
from pipeline.config.params import Params
from pipeline.segmentation.cluster import FacetClusters, noise_policy
from pipeline.segmentation.descriptions.rows import is_stable


class ModelSegment(TypedDict, total=False):
    """A cluster's segment in the model; those grouped by rule have no ``is_broad`` and ``value_rank``."""

    cluster_id: int
    segment_id: str | None
    name: str | None
    is_stable: bool
    is_broad: bool
    value_rank: int


class ModelRuleGroup(TypedDict):
    """A rule-based group in the model."""

    segment_id: str
    name: str


def facet_model(clusters: FacetClusters, named: Mapping[str, Naming], ranks: Mapping[str, int]) -> dict[str, Any]:
    """The model; its names are those by figures, because names given by hand are added when customers are scored.

    ``ranks`` are `models.what_if.value_ranks`.
    """
    facet, fitted, params = clusters.facet, clusters.fitted, clusters.params
    numbers = fitted.model_clusters
    has_noise = NOISE in fitted.labels or NOISE in fitted.clusters.model.get("labels", ())
    if (has_noise and noise_policy(fitted) != "nearest") or fitted.algorithm == "rule":
        numbers = [NOISE, *numbers] if numbers else []
    has_own_segment, caps = params.outliers.action == "own_segment", clusters.profiles.caps
    return {
        "name": facet.name,
        "prefix": facet.column_prefix,
        "scaling": fitted.scaling,
        "clusters": fitted.clusters.model,
        "segments": [model_segment(int(cluster), clusters, named, ranks) for cluster in numbers],
        "standing": _rule_based_groups(facet, params),
        "grouped_by": None if facet.is_named_by_interests and not has_own_segment else "lifecycle_stage",
        "evidence_words": [
            *("ok", "low", "broad" if facet.is_named_by_interests else "noise"),
            *([UNUSUAL_STAGE] if has_own_segment else []),
        ],
        "min_events": facet.settings.min_events,
        **({"min_orders": facet.settings.min_orders} if facet.settings.min_orders else {}),
        "min_evidence": facet.settings.min_evidence,
        "border_margin": params.clustering.border_margin,
        **({} if facet.is_named_by_interests else {"moves": _moves(clusters)}),
        **({"caps": caps} if caps else {}),
    }


def _rule_based_groups(facet: Facet, params: Params) -> dict[str, ModelRuleGroup]:
    """Value of the grouping column -> the rule-based group. An unknown value is in `browsing`, or the first by id."""
    has_own_segment = params.outliers.action == "own_segment"
    stages: dict[str, ModelRuleGroup] = {
        stage: {"segment_id": RULE_GROUP_PREFIX + stage, "name": getattr(group.name, params.language)}
        for stage, group in params.naming.standing.items()
        if stage != UNUSUAL_STAGE or has_own_segment
    }
    if not facet.is_named_by_interests:
        return stages
    name = in_languages("unknown")[params.language]
    unknown: ModelRuleGroup = {"segment_id": RULE_GROUP_PREFIX + UNKNOWN_ID, "name": name}
    return {UNKNOWN_ID: unknown, **({UNUSUAL_STAGE: stages[UNUSUAL_STAGE]} if has_own_segment else {})}


def model_segment(
    cluster: int, clusters: FacetClusters, named: Mapping[str, Naming], ranks: Mapping[str, int]
) -> ModelSegment:
    """A cluster's segment in the model; nulls if its customers are grouped by their lifecycle stage."""
    fitted, params = clusters.fitted, clusters.params
    if cluster == NOISE and noise_policy(fitted) == "standing":
        return {"cluster_id": cluster, "segment_id": None, "name": None, "is_stable": True}
    segment_id = fitted.segment_id(cluster)
    naming = named.get(segment_id)
    names = naming.names.by_figures if naming else in_languages("broad" if segment_id == BROAD_ID else "noise")
    return {
        "cluster_id": cluster,
        "segment_id": segment_id,
        "name": names[params.language],
        "is_stable": is_stable(fitted.stability.get(cluster), params),
        "is_broad": naming is not None and naming.is_broad,
        # A segment that nobody was in is not known to be worth less than any other.
        "value_rank": ranks.get(segment_id, len(ranks)),
    }


def _moves(clusters: FacetClusters) -> list[MoveChanges]:
    params, clustered = clusters.params, clusters.clustered
    moves = [
        Move(**{**move.model_dump(), "text": getattr(move.text, params.language).format(days=f"{move.days:g}")})
        for move in params.moves
    ]
    event_counts = {kind: float(clustered[f"{kind}_count"].sum()) for kind in EventType}
    spend_per_order = (clustered.spend / clustered.order_count.where(clustered.order_count > 0)).median()
    activity = params.interests.activity
    return moves_as_changes(
        possible_moves(moves, event_counts),
        spend_per_order=float(np.nan_to_num(spend_per_order)),
        half_life_days=activity.half_life_days,
        signal_weights=activity.signal_weights,
    )
