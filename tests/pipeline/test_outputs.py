from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from pipeline import outputs


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
