from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import outputs
from pipeline.engines import connect
from pipeline.params import EngineParams


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_leaves_the_old_result(small_disk: Path) -> None:
    outputs.write_text(small_disk / "report.html", "old")
    with pytest.raises(outputs.OutputError, match="the disk is full"):
        outputs.write_text(small_disk / "report.html", "x" * 1_000_000)
    noise = pd.DataFrame({"x": [os.urandom(32).hex() for _ in range(20_000)]})
    with pytest.raises(outputs.OutputError, match="the disk is full"):
        outputs.write_table(small_disk / "scores.parquet", noise)
    assert sorted(path.name for path in small_disk.iterdir()) == ["report.html"]
    assert (small_disk / "report.html").read_text() == "old"


def test_a_failure_half_way_leaves_the_old_result(tmp_path: Path) -> None:
    outputs.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), outputs.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_place_that_cannot_be_written_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.csv").mkdir()
    for path, message in ((tmp_path / "file" / "a.txt", "File exists"), (tmp_path / "folder.csv", "is a folder")):
        with pytest.raises(outputs.OutputError, match=message):
            outputs.write_text(path, "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.csv"]


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    read, link, other = (tmp_path / name for name in ("read.csv", "link.csv", "other.csv"))
    read.write_text("x")
    link.symlink_to(read)
    for out in (read, link):
        with pytest.raises(outputs.OutputError, match=r"this one is read\. Name another"):
            outputs.require_not_read(out, [other, read])
    outputs.require_not_read(other, [other, read])  # none of them is there yet


def test_leftovers_of_a_crash_are_swept(tmp_path: Path) -> None:
    (tmp_path / f"{outputs.TEMPORARY}99-scores.parquet").write_text("half")
    with outputs.lock(tmp_path):
        assert not list(tmp_path.glob(f"{outputs.TEMPORARY}*"))


def test_csv_is_safe_in_a_spreadsheet(tmp_path: Path) -> None:
    table = pa.table({"name": ["=1+1", "plain", None], "top": [["@x", "b"], [], ["c"]], "spend": [-1.5, 2.0, None]})
    outputs.write_table(tmp_path / "scores.csv", table)
    assert (tmp_path / "scores.csv").read_text().splitlines()[1:] == [
        '"\'=1+1","\'@x; b",-1.5',
        '"plain","",2',
        ',"c",',
    ]


ENGINE = EngineParams(memory_limit="1GB", threads=1, temp_directory=None, max_temp_directory_size="1GB")


def test_a_query_is_copied_in_its_order_and_private(tmp_path: Path) -> None:
    path = tmp_path / "it's" / "rejected.parquet"
    with connect(ENGINE, folder=tmp_path / "work") as con:
        outputs.copy_query(con, "select range as x from range(3) order by x desc", path, mode=outputs.PRIVATE)
    assert pq.read_table(path).to_pydict() == {"x": [2, 1, 0]}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["rejected.parquet"]


def test_a_copy_to_a_full_disk_names_folder_and_room(small_disk: Path, tmp_path: Path) -> None:
    outputs.write_text(small_disk / "rejected.parquet", "old")
    query = "select uuid()::varchar as x from range(50000)"
    with connect(ENGINE, folder=tmp_path) as con, pytest.raises(outputs.OutputError, match=r"small had 0\.\d MiB"):
        outputs.copy_query(con, query, small_disk / "rejected.parquet")
    assert [one.name for one in small_disk.iterdir()] == ["rejected.parquet"]
    assert (small_disk / "rejected.parquet").read_text() == "old"


def test_a_query_that_fails_leaves_the_old_result(tmp_path: Path) -> None:
    outputs.write_text(tmp_path / "rejected.parquet", "old")
    with connect(ENGINE, folder=tmp_path / "work") as con, pytest.raises(Exception, match="Conversion"):
        outputs.copy_query(con, "select cast('x' || range as int) from range(9)", tmp_path / "rejected.parquet")
    assert (tmp_path / "rejected.parquet").read_text() == "old"


def test_numbers_with_a_sign_stay_as_they_are_and_formulas_do_not(tmp_path: Path) -> None:
    ids = ["+380441234567", "-17", "+1+1", "-A1", "=1", "@x", "plain", "+"]
    outputs.write_table(tmp_path / "ids.csv", pa.table({"customer_id": ids}))
    found = pd.read_csv(tmp_path / "ids.csv", dtype=str).customer_id.tolist()
    assert found == ["+380441234567", "-17", "'+1+1", "'-A1", "'=1", "'@x", "plain", "'+"]
