"""Customers near a border keep their previous segment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import ibis
import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.scorer import facet_column
from pipeline.scoring.hysteresis import keep_previous_near_borders, previous_scores, rows_of
from pipeline.stores.engines.duckdb import DuckDB

PREFIXES = [""]
AS_OF = datetime(2025, 11, 1, tzinfo=UTC)


def predicted() -> pd.DataFrame:
    """Everyone is nearest to B, then A, at margins 0.01, 0.04 and 0.2. The last customer has too little activity."""
    return pd.DataFrame(
        {
            **{"segment_id": ["b", "b", "b", "standing-lost"], "segment": ["B", "B", "B", "Lost"]},
            **{"cluster_id": [1, 1, 1, None], "strength": [0.6, 0.7, 0.9, None]},
            **{"next_segment_id": ["a", "a", "a", None], "next_segment": ["A", "A", "A", None]},
            **{"margin": [0.01, 0.04, 0.2, None], "is_border": [True, True, False, False]},
            **{
                "what_would_move": ["x", None, None, None],
                "is_stable": pd.array([True, True, True, None], dtype="boolean"),
                "evidence": ["broad", "ok", "ok", "low"],
            },
        }
    ).astype({"cluster_id": "Int64", "segment_id": "str", "segment": "str", "next_segment_id": "str"})


def previous(segments: list[str], ids: str = "wxyz") -> pd.DataFrame:
    return pd.DataFrame(
        {
            **{"customer_id": list(ids), "as_of": pd.Timestamp(AS_OF), "segment_id": segments},
            **{
                "segment": [name.upper() for name in segments],
                "cluster_id": [{"a": 0, "b": 1}.get(name) for name in segments],
            },
            **{"is_stable": False, "evidence": "ok", "model_uri": "models:/kindred/1"},
        }
    )


def before(segments: list[str], ids: str = "wxyz") -> pd.DataFrame:
    """The previous scores of the customers w, x, y, z."""
    return rows_of(pd.Series(list("wxyz")), previous(segments, ids))


def test_only_customers_from_the_runner_up_within_the_margin_are_held() -> None:
    result, held = keep_previous_near_borders(predicted(), before(["a", "b", "a", "a"]), PREFIXES, margin=0.05)
    assert held.tolist() == [True, False, False, False]
    first = result.iloc[0]
    assert (first.segment_id, first.segment, first.cluster_id, first.is_stable) == ("a", "A", 0, False)
    assert (first.next_segment_id, first.next_segment, first.margin, first.is_border) == ("b", "B", 0.0, True)
    assert first.strength == pytest.approx(0.4) and first.evidence == "ok"
    assert pd.isna(first.what_would_move)
    pd.testing.assert_frame_equal(result.iloc[1:], predicted().iloc[1:])


def test_a_held_segment_has_its_current_name() -> None:
    # The previous scores had a manual name that has been reset since.
    renamed = before(["a", "b", "a", "a"]).replace({"segment": {"A": "Our gold"}})
    result, _ = keep_previous_near_borders(predicted(), renamed, PREFIXES, margin=0.05)
    assert result.segment[0] == "A"


def test_customers_are_matched_by_id_and_new_ones_are_not_held() -> None:
    _, held = keep_previous_near_borders(predicted(), before(["a", "a"], "xv"), PREFIXES, margin=0.05)
    assert held.tolist() == [False, True, False, False]


def test_nobody_is_held_if_all_are_new_or_stayed() -> None:
    result, held = keep_previous_near_borders(predicted(), before(["b"], "w"), PREFIXES, margin=0.05)
    assert not held.any()
    pd.testing.assert_frame_equal(result, predicted())


def test_holding_is_idempotent() -> None:
    once, _ = keep_previous_near_borders(predicted(), before(["a", "a", "a", "a"]), PREFIXES, margin=0.05)
    pd.testing.assert_frame_equal(keep_previous_near_borders(predicted(), once, PREFIXES, margin=0.05)[0], once)


def test_each_facet_is_held_on_its_own() -> None:
    def renamed(table: pd.DataFrame) -> pd.DataFrame:
        columns = [name for name in table if name not in ("customer_id", "as_of", "model_uri")]
        return table[columns].rename(columns=lambda name: facet_column(name, "interest_"))

    now = pd.concat([predicted(), renamed(predicted())], axis=1)
    then = pd.concat([before(["b", "b", "b", "b"]), renamed(before(["b", "a", "b", "b"]))], axis=1)
    result, held = keep_previous_near_borders(now, then, ["", "interest_"], margin=0.05)
    assert held.tolist() == [False, True, False, False]
    assert result.segment_id.tolist() == predicted().segment_id.tolist()
    assert result.interest_segment_id.tolist() == ["b", "a", "b", "standing-lost"]
    assert result.next_interest_segment.tolist()[1] == "B"


def test_scores_of_another_model_or_a_later_date_or_damaged_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    engine = DuckDB(ibis.duckdb.connect())

    def found(*, model_uri: str = "models:/kindred/1", as_of: datetime = AS_OF, at: Path = path) -> list[str] | None:
        scores = previous_scores(engine, at, PREFIXES, model_uri=model_uri, as_of=as_of)
        return None if scores is None else scores.order_by("customer_id").to_pyarrow()["segment_id"].to_pylist()

    assert found() is None
    written = previous(["a", "b", "a", "a"])
    written.to_parquet(path, index=False)
    assert found() == ["a", "b", "a", "a"]
    assert found(model_uri="models:/kindred/2") is None
    assert found(as_of=AS_OF - timedelta(days=1)) is None
    written.drop(columns="is_stable").to_parquet(path, index=False)
    assert found() is None
    written.assign(as_of=pd.Timestamp(AS_OF).tz_localize(None)).to_parquet(path, index=False)
    assert found() is None
    written.head(0).to_parquet(path, index=False)
    assert found() is None
    written.assign(customer_id=[1, 2, 3, 4]).to_parquet(path, index=False)
    assert found() is None
    previous(["a", "b", "a", "a"], "wxyx").to_parquet(path, index=False)  # a customer twice
    assert found() is None
    path.write_bytes(b"PAR1 and no more")
    assert found() is None
    assert found(at=tmp_path / "scores.csv") is None


def test_scores_with_a_damaged_column_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    previous(["a", "b", "a", "a"]).to_parquet(path, index=False, compression=None)
    text = path.read_bytes()
    column = pq.read_metadata(path).row_group(0).column(2)
    start = column.dictionary_page_offset or column.data_page_offset
    path.write_bytes(text[:start] + bytes(column.total_compressed_size) + text[start + column.total_compressed_size :])
    engine = DuckDB(ibis.duckdb.connect())
    assert previous_scores(engine, path, PREFIXES, model_uri="models:/kindred/1", as_of=AS_OF) is None
