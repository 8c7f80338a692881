"""Tables as files: each suffix is written, read again, and safe in spreadsheets."""

from __future__ import annotations

import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from pipeline.stores.files import OutputError
from pipeline.stores.writers import (
    DATABASES,
    EXPORTS,
    FORMATS,
    column_names,
    export_table,
    read_table,
    require_known_suffix,
    write_batches,
    write_table,
)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_is_read_as_it_was_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"scores{suffix}"
    table = pa.table({"customer_id": ["007", "NA", "=1+1", "-A"], "segment": ["@home", None, "=x", "it's"]})
    write_table(path, table)
    assert column_names(path) == ["customer_id", "segment"]
    assert read_table(path, {"segment": pa.string()}).to_pydict() == {"segment": table["segment"].to_pylist()}
    assert read_table(path, {"customer_id": pa.string()})["customer_id"].to_pylist() == ["007", "NA", "=1+1", "-A"]
    with pytest.raises((KeyError, pa.ArrowException)):
        read_table(path, {"cluster_id": pa.string()})


@pytest.mark.parametrize("name", ["scores", "scores.txt", "scores.CSV"])
def test_an_unknown_suffix_is_refused_with_those_there_are(name: str, tmp_path: Path) -> None:
    message = f"--out {name}: expected a file name ending in .parquet or .csv."
    with pytest.raises(OutputError, match=re.escape(message)):
        require_known_suffix(tmp_path / name, key="--out")
    with pytest.raises(OutputError, match=r"\.parquet or \.csv"):
        write_table(tmp_path / name, pa.table({"x": [1]}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("count", [0, 1, 700, 1_000])
def test_batches_are_written_as_the_whole_table(
    suffix: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"={n}" if n % 7 else None for n in range(count)]
    table = pa.table({"n": pa.array(range(count), pa.int64()), "text": pa.array(texts, pa.string())})
    write_table(tmp_path / f"whole{suffix}", table)
    batches = (batch for batch in table.to_batches(max_chunksize=300))
    write_batches(tmp_path / f"parts{suffix}", batches, table.schema)
    assert (tmp_path / f"parts{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    monkeypatch.setattr("pipeline.stores.writers.ROW_GROUP_ROWS", 250)
    write_batches(tmp_path / f"groups{suffix}", table.to_batches(max_chunksize=300), table.schema)
    assert read_table(tmp_path / f"groups{suffix}", {"n": pa.int64()})["n"].to_pylist() == [*range(count)]


def test_csv_is_safe_in_a_spreadsheet(tmp_path: Path) -> None:
    table = pa.table({"name": ["=1+1", "plain", None], "top": [["@x", "b"], [], ["c"]], "spend": [-1.5, 2.0, None]})
    write_table(tmp_path / "scores.csv", table)
    assert (tmp_path / "scores.csv").read_text().splitlines()[1:] == [
        '"\'=1+1","\'@x; b",-1.5',
        '"plain","",2',
        ',"c",',
    ]


def test_signed_numbers_stay_and_formulas_get_an_apostrophe(tmp_path: Path) -> None:
    ids = ["+380441234567", "-17", "+1+1", "-A1", "=1", "@x", "plain", "+"]
    write_table(tmp_path / "ids.csv", pa.table({"customer_id": ids}))
    written = pd.read_csv(tmp_path / "ids.csv", dtype=str).customer_id.tolist()
    assert written == ["+380441234567", "-17", "'+1+1", "'-A1", "'=1", "'@x", "plain", "'+"]


def exported(path: Path, name: str) -> pd.DataFrame:
    """The table that another program finds in the file."""
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as con:
            return pd.read_sql(f'select * from "{name}"', con)
    if path.suffix == ".duckdb":
        with duckdb.connect(path) as con:
            return con.sql(f'from "{name}"').df()
    if path.suffix == ".xlsx":
        return pd.read_excel(path, engine="openpyxl")
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


@pytest.mark.parametrize("suffix", EXPORTS)
def test_other_programs_find_the_table(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"list{suffix}"
    table = pd.DataFrame({"customer_id": ["c1", "c2"], "spend": [1.5, None], "is_border": [True, False]})
    for _ in range(2):  # the second one replaces the first
        export_table(path, table, name="spring-list", mode=0o600)
    found = exported(path, "spring-list")
    assert found.customer_id.tolist() == ["c1", "c2"]
    assert found.spend.fillna(-1).tolist() == [1.5, -1]
    assert found.is_border.astype(bool).tolist() == [True, False]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", DATABASES)
def test_other_tables_of_a_database_stay(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"shop{suffix}"
    for name in ("a", "b", "a"):
        export_table(path, pd.DataFrame({"customer_id": [name]}), name=name)
    assert [exported(path, name).customer_id.tolist() for name in ("a", "b")] == [["a"], ["b"]]


@pytest.mark.parametrize("suffix", [".xlsx", ".csv", ".parquet"])
def test_the_same_table_gives_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_table(tmp_path / f"{name}{suffix}", pd.DataFrame({"customer_id": ["a"]}), name="list")
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_a_file_that_is_no_database_stays_as_it_is(tmp_path: Path) -> None:
    for suffix in DATABASES:
        path = tmp_path / f"shop{suffix}"
        path.write_text("no database at all, but a text of some length" * 100)
        with pytest.raises(OutputError, match=r"expected a .* database that can be written to"):
            export_table(path, pd.DataFrame({"customer_id": ["a"]}), name="list")
        assert path.read_text().startswith("no database")


def test_a_workbook_runs_no_formula(tmp_path: Path) -> None:
    export_table(tmp_path / "list.xlsx", pd.DataFrame({"segment": ["=1+1", "http://x", "12"]}), name="list")
    assert pd.read_excel(tmp_path / "list.xlsx", dtype=str, engine="openpyxl").segment.tolist() == [
        "=1+1",
        "http://x",
        "12",
    ]
