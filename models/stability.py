"""How surely clusters come back, and customers stay in theirs, when parts of the customers are clustered anew."""

from __future__ import annotations

from dataclasses import dataclass

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
    """What became of the clusters of a sample when parts of it were clustered anew.

    Attributes
    ----------
    stability : dict of int to float
        Cluster -> mean over resamples of its best Jaccard, 0..1.
    rows : array of int, shape (m,)
        The sample, as rows of the points.
    drawn : bool array of shape (resamples, m)
        Who was clustered anew.
    stayed : bool array of shape (resamples, m)
        Who came, drawn or not, into the new cluster that stands for their old one.
    """

    stability: dict[int, float]
    rows: Ints
    drawn: NDArray[np.bool_]
    stayed: NDArray[np.bool_]


def resample(
    space: Floats, labels: Ints, fit: Fit, *, resamples: int, customers: int, seed: int, threads: int = 1
) -> Resampled:
    """Cluster parts of the customers anew: by turns a bootstrap, whose repeats count once, and a half.

    Parameters
    ----------
    space, labels : arrays of shape (n, d) and (n,)
        -1 is noise.
    fit : callable
        Points and a seed -> Clusters, with the settings that gave ``labels``.
    customers : int
        Size of the sample at most.

    References
    ----------
    Hennig, Cluster-wise assessment of cluster stability, Computational Statistics & Data Analysis 52 (2007), as
    clusterboot of the R package fpc has it.
    """
    rows = sampled_rows(len(space), customers, seed)
    points, known = space[rows], labels[rows]
    generator = np.random.default_rng(seed)
    draws = [_draw(len(points), generator, is_bootstrap=number % 2 == 0) for number in range(resamples)]
    seeds = generator.integers(2**31 - 1, size=resamples).tolist()

    def again(inside: Ints, start: int) -> Ints:
        found: Ints = assign(points, fit(points[inside], start).model)["cluster_id"]
        return found

    with threadpool_limits(limits=1):
        found = Parallel(n_jobs=threads, prefer="threads")(map(delayed(again), draws, seeds))
    best: dict[int, list[float]] = {number: [] for number in _clusters(known).tolist()}
    drawn, stayed = (np.zeros((resamples, len(points)), dtype=bool) for _ in range(2))
    for number, (inside, new) in enumerate(zip(draws, found, strict=True)):
        for cluster, jaccard in _best_jaccards(known[inside], new[inside]).items():
            best[cluster].append(jaccard)
        drawn[number, inside] = True
        stayed[number] = _renamed(new, known, inside) == known
    means = {number: float(np.mean(values)) if values else 0.0 for number, values in best.items()}
    return Resampled(means, rows, drawn, stayed)


def _draw(count: int, generator: np.random.Generator, *, is_bootstrap: bool) -> Ints:
    if is_bootstrap or count < 2:
        return np.unique(generator.integers(count, size=count))
    return np.sort(generator.choice(count, size=max(2, count // 2), replace=False))


def _best_jaccards(known: Ints, again: Ints) -> dict[int, float]:
    """For each known cluster with members here, the Jaccard of the new cluster most like it; noise is no cluster."""
    old, fresh = _clusters(known), _clusters(again)
    shared = _shared(known, again, old, fresh)
    before = np.array([(known == one).sum() for one in old])[:, None]
    after = np.array([(again == one).sum() for one in fresh])[None, :]
    jaccards = shared / (before + after - shared)
    return dict(zip(old.tolist(), jaccards.max(axis=1, initial=0.0).tolist(), strict=True))


def _clusters(labels: Ints) -> Ints:
    return np.unique(labels[labels != NOISE])


def _shared(known: Ints, again: Ints, old: Ints, fresh: Ints) -> Ints:
    """How many customers each old cluster and each new one have in common: shape (number old, number new)."""
    counts = [[((known == one) & (again == other)).sum() for other in fresh] for one in old]
    return np.array(counts, dtype=np.int64).reshape(len(old), len(fresh))


def _renamed(new: Ints, known: Ints, inside: Ints) -> Ints:
    """New clusters under the numbers of the old, each old one once, so that most of those drawn keep theirs.

    Noise stays noise; a new cluster that stands for no old one is -2.
    """
    old, fresh = _clusters(known), _clusters(new)
    shared = _shared(known[inside], new[inside], old, fresh)
    renamed = np.where(new == NOISE, NOISE, -2)
    for row, column in zip(*linear_sum_assignment(shared, maximize=True), strict=True):
        renamed[new == fresh[column]] = old[row]
    return renamed


def staying(margins: Floats, labels: Ints, resampled: Resampled) -> dict[str, NDArray[np.float64] | Ints]:
    """How a margin is to be read: the share of the customers with it who stay in their segment on a resample.

    Counted over customers who were not drawn, as those scored later are not either; in bins of equal numbers of
    customers within each cluster, made monotone (Zadrozny and Elkan, 2002). Few customers are one bin: their mean.

    Parameters
    ----------
    margins, labels : arrays of shape (n,)
        Of all points; `Resampled.rows` are places among them.

    Returns
    -------
    dict
        staying_clusters (k,), staying_margins (b,) rising, staying_rates (k, b); for `scorer.assign`. Empty where
        everybody was drawn each time.
    """
    counts = (~resampled.drawn).sum(axis=0)
    if not counts.any():
        return {}
    seen = counts > 0
    margin, label = margins[resampled.rows][seen], labels[resampled.rows][seen]
    rate = (resampled.stayed & ~resampled.drawn).sum(axis=0)[seen] / counts[seen]
    knots = np.unique(np.concatenate([[0.0], np.quantile(margin, np.linspace(0.0, 1.0, BINS + 1))]))
    clusters, weight = np.unique(label), counts[seen].astype(np.float64)
    members = [np.flatnonzero(label == cluster) for cluster in clusters]
    curves = [_monotone(margin[own], rate[own], weight[own], knots) for own in members]
    return {"staying_clusters": clusters, "staying_margins": knots, "staying_rates": np.stack(curves)}


def _monotone(margin: Floats, rate: Floats, weight: Floats, knots: Floats) -> Floats:
    order = np.argsort(margin, kind="stable")
    bins = np.array_split(order, max(1, min(BINS, len(order) // MIN_PER_BIN)))
    centre = np.array([margin[one].mean() for one in bins])
    height = np.array([np.average(rate[one], weights=weight[one]) for one in bins])
    size = np.array([weight[one].sum() for one in bins])
    rising = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(centre, height, sample_weight=size)
    curve: Floats = np.interp(knots, centre, rising)
    return curve
