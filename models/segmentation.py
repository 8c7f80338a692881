"""Segmentation: what is fitted for each facet, saved, loaded and scored."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from features.profile import Column
from models.arrays import save_arrays
from models.clusterers import Clusters, Fit, fit_hdbscan, fit_kmeans
from models.leading_category import LeadingRule, fit_leading_category
from models.preprocessing import fit_scaling
from models.quality import cluster_quality
from models.scorer import FACETS_FILE, NOISE, Floats, Ints, assign, is_known, read_model, score_columns, to_space
from models.selection import Candidate
from models.stability import resample, staying
from models.what_if import CHANGED


def input_columns(columns: Sequence[Column]) -> list[str]:
    """Columns that a model asks for: of the clusters, of what moves change, and of the groups by rule."""
    return [
        *dict.fromkeys([*(name for column in columns for name in column.reads), *CHANGED]),
        "evidence",
        "lifecycle_stage",
    ]


@dataclass(frozen=True)
class FacetIdentity:
    """How the segments of one facet are marked.

    Attributes
    ----------
    name : str
        As in params.yaml.
    id_prefix : str
        What a segment_id begins with, before its number: s01, i01.
    noise_id : str
        segment_id of the customers between the clusters.
    """

    name: str
    id_prefix: str
    noise_id: str


@dataclass(frozen=True)
class FittedClusters:
    """Clusters of a shop's customers, and how good they are.

    Attributes
    ----------
    is_clustered : bool array of shape (n,)
        Rows of the profile with enough events to be clustered.
    labels : int array of shape (number clustered,)
        Cluster of each of them; -1 is noise.
    space : array of shape (number clustered, d)
    quality : dict
        Figures of `cluster_quality`.
    stability : dict of int to float
        Mean Jaccard per cluster.
    candidates : list of Candidate
        What was tried, when the number of segments was chosen.
    ids : dict of int to str
        Cluster -> segment_id, where it was matched with an earlier training (`models.identity`).
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
        """The identity of a cluster: what training gave it, and before that its number."""
        if cluster == NOISE:
            return self.facet.noise_id
        # Where some have an id, a number might be another one's.
        return self.ids[cluster] if self.ids else f"{self.facet.id_prefix}{cluster + 1:02}"

    @property
    def model_clusters(self) -> list[int]:
        """All clusters the model can put somebody in, in order; those of nobody today among them, noise not."""
        for kind in ("centres", "mix"):
            if kind in self.clusters.model:
                return list(range(len(self.clusters.model[kind])))
        known = set(self.labels.tolist()) | set(self.clusters.model.get("labels", np.array([], int)).tolist())
        return sorted(known - {NOISE})

    @property
    def n_segments(self) -> int:
        """Clusters found, noise not counted."""
        return len(set(self.labels.tolist()) - {NOISE})

    @property
    def mean_stability(self) -> float:
        """Mean over clusters, 0 where there are none."""
        return float(np.mean(list(self.stability.values()))) if self.stability else 0.0

    def stable_share(self, min_stability: float) -> float:
        """Customers in clusters of at least that stability, as a share of those in any; 0 where there are none."""
        of_each = [self.stability.get(label, 0.0) for label in self.labels[self.labels != NOISE].tolist()]
        return float(np.mean(np.array(of_each) >= min_stability)) if of_each else 0.0


