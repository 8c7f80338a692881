"""Result files: written completely or not at all, and safe in spreadsheets."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.config.load import load_params
from pipeline.config.params import EngineParams
from pipeline.ingest.files.raw_tables import source_files
from pipeline.stores import files
from pipeline.stores.database import connect
from pipeline.stores.writers import write_table

PARAMS = Path(__file__).parents[3] / "params.yaml"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    result = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if result.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_the_old_result(small_disk: Path) -> None:
    files.write_text(small_disk / "report.html", "old")
    with pytest.raises(files.OutputError, match="the disk is full"):
        files.write_text(small_disk / "report.html", "x" * 1_000_000)
    noise = pd.DataFrame({"x": [os.urandom(32).hex() for _ in range(20_000)]})
    with pytest.raises(files.OutputError, match="the disk is full"):
        write_table(small_disk / "scores.parquet", noise)
    assert sorted(path.name for path in small_disk.iterdir()) == ["report.html"]
    assert (small_disk / "report.html").read_text() == "old"


def test_a_failure_half_way_leaves_the_old_result(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), files.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_an_unwritable_path_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.csv").mkdir()
    for path, message in ((tmp_path / "file" / "a.txt", "File exists"), (tmp_path / "folder.csv", "is a folder")):
        with pytest.raises(files.OutputError, match=message):
            files.write_text(path, "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.csv"]


def test_an_input_is_not_overwritten(tmp_path: Path) -> None:
    read, link, other = (tmp_path / name for name in ("read.csv", "link.csv", "other.csv"))
    read.write_text("x")
    link.symlink_to(read)
    for out in (read, link):
        with pytest.raises(files.OutputError, match=r"this file is an input"):
            files.require_not_read(out, [other, read])
    files.require_not_read(other, [other, read])  # none of them exists yet


@pytest.mark.parametrize(
    "query",
    [
        "select * from 'read.csv'",
        'with log as (select * from "read.csv") select * from log join log as again using (id);',
        "select 1 as a where exists (from read_csv('read.csv', all_varchar = true))",
        "from read_csv(['other.csv', './logs/../read.csv'], sep = ';')",
        "select * from '*ad.csv' union all select * from 'other.parquet'",
    ],
)
def test_an_input_of_a_query_is_not_overwritten(tmp_path: Path, query: str) -> None:
    out = tmp_path / "read.csv"
    out.write_text("x")
    (tmp_path / "logs").mkdir()
    (tmp_path / "mine.yaml").write_text(f"base: {PARAMS}\nsource: {{products: null, customers: null}}\n")
    params = load_params(tmp_path / "mine.yaml", [f"source.events.query={json.dumps(query)}"])
    with pytest.raises(files.OutputError, match=r"this file is an input"):
        files.require_not_read(out, source_files(params))


@pytest.mark.parametrize(
    "query",
    ["select 'read.csv' as name from 'other.csv'", "selec 'read.csv'", "drop table x", f"from read_csv('{'x' * 300}')"],
)
def test_a_file_that_a_query_does_not_read_may_be_written(tmp_path: Path, query: str) -> None:
    (tmp_path / "read.csv").write_text("x")
    (tmp_path / "mine.yaml").write_text(f"base: {PARAMS}\nsource: {{products: null, customers: null}}\n")
    assert source_files(load_params(tmp_path / "mine.yaml", [f"source.events.query={json.dumps(query)}"])) == []


def test_lists_of_customers_are_not_overwritten(tmp_path: Path) -> None:
    for name in ("log.csv", "links.csv", "staff.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "mine.yaml").write_text(
        f"base: {PARAMS}\nsource: {{products: null, customers: null, events: {{path: log.csv}}, "
        "identities: {path: links.csv}, exclude: {customer_ids: staff.txt}}\n"
    )
    for more in ([], ["source.summaries={path: log.csv}"]):
        params = load_params(tmp_path / "mine.yaml", more)
        for name in ("links.csv", "staff.txt"):
            with pytest.raises(files.OutputError, match=r"this file is an input"):
                files.require_not_read(tmp_path / name, source_files(params))
    listed = load_params(tmp_path / "mine.yaml", ["source.exclude.customer_ids=[staff.txt]"])
    files.require_not_read(tmp_path / "staff.txt", source_files(listed))


def test_leftovers_of_a_crash_are_deleted(tmp_path: Path) -> None:
    (tmp_path / f"{files.TEMPORARY}99-scores.parquet").write_text("half")
    with files.lock(tmp_path):
        assert not list(tmp_path.glob(f"{files.TEMPORARY}*"))


ENGINE = EngineParams(memory_limit="1GB", threads=1, temp_directory=None, max_temp_directory_size="1GB")


def test_a_query_is_written_in_its_order_with_private_access(tmp_path: Path) -> None:
    path = tmp_path / "it's" / "rejected.parquet"
    with connect(ENGINE, folder=tmp_path / "work") as con:
        files.copy_query(con, "select range as x from range(3) order by x desc", path, mode=files.PRIVATE)
    assert pq.read_table(path).to_pydict() == {"x": [2, 1, 0]}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["rejected.parquet"]


def test_a_full_disk_names_folder_and_free_space(small_disk: Path, tmp_path: Path) -> None:
    files.write_text(small_disk / "rejected.parquet", "old")
    query = "select uuid()::varchar as x from range(50000)"
    with connect(ENGINE, folder=tmp_path) as con, pytest.raises(files.OutputError, match=r"small had 0\.\d MiB"):
        files.copy_query(con, query, small_disk / "rejected.parquet")
    assert [file.name for file in small_disk.iterdir()] == ["rejected.parquet"]
    assert (small_disk / "rejected.parquet").read_text() == "old"


def test_a_query_that_fails_leaves_the_old_result(tmp_path: Path) -> None:
    files.write_text(tmp_path / "rejected.parquet", "old")
    with connect(ENGINE, folder=tmp_path / "work") as con, pytest.raises(Exception, match="Conversion"):
        files.copy_query(con, "select cast('x' || range as int) from range(9)", tmp_path / "rejected.parquet")
    assert (tmp_path / "rejected.parquet").read_text() == "old"
