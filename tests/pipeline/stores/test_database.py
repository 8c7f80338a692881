"""The database: its settings, cleaning up, and messages when memory or disk run out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pandas as pd
import pytest

from pipeline.config.params import EngineParams
from pipeline.stores.database import (
    MAX_SEARCHED_CODES,
    EngineError,
    batches,
    connect,
    in_order,
    leave_room,
    materialise,
)

SMALL = EngineParams(memory_limit="200MB", threads=1, temp_directory=None, max_temp_directory_size="1MB")
LARGE = SMALL.model_copy(update={"memory_limit": "1GB", "max_temp_directory_size": "10GB"})


def scalar(con: Any, query: str) -> Any:
    return con.con.execute(query).fetchone()[0]


def test_settings_and_nothing_left(tmp_path: Path) -> None:
    with connect(LARGE, folder=tmp_path) as con:
        assert scalar(con, "select current_setting('TimeZone')") == "UTC"
        assert scalar(con, "select current_setting('threads')") == 1
        assert scalar(con, "select current_setting('preserve_insertion_order')") is False
        assert scalar(con, "select current_setting('memory_limit')") == "810.5 MiB"  # 85% of 1 GB
        assert Path(scalar(con, "select current_setting('temp_directory')")).is_absolute()
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_selects_are_left_as_they_are(tmp_path: Path) -> None:
    with connect(LARGE, folder=tmp_path) as con:
        table = materialise(con, ibis.memtable({"a": [1, 2, 3]}), "numbers").mutate(b=ibis._.a * 2)
        wanted = table.filter(table.b > 2).mutate(c=table.b + 1)
        assert con.compile(wanted).count("SELECT") == 3
        assert sorted(wanted.to_pyarrow()["c"].to_pylist()) == [5, 7]


@pytest.mark.parametrize(("byte_count", "left"), [(3e8, "524.4 MiB"), (9e8, "190.7 MiB"), (0.0, "810.5 MiB")])
def test_the_database_leaves_room_for_a_table(byte_count: float, left: str, tmp_path: Path) -> None:
    with connect(LARGE, folder=tmp_path) as con:
        leave_room(con, 5e8)
        leave_room(con, byte_count)
        assert scalar(con, "select current_setting('memory_limit')") == left


def test_a_relative_folder_survives_a_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with connect(LARGE, folder=Path("work")) as con:
        monkeypatch.chdir(tmp_path / "elsewhere")
        con.con.execute("create table t as select range from range(200000); checkpoint")
        assert scalar(con, "select count(*) from t") == 200_000
    assert not list((tmp_path / "work").iterdir())
    assert not list((tmp_path / "elsewhere").iterdir())


def test_nothing_left_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), connect(LARGE, folder=tmp_path):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_leftovers_of_a_killed_command_are_deleted_and_running_ones_kept(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from pipeline.stores.database import connect; "
        "from tests.pipeline.stores.test_database import LARGE\n"
        "with connect(LARGE, folder=Path(sys.argv[1])): os._exit(9)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, cwd=Path(__file__).parents[3])
    assert result.returncode == 9
    (leftover,) = tmp_path.iterdir()
    with connect(LARGE, folder=tmp_path) as con:
        assert not leftover.exists()
        with connect(LARGE, folder=tmp_path):
            assert len(list(tmp_path.iterdir())) == 2
        assert scalar(con, "select 1") == 1 and list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_an_unwritable_folder_names_the_parameter(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    elsewhere = LARGE.model_copy(update={"temp_directory": str(tmp_path / "file" / "spill")})
    with pytest.raises(EngineError, match=r"engine\.temp_directory"), connect(elsewhere, folder=tmp_path):
        pass


def test_too_little_memory_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"engine.memory_limit \(200MB\)"), connect(SMALL, folder=tmp_path) as con:
        con.con.execute("create temp table t as select range as a, random()::varchar as b from range(20000000)")
    assert not list(tmp_path.iterdir())


def test_a_full_disk(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        with pytest.raises(EngineError, match=r"disk|space"), connect(LARGE, folder=place) as con:
            con.con.execute("create table t as select random()::varchar as b from range(3000000); checkpoint")
        assert not list(place.iterdir())
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_materialise_may_read_the_table_it_replaces(tmp_path: Path) -> None:
    with connect(LARGE, folder=tmp_path) as con:
        first = materialise(con, con.sql("select 1 as x"), "numbers")
        assert first.to_pyarrow().to_pylist() == [{"x": 1}]
        second = materialise(con, first.mutate(x=first.x + 1), "numbers")
        assert second.to_pyarrow().to_pylist() == [{"x": 2}]
        assert con.list_tables() == ["numbers"]


@pytest.mark.parametrize("value_count", [1, MAX_SEARCHED_CODES, MAX_SEARCHED_CODES + 1, 300])
def test_coded_texts_stay_texts(value_count: int, tmp_path: Path) -> None:
    values = [f"it's number {number}" for number in range(value_count)]
    rows = pd.DataFrame({"text": [*values, None, values[-1]]})
    with connect(LARGE, folder=tmp_path) as con:
        con.con.register("rows", rows)
        coded = materialise(con, con.table("rows"), "coded", codes={"text": values})
        assert scalar(con, "select typeof(text) from coded limit 1").startswith("ENUM")
        assert coded.filter(coded.text == values[-1]).count().to_pyarrow().as_py() == 2
        found = coded.to_pyarrow()["text"].cast("string").to_pylist()
        con.con.register("rows", pd.DataFrame({"text": [None, values[-1], "it's none of them"]}))
        with pytest.raises(duckdb.Error, match=r"expected only listed values in text$"):
            materialise(con, con.table("rows"), "coded", codes={"text": values})
    assert found == [*values, None, values[-1]]


def test_fetched_rows_are_in_order(tmp_path: Path) -> None:
    with connect(LARGE, folder=tmp_path) as con:
        con.con.execute(
            "create table t as select 'é' || (i * 7919 % 300000) as name, i, i / 7.0 as share, i % 2 = 0 as is_even, "
            "if(i % 3 = 0, null, i / 7.0) as days, if(i % 5 = 0, null, 'x' || i % 4) as stage from range(300000) r(i)"
        )
        frame = in_order(batches(con, con.table("t")), order_by="name")
        pd.testing.assert_frame_equal(frame, con.table("t").order_by("name").to_pandas(), check_exact=True)
        empty = in_order(batches(con, con.table("t").limit(0)), order_by="name")
        assert len(empty) == 0 and empty.dtypes.to_dict() == frame.dtypes.to_dict()
