from __future__ import annotations

import functools

import numpy as np
import pytest

from models.clusterers import Clusters, fit_kmeans
from models.scorer import assign
from models.stability import Resampled, best_jaccards, cluster_ids, match_to_known, resample, stay_rates

PAIRS = np.array([[0.0], [1.0], [10.0], [11.0]])


def kmeans(count: int) -> functools.partial[Clusters]:
    return functools.partial(
        fit_kmeans, n_segments=count, n_init=2, max_iter=100, fit_customers=1_000, start_tolerance=0.0
    )


def test_jaccards_by_hand() -> None:
    known, new = np.array([0, 0, 0, 1, 1, -1]), np.array([7, 7, 8, 8, -1, 8])
    assert best_jaccards(known, new) == {0: 2 / 3, 1: 1 / 4}


def test_new_clusters_are_matched_one_to_one_by_drawn_customers() -> None:
    known, new = np.array([0, 0, 0, 1, 1, -1]), np.array([7, 7, 8, 8, -1, 7])
    assert match_to_known(new, known, np.arange(4)).tolist() == [0, 0, 1, 1, -1, 0]
    single = np.zeros(6, int)
    assert match_to_known(single, known, np.arange(6)).tolist() == [0] * 6  # cluster 1 is gone
    assert match_to_known(np.array([0, 1, 2, 3, 3, -1]), known, np.arange(6)).tolist() == [0, -2, -2, 1, 1, -1]


def test_clear_blobs_are_stable_and_parts_of_one_cloud_are_not() -> None:
    generator = np.random.default_rng(0)
    points = np.repeat([[0.0, 0.0], [20.0, 0.0]], 100, axis=0) + generator.normal(0, 0.3, (200, 2))
    resampled = resample(points, np.repeat([0, 1], 100), kmeans(2), resamples=6, customers=500, seed=1)
    assert resampled.stability == {0: 1.0, 1: 1.0}
    assert resampled.stayed.all()
    assert resampled.drawn.sum(axis=1)[1::2].tolist() == [100] * 3  # halves; bootstraps draw 1 - 1/e of them
    assert resampled.drawn[::2].mean() == pytest.approx(1 - 1 / np.e, abs=0.05)
    cloud = generator.normal(0, 1, (300, 6))
    labels = kmeans(6)(cloud, 0).fitted_labels
    assert (
        np.mean(list(resample(cloud, labels, kmeans(6), resamples=6, customers=500, seed=1).stability.values())) < 0.7
    )


def test_results_do_not_depend_on_threads_and_are_reproducible() -> None:
    cloud = np.random.default_rng(0).normal(size=(200, 4))
    labels = kmeans(5)(cloud, 0).fitted_labels
    results = [
        resample(cloud, labels, kmeans(5), resamples=4, customers=100, seed=7, threads=threads) for threads in (1, 1, 2)
    ]
    assert results[0].stability == results[1].stability == results[2].stability
    assert (results[0].stayed == results[2].stayed).all()
    assert all(0.0 < value < 1.0 for value in results[0].stability.values())


def test_clusters_by_a_matrix_product_are_those_of_the_scorer() -> None:
    points = np.random.default_rng(3).normal(size=(2_000, 9))
    for count in (1, 7):
        model = kmeans(count)(points[:500], 0).model
        assert (cluster_ids(points, model) == assign(points, model)["cluster_id"]).all()


def test_noise_does_not_count_as_a_recovered_cluster() -> None:
    def all_noise(points: np.ndarray, seed: int) -> Clusters:
        model = {"exemplars": points.astype(np.float32), "labels": np.full(len(points), -1), "vote_neighbors": 1}
        return Clusters(model, model["labels"])

    assert resample(PAIRS, np.zeros(4, int), all_noise, resamples=3, customers=10, seed=0).stability == {0: 0.0}


def test_stay_rates_by_hand() -> None:
    """In two resamples, customers in the lower half of the margins stay once, those in the upper half twice."""
    margins, labels = np.linspace(0.0, 1.0, 100), np.zeros(100, int)
    stayed = np.array([np.ones(100), np.arange(100) >= 50], dtype=bool)
    rates = stay_rates(margins, labels, Resampled({}, np.arange(100), np.zeros((2, 100), bool), stayed))
    assert rates["staying_clusters"].tolist() == [0]
    assert rates["staying_rates"][0, 0] == 0.5
    assert rates["staying_rates"][0, -1] == 1.0
    assert (np.diff(rates["staying_rates"][0]) >= 0).all()
    all_drawn = Resampled({}, np.arange(100), np.ones((2, 100), bool), stayed)
    assert stay_rates(margins, labels, all_drawn) == {}


def test_strength_predicts_the_stay_rate_on_other_resamples() -> None:
    cloud = np.random.default_rng(2).normal(0, 1, (3_000, 3))
    fit = kmeans(6)
    clusters = fit(cloud, 0)
    assigned = assign(cloud, clusters.model)
    learned, later = (
        resample(cloud, assigned["cluster_id"], fit, resamples=20, customers=3_000, seed=seed) for seed in (1, 2)
    )
    curves = stay_rates(assigned["margin"], assigned["cluster_id"], learned)
    strength = assign(cloud, {**clusters.model, **curves})["strength"]
    out = ~later.drawn
    rate = (later.stayed & out).sum(axis=0) / out.sum(axis=0)
    for low, high in ((0.0, 0.6), (0.6, 0.75), (0.75, 0.9), (0.9, 1.01)):
        inside = (strength >= low) & (strength < high)
        if inside.sum() >= 100:
            assert rate[inside].mean() == pytest.approx(strength[inside].mean(), abs=0.08)
    assert np.ptp(strength) > 0.3
    assert np.abs(rate - strength).mean() < np.abs(rate - assigned["strength"]).mean()
