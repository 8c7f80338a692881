"""KMeans and HDBSCAN with one interface: points in, clusters out to which new points can be assigned.

Rows are sorted by customer. Clusters are numbered by size, with 0 the largest, so numbers do not depend on the order of
rows or of starts.
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

MAX_NOISE_SHARE = 0.5
MIN_ROWS_FOR_UMAP = 200
MAX_BORUVKA_COLUMNS = 10
"""In more dimensions, the tree is exact (Prim's algorithm), since the package's faster one is approximate. It takes 0.6
to 1.4 times as long on 6,000 rows, and up to 2.3 times on 20,000."""
UMAP_EPOCHS = 200
"""UMAP's default above 10,000 rows. Its default of 500 for fewer rows takes up to twice as long without a gain."""


@dataclass(frozen=True)
class Clusters:
    """The result of a clustering.

    Attributes
    ----------
    model : dict
        ``centres`` (k, d), or ``exemplars`` (m, d), ``labels`` (m,) and ``vote_neighbors``; for `scorer.assign`.
    fitted_labels : array of int
        The algorithm's label of each fitted point, in canonical numbering; -1 is noise.
    notes : tuple of str
        What the user should know about this result.
    is_reduced : bool
        Whether dimensions were reduced before clustering.
    """

    model: dict[str, Any]
    fitted_labels: Ints
    notes: tuple[str, ...] = field(default=())
    is_reduced: bool = False


Fit = Callable[[Floats, int], Clusters]
"""Points and a seed -> clusters, with all settings already bound."""


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

    Many partitions of customers fit about equally well, and random starts find different ones. A known partition, such
    as one already in use or one that is stable on resamples, is therefore kept if it fits well enough.

    Parameters
    ----------
    space : array of shape (n, d)
    n_segments : int
        Fewer are found if there are fewer distinct points.
    starts : mapping
        Label -> a known partition: int array of shape (n,) with the segment of each point, -1 for none. KMeans is run
        from the means of each partition that has ``n_segments`` non-empty segments. The first result is kept whose sum
        of squares is at most ``start_tolerance`` above the best of ``n_init`` random starts. There is a note on each
        partition, except on one whose label is empty.
    """
    rows = sampled_rows(len(space), fit_customers, seed)
    points = space[rows]
    count = min(n_segments, _count_distinct(points))
    notes: tuple[str, ...] = (
        ()
        if count == n_segments
        else (f"Only {count} of {n_segments} segments: there are no more distinct customers.",)
    )
    # One thread, because the order of multi-threaded sums changes the last digits.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Number of distinct clusters")
        chosen = fresh = KMeans(count, n_init=n_init, max_iter=max_iter, random_state=seed).fit(points)
        # If customers differ only by rounding, no partition is better than another.
        least = 1e-9 * float(points.var(axis=0).sum()) * len(points) or 1.0
        for label, groups in starts.items():
            means = _means(points, groups[rows])
            if len(means) != count:
                outcome = f"not kept: {len(means)} of them have customers today, but this candidate has {count}."
            else:
                known = KMeans(count, init=means, n_init=1, max_iter=max_iter, random_state=seed).fit(points)
                worse = (known.inertia_ - fresh.inertia_) / max(fresh.inertia_, least)
                if worse <= start_tolerance:
                    chosen = known
                    gain = f"would fit {worse:.1%} better" if worse > 0.0005 else "fits no better"
                    outcome = f"refitted on today's customers and kept: a new start {gain}."
                else:
                    outcome = f"not kept: a new start fits {worse:.1%} better (clustering.kmeans.start_tolerance)."
            notes += (f"{label} were {outcome}",) if label else ()
            if chosen is not fresh:
                break
    order = canonical_order(chosen.labels_, chosen.cluster_centers_)
    rank = np.argsort(order)
    return Clusters({"centres": chosen.cluster_centers_[order]}, rank[chosen.labels_], notes)


def _means(points: Floats, groups: Ints) -> Floats:
    """Mean of each non-empty group, in order; -1 is no group."""
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
    """HDBSCAN (Campello, Moulavi and Sander, 2013) on a sample; all others are assigned by votes of the sample's rows.

    Parameters
    ----------
    space : array of shape (n, d)
    reduce : str
        always: reduce the sample with UMAP first. never: do not. auto: only if there is no density structure without.
    noise : str
        What happens to customers between the clusters. keep: they get cluster -1. standing: they also get cluster -1,
        and then a rule-based group. nearest: they join the cluster of the nearest labelled rows. `scorer.assign` marks
        these customers.

    Notes
    -----
    Density estimates degrade in many dimensions; UMAP (McInnes, Healy and Melville, 2018) helps there. Votes are cast
    in profile space, because a fitted UMAP is slow to transform new points and can only be stored as a pickle.
    """
    points = space[sampled_rows(len(space), fit_customers, seed)]
    smallest = max(2, round(min_cluster_share * len(points)))
    is_reduced = False
    if len(points) < 2 * smallest or _count_distinct(points) == 1:
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
    # If all rows are noise, they form one cluster; otherwise no row could vote.
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
            algorithm="prims_kdtree" if points.shape[1] > MAX_BORUVKA_COLUMNS else "boruvka_kdtree",
            core_dist_n_jobs=1,
        ).fit_predict(np.array(points, dtype=np.float64, order="C", copy=True))
    return found.astype(np.int64)


def _lacks_density(labels: Ints) -> bool:
    """Whether the clusters are too few, or the noise too much, to indicate a density structure."""
    return len(set(labels.tolist()) - {NOISE}) <= 2 or float((labels == NOISE).mean()) > MAX_NOISE_SHARE


def projected(points: Floats) -> Floats:
    """The rows as numbers, (n,), that are equal where rows are; comparing them is a hundred times faster."""
    line = np.random.default_rng(0).normal(size=points.shape[1])
    return np.asarray((points * line).sum(axis=1))


def _count_distinct(points: Floats) -> int:
    return len(np.unique(projected(points)))


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
        n_jobs=1,  # otherwise UMAP warns that the seed forces it
        n_epochs=UMAP_EPOCHS,
        init="pca",
    ).fit_transform(points)
    return embedded


def _density_notes(labels: Ints) -> tuple[str, ...]:
    if not _lacks_density(labels):
        return ()
    count, noise_share = len(set(labels.tolist()) - {NOISE}), float((labels == NOISE).mean())
    return (
        f"HDBSCAN found no clear density structure (clusters: {count}, noise: {noise_share:.0%}). Set algorithm: "
        "kmeans for this facet, or a smaller min_cluster_share.",
    )


def sampled_rows(count: int, max_count: int, seed: int) -> Ints:
    """All rows, or ``max_count`` of them drawn without replacement, in order."""
    if count <= max_count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, size=max_count, replace=False))


def canonical_order(labels: NDArray[Any], centres: Floats) -> Ints:
    """Cluster numbers in canonical order: largest first, ties by the coordinates of the centre."""
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
