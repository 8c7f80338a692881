from __future__ import annotations

from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest

import models.scorer
from features.events import EventType
from features.profile import profile_table
from models.saved_segmentation import Segmentation
from models.scorer import RATES, assign, capped, is_known, segment_columns, with_rates

EXEMPLARS = {
    "exemplars": np.array([[0.0], [1.0], [3.0]], dtype=np.float32),
    "labels": np.array([0, 1, 1]),
    "vote_neighbors": 3,
}


def model(**changes: Any) -> dict[str, Any]:
    scaling = {
        "names": ["spend"],
        "transforms": ["none"],
        "missing": np.zeros(1),
        "centre": np.zeros(1),
        "scale": np.ones(1),
    }
    return {
        "scaling": scaling,
        "clusters": {"centres": np.array([[0.0], [4.0]])},
        "segments": [
            {"cluster_id": i, "segment_id": f"s{i}", "name": f"Сегмент {i}", "is_stable": i == 0} for i in range(2)
        ],
        "standing": {stage: {"segment_id": f"standing-{stage}", "name": stage} for stage in ("browsing", "lost")},
        "name": "behaviour",
        "prefix": "",
        "grouped_by": "lifecycle_stage",
        "evidence_words": ["ok", "low", "noise"],
        "min_events": 3,
        "min_evidence": 0.0,
        "moves": [],
        "border_margin": 0.1,
        **changes,
    }


