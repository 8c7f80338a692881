"""Which numbers of a saved segmentation are refused: one wrong part at a time, in each kind of clusters."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.model_checks import problems
from models.scorer import ExpectedValueModel, LinearPredictor

STAYING = {
    "staying_clusters": np.array([0, 1]),
    "staying_margins": np.array([0.0, 0.5]),
    "staying_rates": np.array([[0.5, 0.9], [0.6, 1.0]]),
}
CLUSTERS: dict[str, dict[str, Any]] = {
    "centres": {"centres": np.array([[0.0, 1.0], [2.0, 3.0]]), **STAYING},
    "nodes": {"nodes": np.array([1]), "mix": np.array([0.2, 0.8]), "kappa": 2.0, "min_lift": 1.3, "min_errors": 2.0},
    "exemplars": {"exemplars": np.zeros((3, 2)), "labels": np.array([-1, 0, 1]), "vote_neighbors": 5, "noise": "own"},
}
VALUE = ExpectedValueModel(
    mean_order_value=10.0,
    low=(0.0,),
    high=(1.0,),
    knots=((0.3, 0.6),),
    buys=LinearPredictor(0.1, (1.0, 2.0, 3.0)),
    seen=None,
    spend=None,
)


def model(kind: str) -> dict[str, Any]:
    facet = {
        "name": "behaviour",
        "scaling": {
            "names": ["orders", "rate"],
            "transforms": ["log", "rate"],
            "counts": [None, ["returns", "orders"]],
            "alpha": np.array([0.0, 1.0]),
            "beta": np.array([0.0, 2.0]),
            **{part: np.array([1.0, 2.0]) for part in ("missing", "centre", "scale")},
        },
        "clusters": CLUSTERS[kind],
        "segments": [
            {"cluster_id": 0, "segment_id": "s01", "name": "A"},
            {"cluster_id": 1, "segment_id": None, "name": None},
        ],
        "standing": {"lost": {"segment_id": "standing-lost", "name": "Lost"}},
        "evidence_words": ["ok", "low", "noise"],
        "min_events": 3,
        "min_evidence": 0.0,
        "border_margin": 0.1,
        "moves": [{"changes": [{"orders": [1.0, 2.0]}]}],
    }
    return copy.deepcopy({"facets": [facet], "expected_value": VALUE})


@pytest.mark.parametrize("kind", CLUSTERS)
def test_a_model_as_it_is_saved_is_accepted(kind: str) -> None:
    assert problems(model(kind)) == []
    assert problems({**model(kind), "expected_value": None}) == []


@pytest.mark.parametrize(
    ("kind", "place", "value", "expected"),
    [
        ("centres", "clusters.centres", np.array([[0.0, np.nan], [2.0, 3.0]]), "a centre is not finite"),
        ("centres", "clusters.centres", np.array([["0", "1"], ["2", "3"]]), "a centre is not finite"),
        ("centres", "clusters.centres", np.array([[True, True], [True, False]]), "a centre is not finite"),
        ("centres", "clusters.centres", np.zeros((2, 3)), "the centres have another number of columns"),
        ("centres", "clusters.centres", np.zeros((3, 2)), "a cluster has no segment"),
        ("centres", "clusters.centres", np.zeros((0, 2)), "a centre is not finite"),
        ("centres", "clusters.staying_rates", np.array([[0.5, 1.1], [0.6, 1.0]]), "a rate of staying is not in 0..1"),
        ("centres", "clusters.staying_rates", np.zeros((2, 3)), "the rates of staying have another shape"),
        ("centres", "scaling.scale", np.array([1.0, np.inf]), "the scaling is not finite"),
        ("centres", "scaling.centre", np.array([1.0]), "the scaling has another number of columns"),
        ("centres", "scaling.names", ["orders", "orders"], "a column is listed twice"),
        ("centres", "scaling.transforms", ["log", "exec"], "a transform is unknown"),
        ("centres", "scaling.beta", np.array([0.0, 0.0]), "the prior of a rate is not above 0"),
        ("nodes", "clusters.nodes", np.array([2]), "a group has no share"),
        ("nodes", "clusters.nodes", np.array([0, 1]), "the groups have another number of columns"),
        ("nodes", "clusters.mix", np.array([0.2, np.nan]), "a share of the shop is not in 0..1"),
        ("nodes", "clusters.kappa", float("nan"), "a threshold is not finite"),
        ("exemplars", "clusters.exemplars", np.full((3, 2), np.inf), "an exemplar is not finite"),
        ("exemplars", "clusters.labels", np.array([0, 1]), "the labels have another number of rows"),
        ("exemplars", "clusters.labels", np.array([0, 1, 7]), "a cluster has no segment"),
        ("exemplars", "clusters.vote_neighbors", 0, "vote_neighbors is not above 0"),
        ("centres", "border_margin", 2.0, "border_margin is not in 0..1"),
        ("centres", "min_events", "3", "a minimum is no count"),
        ("centres", "evidence_words", ["ok"], "a word of evidence is missing"),
        ("centres", "standing", {}, "it has no group by rule"),
        ("centres", "moves", [{"changes": [{"orders": [float("nan"), 2.0]}]}], "a move is not finite"),
    ],
)
def test_one_wrong_part_is_named(kind: str, place: str, value: Any, expected: str) -> None:
    changed = model(kind)
    section, _, key = place.rpartition(".")
    (changed["facets"][0][section] if section else changed["facets"][0])[key] = value
    assert problems(changed) == [f"behaviour: {expected}"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"low": (float("nan"),)}, "a bound of the expected value is not finite"),
        ({"high": ()}, "the expected value has other features"),
        ({"seen": LinearPredictor(0.1, (1.0,))}, "the expected value has another number of weights"),
        ({"seen": LinearPredictor(float("inf"), (1.0, 2.0, 3.0))}, "a weight of the expected value is not finite"),
    ],
)
def test_the_expected_value_is_checked_too(change: dict[str, Any], expected: str) -> None:
    assert problems({**model("centres"), "expected_value": replace(VALUE, **change)}) == [expected]


def test_a_model_without_a_facet_is_refused() -> None:
    assert problems({"facets": [], "expected_value": None}) == ["it has no facet"]


def test_a_facet_may_group_all_customers_by_rule() -> None:
    by_rule = model("centres")
    by_rule["facets"][0] |= {"clusters": {}, "segments": []}
    assert problems(by_rule) == []
