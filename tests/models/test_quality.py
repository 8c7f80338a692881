from __future__ import annotations

import numpy as np
import pytest

from models.quality import cluster_quality

PAIRS = np.array([[0.0], [1.0], [10.0], [11.0]])


def test_silhouette_of_two_pairs_by_hand() -> None:
    figures = cluster_quality(PAIRS, np.array([0, 0, 1, 1]), sample_customers=10, seed=0, is_density=False)
    outer, inner = 1 - 1 / 10.5, 1 - 1 / 9.5
    assert figures["silhouette"] == pytest.approx((outer + inner) / 2)
    assert figures["davies_bouldin"] == pytest.approx((0.5 + 0.5) / 10)
    assert figures["density_validity"] is None


def test_noise_counts_only_in_its_share() -> None:
    points, labels = np.vstack([PAIRS, [[500.0]]]), np.array([0, 0, 1, 1, -1])
    figures = cluster_quality(points, labels, sample_customers=10, seed=0, is_density=False)
    assert figures["noise_share"] == pytest.approx(0.2)
    assert figures["smallest_share"] == pytest.approx(0.4)
    assert figures["davies_bouldin"] == pytest.approx(0.1)


def test_density_validity_of_clear_blobs_and_of_a_single_row_cluster() -> None:
    generator = np.random.default_rng(0)
    points = np.repeat([[0.0, 0.0], [20.0, 0.0]], 50, axis=0) + generator.normal(0, 0.3, (100, 2))
    figures = cluster_quality(points, np.repeat([0, 1], 50), sample_customers=100, seed=0, is_density=True)
    assert figures["density_validity"] is not None
    assert figures["density_validity"] > 0.8
    with_single_row = cluster_quality(PAIRS, np.array([0, 0, 0, 1]), sample_customers=10, seed=0, is_density=True)
    assert with_single_row["density_validity"] is None


def test_quality_is_none_where_it_is_undefined() -> None:
    figures = cluster_quality(np.zeros((5, 2)), np.zeros(5, int), sample_customers=10, seed=0, is_density=True)
    assert figures["silhouette"] is None
    assert figures["smallest_share"] == 1.0
