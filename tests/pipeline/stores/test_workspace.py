"""Where a command works: one at a time, with a database that is deleted, and a store only if it is used."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from pipeline.config.load import load_params
from pipeline.ingest.files.raw_tables import RawTable, SourceError, read_raw
from pipeline.stores.database import EngineError, leave_room
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.files import OutputError
from pipeline.stores.local.file_names import as_glob
from pipeline.stores.workspace import workspace
from tests.conftest import PARAMS
from tests.pipeline.conftest import params_in

ROWS = pd.DataFrame({"customer_id": ["c1"], "word": ["Küche"]})


def test_a_workspace_is_locked_and_leaves_nothing_behind(tmp_path: Path) -> None:
    params = params_in(tmp_path, tmp_path)
    with workspace(params) as session:
        assert session.con.con.execute("select 1").fetchone() == (1,)
        with pytest.raises(OutputError, match="another kindred command"), workspace(params):
            pass
    assert [path.name for path in session.folder.iterdir()] == [".lock"]
    assert not (tmp_path / "mlflow.db").exists() and not (tmp_path / "artifacts").exists()
    with workspace(params):
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shop with files of its own, next to a folder that it may not read."""
    shop, elsewhere = tmp_path / "shop", tmp_path / "elsewhere"
    for place in (shop, elsewhere):
        place.mkdir()
        ROWS.to_parquet(place / "rows.parquet")
        ROWS.to_csv(place / "rows.csv", index=False)
        ROWS.to_csv(place / "latin.csv", index=False, encoding="latin-1")
        ROWS.to_excel(place / "rows.xlsx", index=False)
        with zipfile.ZipFile(place / "rows.zip", "w") as archive:
            archive.writestr("rows.csv", ROWS.to_csv(index=False))
    (shop / "link.parquet").symlink_to(elsewhere / "rows.parquet")
    (shop / "mine.yaml").write_text(f"base: {PARAMS}\n")
    return shop


def read_by_query(folder: Path, query: str, *more: str) -> RawTable:
    events = f"{{query: {query!r}, columns: {{}}, event_types: {{}}}}"
    places = ("outputs.folder=out", "outputs.scores=out/scores.parquet", "source.products=null")
    params = load_params(folder / "mine.yaml", [f"source.events={events}", *places, *more])
    with workspace(params) as session:
        leave_room(session.con, 1e6)
        return read_raw(session.con, params.source.events, params, name="raw_events", key="source.events")


@pytest.mark.parametrize(
    "query",
    [
        'select * from read_text("/etc/passwd")',
        'select * from read_csv("/etc/passwd")',
        'select * from glob("/etc/*")',
        "select * from query(\"select * from read_text(''/etc/passwd'')\")",
        'select * from "../elsewhere/rows.parquet"',
        'select * from "link.parquet"',
        'select * from "../elsewhere/rows.csv"',
        'select * from "../elsewhere/latin.csv"',
        'select * from "../elsewhere/rows.xlsx"',
        'select * from "../elsewhere/rows.zip"',
        'select * from "https://example.org/rows.parquet"',
        'select * from read_parquet("s3://bucket/rows.parquet")',
        'select * from read_blob("../elsewhere/*")',
    ],
)
def test_a_query_cannot_read_elsewhere(folder: Path, query: str) -> None:
    with pytest.raises(SourceError, match=r"source\.events\.query: .*[^.]\. A query may .*engine\.allowed_folders"):
        read_by_query(folder, query.replace('"', "'"))


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_a_link_out_of_the_folders_is_refused_and_named(folder: Path, name: str) -> None:
    (folder / f"link-{name}").symlink_to(folder.parent / "elsewhere" / name)
    query = f"select * from 'link-{name}'"
    with pytest.raises(SourceError, match=r"A link that leads out of them needs engine\.allowed_folders"):
        read_by_query(folder, query)
    allowed = read_by_query(folder, query, "engine.allowed_folders=[../elsewhere]")
    assert [*allowed.columns] == [*ROWS]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "latin.csv", "rows.xlsx", "rows.zip"])
def test_a_query_reads_its_own_folder_and_those_that_are_allowed(folder: Path, name: str) -> None:
    own = read_by_query(folder, f"select * from '{name}'")
    allowed = read_by_query(
        folder, f"select * from '../elsewhere/{name}'", f"engine.allowed_folders=[{folder.parent / 'elsewhere'}]"
    )
    relative = read_by_query(folder, f"select * from '../elsewhere/{name}'", "engine.allowed_folders=[../elsewhere]")
    # A folder that `path` names is allowed as well.
    by_path = read_by_query(
        folder,
        f"select * from '../elsewhere/{name}'",
        "source.customers={path: ../elsewhere/rows.parquet, columns: {}}",
    )
    assert [*own.columns] == [*allowed.columns] == [*relative.columns] == [*by_path.columns] == [*ROWS]


def test_a_folder_whose_name_looks_like_a_pattern_can_be_read(folder: Path) -> None:
    outputs = folder.parent / "outputs [2025]"
    with workspace(load_params(folder / "mine.yaml", [f"outputs.folder={outputs}"])) as session:
        (outputs / "rows.csv").write_text("x\n7\n")
        assert session.con.read_csv(as_glob(outputs / "rows.csv")).x.to_pyarrow().to_pylist() == [7]


def test_the_settings_of_a_database_cannot_be_changed(folder: Path) -> None:
    with workspace(load_params(folder / "mine.yaml")) as session:
        for change in ("set enable_external_access = true", "set threads = 9", "reset allowed_directories"):
            with pytest.raises(duckdb.Error):
                session.con.con.execute(change)
        with pytest.raises(duckdb.Error, match="disabled"):
            session.con.con.execute("load httpfs")


def test_an_address_needs_an_extension(folder: Path) -> None:
    with pytest.raises((EngineError, SourceError), match=r"engine\.allowed_folders|expected SQL that DuckDB can run"):
        read_by_query(
            folder, "select * from 'https://127.0.0.1:9/x.parquet'", "engine.allowed_folders=['https://127.0.0.1:9/']"
        )


def test_literal_names_that_look_like_globs_are_read_once(folder: Path) -> None:
    for number, name in enumerate(("a*.parquet", "ab.parquet", "[x].parquet", "x.parquet")):
        pd.DataFrame({"customer_id": [f"c{number}"]}).to_parquet(folder / name)
    listed = "['a*.parquet', 'ab.parquet', '[x].parquet']"
    table = f"source.events={{path: {listed}, columns: {{}}, event_types: {{}}}}"
    params = load_params(folder / "mine.yaml", [table, "source.products=null", "outputs.folder='[out]'"])
    with workspace(params) as session:
        read_raw(session.con, params.source.events, params, name="raw_events", key="source.events")
        rows = session.con.con.execute("select customer_id from raw_events order by all").fetchall()
    assert rows == [("c0",), ("c1",), ("c2",)]


def test_without_pyspark_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    for name in ("spark", "spark_dialect"):
        monkeypatch.delitem(sys.modules, f"pipeline.stores.engines.{name}", raising=False)
    params = load_params(PARAMS, [f"outputs.folder={tmp_path}", "engine.kind=spark"])
    with (
        pytest.raises(EngineError, match=r"pyspark .* `pip install -e '\.\[spark\]'` .* engine\.kind to duckdb"),
        workspace(params, uses_cluster=True),
    ):
        pass
    with workspace(params) as session:  # a command that works on this machine
        assert isinstance(session.engine, DuckDB)