def profile(spend: list[float], count: list[float], stage: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame({"spend": spend, "event_count": count, "lifecycle_stage": stage})


def test_orders_decide_who_is_known_if_their_minimum_is_set() -> None:
    counts = pd.DataFrame({"event_count": [9.0, 1.0, 5.0], "order_count": [0.0, 1.0, 2.0], "lifecycle_stage": "active"})
    minimum = {"min_events": 3, "min_evidence": 0.0}
    assert is_known(counts, minimum).tolist() == [True, False, True]
    assert is_known(counts, {**minimum, "min_orders": None}).tolist() == [True, False, True]
    assert is_known(counts, {**minimum, "min_orders": 2}).tolist() == [False, False, True]


def test_a_vote_by_hand() -> None:
    assigned = assign(np.array([[0.5]]), EXEMPLARS)
    votes = np.array([1 / (0.5 + 2.5), 1 / (0.5 + 2.5) + 1 / (2.5 + 2.5)])
    assert assigned["cluster_id"].tolist() == [1]
    assert assigned["next_cluster_id"].tolist() == [0]
    assert assigned["strength"][0] == pytest.approx(votes[1] / votes.sum())
    assert assigned["margin"][0] == pytest.approx((votes[1] - votes[0]) / votes.sum())


def test_assignment_of_a_row_does_not_depend_on_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    points, order = generator.normal(size=(700, 40)), generator.permutation(700)
    voters = {
        "exemplars": generator.normal(size=(900, 40)).astype(np.float32),
        "labels": generator.integers(0, 5, 900),
        "vote_neighbors": 15,
    }
    for clusters in (voters, {"centres": generator.normal(size=(12, 40))}):
        whole = assign(points, clusters)
        monkeypatch.setattr(models.scorer, "CHUNK_ROWS", 7)
        shuffled, by_column = assign(points[order], clusters), assign(np.asfortranarray(points), clusters)
        for name, values in whole.items():
            assert (shuffled[name] == values[order]).all()
            assert (by_column[name] == values).all()
        monkeypatch.undo()


def test_one_cluster_has_no_next() -> None:
    for clusters in ({"centres": np.zeros((1, 1))}, {**EXEMPLARS, "labels": np.zeros(3, int)}):
        scores = segment_columns(profile([7.0], [9.0], ["lost"]), model(clusters=clusters))
        assert scores.margin.tolist() == scores.strength.tolist() == [1.0]
        assert scores.next_segment.isna().all()
        assert not scores.is_border.any()


def test_customers_with_low_evidence_get_a_rule_based_group() -> None:
    few = profile([0.0, 0.0, 0.0, 4.0], [1.0, 2.0, np.nan, 3.0], ["lost", "unheard of", None, "lost"])
    scores = segment_columns(few, model())
    assert scores.segment_id.tolist() == ["standing-lost", "standing-browsing", "standing-browsing", "s1"]
    assert scores.evidence.tolist() == ["low", "low", "low", "ok"]
    low = scores[scores.evidence == "low"]
    unknown = ["strength", "margin", "is_stable", "cluster_id", "next_segment_id", "next_segment"]
    assert low[unknown].isna().all(axis=None)
    assert scores[scores.evidence == "ok"][["strength", "margin", "is_stable"]].notna().all(axis=None)
    assert not low.is_border.any()


def test_border_and_noise() -> None:
    scores = segment_columns(profile([1.95, 0.0], [9.0, 9.0], ["lost", "lost"]), model())
    assert scores.is_border.tolist() == [True, False]
    assert scores.next_segment.tolist() == ["Сегмент 1", "Сегмент 1"]
    noise = {"cluster_id": -1, "segment_id": "noise", "name": "Noise", "is_stable": True}
    kept = model(clusters={**EXEMPLARS, "labels": np.array([0, 1, -1])}, segments=[*model()["segments"], noise])
    assert segment_columns(profile([3.0], [9.0], ["lost"]), kept).segment_id.tolist() == ["noise"]


NOISY = {
    "exemplars": np.array([[0.0], [0.1], [2.0], [2.1], [4.0], [4.1]], dtype=np.float32),
    "labels": np.array([0, 0, -1, -1, 1, 1]),
    "vote_neighbors": 3,
}


@pytest.mark.parametrize(
    ("policy", "segment_id", "noise_id"),
    [("nearest", "s1", None), ("keep", "noise", "noise"), ("standing", "standing-lost", None)],
)
def test_each_noise_policy_assigns_customers_between_clusters(
    policy: str, segment_id: str, noise_id: str | None
) -> None:
    more = [] if policy == "nearest" else [{"cluster_id": -1, "segment_id": noise_id, "name": noise_id}]
    segments = [*model()["segments"], *({**segment, "is_stable": True} for segment in more)]
    noisy = model(clusters={**NOISY, "noise": policy}, segments=segments, border_margin=1.0)
    scores = segment_columns(profile([0.0, 2.2, 4.0, 4.0], [9.0, 9.0, 9.0, 1.0], ["lost"] * 4), noisy)
    assert scores.segment_id.tolist() == ["s0", segment_id, "s1", "standing-lost"]
    assert scores.evidence.tolist() == ["ok", "noise", "ok", "low"]
    assert not set(scores.next_segment_id.dropna()) - {"s0", "s1", noise_id}
    if policy == "standing":
        between = scores.iloc[1]
        assert (between.cluster_id, between.is_border) == (-1, False)
        assert between[["strength", "margin", "is_stable"]].isna().all()
        assert scores.segment.notna().all()


def test_without_a_near_cluster_the_next_cluster_is_the_same() -> None:
    assigned = assign(np.array([[0.0]]), {**NOISY, "vote_neighbors": 2})
    assert assigned["next_cluster_id"].tolist() == assigned["cluster_id"].tolist() == [0]
    assert assigned["margin"].tolist() == [1.0]


def test_a_training_customer_does_not_outvote_its_neighbours() -> None:
    near = {"exemplars": np.array([[0.0], [1.0], [1.1]]), "labels": np.array([0, 1, 1]), "vote_neighbors": 3}
    assert assign(np.array([[0.0]]), near)["cluster_id"].tolist() == [1]


def test_strength_is_the_observed_rate_for_the_margin() -> None:
    observed = {
        "staying_clusters": np.array([0, 1]),
        "staying_margins": np.array([0.0, 0.5, 1.0]),
        "staying_rates": np.array([[0.5, 0.9, 1.0], [0.2, 0.2, 0.6]]),
    }
    rows = profile([0.0, 1.0, 4.0], [9.0] * 3, ["lost"] * 3)
    scores = segment_columns(rows, model(clusters={**model()["clusters"], **observed}))
    assert scores.margin.tolist() == pytest.approx([1.0, 2 / 3, 1.0])  # 1 - d1 / d2, centres at 0 and 4
    assert scores.strength.tolist() == pytest.approx([1.0, 0.9 + 0.1 / 3, 0.6])
    assert scores.is_stable.tolist() == [True, True, False]


def test_what_would_move_a_customer_on_the_border_by_hand() -> None:
    """Centres at 0 and 4: from 1.9, one more crosses 2; from 2.1, only doing nothing goes back across it."""
    moves = [
        {"text": "one more", "changes": [{"spend": (1.0, 1.0), "unheard of": (1.0, 5.0)}]},
        {"text": "now or later", "changes": [{"spend": (1.0, 9.0)}, {"spend": (0.0, 0.0)}]},
        {"text": "nothing", "changes": [{"spend": (0.5, 0.0)}]},
    ]
    rows = profile([1.9, 2.1, 0.0, 2.0], [9.0, 9.0, 9.0, 1.0], ["lost"] * 4)
    scores = segment_columns(rows, model(moves=moves))
    assert scores.is_border.tolist() == [True, True, False, False]
    assert scores.what_would_move.fillna("").tolist() == ["one more -> Сегмент 1", "nothing -> Сегмент 0", "", ""]


@pytest.mark.parametrize(("ranks", "move"), [((0, 1), "nothing -> Сегмент 0"), ((1, 0), "halved"), ((0, 0), "halved")])
def test_doing_nothing_only_leads_to_a_segment_of_lower_value(ranks: tuple[int, int], move: str) -> None:
    less: dict[str, Any] = {"changes": [{"spend": (0.5, 0.0)}]}
    moves = [{"text": "nothing", "is_inactivity": True, **less}, {"text": "halved", **less}]
    ranked = model(moves=moves)
    ranked["segments"] = [
        {**segment, "value_rank": rank} for segment, rank in zip(ranked["segments"], ranks, strict=True)
    ]
    (found,) = segment_columns(profile([2.1], [9.0], ["lost"]), ranked).what_would_move
    assert found.startswith(move)


def test_scores_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    spend = np.random.default_rng(0).normal(2.0, 2.0, 40)
    rows = profile([*spend, np.nan], [9.0, 9.0, 1.0] * 13 + [9.0, 9.0], ["lost"] * 41)
    moves = [
        {"text": "one more", "changes": [{"spend": (1.0, 1.0)}]},
        {"text": "less", "changes": [{"spend": (0.5, 0.0)}]},
    ]
    for clusters in (model()["clusters"], {**NOISY, "noise": "nearest"}):
        moving = model(clusters=clusters, moves=moves, border_margin=0.4)
        whole = segment_columns(rows, moving)
        assert whole.what_would_move.nunique() == 2 and whole.segment_id.nunique() == 3
        for count in (1, 7, 27):
            monkeypatch.setattr(models.scorer, "POINTS_AT_ONCE", count)
            pd.testing.assert_frame_equal(segment_columns(rows, moving), whole, check_exact=True)
        monkeypatch.undo()


def test_columns_keep_their_types_without_rows() -> None:
    full, empty = (segment_columns(profile([1.0] * n, [9.0] * n, ["lost"] * n), model()) for n in (1, 0))
    assert full.dtypes.to_dict() == {**empty.dtypes.to_dict()}


@pytest.mark.parametrize("clusters", [model()["clusters"], EXEMPLARS], ids=["centres", "exemplars"])
def test_mlflow_model_scores_the_same_as_in_memory_without_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clusters: dict[str, Any]
) -> None:
    import mlflow
    from mlflow.models import infer_signature

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    segmentation = Segmentation({"behaviour": model(clusters=clusters)})
    rows = profile([0.0, 1.0, 1.9, np.nan, 9.0], [9.0, 9.0, 9.0, 9.0, 1.0], ["lost"] * 5)
    expected = segmentation.predict(rows)
    segmentation.save(tmp_path / "segmentation")
    mlflow.pyfunc.save_model(
        tmp_path / "model",
        python_model=models.scorer.__file__,
        artifacts={"segmentation": str(tmp_path / "segmentation")},
        signature=infer_signature(rows, expected),
        pip_requirements=["mlflow", "numpy", "pandas", "scikit-learn"],
    )
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    pd.testing.assert_frame_equal(loaded.predict(rows), expected, check_exact=True)
    pd.testing.assert_frame_equal(
        Segmentation.load(tmp_path / "segmentation").predict(rows), expected, check_exact=True
    )
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".pkl", ".pickle", ".joblib"}]


