"""KMeans and HDBSCAN behind one face: points in, clusters out that new points can be assigned to.

Rows come sorted by customer. Clusters are numbered by size, the largest 0, so that a number means the same whatever
order rows or starts came in.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from models.scorer import NOISE, Floats, Ints

POOR_NOISE_SHARE = 0.5
MIN_ROWS_FOR_UMAP = 200
UMAP_EPOCHS = 200
"""UMAP's own default above 10,000 rows; its 500 below take up to twice as long, for no surer clusters."""


@dataclass(frozen=True)
class Clusters:
    """What a clusterer found.

    Attributes
    ----------
    model : dict
        ``centres`` (k, d), or ``exemplars`` (m, d), ``labels`` (m,) and ``vote_neighbors``; for `scorer.assign`.
    fitted_labels : array of int
        The algorithm's own label of each of the points fitted on, numbered canonically; -1 is noise.
    notes : tuple of str
        What a person should know of this result.
    is_reduced : bool
        Whether dimensions were reduced before clustering.
    """

    model: dict[str, Any]
    fitted_labels: Ints
    notes: tuple[str, ...] = field(default=())
    is_reduced: bool = False


Fit = Callable[[Floats, int], Clusters]
"""Points and a seed -> clusters, the settings given before."""


def fit_kmeans(
    space: Floats,
    seed: int,
    *,
    n_segments: int,
    n_init: int,
    max_iter: int,
    fit_customers: int,
    start_tolerance: float,
    starts: Mapping[str, Ints] = MappingProxyType({}),
) -> Clusters:
    """KMeans (Lloyd), on at most ``fit_customers`` rows.

    Many divisions of customers fit about as well, and fresh starts find now one of them, now another. Where one is
    known already, to the people who use it or as one that comes back on resamples, it is worth keeping.

    Parameters
    ----------
    space : array of shape (n, d)
    n_segments : int
        Fewer are found where fewer different points are.
    starts : mapping
        Whose segments are known -> each point's, int array of shape (n,), -1 for none. Of those that are as many as
        asked for, the first is taken that, begun from its means, ends with a sum of squares at most
        ``start_tolerance`` above that of the best of ``n_init`` fresh starts. Notes tell of each, but not of those of
        nobody (an empty text).
    """
    rows = sampled_rows(len(space), fit_customers, seed)
    points = space[rows]
    count = min(n_segments, _count_different(points))
    notes: tuple[str, ...] = (
        ()
        if count == n_segments
        else (f"{count} different customer{'s' * (count > 1)} cannot make {n_segments} segments; made {count}.",)
    )
    # One thread: the order in which threads add their parts would show in the last digits.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Number of distinct clusters")
        found = fresh = KMeans(count, n_init=n_init, max_iter=max_iter, random_state=seed).fit(points)
        # Where customers differ by nothing but rounding, no division is better than another.
        least = 1e-9 * float(points.var(axis=0).sum()) * len(points) or 1.0
        for whose, groups in starts.items():
            means = _means(points, groups[rows])
            if len(means) != count:
                why = f"not kept: {len(means)} of them hold customers, and {count} were asked for."
            else:
                known = KMeans(count, init=means, n_init=1, max_iter=max_iter, random_state=seed).fit(points)
                worse = (known.inertia_ - fresh.inertia_) / max(fresh.inertia_, least)
                if worse <= start_tolerance:
                    found = known
                    better = f"would fit {worse:.1%} better" if worse > 0.0005 else "fit no better"
                    why = f"fitted to today's customers and kept: fresh ones {better}."
                else:
                    why = f"not kept: fresh ones fit {worse:.1%} better (clustering.kmeans.start_tolerance)."
            notes += (f"{whose} were {why}",) if whose else ()
            if found is not fresh:
                break
    order = canonical_order(found.labels_, found.cluster_centers_)
    rank = np.argsort(order)
    return Clusters({"centres": found.cluster_centers_[order]}, rank[found.labels_], notes)


def _means(points: Floats, groups: Ints) -> Floats:
    """Mean of each group that has a point, in order; -1 is no group."""
    return np.array([points[groups == group].mean(axis=0) for group in np.unique(groups[groups >= 0])])


