from __future__ import annotations

import functools

import numpy as np
import pytest

from models.clusterers import canonical_order, fit_hdbscan, fit_kmeans
from models.scorer import NOISE, assign

FOUR = np.array([[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [1.0, 1.0]])
KMEANS = {"n_init": 4, "max_iter": 300, "fit_customers": 10_000, "start_tolerance": 0.0}
HDBSCAN = {
    "fit_customers": 10_000,
    "min_cluster_share": 0.05,
    "reduce": "always",
    "min_samples": 5,
    "n_components": 5,
    "n_neighbors": 15,
    "selection": "eom",
    "noise": "nearest",
    "vote_neighbors": 5,
}


def blobs(seed: int = 0, sizes: tuple[int, ...] = (120, 80, 50), d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    centres = 10.0 * np.eye(len(sizes), d)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    return centres[truth] + generator.normal(0, 0.4, (len(truth), d)), truth


def test_kmeans_on_four_points_by_hand() -> None:
    clusters = fit_kmeans(FOUR, 0, n_segments=2, **KMEANS)
    np.testing.assert_allclose(clusters.model["centres"], [[0.25, 0.0], [0.75, 1.0]])
    assigned = assign(FOUR, clusters.model)
    assert assigned["cluster_id"].tolist() == [0, 0, 1, 1]
    assert assigned["next_cluster_id"].tolist() == [1, 1, 0, 0]
    near, far = 0.25**2, 0.75**2 + 1.0
    assert assigned["margin"][0] == pytest.approx(1 - np.sqrt(near / far))
    assert assigned["strength"][0] == pytest.approx((1 / near) / (1 / near + 1 / far))


RECTANGLE = np.array([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 1.0]])
"""Split along the long side, the sum of squares is 4 * 2² = 16; across it, 4 * 0.5² = 1."""


def fit_from_known(
    tolerance: float, *known: list[int], points: np.ndarray = RECTANGLE, seed: int = 0
) -> tuple[list, str]:
    starts = {f"The segments of run {number}": np.array(groups) for number, groups in enumerate(known, 1)}
    clusters = fit_kmeans(points, seed, n_segments=2, **{**KMEANS, "start_tolerance": tolerance}, starts=starts)
    return sorted(clusters.model["centres"].tolist()), " ".join(clusters.notes)


ACROSS, ALONG = [[0.0, 0.5], [4.0, 0.5]], [[2.0, 0.0], [2.0, 1.0]]


def test_known_segments_are_kept_unless_a_new_start_fits_better() -> None:
    centres, note = fit_from_known(14.9, [0, 1, 0, 1])
    assert centres == ACROSS
    assert note == (
        "The segments of run 1 were not kept: a new start fits 1500.0% better (clustering.kmeans.start_tolerance)."
    )
    centres, note = fit_from_known(15.1, [0, 1, 0, 1])
    assert centres == ALONG and note.endswith("and kept: a new start would fit 1500.0% better.")
    centres, note = fit_from_known(0.0, [0, -1, 1, 1])  # a customer without a segment joins one
    assert centres == ACROSS and note.endswith("and kept: a new start fits no better.")


def test_the_first_known_segments_that_fit_are_kept() -> None:
    centres, note = fit_from_known(1.0, [0, 1, 2, 3], [0, 1, 0, 1], [0, 0, 1, 1])  # four segments instead of two
    assert centres == ACROSS
    assert note.startswith(
        "The segments of run 1 were not kept: 4 of them have customers today, but this candidate has 2. The segments of run 2"
    )
    assert "The segments of run 3 were refitted" in note


def test_known_segments_with_an_empty_label_give_no_note() -> None:
    along = {"": np.array([0, 1, 0, 1])}
    for tolerance, expected in ((15.1, ALONG), (14.9, ACROSS)):
        clusters = fit_kmeans(RECTANGLE, 0, n_segments=2, **{**KMEANS, "start_tolerance": tolerance}, starts=along)
        assert (sorted(clusters.model["centres"].tolist()), clusters.notes) == (expected, ())


def test_no_start_is_better_if_customers_differ_only_by_rounding() -> None:
    points = np.repeat([[0.0, 0.0], [0.0, 1.0]], 20, axis=0) + 1e-17 * np.random.default_rng(0).normal(size=(40, 2))
    assert fit_from_known(0.0, [0] * 20 + [1] * 20, points=points)[1].endswith("a new start fits no better.")


@pytest.mark.parametrize("seed", range(4))
def test_of_two_equally_good_partitions_the_known_one_is_kept(seed: int) -> None:
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert fit_from_known(0.0, [0, 0, 1, 1], points=square, seed=seed)[0] == [[0.0, 0.5], [1.0, 0.5]]
    assert fit_from_known(0.0, [0, 1, 0, 1], points=square, seed=seed)[0] == [[0.5, 0.0], [0.5, 1.0]]


def test_a_customer_half_way_is_on_the_border() -> None:
    assigned = assign(np.array([[0.5, 0.0]]), {"centres": np.array([[0.0, 0.0], [1.0, 0.0]])})
    assert assigned["margin"].tolist() == [0.0]
    assert assigned["strength"].tolist() == [0.5]


@pytest.mark.parametrize("algorithm", ["kmeans", "hdbscan"])
def test_three_blobs_are_three_clusters_numbered_by_size(algorithm: str) -> None:
    points, truth = blobs()
    fit = fit_hdbscan(points, 1, **HDBSCAN) if algorithm == "hdbscan" else fit_kmeans(points, 1, n_segments=3, **KMEANS)
    assert assign(points, fit.model)["cluster_id"].tolist() == truth.tolist()
    new, new_truth = blobs(seed=9)
    assert (assign(new, fit.model)["cluster_id"] == new_truth).mean() >= 0.95


def test_an_assignment_does_not_depend_on_the_other_rows() -> None:
    points, _ = blobs()
    fit = fit_kmeans(points, 1, n_segments=5, **KMEANS)
    whole = assign(points, fit.model)
    for name, values in assign(points[100:101], fit.model).items():
        assert values[0] == whole[name][100]


@pytest.mark.parametrize("policy", ["keep", "nearest", "standing"])
def test_noise_is_kept_or_assigned_to_neighbours_and_always_marked(policy: str) -> None:
    points, _ = blobs()
    noisy = np.vstack([points, np.random.default_rng(1).uniform(-40, 40, (25, 3))])
    clusters = fit_hdbscan(noisy, 1, **{**HDBSCAN, "noise": policy})
    assigned = assign(noisy, clusters.model)
    assert assigned["is_noise"].any()
    assert (NOISE in assigned["cluster_id"]) == (policy != "nearest")
    assert (clusters.fitted_labels == NOISE).any()


def test_held_out_customers_are_labelled_as_by_the_library() -> None:
    import hdbscan

    sizes = (600, 400, 300, 300, 200)
    points, _ = blobs(1, sizes, d=5)
    new, _ = blobs(2, sizes, d=5)
    stray = np.random.default_rng(3).uniform(-5, 15, (120, 5))
    points, new = np.vstack([points, stray[:60]]), np.vstack([new, stray[60:]])
    clusters = fit_hdbscan(points, 1, **{**HDBSCAN, "noise": "keep"})
    library = hdbscan.HDBSCAN(
        min_cluster_size=round(0.05 * len(points)), min_samples=5, prediction_data=True, core_dist_n_jobs=1
    ).fit(points)
    theirs, _ = hdbscan.approximate_predict(library, new)
    numbers = {-1: -1} | {
        theirs_number: ours
        for theirs_number, ours in zip(library.labels_.tolist(), clusters.fitted_labels.tolist(), strict=True)
    }
    ours = assign(new, clusters.model)["cluster_id"]
    assert len(numbers) == len(sizes) + 1
    assert (ours == [numbers[label] for label in theirs.tolist()]).mean() >= 0.95
    assert (theirs[-60:] == NOISE).mean() > 0.5  # agreement is not limited to the clear clusters
    assert (ours[-60:] == [numbers[label] for label in theirs[-60:].tolist()]).mean() > 0.5


def test_in_many_dimensions_the_tree_is_exact() -> None:
    import hdbscan

    points, _ = blobs(4, (300, 200, 150), d=20)
    points = np.vstack([0.15 * points, np.random.default_rng(5).normal(0, 1, (300, 20))])
    ours = fit_hdbscan(points, 1, **{**HDBSCAN, "reduce": "never", "noise": "keep", "selection": "leaf"})
    exact = hdbscan.HDBSCAN(
        min_cluster_size=round(0.05 * len(points)),
        min_samples=5,
        cluster_selection_method="leaf",
        approx_min_span_tree=False,
        algorithm="generic",
    ).fit_predict(points)
    assert exact.max() >= 2 and (exact == NOISE).any()
    pairs = set(zip(ours.fitted_labels.tolist(), exact.tolist(), strict=True))
    assert len(pairs) == len(set(exact.tolist()))  # the same groups under other numbers


def test_read_only_points_do_not_crash() -> None:
    points, _ = blobs()
    points.setflags(write=False)
    assert fit_hdbscan(points, 1, **HDBSCAN).model["labels"].max() == 2


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_few_identical_customers(count: int) -> None:
    points = np.zeros((count, 4))
    for fit in (fit_kmeans(points, 0, n_segments=8, **KMEANS), fit_hdbscan(points, 0, **HDBSCAN)):
        assert set(assign(points, fit.model)["cluster_id"].tolist()) == {0}


def test_fewer_customers_than_segments_gives_a_note() -> None:
    clusters = fit_kmeans(FOUR, 0, n_segments=9, **KMEANS)
    assert clusters.notes == ("Only 4 of 9 segments: there are no more distinct customers.",)


def test_missing_density_structure_gives_a_note() -> None:
    points = np.random.default_rng(0).uniform(size=(150, 4))
    assert "no clear density structure" in fit_hdbscan(points, 0, **HDBSCAN).notes[0]


def test_canonical_order_is_by_size_then_coordinates() -> None:
    centres = np.array([[1.0], [0.0], [5.0]])
    assert canonical_order(np.array([0, 1, 2, 2]), centres).tolist() == [2, 1, 0]


@pytest.mark.parametrize("algorithm", ["kmeans", "hdbscan"])
def test_permuted_rows_give_the_same_partition_and_numbers(algorithm: str) -> None:
    points, _ = blobs()
    order = np.random.default_rng(3).permutation(len(points))
    fit = (
        functools.partial(fit_hdbscan, **HDBSCAN)
        if algorithm == "hdbscan"
        else functools.partial(fit_kmeans, n_segments=3, **KMEANS)
    )
    straight, shuffled = fit(points, 1), fit(points[order], 1)
    assert shuffled.fitted_labels.tolist() == straight.fitted_labels[order].tolist()
    assert (
        assign(points, shuffled.model)["cluster_id"].tolist() == assign(points, straight.model)["cluster_id"].tolist()
    )


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_after_umap() -> None:
    points, truth = blobs(sizes=(120, 100, 80), d=9)
    first, second = (fit_hdbscan(points, 1, **{**HDBSCAN, "selection": "leaf"}) for _ in range(2))
    assert first.model["exemplars"].tobytes() == second.model["exemplars"].tobytes()
    assert first.fitted_labels.tolist() == second.fitted_labels.tolist()
    assigned = assign(points, first.model)["cluster_id"]
    assert all(
        len(set(truth[assigned == number])) == 1 for number in np.unique(assigned)
    )  # leaf may split a blob but not mix two


@pytest.mark.parametrize("distinct", [1, 3])
def test_many_customers_with_few_distinct_profiles(distinct: int) -> None:
    profiles = np.random.default_rng(0).normal(size=(distinct, 10))
    points = np.repeat(profiles, 12_000 // distinct, axis=0)
    clusters = fit_kmeans(points, 0, n_segments=8, **KMEANS)
    assert clusters.model["centres"].shape == (distinct, 10)
    assert clusters.notes[0].startswith(f"Only {distinct} of 8 segments")
    assert assign(points, clusters.model)["margin"].min() > 0.999999


def test_identical_customers_are_not_passed_to_umap() -> None:
    clusters = fit_hdbscan(np.ones((300, 10)), 0, **HDBSCAN)
    assert set(clusters.fitted_labels.tolist()) == {0}


def test_all_noise_becomes_one_cluster_and_gives_a_note() -> None:
    points = np.random.default_rng(0).normal(size=(8, 10))
    clusters = fit_hdbscan(points, 0, **HDBSCAN)
    assert set(clusters.fitted_labels.tolist()) == {NOISE}
    assert "(clusters: 0, noise: 100%)" in clusters.notes[0]
    assert set(assign(points, clusters.model)["cluster_id"].tolist()) == {0}


def test_a_sample_is_fitted_and_all_customers_are_assigned() -> None:
    points, truth = blobs()
    clusters = fit_kmeans(points, 1, n_segments=3, **{**KMEANS, "fit_customers": 60})
    assert len(clusters.fitted_labels) == 60
    assert len(set(zip(assign(points, clusters.model)["cluster_id"].tolist(), truth.tolist(), strict=True))) == 3