def test_rates_equal_those_of_the_profile() -> None:
    """The formula exists in both the scorer and `features.profile`, because a model imports nothing else of Kindred."""
    measured = pd.DataFrame(
        {
            "customer_id": ["a", "b", "c"],
            "days_since_first_event": [40.0, 3.0, np.nan],
            "days_since_last_event": [12.0, 1.0, np.nan],
            "days_from_first_to_last_event": [28.0, 2.0, np.nan],
            "session_count": [8.0, 0.0, 0.0],
            "order_count": [2.0, 1.0, 0.0],
            "abandoned_cart_count": [1.0, 0.0, 0.0],
        }
    )
    zero = (
        "cart_session_count",
        "activity",
        "temperature_points",
        "spend",
        "net_spend",
        "returned_spend",
        "item_count",
        "returned_item_count",
        "evidence",
    )
    counts = [f"{kind}_count" for kind in EventType]
    table = measured.assign(**dict.fromkeys([*zero, *counts, "event_count"], 1.0))
    expected = (
        profile_table(ibis.memtable(table[["customer_id"]]), [ibis.memtable(table)]).order_by("customer_id").to_pandas()
    )
    rates = ["visits_per_week", "orders_per_visit", "abandoned_carts_per_visit"]
    found = with_rates(table)
    pd.testing.assert_frame_equal(found[rates], expected[rates])
    assert found[rates].iloc[0].tolist() == [2.0, 0.25, 0.125]  # eight visits in four weeks


