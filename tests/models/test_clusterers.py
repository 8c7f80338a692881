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
    found = fit_kmeans(FOUR, 0, n_segments=2, **KMEANS)
    np.testing.assert_allclose(found.model["centres"], [[0.25, 0.0], [0.75, 1.0]])
    given = assign(FOUR, found.model)
    assert given["cluster_id"].tolist() == [0, 0, 1, 1]
    assert given["next_cluster_id"].tolist() == [1, 1, 0, 0]
    near, far = 0.25**2, 0.75**2 + 1.0
    assert given["margin"][0] == pytest.approx(1 - np.sqrt(near / far))
    assert given["strength"][0] == pytest.approx((1 / near) / (1 / near + 1 / far))


RECTANGLE = np.array([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 1.0]])
"""By its long side, squares add up to 4 * 2² = 16; by its short side to 4 * 0.5² = 1."""


def divided(tolerance: float, *known: list[int], points: np.ndarray = RECTANGLE, seed: int = 0) -> tuple[list, str]:
    starts = {f"Division {number}": np.array(groups) for number, groups in enumerate(known, 1)}
    found = fit_kmeans(points, seed, n_segments=2, **{**KMEANS, "start_tolerance": tolerance}, starts=starts)
    return sorted(found.model["centres"].tolist()), " ".join(found.notes)


ACROSS, ALONG = [[0.0, 0.5], [4.0, 0.5]], [[2.0, 0.0], [2.0, 1.0]]


def test_known_segments_are_kept_unless_fresh_ones_fit_better() -> None:
    centres, note = divided(14.9, [0, 1, 0, 1])
    assert centres == ACROSS
    assert note == "Division 1 were not kept: fresh ones fit 1500.0% better (clustering.kmeans.start_tolerance)."
    centres, note = divided(15.1, [0, 1, 0, 1])
    assert centres == ALONG and note.endswith("and kept: fresh ones would fit 1500.0% better.")
    centres, note = divided(0.0, [0, -1, 1, 1])  # whoever was in none joins one
    assert centres == ACROSS and note.endswith("and kept: fresh ones fit no better.")


def test_of_known_segments_the_first_that_fits_is_kept() -> None:
    centres, note = divided(1.0, [0, 1, 2, 3], [0, 1, 0, 1], [0, 0, 1, 1])  # four are not two
    assert centres == ACROSS
    assert note.startswith(
        "Division 1 were not kept: 4 of them hold customers, and 2 were asked for. Division 2 were not"
    )
    assert "Division 3 were fitted" in note


def test_of_known_segments_without_a_name_no_note_tells() -> None:
    along = {"": np.array([0, 1, 0, 1])}
    for tolerance, expected in ((15.1, ALONG), (14.9, ACROSS)):
        found = fit_kmeans(RECTANGLE, 0, n_segments=2, **{**KMEANS, "start_tolerance": tolerance}, starts=along)
        assert (sorted(found.model["centres"].tolist()), found.notes) == (expected, ())


def test_customers_who_differ_by_rounding_alone_have_no_better_division() -> None:
    points = np.repeat([[0.0, 0.0], [0.0, 1.0]], 20, axis=0) + 1e-17 * np.random.default_rng(0).normal(size=(40, 2))
    assert divided(0.0, [0] * 20 + [1] * 20, points=points)[1].endswith("fresh ones fit no better.")


@pytest.mark.parametrize("seed", range(4))
def test_of_two_that_fit_alike_the_known_one_is_taken(seed: int) -> None:
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert divided(0.0, [0, 0, 1, 1], points=square, seed=seed)[0] == [[0.0, 0.5], [1.0, 0.5]]
    assert divided(0.0, [0, 1, 0, 1], points=square, seed=seed)[0] == [[0.5, 0.0], [0.5, 1.0]]


def test_a_customer_half_way_is_on_the_border() -> None:
    given = assign(np.array([[0.5, 0.0]]), {"centres": np.array([[0.0, 0.0], [1.0, 0.0]])})
    assert given["margin"].tolist() == [0.0]
    assert given["strength"].tolist() == [0.5]


@pytest.mark.parametrize("algorithm", ["kmeans", "hdbscan"])
def test_three_blobs_are_three_clusters_numbered_by_size(algorithm: str) -> None:
    points, truth = blobs()
    fit = fit_hdbscan(points, 1, **HDBSCAN) if algorithm == "hdbscan" else fit_kmeans(points, 1, n_segments=3, **KMEANS)
    assert assign(points, fit.model)["cluster_id"].tolist() == truth.tolist()
    new, new_truth = blobs(seed=9)
    assert (assign(new, fit.model)["cluster_id"] == new_truth).mean() >= 0.95


def test_rows_and_chunks_beside_do_not_change_an_assignment() -> None:
    points, _ = blobs()
    fit = fit_kmeans(points, 1, n_segments=5, **KMEANS)
    whole = assign(points, fit.model)
    for name, values in assign(points[100:101], fit.model).items():
        assert values[0] == whole[name][100]


