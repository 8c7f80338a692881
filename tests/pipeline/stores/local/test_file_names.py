"""Names of files that look like globs, and globs."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from pipeline.stores.local.file_names import as_glob, matching_files

NAMES = ("a*.csv", "ab.csv", "[x].csv", "x.csv", "q?.csv", "qa.csv", "plain.csv", "[[]].csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "shop [1]*"
    place.mkdir()
    (tmp_path / "shop 1").mkdir()
    for name in NAMES:
        (place / name).write_text(f"name\n{name}\n")
        (tmp_path / "shop 1" / name).write_text("name\nof another folder\n")
    return place


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_exists_is_no_glob(folder: Path, name: str) -> None:
    assert matching_files(folder / name) == [folder / name]
    read = f"select name from read_csv('{as_glob(folder / name)}', header = true)"
    assert duckdb.sql(read).fetchall() == [(name,)]


def test_globs_are_globs(folder: Path) -> None:
    assert matching_files(folder / "*.csv") == sorted(folder / name for name in NAMES)
    assert matching_files(folder / "a[b-c].csv") == [folder / "ab.csv"]
    assert matching_files(folder / "?.csv") == [folder / "x.csv"]
    assert matching_files(folder.parent / "shop ?" / "x.csv") == [folder.parent / "shop 1" / "x.csv"]
    assert matching_files(folder / "none*.csv") == [] == matching_files(folder / "none.csv")
    assert matching_files(folder) == []  # a folder is no file
