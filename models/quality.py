"""Cluster quality: silhouette and related indices, and density validity."""

from __future__ import annotations

import warnings

import numpy as np
import sklearn
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score
from threadpoolctl import threadpool_limits

from models.clusterers import sampled_rows
from models.scorer import NOISE, Floats, Ints

DISTANCES_MB = 16
"""Memory for distances between customers; with scikit-learn's default of 1024, providing it takes most of the time."""


def cluster_quality(
    space: Floats, labels: Ints, *, sample_customers: int, seed: int, is_density: bool
) -> dict[str, float | None]:
    """Quality indices of the clusters, computed on a sample.

    Parameters
    ----------
    space : array of shape (n, d)
    labels : array of shape (n,)
        -1 is noise. Noise counts only in ``noise_share``.

    Returns
    -------
    dict
        silhouette (-1..1), davies_bouldin (lower is better), calinski_harabasz, density_validity (-1..1; only for
        density clusters), noise_share, smallest_share; None where undefined.
    """
    clustered = labels != NOISE
    sizes = np.bincount(labels[clustered]) if clustered.any() else np.array([0])
    figures: dict[str, float | None] = {
        "silhouette": None,
        "davies_bouldin": None,
        "calinski_harabasz": None,
        "density_validity": None,
        "noise_share": float(1.0 - clustered.mean()) if len(labels) else 0.0,
        "smallest_share": float(sizes[sizes > 0].min() / len(labels)) if sizes.any() else 0.0,
    }
    rows = np.flatnonzero(clustered)
    rows = rows[sampled_rows(len(rows), sample_customers, seed)]
    points, sample = np.ascontiguousarray(space[rows]), labels[rows]
    if not 2 <= len(np.unique(sample)) < len(sample):
        return figures
    with threadpool_limits(limits=1), sklearn.config_context(working_memory=DISTANCES_MB):
        figures["silhouette"] = float(silhouette_score(points, sample))
        figures["davies_bouldin"] = float(davies_bouldin_score(points, sample))
        figures["calinski_harabasz"] = float(calinski_harabasz_score(points, sample))
    if is_density:
        figures["density_validity"] = _density_validity(points, sample, seed)
    return figures


def _density_validity(points: Floats, labels: Ints, seed: int) -> float | None:
    """DBCV (Moulavi et al., 2014) on at most 2,000 rows, because its cost grows with the square of the row count."""
    from hdbscan.validity import validity_index

    rows = sampled_rows(len(points), 2_000, seed)
    rows = rows[np.bincount(labels[rows])[labels[rows]] >= 2]
    if len(np.unique(labels[rows])) < 2:
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            value = float(validity_index(np.array(points[rows], order="C", copy=True), labels[rows]))
        except ValueError:
            return None
    return value if np.isfinite(value) else None