def fit_hdbscan(
    space: Floats,
    seed: int,
    *,
    fit_customers: int,
    min_cluster_share: float,
    min_samples: int,
    n_components: int,
    n_neighbors: int,
    selection: str,
    reduce: str,
    noise: str,
    vote_neighbors: int,
) -> Clusters:
    """HDBSCAN (Campello, Moulavi and Sander, 2013) on a sample; its labelled rows vote for everybody else.

    Parameters
    ----------
    space : array of shape (n, d)
    reduce : str
        always: UMAP reduces the sample first; never; auto: where there is no density structure without it.
    noise : str
        What becomes of customers between the clusters. keep: they are cluster -1; standing: so too, and get a segment
        by rule; nearest: they are given to the cluster of the nearest labelled rows. `scorer.assign` says who they are.

    Notes
    -----
    Density fades in many dimensions, where UMAP (McInnes, Healy and Melville, 2018) helps. The vote takes place in
    profile space, since a fitted UMAP is slow to transform and a pickle.
    """
    points = space[sampled_rows(len(space), fit_customers, seed)]
    smallest = max(2, round(min_cluster_share * len(points)))
    is_reduced = False
    if len(points) < 2 * smallest or _count_different(points) == 1:
        labels = np.zeros(len(points), dtype=np.int64)
    else:
        density = functools.partial(
            _density_labels, smallest=smallest, min_samples=min(min_samples, len(points) - 1), selection=selection
        )
        labels = density(points) if reduce != "always" else np.full(len(points), NOISE, dtype=np.int64)
        is_reduced = reduce == "always" or (reduce == "auto" and _lacks_density(labels))
        if is_reduced:
            labels = density(_reduced(points, seed, n_components=n_components, n_neighbors=n_neighbors))
        labels = _canonical_labels(labels, points)
    # All noise: one cluster, since nobody is left to vote for another.
    voted = np.zeros_like(labels) if (labels == NOISE).all() else labels
    model = {
        "exemplars": points.astype(np.float32),
        "labels": voted,
        "vote_neighbors": vote_neighbors,
        "noise": noise,
    }
    return Clusters(model, labels, _density_notes(labels), is_reduced)


def _density_labels(points: Floats, *, smallest: int, min_samples: int, selection: str) -> Ints:
    import hdbscan

    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", category=FutureWarning)
        found = hdbscan.HDBSCAN(
            min_cluster_size=smallest,
            min_samples=min_samples,
            cluster_selection_method=selection,
            core_dist_n_jobs=1,
        ).fit_predict(np.array(points, dtype=np.float64, order="C", copy=True))
    return found.astype(np.int64)


def _lacks_density(labels: Ints) -> bool:
    """Whether so few clusters, or so much noise, were found that there is no density structure to rely on."""
    return len(set(labels.tolist()) - {NOISE}) <= 2 or float((labels == NOISE).mean()) > POOR_NOISE_SHARE


def _count_different(points: Floats) -> int:
    """Different rows, told apart by their place on one fixed line: a hundred times faster than sorting whole rows."""
    line = np.random.default_rng(0).normal(size=points.shape[1])
    return len(np.unique((points * line).sum(axis=1)))


def _reduced(points: Floats, seed: int, *, n_components: int, n_neighbors: int) -> Floats:
    if points.shape[1] <= n_components or len(points) <= n_components + 1:
        return points
    if len(points) < MIN_ROWS_FOR_UMAP:
        found: Floats = PCA(n_components, svd_solver="full").fit_transform(points)
        return found
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Tensorflow not installed", category=ImportWarning)
        import umap

    embedded: Floats = umap.UMAP(
        n_components=n_components,
        n_neighbors=min(n_neighbors, len(points) - 1),
        min_dist=0.0,
        random_state=seed,
        n_jobs=1,  # else UMAP warns that the seed forces it
        n_epochs=UMAP_EPOCHS,
        init="pca",
    ).fit_transform(points)
    return embedded


def _density_notes(labels: Ints) -> tuple[str, ...]:
    if not _lacks_density(labels):
        return ()
    count, noise_share = len(set(labels.tolist()) - {NOISE}), float((labels == NOISE).mean())
    return (
        f"HDBSCAN found {count} cluster{'s' if count != 1 else ''} and called {noise_share:.0%} noise: there is no "
        "density structure to rely on. Use algorithm: kmeans for the facet, or a smaller min_cluster_share there.",
    )


def sampled_rows(count: int, most: int, seed: int) -> Ints:
    """All rows, or ``most`` of them drawn without replacement, in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, size=most, replace=False))


def canonical_order(labels: NDArray[Any], centres: Floats) -> Ints:
    """Old numbers in their new order: largest cluster first, ties by the coordinates of the centre."""
    sizes = np.bincount(labels, minlength=len(centres))
    keys = [(-sizes[number], *np.round(centres[number], 9)) for number in range(len(centres))]
    return np.array(sorted(range(len(centres)), key=keys.__getitem__), dtype=np.int64)


def _canonical_labels(labels: Ints, points: Floats) -> Ints:
    clustered = labels != NOISE
    count = labels.max() + 1
    if count <= 0:
        return labels
    centres = np.stack([points[labels == number].mean(axis=0) for number in range(count)])
    rank = np.argsort(canonical_order(labels[clustered], centres))
    renumbered = labels.copy()
    renumbered[clustered] = rank[labels[clustered]]
    return renumbered
