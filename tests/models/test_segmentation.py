from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.profile import Column
from models.cluster_notes import stability_notes
from models.cluster_settings import FacetIdentity
from models.saved_segmentation import Segmentation
from models.scorer import assign
from models.segmentation import FittedClusters, fit_segmentation

COLUMNS = [Column("spend", "value", "none", 0.0), Column("visits", "journey", "none", 0.0)]
FACET = FacetIdentity("behaviour", "s", "noise")
SETTINGS: dict[str, Any] = {
    "facet": FACET,
    "block_weights": {"value": 1.0, "journey": 1.0},
    "algorithm": "kmeans",
    "n_segments": 3,
    "min_events": 3,
    "min_evidence": 0.0,
    "leading_rule": None,
    "kmeans": {"n_init": 4, "max_iter": 100, "fit_customers": 10_000, "start_tolerance": 0.01},
    "hdbscan": {
        "fit_customers": 10_000,
        "min_cluster_share": 0.1,
        "min_samples": 5,
        "n_components": 5,
        "n_neighbors": 15,
        "selection": "eom",
        "reduce": "always",
        "noise": "nearest",
        "vote_neighbors": 5,
    },
    "quality": {
        "sample_customers": 500,
        "stability_resamples": 3,
        "hdbscan_resamples": 2,
        "stability_customers": 500,
        "hdbscan_resample_customers": 100,
        "min_stability": 0.6,
        "min_segment_share": 0.01,
    },
    "seed": 1,
}


def shop(sizes: tuple[int, ...] = (60, 40, 30)) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    centres = np.repeat([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]][: len(sizes)], sizes, axis=0)
    points = centres + generator.normal(0, 0.3, centres.shape)
    table = pd.DataFrame(points, columns=["spend", "visits"])
    return table.assign(event_count=5.0, lifecycle_stage="active")


def fit(profile: pd.DataFrame, **changes: Any) -> FittedClusters:
    return fit_segmentation(profile, COLUMNS, **{**SETTINGS, **changes})


@pytest.mark.parametrize("algorithm", ["kmeans", "hdbscan"])
def test_three_groups_are_found_and_customers_with_few_events_are_excluded(algorithm: str) -> None:
    profile = shop()
    profile.loc[::10, "event_count"] = 2.0
    fitted = fit(profile, algorithm=algorithm)
    assert fitted.is_clustered.tolist() == (profile.event_count >= 3).tolist()
    assert np.bincount(fitted.labels).tolist() == [54, 36, 27]
    assert fitted.stability == {0: 1.0, 1: 1.0, 2: 1.0}


@pytest.mark.parametrize("algorithm", ["kmeans", "hdbscan"])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_few_customers_give_fewer_segments_and_a_note(algorithm: str, rows: int) -> None:
    fitted = fit(shop((rows,)), algorithm=algorithm, n_segments=8)
    assert 1 <= fitted.n_segments <= rows
    assert fitted.notes


def test_unstable_segments_are_reported() -> None:
    cloud = shop()
    cloud[["spend", "visits"]] = np.random.default_rng(3).normal(size=(len(cloud), 2))
    fitted = fit(cloud, n_segments=9)
    n_unstable = sum(value < 0.6 for value in fitted.stability.values())
    assert n_unstable > 0
    assert fitted.notes[-1].startswith(f"{n_unstable} of 9 segments of behaviour rarely reappear")
    (note,) = stability_notes(FACET, "rule", {0: 0.5, 1: 0.9}, 0.6)
    assert note.startswith("1 of 2 segments of behaviour rarely reappears") and ". It has no campaign name" in note
    assert "Fewer segments" not in note
    assert fitted.notes[-1].endswith("set facets.behaviour.n_segments to a lower number, such as 6.")
    assert fit(shop(), n_segments=3).notes == ()


def test_identical_customers_are_one_segment() -> None:
    for algorithm in ("kmeans", "hdbscan"):
        assert fit(shop().assign(spend=1.0, visits=1.0), algorithm=algorithm).n_segments == 1


def test_no_customer_with_enough_events_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"facets\.behaviour: expected customers with at least 3 events and evidence of 0, found none"
    ):
        fit(shop().assign(event_count=1.0))


@pytest.mark.parametrize("algorithm", ["kmeans", "hdbscan"])
def test_saving_and_loading_changes_no_byte(tmp_path: Path, algorithm: str) -> None:
    fitted = fit(shop(), algorithm=algorithm)
    behaviour: dict[str, Any] = {
        "name": "behaviour",
        "prefix": "",
        "scaling": fitted.scaling,
        "clusters": fitted.clusters.model,
        "segments": [{"cluster_id": i, "segment_id": f"s{i}", "name": f"S{i}", "is_stable": True} for i in range(3)],
        "standing": {"browsing": {"segment_id": "standing-browsing", "name": "Passers-by"}},
        "grouped_by": "lifecycle_stage",
        "evidence_words": ["ok", "low", "noise"],
        "min_events": 3,
        "min_evidence": 0.0,
        "border_margin": 0.1,
        "moves": [],
    }
    first = Segmentation({"behaviour": behaviour, "taste": {**behaviour, "name": "taste", "prefix": "taste_"}})
    first.save(tmp_path / "a")
    Segmentation.load(tmp_path / "a").save(tmp_path / "b")
    for name in ("facets.json", "behaviour/model.json", "behaviour/arrays.npz", "taste/arrays.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    scores = first.predict(shop())
    assert scores.cluster_id.tolist() == fitted.labels.tolist()
    assert scores.taste_segment.tolist() == scores.segment.tolist()
    assert scores.next_taste_segment_id.tolist() == scores.next_segment_id.tolist()
    assert scores.strength.between(0.5, 1.0).all()  # three clear groups: nearly all customers stay
    assert scores.strength.tolist() == assign(fitted.space, fitted.clusters.model)["strength"].tolist()
