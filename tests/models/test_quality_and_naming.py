from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.profile import Column
from models.clusterers import fit_kmeans
from models.preprocessing import fit_scaling
from models.quality import cluster_quality, mean_by_segment, predictive_validity, stability
from models.scorer import to_space
from models.segmentation import Segmentation
from models.selection import Candidate, choose


def test_blocks_have_the_variance_of_their_weights() -> None:
    generator = np.random.default_rng(0)
    names = ["interest: a", "interest: b", "spend", "order_count", "constant"]
    profile = pd.DataFrame(generator.gamma(1.0, 1.0, (500, 5)), columns=names).assign(constant=3.0)
    profile.loc[::7, "spend"] = np.nan
    columns = [
        Column("interest: a", "interest", "root", None),
        Column("interest: b", "interest", "root", None),
        *(Column(name, "value", "log", 0.0) for name in names[2:]),
    ]
    scaling = fit_scaling(profile, columns, block_weights={"interest": 1.0, "value": 0.5, "journey": 1.0})
    space = to_space(profile, scaling)
    variance = space.var(axis=0)
    assert variance[:2].sum() == pytest.approx(1.0)
    assert variance[2:].sum() == pytest.approx(0.25)
    assert variance[4] == 0.0
    assert scaling["scale"][0] == scaling["scale"][1]  # Hellinger's geometry within the block


def test_stability_of_plain_blobs_is_one_and_of_a_cut_cloud_is_not() -> None:
    generator = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [20.0, 0.0]])
    points = np.repeat(centres, 100, axis=0) + generator.normal(0, 0.3, (200, 2))
    two = functools.partial(fit_kmeans, n_segments=2, n_init=2, max_iter=100, fit_customers=1_000)
    labels = np.repeat([0, 1], 100)
    assert stability(points, labels, two, resamples=5, customers=500, seed=1) == {0: 1.0, 1: 1.0}
    cloud = generator.normal(0, 1, (300, 6))
    six = functools.partial(fit_kmeans, n_segments=6, n_init=1, max_iter=100, fit_customers=1_000)
    found = six(cloud, 0)
    came_back = stability(cloud, found.fitted_labels, six, resamples=5, customers=500, seed=1)
    assert np.mean(list(came_back.values())) < 0.7


def test_quality_is_none_where_it_is_undefined() -> None:
    figures = cluster_quality(np.zeros((5, 2)), np.zeros(5, int), sample_customers=10, seed=0, is_density=True)
    assert figures["silhouette"] is None
    assert figures["smallest_share"] == 1.0


def test_predictive_validity_of_the_truth_and_of_chance() -> None:
    generator = np.random.default_rng(0)
    bought = generator.random(2_000) < 0.5
    told = predictive_validity(bought.astype(int), bought=bought, spend=100.0 * bought, categories=bought[:, None])
    assert told["buys_auc"] > 0.999
    assert told["spend_r2"] > 0.99
    assert told["category_auc"] > 0.999
    chance = predictive_validity(generator.integers(0, 8, 2_000), bought=bought)
    assert chance["buys_auc"] == pytest.approx(0.5, abs=0.05)


def test_means_are_out_of_fold() -> None:
    outcome = np.arange(10.0)
    alone = mean_by_segment(np.arange(10), outcome, seed=0)
    assert not np.allclose(alone, outcome)


def candidate(count: int, silhouette: float, came_back: float, smallest: float = 0.1) -> Candidate:
    return Candidate("kmeans", count, silhouette, came_back, smallest, 0.0)


def test_the_simplest_of_the_good_is_chosen() -> None:
    offered = [candidate(4, 0.2, 0.9), candidate(6, 0.30, 0.9), candidate(8, 0.31, 0.9), candidate(12, 0.5, 0.3)]
    chosen, reason = choose(offered, min_segment_share=0.01, min_stability=0.6)
    assert chosen.n_segments == 6
    assert reason.startswith("Of 4 candidates, 3 had")
    chosen, reason = choose([candidate(4, 0.2, 0.1), candidate(6, 0.3, 0.2)], min_segment_share=0.01, min_stability=0.6)
    assert chosen.n_segments == 6
    assert reason.startswith("No candidate")


def test_a_saved_segmentation_is_the_same_bytes(tmp_path: Path) -> None:
    model: dict[str, Any] = {
        "scaling": {
            "names": ["spend"],
            "transforms": ["log"],
            "missing": np.zeros(1),
            "centre": np.zeros(1),
            "scale": np.ones(1),
        },
        "clusters": {"centres": np.array([[0.0], [2.0]])},
        "segments": [{"cluster_id": i, "segment_id": f"s{i}", "name": f"S{i}"} for i in range(2)],
        "standing": {"browsing": {"segment_id": "standing-browsing", "name": "Passers-by"}},
        "min_events": 2,
        "border_margin": 0.1,
    }
    for folder in ("a", "b"):
        Segmentation(model).save(tmp_path / folder)
    for name in ("model.json", "arrays.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    profile = pd.DataFrame({"spend": [0.0, 9.0, 9.0], "event_count": [5.0, 5.0, 1.0], "lifecycle_stage": "browsing"})
    found = Segmentation(model).predict(profile)
    assert found.segment.tolist() == ["S0", "S1", "Passers-by"]
    assert found.evidence.tolist() == ["ok", "ok", "low"]
    assert found.cluster_id.isna().tolist() == [False, False, True]
