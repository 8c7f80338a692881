from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.profile import Column
from models.clusterers import fit_kmeans
from models.naming import Interest, category_labels, matching_archetype, name_segments, top_interests
from models.preprocessing import fit_scaling
from models.quality import cluster_quality, mean_by_segment, predictive_validity, stability
from models.scorer import to_space
from models.segmentation import Segmentation
from models.selection import Candidate, choose
from pipeline.params import load_params

ARCHETYPES = [one.model_dump() for one in load_params(Path(__file__).parents[2] / "params.yaml").naming.archetypes]


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


def shop_figures(**segments: dict[str, float]) -> pd.DataFrame:
    base = {
        "customer_count": 100.0, "spend_per_customer": 100.0, "orders_per_buyer": 3.0, "orders_per_customer": 1.5, "days_since_last_purchase": 60.0,
        "buyer_share": 0.5, "repeat_buyer_share": 0.3, "return_rate": 0.03, "discount_share": 0.15,
        "events_per_customer": 20.0, "views_per_customer": 15.0, "days_since_last_event": 60.0,
        "days_since_first_event": 200.0, "abandoned_cart_share": 0.4, "cart_user_share": 0.4,
        "stage_lost_share": 0.1, "stage_slipping_share": 0.1,
    }  # fmt: skip
    return pd.DataFrame({name: {**base, **own} for name, own in {**segments, "shop": {}}.items()}).T


VIP = {"spend_per_customer": 500.0, "orders_per_buyer": 9.0, "days_since_last_purchase": 10.0, "buyer_share": 1.0}


@pytest.mark.parametrize(
    ("expected", "own"),
    [
        ("vip", VIP),
        ("difficult", {**VIP, "return_rate": 0.4}),
        ("bargain_hunter", {"discount_share": 0.9, "buyer_share": 0.9}),
        ("lost", {"stage_lost_share": 0.8}),
        ("lapsed", {"buyer_share": 0.9, "days_since_last_purchase": 150.0, "days_since_last_event": 120.0}),
        ("cart_abandoner", {"abandoned_cart_share": 0.9, "cart_user_share": 0.9, "buyer_share": 0.1}),
        ("browser", {"buyer_share": 0.0, "orders_per_buyer": np.nan}),
        ("new", {"days_since_first_event": 30.0, "buyer_share": 0.8}),
        ("one_time", {"buyer_share": 0.9, "orders_per_buyer": 1.1}),
        ("at_risk", {"buyer_share": 0.9, "stage_slipping_share": 0.7}),
        ("regular", {"buyer_share": 0.9, "repeat_buyer_share": 0.8}),
    ],
)
def test_each_archetype_on_figures_made_for_it(expected: str, own: dict[str, float]) -> None:
    figures = shop_figures(one=own)
    found, evidence = matching_archetype(figures.loc["one"].to_dict(), figures.loc["shop"].to_dict(), ARCHETYPES)
    assert found is not None
    assert found["id"] == expected
    assert {item["figure"] for item in evidence} == set(found["when"])


def test_alike_segments_are_told_apart_in_every_language() -> None:
    own = {name: {**VIP, "spend_per_customer": 500.0 + place} for place, name in enumerate("abcd")}
    own["c"]["spend_per_customer"] = own["d"]["spend_per_customer"] = 900.0
    interests = {
        "a": [Interest("P > Cats", "Cats", 0.5, 3.0)],
        "b": [Interest("P > Dogs", "Dogs", 0.5, 3.0)],
        "c": [],
        "d": [],
    }
    named = name_segments(shop_figures(**own), interests, ARCHETYPES)
    assert named["a"]["names"]["en"] == "VIP · Cats"
    for language in ("en", "uk", "ru", "sq"):
        assert len({one["names"][language] for one in named.values()}) == 4


def test_renumbering_clusters_changes_no_name() -> None:
    kinds: dict[str, dict[str, float]] = {
        "vip": VIP,
        "lost": {"stage_lost_share": 0.8},
        "new": {"days_since_first_event": 30.0},
    }

    def names(ids: dict[str, str]) -> dict[str, str]:
        named = name_segments(
            shop_figures(**{ids[kind]: own for kind, own in kinds.items()}), dict.fromkeys(ids.values(), ()), ARCHETYPES
        )
        return {kind: named[ids[kind]]["names"]["en"] for kind in kinds}

    assert names({"vip": "s01", "lost": "s02", "new": "s03"}) == names({"vip": "s03", "lost": "s01", "new": "s02"})


def test_labels_are_short_and_unique() -> None:
    labels = category_labels(["A > Food", "B > Food", "C", "x" * 99])
    assert list(labels.values())[:3] == ["A › Food", "B › Food", "C"]
    assert len(labels["x" * 99]) == 40


def test_top_interests_leave_out_what_is_not_distinctive() -> None:
    shares = pd.Series({"a": 0.5, "b": 0.3, "c": 0.01, "(other)": 0.19})
    lifts = pd.Series({"a": 1.1, "b": 2.0, "c": 9.0, "(other)": 4.0})
    top = top_interests(
        shares, lifts, min_lift=1.3, min_share=0.05, most=3, labels={name: name for name in shares.index}
    )
    assert [interest.category for interest in top] == ["b"]


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
