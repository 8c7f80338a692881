from __future__ import annotations

import functools

import numpy as np
import pytest

from models.clusterers import Clusters, fit_kmeans
from models.quality import cluster_quality, mean_by_segment, predictive_validity, stability

PAIRS = np.array([[0.0], [1.0], [10.0], [11.0]])


def test_silhouette_of_two_pairs_by_hand() -> None:
    figures = cluster_quality(PAIRS, np.array([0, 0, 1, 1]), sample_customers=10, seed=0, is_density=False)
    outer, inner = 1 - 1 / 10.5, 1 - 1 / 9.5
    assert figures["silhouette"] == pytest.approx((outer + inner) / 2)
    assert figures["davies_bouldin"] == pytest.approx((0.5 + 0.5) / 10)
    assert figures["density_validity"] is None


def test_noise_counts_in_its_share_alone() -> None:
    points, labels = np.vstack([PAIRS, [[500.0]]]), np.array([0, 0, 1, 1, -1])
    figures = cluster_quality(points, labels, sample_customers=10, seed=0, is_density=False)
    assert figures["noise_share"] == pytest.approx(0.2)
    assert figures["smallest_share"] == pytest.approx(0.4)
    assert figures["davies_bouldin"] == pytest.approx(0.1)


def test_density_validity_of_plain_blobs_and_of_lonely_rows() -> None:
    generator = np.random.default_rng(0)
    points = np.repeat([[0.0, 0.0], [20.0, 0.0]], 50, axis=0) + generator.normal(0, 0.3, (100, 2))
    figures = cluster_quality(points, np.repeat([0, 1], 50), sample_customers=100, seed=0, is_density=True)
    assert figures["density_validity"] is not None
    assert figures["density_validity"] > 0.8
    lonely = cluster_quality(PAIRS, np.array([0, 0, 0, 1]), sample_customers=10, seed=0, is_density=True)
    assert lonely["density_validity"] is None


def test_noise_is_no_cluster_that_comes_back() -> None:
    def all_noise(points: np.ndarray, seed: int) -> Clusters:
        model = {"exemplars": points.astype(np.float32), "labels": np.full(len(points), -1), "vote_neighbors": 1}
        return Clusters(model, np.arange(len(points)), model["labels"])

    assert stability(PAIRS, np.zeros(4, int), all_noise, resamples=3, customers=10, seed=0) == {0: 0.0}


def test_stability_is_seeded() -> None:
    cloud = np.random.default_rng(0).normal(size=(200, 4))
    fit = functools.partial(fit_kmeans, n_segments=5, n_init=1, max_iter=50, fit_customers=1_000)
    labels = fit(cloud, 0).fitted_labels
    once, again = (stability(cloud, labels, fit, resamples=3, customers=100, seed=7) for _ in range(2))
    assert once == again
    assert all(0.0 < value < 1.0 for value in once.values())


def test_outcomes_that_cannot_be_told_apart_are_nan() -> None:
    nobody = np.zeros(20, dtype=bool)
    figures = predictive_validity(
        np.arange(20) % 3, bought=nobody, spend=np.zeros(20), categories=np.zeros((20, 2), dtype=bool)
    )
    assert np.isnan(list(figures.values())).all()
    assert np.isnan(mean_by_segment(np.array([1]), np.array([5.0]), seed=0)).all()
