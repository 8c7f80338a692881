"""Stability under resampling: how well clusters recur, and how often customers keep theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.isotonic import IsotonicRegression
from threadpoolctl import threadpool_limits

from models.clusterers import Fit, sampled_rows
from models.scorer import NOISE, Floats, Ints, assign

BINS = 20
MIN_PER_BIN = 50


@dataclass(frozen=True)
class Resampled:
    """Results of re-clustering random subsets of a sample.

    Attributes
    ----------
    stability : dict of int to float
        Cluster -> mean over resamples of its best Jaccard similarity, 0..1.
    rows : array of int, shape (m,)
        The sample, as row numbers of the points.
    drawn : bool array of shape (resamples, m)
        Which customers were part of each resample.
    stayed : bool array of shape (resamples, m)
        Which customers, drawn or not, were assigned to the new cluster that matches their old one.
    """

    stability: dict[int, float]
    rows: Ints
    drawn: NDArray[np.bool_]
    stayed: NDArray[np.bool_]


def resample(
    space: Floats, labels: Ints, fit: Fit, *, resamples: int, customers: int, seed: int, threads: int = 1
) -> Resampled:
    """Re-cluster subsets of the customers, alternating bootstraps (without duplicates) and random halves.

    Parameters
    ----------
    space, labels : arrays of shape (n, d) and (n,)
        -1 is noise.
    fit : callable
        Points and a seed -> Clusters, with the settings that gave ``labels``.
    customers : int
        Maximum size of the sample.

    References
    ----------
    Hennig, Cluster-wise assessment of cluster stability, Computational Statistics & Data Analysis 52 (2007), as
    implemented by clusterboot of the R package fpc.
    """
    rows = sampled_rows(len(space), customers, seed)
    points, known = space[rows], labels[rows]
    generator = np.random.default_rng(seed)
    draws = [_draw(len(points), generator, is_bootstrap=number % 2 == 0) for number in range(resamples)]
    seeds = generator.integers(2**31 - 1, size=resamples).tolist()

    def recluster(inside: Ints, start: int) -> Ints:
        return cluster_ids(points, fit(points[inside], start).model)

    with threadpool_limits(limits=1):
        reclustered = Parallel(n_jobs=threads, prefer="threads")(map(delayed(recluster), draws, seeds))
    best: dict[int, list[float]] = {number: [] for number in _clusters(known).tolist()}
    drawn, stayed = (np.zeros((resamples, len(points)), dtype=bool) for _ in range(2))
    for number, (inside, new) in enumerate(zip(draws, reclustered, strict=True)):
        for cluster, jaccard in best_jaccards(known[inside], new[inside]).items():
            best[cluster].append(jaccard)
        drawn[number, inside] = True
        stayed[number] = match_to_known(new, known, inside) == known
    means = {number: float(np.mean(values)) if values else 0.0 for number, values in best.items()}
    return Resampled(means, rows, drawn, stayed)


def cluster_ids(points: Floats, model: Mapping[str, Any]) -> Ints:
    """The clusters of `assign`, for centres by one matrix product: its last digits depend on the other rows."""
    if "centres" not in model:
        return np.asarray(assign(points, model)["cluster_id"])
    centres = model["centres"]
    return np.asarray(((centres**2).sum(axis=1) - 2.0 * (points @ centres.T)).argmin(axis=1))


def _draw(count: int, generator: np.random.Generator, *, is_bootstrap: bool) -> Ints:
    if is_bootstrap or count < 2:
        return np.unique(generator.integers(count, size=count))
    return np.sort(generator.choice(count, size=max(2, count // 2), replace=False))


def best_jaccards(known: Ints, new: Ints) -> dict[int, float]:
    """For each known cluster with members here, the Jaccard similarity of the most similar new one; without noise."""
    known_ids, new_ids = _clusters(known), _clusters(new)
    shared = _shared(known, new, known_ids, new_ids)
    before = np.array([(known == cluster).sum() for cluster in known_ids])[:, None]
    after = np.array([(new == cluster).sum() for cluster in new_ids])[None, :]
    jaccards = shared / (before + after - shared)
    return dict(zip(known_ids.tolist(), jaccards.max(axis=1, initial=0.0).tolist(), strict=True))


def _clusters(labels: Ints) -> Ints:
    return np.unique(labels[labels != NOISE])


def _shared(known: Ints, new: Ints, known_ids: Ints, new_ids: Ints) -> Ints:
    """Number of customers that each known and each new cluster share: shape (known clusters, new clusters)."""
    is_clustered = (known != NOISE) & (new != NOISE)
    row, column = np.searchsorted(known_ids, known[is_clustered]), np.searchsorted(new_ids, new[is_clustered])
    shape = len(known_ids), len(new_ids)
    return np.bincount(row * shape[1] + column, minlength=shape[0] * shape[1]).reshape(shape)


def match_to_known(new: Ints, known: Ints, inside: Ints) -> Ints:
    """New clusters renumbered by a one-to-one match with the known ones that keeps most drawn customers in place.

    Noise stays noise; a new cluster without a match becomes -2.
    """
    known_ids, new_ids = _clusters(known), _clusters(new)
    shared = _shared(known[inside], new[inside], known_ids, new_ids)
    matched = np.where(new == NOISE, NOISE, -2)
    for row, column in zip(*linear_sum_assignment(shared, maximize=True), strict=True):
        matched[new == new_ids[column]] = known_ids[row]
    return matched


def stay_rates(margins: Floats, labels: Ints, resampled: Resampled) -> dict[str, NDArray[np.float64] | Ints]:
    """Calibrate margins: the share of customers with a given margin who keep their segment on a resample.

    Only customers outside the resample are counted, because customers scored later are also outside the fitted data.
    Rates are averaged in equal-sized bins within each cluster and made monotone (Zadrozny and Elkan, 2002). A small
    cluster is a single bin.

    Parameters
    ----------
    margins, labels : arrays of shape (n,)
        Margins and clusters of all points; `Resampled.rows` are row numbers of these.

    Returns
    -------
    dict
        staying_clusters (k,), staying_margins (b,) ascending, staying_rates (k, b), for `scorer.assign`. Empty if all
        customers were drawn every time.
    """
    counts = (~resampled.drawn).sum(axis=0)
    if not counts.any():
        return {}
    is_counted = counts > 0
    margin, label = margins[resampled.rows][is_counted], labels[resampled.rows][is_counted]
    rate = (resampled.stayed & ~resampled.drawn).sum(axis=0)[is_counted] / counts[is_counted]
    knots = np.unique(np.concatenate([[0.0], np.quantile(margin, np.linspace(0.0, 1.0, BINS + 1))]))
    clusters, weight = np.unique(label), counts[is_counted].astype(np.float64)
    members = [np.flatnonzero(label == cluster) for cluster in clusters]
    curves = [_monotone(margin[own], rate[own], weight[own], knots) for own in members]
    return {"staying_clusters": clusters, "staying_margins": knots, "staying_rates": np.stack(curves)}


def _monotone(margin: Floats, rate: Floats, weight: Floats, knots: Floats) -> Floats:
    order = np.argsort(margin, kind="stable")
    bins = np.array_split(order, max(1, min(BINS, len(order) // MIN_PER_BIN)))
    centre = np.array([margin[rows].mean() for rows in bins])
    height = np.array([np.average(rate[rows], weights=weight[rows]) for rows in bins])
    size = np.array([weight[rows].sum() for rows in bins])
    rising = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(centre, height, sample_weight=size)
    curve: Floats = np.interp(knots, centre, rising)
    return curve
