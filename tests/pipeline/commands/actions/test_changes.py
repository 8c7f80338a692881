"""What scorings change is kept, counted, and written for people and for syncs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.audiences.changes import ChangeCounts, keep_score_changes, kept_changes
from pipeline.cli import main
from pipeline.commands.actions.changes import changes
from pipeline.config.errors import UserError
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.stores.files import files_elsewhere
from pipeline.stores.writers import write_table
from tests.conftest import PARAMS

FIRST = datetime(2025, 12, 1, tzinfo=UTC)
NAMES = {"s1": "VIP", "s2": "Regulars", "s3": "Lapsed", "i1": "Cats"}
AUDIENCES = {"vips": {"where": {"segment": "VIP"}}, "broken": {"where": {"no_column": 1}}}


@contextmanager
def database() -> Iterator[ibis.backends.duckdb.Backend]:
    con = ibis.duckdb.connect()
    con.raw_sql("set TimeZone = 'UTC'")
    yield con
    con.disconnect()


@pytest.fixture
def params(tmp_path: Path) -> Params:
    own = {"base": str(PARAMS), "audiences": {"lapsing_vips": None, "carts_this_week": None, **AUDIENCES}}
    own["outputs"] = {"folder": "outputs", "scores": "scores.parquet"}
    own["tracking"] = {"uri": "sqlite:///mlflow.db", "artifacts": "artifacts"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    return load_params(tmp_path / "params.yaml")


def table_of(as_of: datetime, segments: dict[str, str], tiers: dict[str, str | None]) -> pa.Table:
    texts = {
        "segment_id": list(segments.values()),
        "segment": [NAMES[value] for value in segments.values()],
        "interest_segment_id": ["i1"] * len(segments),
        "interest_segment": ["Cats"] * len(segments),
        "value_tier": [tiers.get(customer) for customer in segments],
        "lifecycle_stage": ["active"] * len(segments),
        "model_uri": ["models:/kindred/1"] * len(segments),
        "run_id": ["r1"] * len(segments),
    }
    moment = pa.array([as_of] * len(segments), pa.timestamp("us", "UTC"))
    columns = {name: pa.array(values, pa.large_string()) for name, values in texts.items()}
    return pa.table({"customer_id": pa.array([*segments], pa.large_string()), "as_of": moment, **columns})


@pytest.fixture
def score(params: Params) -> Callable[..., ChangeCounts | None]:
    """Scores of a day replace those of the days before, as `kindred score` does it."""

    def replace(day: int, segments: dict[str, str], tiers: dict[str, str | None] | None = None) -> ChangeCounts | None:
        as_of = FIRST + timedelta(days=day)
        stay = {f"stays in {segment_id}": segment_id for segment_id in ("s1", "s2", "s3")}
        table, path = table_of(as_of, segments | stay, tiers or {}), params.path(params.outputs.scores)
        with database() as con:
            counts = keep_score_changes(con, ibis.memtable(table), path, params.model_copy(update={"as_of": as_of}))
        write_table(path, table)
        return counts

    return replace


def written(params: Params, path: Path, *, since: datetime | None = None, tags: bool = False) -> list[dict]:
    changes(params, since=since, out=path, tags=tags)
    return pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")


def test_the_first_scores_change_nothing(score, params) -> None:
    assert score(0, {"a": "s1"}) is None
    assert not kept_changes(params.path("outputs"))
    with pytest.raises(UserError, match="keeps them from its second scoring on"):
        changes(params, since=None, out=params.path("outputs") / "changes.csv", tags=False)


def test_changes_are_counted_by_customer_and_by_column(score) -> None:
    score(0, {"a": "s1", "b": "s2", "c": "s2"}, {"a": "vip"})
    counts = score(1, {"a": "s3", "b": "s2", "d": "s1"}, {"a": "regular"})
    expected = {"segment_id": 3, "interest_segment_id": 2, "value_tier": 1, "lifecycle_stage": 2, "audience:": 2}
    assert counts.customer_count == 3
    assert counts.by_column == expected
    assert counts.as_text().startswith("3 customers: 3 segment, 2 interest segment, 1 value tier, 2 lifecycle stage")
    published = counts.published(10).as_text()
    assert published.startswith("10 customers: 10 segment, 10 interest segment, 10 value tier, 10 lifecycle stage")
    assert [text for text in counts.warnings if "broken" in text and "no_column" in text]


def test_only_what_changed_is_written_with_from_to_and_when(score, params, tmp_path: Path) -> None:
    score(0, {"a": "s1", "b": "s2"})
    score(7, {"a": "s2", "b": "s2"})
    rows = written(params, tmp_path / "out.csv")
    moments = {"previous_as_of": "2025-12-01 00:00:00", "as_of": "2025-12-08 00:00:00"}
    assert rows == [
        {"customer_id": "a", "what": "segment", "from": "VIP", "to": "Regulars", **moments, "entry_count": "1"},
        {"customer_id": "a", "what": "audience", "from": "vips", "to": "", **moments, "entry_count": ""},
    ]


def test_several_scorings_are_one_step_and_coming_back_is_counted(score, params, tmp_path: Path) -> None:
    for day, segment in enumerate(["s1", "s2", "s3", "s1", "s2"]):
        score(day, {"a": segment, "b": "s1" if day in (1, 2) else "s2"})
    last = [row for row in written(params, tmp_path / "out.csv") if row["what"] == "segment"]
    assert [(row["customer_id"], row["from"], row["to"], row["entry_count"]) for row in last] == [
        ("a", "VIP", "Regulars", "2")
    ]
    # b entered VIP and came back, which is no change of the whole time.
    whole = [row for row in written(params, tmp_path / "out.csv", since=FIRST) if row["what"] == "segment"]
    assert [(row["customer_id"], row["from"], row["to"]) for row in whole] == [("a", "VIP", "Regulars")]
    text = changes(params, since=FIRST, out=tmp_path / "out.csv", tags=False)
    assert "Changes from 2025-12-01 to 2025-12-05: 1 customer" in text
    assert [line.split() for line in text.splitlines() if "VIP" in line] == [["segment", "VIP", "0", "1", "-1", "0"]]


def test_tags_to_add_and_to_remove(score, params, tmp_path: Path) -> None:
    score(0, {"a": "s1", "b": "s2", "c": "s3"})
    score(1, {"a": "s2", "b": "s1", "c": "s3"}, {"a": "vip"})
    assert written(params, tmp_path / "tags.csv", tags=True) == [
        {"customer_id": "a", "add": "Regulars; vip", "remove": "VIP; vips"},
        {"customer_id": "b", "add": "VIP; vips", "remove": "Regulars"},
    ]


def test_scoring_a_moment_again_adds_to_its_changes(score, params) -> None:
    score(0, {"a": "s1", "b": "s2", "c": "s1"})
    score(1, {"a": "s2", "b": "s3", "c": "s1"})
    score(1, {"a": "s3", "b": "s2", "c": "s1"})
    (path,) = kept_changes(params.path("outputs"))
    frame = pq.read_table(path).to_pandas()
    frame = frame[frame.column == "segment_id"]
    assert frame[["customer_id", "before", "after"]].to_numpy().tolist() == [["a", "s1", "s3"]]
    assert frame.previous_as_of.dt.day.tolist() == [1]


def test_scoring_a_moment_again_shows_what_the_last_scoring_changed(score, params, tmp_path: Path) -> None:
    score(0, {"a": "s1", "b": "s2"})
    score(1, {"a": "s2", "b": "s2"})
    assert score(1, {"a": "s1", "b": "s2"}).by_column["segment_id"] == 1
    path, moment = tmp_path / "out.csv", "2025-12-02 00:00:00"
    expected = {"customer_id": "a", "what": "segment", "from": "Regulars", "to": "VIP", "entry_count": "1"}
    (row,) = [row for row in written(params, path) if row["what"] == "segment"]
    assert row == {**expected, "previous_as_of": moment, "as_of": moment}
    assert written(params, path, tags=True) == [{"customer_id": "a", "add": "VIP; vips", "remove": "Regulars"}]
    # All in all a stayed; the same scores once more change nothing and leave the tags of those before.
    assert written(params, path, since=FIRST) == []
    assert score(1, {"a": "s1", "b": "s2"}).customer_count == 0
    assert len(written(params, path, tags=True)) == 1
    score(2, {"a": "s2", "b": "s2"})
    score(3, {"a": "s1", "b": "s2"})
    (row,) = [row for row in written(params, path) if row["what"] == "segment"]
    assert row["entry_count"] == "2"


def test_a_move_and_back_at_one_moment_is_no_second_entry(score, params, tmp_path: Path) -> None:
    for day, segment in [(0, "s1"), (1, "s2"), (2, "s1"), (2, "s2"), (2, "s3")]:
        score(day, {"a": segment})
        (row,) = [row for row in written(params, tmp_path / "out.csv") if row["what"] == "segment"] if day else [{}]
        assert row.get("entry_count") == {(0, "s1"): None, (2, "s1"): "2"}.get((day, segment), "1")


def test_scores_of_an_earlier_moment_are_no_change(score, params) -> None:
    score(5, {"a": "s1"})
    assert score(1, {"a": "s2"}) is None
    assert not kept_changes(params.path("outputs"))


@pytest.mark.parametrize("column", ["as_of", "customer_id", "segment_id"])
def test_replaced_scores_of_another_kind_do_not_stop_a_scoring(score, params, column: str) -> None:
    path, table = params.path(params.outputs.scores), table_of(FIRST, {"a": "s1"}, {})
    write_table(path, table.set_column(table.column_names.index(column), column, pa.array([1])))
    assert (score(1, {"a": "s2"}) is None) == (column != "segment_id")


def test_since_after_the_last_scores_is_refused(score, params, tmp_path: Path, capsys) -> None:
    score(0, {"a": "s1"})
    score(1, {"a": "s2"})
    arguments = ["changes", "--params", str(tmp_path / "params.yaml"), "--since"]
    assert main([*arguments, "2026-01-01"]) == 2
    assert "expected a date before the last scores (2025-12-02)" in capsys.readouterr().err
    assert main([*arguments, "yesterday"]) == 2
    assert "--since yesterday: expected a date" in capsys.readouterr().err
    assert main([*arguments, "2025-11-01", "--tags"]) == 0
    assert "1 row" in capsys.readouterr().out
    assert (tmp_path / "outputs" / "tags.csv").stat().st_mode & 0o077 == 0


def test_a_list_elsewhere_is_noted_before_it_is_written(score, params, tmp_path: Path) -> None:
    score(0, {"a": "s1"})
    score(1, {"a": "s2"})
    (out := tmp_path / "folder.csv").mkdir()
    assert main(["changes", "--params", str(tmp_path / "params.yaml"), "--out", str(out)]) == 2
    assert files_elsewhere(tmp_path / "outputs") == [out]