@dataclass(frozen=True)
class Places:
    """Customers as points.

    Attributes
    ----------
    space, judged_space : arrays of shape (number clustered, d)
        Where they are clustered, and where it is judged how clearly clusters part.
    scaling : dict
        How profiles become points of ``space``.
    is_clustered : bool array of shape (n,)
        Rows of the profile that are clustered.
    """

    space: Floats
    judged_space: Floats
    scaling: dict[str, Any]
    is_clustered: np.ndarray


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
    kmeans: Mapping[str, Any],
    hdbscan: Mapping[str, Any],
    leading_rule: LeadingRule | None,
    quality: Mapping[str, Any],
    seed: int,
    starts: Mapping[str, Ints] = MappingProxyType({}),
) -> FittedClusters:
    """Cluster the customers who have at least ``min_events`` events and ``min_evidence``, by the blocks with a weight.

    Parameters
    ----------
    profile : DataFrame, n rows, sorted by customer_id
    algorithm : str
        kmeans; hdbscan; rule: by ``leading_rule``, or nobody where it is None.
    n_segments : int
        For KMeans; the others find their own number.
    starts : mapping
        For KMeans, see `clusterers.fit_kmeans`; of all n rows.

    Raises
    ------
    ValueError
        Nobody has enough events, or the facet has no column.
    """
    columns = [column for column in columns if block_weights.get(column.block, 0.0) > 0.0]
    if not columns:
        raise ValueError(f"facets.{facet.name}: expected columns to cluster by, found none with a weight.")
    if algorithm == "rule" and leading_rule is None:
        return _nobody_clustered(profile, facet, fit_scaling(profile, columns, block_weights=block_weights))
    is_clustered = is_known(profile, {"min_events": min_events, "min_evidence": min_evidence})
    if not is_clustered.any():
        raise ValueError(_nobody_is_known(facet, len(profile), min_events, min_evidence))
    clustered = profile[is_clustered]
    scaling = fit_scaling(clustered, columns, block_weights=block_weights)
    space = to_space(clustered, scaling)
    # The rule reads shares as they are; how clearly its groups part is judged where the clusters are.
    judged = space
    if algorithm == "rule" and leading_rule is not None:
        scaling = leading_rule.scaling()
        space = to_space(clustered, scaling)
        fit: Fit = functools.partial(fit_leading_category, rule=leading_rule)
        clusters = fit(space, seed)
    elif algorithm == "hdbscan":
        clusters = fit_hdbscan(space, seed, **hdbscan)
        # Resamples do as the whole did.
        reduce = "always" if clusters.is_reduced else "never"
        fit = functools.partial(fit_hdbscan, **{**hdbscan, "reduce": reduce})
    else:
        # Resamples begin afresh, so that stability shows what the customers alone bring back.
        fit = functools.partial(fit_kmeans, n_segments=n_segments, **kmeans)
        known = {whose: of[is_clustered] for whose, of in starts.items()}
        clusters = fit_kmeans(space, seed, n_segments=n_segments, **kmeans, starts=known)
    places = Places(space, judged, scaling, is_clustered)
    return _judged(facet, algorithm, clusters, fit, places, quality=quality, seed=seed)


def _nobody_is_known(facet: FacetIdentity, count: int, min_events: int, min_evidence: float) -> str:
    return (
        f"facets.{facet.name}: expected customers with at least {min_events} events and evidence of {min_evidence:g}, "
        f"found none among {count:,}. Lower min_events or min_evidence there, or give a longer log."
    )


def _nobody_clustered(profile: pd.DataFrame, facet: FacetIdentity, scaling: dict[str, Any]) -> FittedClusters:
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
        notes=(f"Nothing was clustered: customers are grouped by rule alone (facets.{facet.name}.algorithm=rule).",),
    )


