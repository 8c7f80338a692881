from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipeline.audiences.changes import keep_changes, kept_changes, net_changes, score_changes, tag_changes

DAYS = [datetime(2025, 12, day, tzinfo=UTC) for day in (1, 2, 3, 4)]


@pytest.fixture
def con() -> Iterator[ibis.backends.duckdb.Backend]:
    connection = ibis.duckdb.connect()
    connection.raw_sql("set TimeZone = 'UTC'")
    yield connection
    connection.disconnect()


def scores(con, day: int, **segments: str | None) -> ibis.Table:
    table = pa.table(
        {
            "customer_id": list(segments),
            "as_of": pa.array([DAYS[day]] * len(segments), pa.timestamp("us", "UTC")),
            "segment_id": pa.array(list(segments.values()), pa.string()),
            "value_tier": ["vip"] * len(segments),
        }
    )
    return con.create_table(f"scores_{day}", table, overwrite=True)


def rows(con, changes: ibis.Table) -> list[tuple[object, ...]]:
    frame = con.to_pandas(changes).sort_values(["customer_id", "column"]).replace({np.nan: None})
    return list(frame[["customer_id", "column", "before", "after", "entry_count"]].itertuples(index=False, name=None))


def test_entries_exits_and_new_customers_only(con) -> None:
    changed = score_changes(con, scores(con, 0, a="s1", b="s2", c=None), scores(con, 1, a="s1", b="s3", c=None, d="s1"))
    assert rows(con, changed) == [
        ("b", "segment_id", "s2", "s3", 1),
        ("d", "segment_id", None, "s1", 1),
        ("d", "value_tier", None, "vip", 1),
    ]
    frame = con.to_pandas(changed)
    assert {moment.day for moment in frame.previous_as_of} == {1}
    assert {moment.day for moment in frame.as_of} == {2}


def test_gone_customers_leave_everything(con) -> None:
    changed = score_changes(con, scores(con, 0, a="s1", b="s2"), scores(con, 1, a="s1"))
    assert rows(con, changed) == [("b", "segment_id", "s2", None, None), ("b", "value_tier", "vip", None, None)]


def test_a_second_entry_counts_the_first(con, tmp_path: Path) -> None:
    days = [scores(con, day, a=segment) for day, segment in enumerate(["s1", "s2", "s1", "s2"])]
    earlier = None
    counts = []
    for day in (1, 2, 3):
        changed = con.to_pyarrow(score_changes(con, days[day - 1], days[day], earlier))
        counts.append(changed["entry_count"].to_pylist())
        keep_changes(tmp_path, changed, DAYS[day])
        earlier = con.read_parquet([str(path) for path in kept_changes(tmp_path)])
    # a began in s1, so that coming back on the third day is the second entry.
    assert counts == [[1], [2], [2]]


def test_files_between_dates(tmp_path: Path) -> None:
    for day in DAYS:
        keep_changes(tmp_path, pa.table({"customer_id": ["a"]}), day)
    kept = kept_changes(tmp_path, since=DAYS[0], until=DAYS[2])
    assert [path.stem for path in kept] == ["2025-12-02T000000", "2025-12-03T000000"]


def test_net_changes_leave_out_who_came_back() -> None:
    changes = pd.DataFrame(
        [
            ("a", "segment_id", "s1", "s2", DAYS[0], DAYS[1], 1),
            ("a", "segment_id", "s2", "s1", DAYS[1], DAYS[2], 2),
            ("b", "segment_id", None, "s2", DAYS[0], DAYS[1], 1),
            ("b", "segment_id", "s2", "s3", DAYS[1], DAYS[2], 1),
            ("c", "segment_id", "s1", None, DAYS[1], DAYS[2], None),
        ],
        columns=["customer_id", "column", "before", "after", "previous_as_of", "as_of", "entry_count"],
    )
    net = net_changes(changes)
    assert net[["customer_id", "before", "after"]].replace({np.nan: None}).values.tolist() == [
        ["b", None, "s3"],
        ["c", "s1", None],
    ]
    assert net.previous_as_of.tolist() == [DAYS[0], DAYS[1]]
    tags = tag_changes(net, {"s1": "VIP", "s3": "Lapsed"})
    assert tags.to_dict("records") == [
        {"customer_id": "b", "add": "Lapsed", "remove": ""},
        {"customer_id": "c", "add": "", "remove": "VIP"},
    ]
