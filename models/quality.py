"""How good segments are: silhouette and its kin, density validity, and what they tell of the future."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, roc_auc_score, silhouette_score
from sklearn.model_selection import KFold

from models.clusterers import sampled_rows
from models.scorer import NOISE, Floats, Ints

FOLDS = 5
MIN_BUYERS = 10


def cluster_quality(
    space: Floats, labels: Ints, *, sample_customers: int, seed: int, is_density: bool
) -> dict[str, float | None]:
    """Shape of the clusters, on a sample.

    Parameters
    ----------
    space : array of shape (n, d)
    labels : array of shape (n,)
        -1 is noise, and left out of all figures but its share.

    Returns
    -------
    dict
        silhouette (-1..1), davies_bouldin (lower is better), calinski_harabasz, density_validity (-1..1; for density
        clusters only), noise_share, smallest_share; None where undefined.
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
    figures["silhouette"] = float(silhouette_score(points, sample))
    figures["davies_bouldin"] = float(davies_bouldin_score(points, sample))
    figures["calinski_harabasz"] = float(calinski_harabasz_score(points, sample))
    if is_density:
        figures["density_validity"] = _density_validity(points, sample, seed)
    return figures


def _density_validity(points: Floats, labels: Ints, seed: int) -> float | None:
    """DBCV (Moulavi et al., 2014) on at most 2000 rows, as it grows with the square of their number."""
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


def mean_by_segment(segment: NDArray[Any], outcome: NDArray[Any], *, seed: int) -> Floats:
    """Each customer's outcome predicted, out of fold, by the mean of the segment.

    Parameters
    ----------
    segment : array of shape (n,)
    outcome : array of shape (n,) or (n, m)

    Returns
    -------
    array of the shape of ``outcome``
    """
    outcome = np.asarray(outcome, dtype=np.float64)
    _, number = np.unique(segment, return_inverse=True)
    predicted = np.zeros_like(outcome)
    if len(outcome) < 2:
        return np.full_like(outcome, np.nan)
    for known, held_out in KFold(min(FOLDS, len(outcome)), shuffle=True, random_state=seed).split(outcome):
        overall = outcome[known].mean(axis=0)
        for index in np.unique(number):
            members = known[number[known] == index]
            mean = outcome[members].mean(axis=0) if len(members) else overall
            predicted[held_out[number[held_out] == index]] = mean
    return predicted


def predictive_validity(
    segment: NDArray[Any],
    *,
    bought: NDArray[np.bool_],
    spend: Floats | None = None,
    categories: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """What the segment alone tells of the weeks after it was fixed.

    Parameters
    ----------
    segment : array of shape (n,)
        Fixed before the outcomes.
    bought : bool array of shape (n,)
    spend : float array of shape (n,), optional
    categories : bool array of shape (n, m), optional
        Who bought what; categories with fewer than 10 buyers are left out.

    Returns
    -------
    dict
        buys_auc, spend_r2 (of the log of 1 + spend), category_auc (mean over categories). NaN where undefined:
        everybody bought, or nobody.
    """
    figures = {"buys_auc": _auc(bought, mean_by_segment(segment, bought, seed=seed))}
    if spend is not None:
        log_spend = np.log1p(np.maximum(spend, 0.0))
        error = ((log_spend - mean_by_segment(segment, log_spend, seed=seed)) ** 2).sum()
        total = ((log_spend - log_spend.mean()) ** 2).sum()
        figures["spend_r2"] = float(1.0 - error / total) if total > 0 else float("nan")
    if categories is not None:
        counted = categories[:, (categories.sum(axis=0) >= MIN_BUYERS) & ~categories.all(axis=0)]
        predicted = mean_by_segment(segment, counted, seed=seed)
        aucs = [_auc(counted[:, index], predicted[:, index]) for index in range(counted.shape[1])]
        figures["category_auc"] = float(np.mean(aucs)) if aucs else float("nan")
    return figures


def _auc(outcome: NDArray[Any], predicted: Floats) -> float:
    return float(roc_auc_score(outcome, predicted)) if 0 < np.mean(outcome) < 1 else float("nan")
