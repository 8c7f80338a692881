"""Settings of clustering: how segments are identified, fitted and judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


@dataclass(frozen=True)
class FacetIdentity:
    """How the segments of one facet are identified.

    Attributes
    ----------
    name : str
        As in params.yaml.
    id_prefix : str
        Prefix of a segment_id, before its number, as in s01 and i01.
    noise_id : str
        segment_id of customers between the clusters.
    """

    name: str
    id_prefix: str
    noise_id: str


class KMeansSettings(TypedDict):
    """Arguments of `models.clusterers.fit_kmeans`."""

    n_init: int
    max_iter: int
    fit_customers: int
    start_tolerance: float


class HDBSCANSettings(TypedDict):
    """Arguments of `models.clusterers.fit_hdbscan`."""

    fit_customers: int
    min_cluster_share: float
    min_samples: int
    n_components: int
    n_neighbors: int
    selection: str
    reduce: str
    noise: str
    vote_neighbors: int


class QualitySettings(TypedDict):
    """How clusters are judged: customers and resamples for separation and stability, and the least stability."""

    sample_customers: int
    stability_resamples: int
    stability_customers: int
    hdbscan_resamples: int
    hdbscan_resample_customers: int
    min_stability: float