@pytest.mark.parametrize("policy", ["keep", "nearest", "standing"])
def test_noise_is_kept_or_given_to_its_neighbours_and_always_told(policy: str) -> None:
    points, _ = blobs()
    noisy = np.vstack([points, np.random.default_rng(1).uniform(-40, 40, (25, 3))])
    found = fit_hdbscan(noisy, 1, **{**HDBSCAN, "noise": policy})
    given = assign(noisy, found.model)
    assert given["is_noise"].any()
    assert (NOISE in given["cluster_id"]) == (policy != "nearest")
    assert (found.fitted_labels == NOISE).any()


def test_held_out_customers_are_labelled_as_the_library_itself_would() -> None:
    import hdbscan

    sizes = (600, 400, 300, 300, 200)
    points, _ = blobs(1, sizes, d=5)
    new, _ = blobs(2, sizes, d=5)
    stray = np.random.default_rng(3).uniform(-5, 15, (120, 5))
    points, new = np.vstack([points, stray[:60]]), np.vstack([new, stray[60:]])
    found = fit_hdbscan(points, 1, **{**HDBSCAN, "noise": "keep"})
    library = hdbscan.HDBSCAN(
        min_cluster_size=round(0.05 * len(points)), min_samples=5, prediction_data=True, core_dist_n_jobs=1
    ).fit(points)
    theirs, _ = hdbscan.approximate_predict(library, new)
    numbers = {-1: -1} | {
        theirs_number: ours
        for theirs_number, ours in zip(library.labels_.tolist(), found.fitted_labels.tolist(), strict=True)
    }
    ours = assign(new, found.model)["cluster_id"]
    assert len(numbers) == len(sizes) + 1
    assert (ours == [numbers[one] for one in theirs.tolist()]).mean() >= 0.95
    assert (theirs[-60:] == NOISE).mean() > 0.5  # what agrees is not the plain part alone
    assert (ours[-60:] == [numbers[one] for one in theirs[-60:].tolist()]).mean() > 0.5


def test_read_only_points_do_not_crash() -> None:
    points, _ = blobs()
    points.setflags(write=False)
    assert fit_hdbscan(points, 1, **HDBSCAN).model["labels"].max() == 2


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_few_and_equal_customers(count: int) -> None:
    points = np.zeros((count, 4))
    for fit in (fit_kmeans(points, 0, n_segments=8, **KMEANS), fit_hdbscan(points, 0, **HDBSCAN)):
        assert set(assign(points, fit.model)["cluster_id"].tolist()) == {0}


def test_fewer_customers_than_segments_is_said() -> None:
    found = fit_kmeans(FOUR, 0, n_segments=9, **KMEANS)
    assert found.notes == ("4 different customers cannot make 9 segments; made 4.",)


def test_no_density_structure_is_said() -> None:
    points = np.random.default_rng(0).uniform(size=(150, 4))
    assert "no density structure" in fit_hdbscan(points, 0, **HDBSCAN).notes[0]


def test_canonical_order_is_by_size_then_place() -> None:
    centres = np.array([[1.0], [0.0], [5.0]])
    assert canonical_order(np.array([0, 1, 2, 2]), centres).tolist() == [2, 1, 0]


@pytest.mark.parametrize("algorithm", ["kmeans", "hdbscan"])
def test_permuted_rows_make_the_same_partition_with_the_same_numbers(algorithm: str) -> None:
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


def test_the_same_seed_gives_the_same_bytes_after_umap() -> None:
    points, truth = blobs(sizes=(120, 100, 80), d=9)
    one, two = (fit_hdbscan(points, 1, **{**HDBSCAN, "selection": "leaf"}) for _ in range(2))
    assert one.model["exemplars"].tobytes() == two.model["exemplars"].tobytes()
    assert one.fitted_labels.tolist() == two.fitted_labels.tolist()
    given = assign(points, one.model)["cluster_id"]
    assert all(len(set(truth[given == number])) == 1 for number in np.unique(given))  # leaf may split, never mix


@pytest.mark.parametrize("different", [1, 3])
def test_many_customers_of_few_kinds(different: int) -> None:
    kinds = np.random.default_rng(0).normal(size=(different, 10))
    points = np.repeat(kinds, 12_000 // different, axis=0)
    found = fit_kmeans(points, 0, n_segments=8, **KMEANS)
    assert found.model["centres"].shape == (different, 10)
    assert found.notes[0].startswith(f"{different} different customer")
    assert assign(points, found.model)["margin"].min() > 0.999999


def test_many_customers_all_alike_do_not_reach_umap() -> None:
    found = fit_hdbscan(np.ones((300, 10)), 0, **HDBSCAN)
    assert set(found.fitted_labels.tolist()) == {0}


def test_all_noise_is_one_cluster_and_said() -> None:
    points = np.random.default_rng(0).normal(size=(8, 10))
    found = fit_hdbscan(points, 0, **HDBSCAN)
    assert set(found.fitted_labels.tolist()) == {NOISE}
    assert "found 0 clusters and called 100% noise" in found.notes[0]
    assert set(assign(points, found.model)["cluster_id"].tolist()) == {0}


def test_a_sample_is_fitted_and_everybody_assigned() -> None:
    points, truth = blobs()
    found = fit_kmeans(points, 1, n_segments=3, **{**KMEANS, "fit_customers": 60})
    assert len(found.fitted_labels) == 60
    assert len(set(zip(assign(points, found.model)["cluster_id"].tolist(), truth.tolist(), strict=True))) == 3