def _judged(
    facet: FacetIdentity,
    algorithm: str,
    clusters: Clusters,
    fit: Fit,
    places: Places,
    *,
    quality: Mapping[str, Any],
    seed: int,
) -> FittedClusters:
    space = places.space
    found, is_density = assign(space, clusters.model), algorithm == "hdbscan"
    labels = found["cluster_id"]
    figures = cluster_quality(
        places.judged_space, labels, sample_customers=quality["sample_customers"], seed=seed, is_density=is_density
    )
    figures["noise_share_fitted"] = float((clusters.fitted_labels == NOISE).mean())
    resampled = resample(
        space,
        labels,
        fit,
        resamples=quality["hdbscan_resamples" if is_density else "stability_resamples"],
        customers=quality["hdbscan_resample_customers" if is_density else "stability_customers"],
        seed=seed,
        threads=1 if is_density else -1,  # UMAP's compiled code bears no second thread
    )
    notes = (
        *clusters.notes,
        *_noise_notes(facet, algorithm, float(found["is_noise"].mean()), clusters.model.get("noise")),
    )
    clusters = replace(clusters, model={**clusters.model, **staying(found["margin"], labels, resampled)})
    came_back = resampled.stability
    notes += _stability_notes(facet, came_back, quality["min_stability"])
    return FittedClusters(
        facet=facet,
        algorithm=algorithm,
        scaling=places.scaling,
        clusters=clusters,
        is_clustered=places.is_clustered,
        labels=labels,
        space=space,
        quality=figures,
        stability=came_back,
        candidates=[],
        choice_reason="",
        notes=notes,
    )


def _noise_notes(facet: FacetIdentity, algorithm: str, share: float, policy: str | None) -> tuple[str, ...]:
    """What became of the customers between the clusters, in words."""
    if not share or policy is None:
        return ()
    if algorithm == "rule":
        return (f"{share:.0%} of the customers grouped by {facet.name} have no leading category: broad interests.",)
    done = {
        "nearest": "they are in the nearest segment all the same",
        "keep": "they are a group of their own",
        "standing": "they are grouped by rule instead",
    }[policy]
    return (
        f"{share:.0%} of the customers clustered lie between HDBSCAN's segments of {facet.name}: {done} "
        f"(facets.{facet.name}.noise); their evidence in the scores is {facet.noise_id}.",
    )


def _stability_notes(facet: FacetIdentity, stability: Mapping[int, float], least: float) -> tuple[str, ...]:
    count = sum(value < least for value in stability.values())
    if not count:
        return ()
    comes, has = ("comes", "it has") if count == 1 else ("come", "they have")
    return (
        f"{count} of {len(stability)} segments of {facet.name} rarely {comes} back when parts of the customers are "
        f"clustered anew (stability below {least:g}); {has} no campaign name and no playbook. Fewer segments come back "
        f"more often: a smaller facets.{facet.name}.n_segments, or for HDBSCAN a larger min_cluster_share there.",
    )


@dataclass(frozen=True)
class Segmentation:
    """A named segmentation, ready to score.

    Attributes
    ----------
    facets : dict
        Name of a facet -> what `scorer.segment_columns` reads: prefix, scaling, clusters, segments (segment_id,
        cluster_id, name), standing (groups by rule), grouped_by, evidence_words, min_events, min_evidence,
        border_margin, and moves where customers may be moved.
    """

    facets: dict[str, dict[str, Any]]

    @staticmethod
    def load(folder: Path) -> Segmentation:
        """What `save` wrote."""
        return Segmentation({facet["name"]: facet for facet in read_model(folder)["facets"]})

    def predict(self, profile: pd.DataFrame) -> pd.DataFrame:
        """The segment columns of scores, as the saved model gives them."""
        return score_columns(profile, {"facets": list(self.facets.values())})

    def save(self, folder: Path) -> None:
        """Write a folder for each facet: the same bytes for the same content, and no pickle."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FACETS_FILE).write_text(json.dumps([*self.facets]), encoding="utf-8")
        for name, model in self.facets.items():
            _save_facet(model, folder / name)


def _save_facet(model: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    plain = {key: value for key, value in model.items() if key not in ("scaling", "clusters")}
    arrays: dict[str, np.ndarray] = {}
    for section in ("scaling", "clusters"):
        plain[section] = {}
        for key, value in model[section].items():
            if isinstance(value, np.ndarray):
                arrays[f"{section}.{key}"] = value
            else:
                plain[section][key] = value
    text = json.dumps(plain, ensure_ascii=False, sort_keys=True, indent=1)
    (folder / "model.json").write_text(text, encoding="utf-8")
    save_arrays(folder / "arrays.npz", arrays)
