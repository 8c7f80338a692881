"""Fits the clusters of a facet."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from features.profile import Column
from models.cluster_notes import noise_notes, repeated_notes, stability_notes, too_little_data
from models.cluster_settings import FacetIdentity, HDBSCANSettings, KMeansSettings, QualitySettings
from models.clusterers import Clusters, Fit, fit_hdbscan, fit_kmeans
from models.leading_category import LeadingRule, fit_leading_category
from models.preprocessing import distinct_columns, fit_scaling
from models.quality import cluster_quality
from models.scorer import (
    NOISE,
    Floats,
    Ints,
    assign,
    is_known,
    to_space,
)
from models.selection import Candidate
from models.stability import resample, stay_rates


@dataclass(frozen=True)
class FittedClusters:
    """Clusters of a shop's customers, and their quality.

    Attributes
    ----------
    is_clustered : bool array of shape (n,)
        Rows of the profile with enough events to be clustered.
    labels : int array of shape (number clustered,)
        Cluster of each clustered customer; -1 is noise.
    space : array of shape (number clustered, d)
    quality : dict
        Figures of `cluster_quality`.
    stability : dict of int to float
        Mean Jaccard per cluster.
    candidates : list of Candidate
        Settings tried when the number of segments was chosen.
    ids : dict of int to str
        Cluster -> segment_id, if it was matched with an earlier training (`models.identity`).
    """

    facet: FacetIdentity
    algorithm: str
    scaling: dict[str, Any]
    clusters: Clusters
    is_clustered: np.ndarray
    labels: Ints
    space: Floats
    quality: dict[str, float | None]
    stability: dict[int, float]
    candidates: list[Candidate]
    choice_reason: str
    notes: tuple[str, ...]
    ids: dict[int, str] = field(default_factory=dict)

    def segment_id(self, cluster: int) -> str:
        """The id of a cluster: the one that training assigned, and before that its number."""
        if cluster == NOISE:
            return self.facet.noise_id
        # Once ids are assigned, a plain number could be the id of another cluster.
        return self.ids[cluster] if self.ids else f"{self.facet.id_prefix}{cluster + 1:02}"

    @property
    def model_clusters(self) -> list[int]:
        """All clusters to which the model can assign customers, in order: also those now empty, but not noise."""
        for kind in ("centres", "mix"):
            if kind in self.clusters.model:
                return list(range(len(self.clusters.model[kind])))
        known = set(self.labels.tolist()) | set(self.clusters.model.get("labels", np.array([], int)).tolist())
        return sorted(known - {NOISE})

    @property
    def n_segments(self) -> int:
        """Number of clusters, without noise."""
        return len(set(self.labels.tolist()) - {NOISE})

    @property
    def mean_stability(self) -> float:
        """Mean over clusters; 0 without clusters."""
        return float(np.mean(list(self.stability.values()))) if self.stability else 0.0

    def stable_share(self, min_stability: float) -> float:
        """Share of clustered customers whose cluster has at least that stability; 0 without clusters."""
        values = [self.stability.get(label, 0.0) for label in self.labels[self.labels != NOISE].tolist()]
        return float(np.mean(np.array(values) >= min_stability)) if values else 0.0


@dataclass(frozen=True)
class ClusterInput:
    """Customers as points.

    Attributes
    ----------
    space, quality_space : arrays of shape (number clustered, d)
        Points for clustering, and points on which the separation of clusters is measured.
    scaling : dict
        How profiles are converted to points of ``space``.
    is_clustered : bool array of shape (n,)
        Rows of the profile that are clustered.
    """

    space: Floats
    quality_space: Floats
    scaling: dict[str, Any]
    is_clustered: np.ndarray

    @staticmethod
    def of(clustered: pd.DataFrame, scaling: dict[str, Any], is_clustered: np.ndarray) -> ClusterInput:
        """The points of the ``clustered`` profiles."""
        space = to_space(clustered, scaling)
        return ClusterInput(space, space, scaling, is_clustered)

    def for_rule(self, clustered: pd.DataFrame, rule: LeadingRule) -> ClusterInput:
        """Points for the rule, which uses unscaled shares.

        The separation of its groups is measured in the same space as for clusters.
        """
        scaling = rule.scaling()
        return replace(self, space=to_space(clustered, scaling), scaling=scaling)


def fit_segmentation(
    profile: pd.DataFrame,
    columns: Sequence[Column],
    *,
    facet: FacetIdentity,
    block_weights: Mapping[str, float],
    algorithm: str,
    n_segments: int,
    min_events: int,
    min_evidence: float,
    min_orders: int | None = None,
    kmeans: KMeansSettings,
    hdbscan: HDBSCANSettings,
    leading_rule: LeadingRule | None,
    quality: QualitySettings,
    seed: int,
    starts: Mapping[str, Ints] = MappingProxyType({}),
) -> FittedClusters:
    """Cluster customers with enough events, or orders, and evidence, using the blocks that have a weight.

    Parameters
    ----------
    profile : DataFrame, n rows, sorted by customer_id
    algorithm : str
        kmeans; hdbscan; rule: by ``leading_rule``, or no clusters if it is None.
    n_segments : int
        For KMeans; the other algorithms choose the number themselves.
    min_events, min_evidence, min_orders : int, float, int
        What a customer needs to be clustered; see `models.scorer.is_known`.
    starts : mapping
        For KMeans, see `clusterers.fit_kmeans`; for all n rows.

    Raises
    ------
    ValueError
        No customer has enough events, or the facet has no column.
    """
    columns = _weighted_columns(columns, block_weights, facet)
    if algorithm == "rule" and leading_rule is None:
        return _without_clusters(profile, facet, fit_scaling(profile, columns, block_weights=block_weights))
    minimum = {"min_events": min_events, "min_orders": min_orders, "min_evidence": min_evidence}
    is_clustered = is_known(profile, minimum)
    if not is_clustered.any():
        raise ValueError(too_little_data(facet, len(profile), min_events, min_evidence, min_orders))
    clustered = profile[is_clustered]
    columns, repeated = distinct_columns(clustered, columns)
    points = ClusterInput.of(clustered, fit_scaling(clustered, columns, block_weights=block_weights), is_clustered)
    if algorithm == "rule" and leading_rule is not None:
        points, fit = points.for_rule(clustered, leading_rule), _rule_fit(leading_rule)
        clusters = fit(points.space, seed)
    elif algorithm == "hdbscan":
        clusters, fit = _hdbscan(points, hdbscan, seed)
    else:
        clusters, fit = _kmeans(points, n_segments, kmeans, starts, seed)
    fitted = _evaluate(facet, algorithm, clusters, fit, points, quality=quality, seed=seed)
    return replace(fitted, notes=(*fitted.notes, *repeated_notes(facet, repeated)))


def _weighted_columns(
    columns: Sequence[Column], block_weights: Mapping[str, float], facet: FacetIdentity
) -> list[Column]:
    weighted = [column for column in columns if block_weights.get(column.block, 0.0) > 0.0]
    if not weighted:
        raise ValueError(
            f"facets.{facet.name}: expected columns to cluster by, found none with a weight. "
            f"Set a weight above 0 in facets.{facet.name}.block_weights."
        )
    return weighted


def _rule_fit(rule: LeadingRule) -> Fit:
    return functools.partial(fit_leading_category, rule=rule)


def _hdbscan(points: ClusterInput, settings: HDBSCANSettings, seed: int) -> tuple[Clusters, Fit]:
    """The clusters, and how resamples are clustered: in the same dimensions as the full data."""
    clusters = fit_hdbscan(points.space, seed, **settings)
    reduce = "always" if clusters.is_reduced else "never"
    return clusters, functools.partial(fit_hdbscan, **(settings | {"reduce": reduce}))


def _kmeans(
    points: ClusterInput, n_segments: int, settings: KMeansSettings, starts: Mapping[str, Ints], seed: int
) -> tuple[Clusters, Fit]:
    """The clusters, and how resamples are clustered: without known starts, so stability depends on the customers."""
    own_starts = {source: labels[points.is_clustered] for source, labels in starts.items()}
    clusters = fit_kmeans(points.space, seed, n_segments=n_segments, **settings, starts=own_starts)
    return clusters, functools.partial(fit_kmeans, n_segments=n_segments, **settings)


def _without_clusters(profile: pd.DataFrame, facet: FacetIdentity, scaling: dict[str, Any]) -> FittedClusters:
    space, labels = np.empty((0, len(scaling["names"]))), np.empty(0, dtype=np.int64)
    return FittedClusters(
        facet=facet,
        algorithm="rule",
        scaling=scaling,
        clusters=Clusters({}, labels),
        is_clustered=np.zeros(len(profile), dtype=bool),
        labels=labels,
        space=space,
        quality=cluster_quality(space, labels, sample_customers=1, seed=0, is_density=False),
        stability={},
        candidates=[],
        choice_reason="",
        notes=(f"No clustering: customers are grouped by rules only (facets.{facet.name}.algorithm=rule).",),
    )


def _evaluate(
    facet: FacetIdentity,
    algorithm: str,
    clusters: Clusters,
    fit: Fit,
    points: ClusterInput,
    *,
    quality: QualitySettings,
    seed: int,
) -> FittedClusters:
    space = points.space
    assigned, is_density = assign(space, clusters.model), algorithm == "hdbscan"
    labels = assigned["cluster_id"]
    figures = cluster_quality(
        points.quality_space, labels, sample_customers=quality["sample_customers"], seed=seed, is_density=is_density
    )
    figures["noise_share_fitted"] = float((clusters.fitted_labels == NOISE).mean())
    resampled = resample(
        space,
        labels,
        fit,
        resamples=quality["hdbscan_resamples" if is_density else "stability_resamples"],
        customers=quality["hdbscan_resample_customers" if is_density else "stability_customers"],
        seed=seed,
        threads=1 if is_density else -1,  # UMAP's compiled code is not thread-safe
    )
    notes = (
        *clusters.notes,
        *noise_notes(facet, algorithm, float(assigned["is_noise"].mean()), clusters.model.get("noise")),
    )
    clusters = replace(clusters, model={**clusters.model, **stay_rates(assigned["margin"], labels, resampled)})
    stability = resampled.stability
    notes += stability_notes(facet, algorithm, stability, quality["min_stability"])
    return FittedClusters(
        facet=facet,
        algorithm=algorithm,
        scaling=points.scaling,
        clusters=clusters,
        is_clustered=points.is_clustered,
        labels=labels,
        space=space,
        quality=figures,
        stability=stability,
        candidates=[],
        choice_reason="",
        notes=notes,
    )
