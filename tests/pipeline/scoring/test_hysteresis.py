from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from models.scorer import facet_column
from pipeline.scoring.hysteresis import hold, last_scores

PREFIXES = [""]
AS_OF = datetime(2025, 11, 1, tzinfo=UTC)


def predicted() -> pd.DataFrame:
    """Everybody is nearest to B, next to A; at margins .01, .04, .2 and .01; the last has done too little."""
    return pd.DataFrame(
        {
            **{"segment_id": ["b", "b", "b", "standing-lost"], "segment": ["B", "B", "B", "Lost"]},
            **{"cluster_id": [1, 1, 1, None], "strength": [0.6, 0.7, 0.9, 0.0]},
            **{"next_segment_id": ["a", "a", "a", None], "next_segment": ["A", "A", "A", None]},
            **{"margin": [0.01, 0.04, 0.2, 0.0], "is_border": [True, True, False, False]},
            **{
                "what_would_move": ["x", None, None, None],
                "is_stable": [True, True, True, True],
                "evidence": ["broad", "ok", "ok", "low"],
            },
        }
    ).astype({"cluster_id": "Int64", "segment_id": "str", "segment": "str", "next_segment_id": "str"})


def last(segments: list[str], ids: str = "wxyz") -> pd.DataFrame:
    return pd.DataFrame(
        {
            **{"customer_id": list(ids), "as_of": pd.Timestamp(AS_OF), "segment_id": segments},
            **{"segment": [one.upper() for one in segments], "cluster_id": [{"a": 0, "b": 1}.get(s) for s in segments]},
            **{"is_stable": False, "evidence": "ok", "model_uri": "models:/kindred/1"},
        }
    )


def test_only_those_who_came_from_the_next_segment_and_barely_are_held() -> None:
    found, held = hold(predicted(), pd.Series(list("wxyz")), last(["a", "b", "a", "a"]), PREFIXES, margin=0.05)
    assert held.tolist() == [True, False, False, False]
    first = found.iloc[0]
    assert (first.segment_id, first.segment, first.cluster_id, first.is_stable) == ("a", "A", 0, False)
    assert (first.next_segment_id, first.next_segment, first.margin, first.is_border) == ("b", "B", 0.0, True)
    assert first.strength == pytest.approx(0.4) and first.evidence == "ok"
    assert pd.isna(first.what_would_move)
    pd.testing.assert_frame_equal(found.iloc[1:], predicted().iloc[1:])


def test_a_segment_is_called_as_it_is_called_now() -> None:
    # The last scores had a name that was given by hand and has been taken back since.
    before = last(["a", "b", "a", "a"]).replace({"segment": {"A": "Our gold"}})
    found, _ = hold(predicted(), pd.Series(list("wxyz")), before, PREFIXES, margin=0.05)
    assert found.segment[0] == "A"


def test_customers_are_matched_by_id_and_new_ones_are_free() -> None:
    _, held = hold(predicted(), pd.Series(list("wxyz")), last(["a", "a"], "xv"), PREFIXES, margin=0.05)
    assert held.tolist() == [False, True, False, False]


def test_nobody_is_held_where_all_are_new_but_one_who_stayed() -> None:
    found, held = hold(predicted(), pd.Series(list("wxyz")), last(["b"], "w"), PREFIXES, margin=0.05)
    assert not held.any()
    pd.testing.assert_frame_equal(found, predicted())


def test_holding_twice_is_holding_once() -> None:
    ids = pd.Series(list("wxyz"))
    once, _ = hold(predicted(), ids, last(["a", "a", "a", "a"]), PREFIXES, margin=0.05)
    kept = once.assign(customer_id=ids, as_of=pd.Timestamp(AS_OF), model_uri="models:/kindred/1")
    pd.testing.assert_frame_equal(hold(predicted(), ids, kept, PREFIXES, margin=0.05)[0], once)


def test_each_facet_is_held_on_its_own() -> None:
    def renamed(table: pd.DataFrame) -> pd.DataFrame:
        own = [name for name in table if name not in ("customer_id", "as_of", "model_uri")]
        return table[own].rename(columns=lambda name: facet_column(name, "interest_"))

    now = pd.concat([predicted(), renamed(predicted())], axis=1)
    before = last(["b", "b", "b", "b"])
    before = pd.concat([before, renamed(last(["b", "a", "b", "b"]))], axis=1)
    found, held = hold(now, pd.Series(list("wxyz")), before, ["", "interest_"], margin=0.05)
    assert held.tolist() == [False, True, False, False]
    assert found.segment_id.tolist() == predicted().segment_id.tolist()
    assert found.interest_segment_id.tolist() == ["b", "a", "b", "standing-lost"]
    assert found.next_interest_segment.tolist()[1] == "B"


def test_scores_of_another_model_of_the_future_or_broken_are_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    given = {"model_uri": "models:/kindred/1", "as_of": AS_OF}
    assert last_scores(path, PREFIXES, **given) is None
    last(["a", "b", "a", "a"]).to_parquet(path, index=False)
    found = last_scores(path, PREFIXES, **given)
    assert found is not None
    assert found.segment_id.tolist() == ["a", "b", "a", "a"]
    assert last_scores(path, PREFIXES, model_uri="models:/kindred/2", as_of=AS_OF) is None
    assert last_scores(path, PREFIXES, model_uri="models:/kindred/1", as_of=AS_OF - timedelta(days=1)) is None
    last(["a", "b", "a", "a"]).drop(columns="is_stable").to_parquet(path, index=False)
    assert last_scores(path, PREFIXES, **given) is None
    last(["a", "b", "a", "a"]).assign(as_of=pd.Timestamp(AS_OF).tz_localize(None)).to_parquet(path, index=False)
    assert last_scores(path, PREFIXES, **given) is None
    path.write_bytes(b"PAR1 and no more")
    assert last_scores(path, PREFIXES, **given) is None
    assert last_scores(tmp_path / "scores.csv", PREFIXES, **given) is None