@pytest.mark.parametrize("rate", RATES)
def test_each_rate_is_recomputed_even_if_it_is_the_only_one(rate: str) -> None:
    counts = {"session_count": 8.0, "order_count": 2.0, "abandoned_cart_count": 1.0}
    days = {"days_since_first_event": 40.0, "days_since_last_event": 12.0}
    expected = dict(zip(RATES, (28.0, 2.0, 0.25, 0.125), strict=True))
    assert with_rates(pd.DataFrame({**counts, **days, rate: 0.0}, index=[0]))[rate].tolist() == [expected[rate]]


def test_only_unusual_customers_are_capped() -> None:
    profile = pd.DataFrame(
        {"spend": [9e5, 9e5, 10.0, np.nan], "order_count": [1.0, 600.0, 600.0, 2.0]}
        | {"is_unusual": [False, True, True, True]}
    )
    result = capped(profile, {"spend": 500.0, "order_count": 30.0, "view_count": 5.0})
    assert result.spend.fillna(-1.0).tolist() == [9e5, 500.0, 10.0, -1.0]
    assert result.order_count.tolist() == [1.0, 30.0, 30.0, 2.0]
    assert profile.spend[1] == 9e5
    unknown = profile.assign(is_unusual=np.nan)  # scored without the column, or by a model of another action
    assert capped(unknown, {"spend": 500.0}) is unknown
    assert capped(profile, {}) is profile
