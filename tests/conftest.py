"""Shared fixtures: an in-memory database, event tables from short dicts, and expensive results built once."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # parallel workers share the cores, so more threads only slow each other down
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

import ibis
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import settings
from ibis.backends.duckdb import Backend
from ibis.backends.sql.compilers import DuckDBCompiler
from ibis.expr.operations import DatabaseTable, InMemoryTable

from features.events import EVENT_SCHEMA, ObservationWindow
from pipeline.config import load

AS_OF = datetime(2025, 11, 1, tzinfo=UTC)
PARAMS = Path(__file__).parents[1] / "params.yaml"
SLOW_FIXTURES = {"shop", "mlflow_store", "built"}
"""Fixtures that take seconds: a simulated shop, on which all trainings build, an MLflow store, and a saved state."""
MAX_COMPILED = 300
"""Expressions whose SQL is kept; each takes a few megabytes."""
BuildOnce = Callable[[str, Callable[[Path], Any]], tuple[Path, Any]]

settings.register_profile("ci", deadline=None, derandomize=True, database=None)  # the same examples on every machine
settings.load_profile("ci")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark whole runs, tests of Spark, and all tests that need a shop or a store, so that they can be left out.

    Those of real logs come first: they take the longest, and at the end a worker would wait for them.
    """

    def folders(item: pytest.Item) -> tuple[str, ...]:
        return item.path.relative_to(config.rootpath).parts  # the project itself may lie in a folder called spark

    items.sort(key=lambda item: "real" not in folders(item))
    for item in items:
        if "end_to_end" in folders(item):
            item.add_marker("end_to_end")
        if "spark" in folders(item):
            item.add_marker("spark")
        if item.get_closest_marker("spark"):
            item.add_marker(
                pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
            )  # those of Py4J
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Exclude objects from library imports from garbage collection; this saves 7% of the run time."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Compile equal expressions once, because Ibis takes half of the time of a small training or scoring for this."""
    compiled: dict[Any, Any] = {}
    translate = DuckDBCompiler.translate

    def translate_once(compiler: DuckDBCompiler, op: Any, *, params: Any) -> Any:
        # Equal connections would hide what Ibis refuses otherwise.
        assert len({id(table.source) for table in op.find(DatabaseTable)}) <= 1, "tables of two databases in one query"
        if op in compiled:
            compiled[op] = sql = compiled.pop(op)  # now the last in order
            return sql.copy()
        sql = translate(compiler, op, params=params)
        if not params and not op.find(InMemoryTable):  # the name of a table in memory does not come again
            if len(compiled) == MAX_COMPILED:
                del compiled[next(iter(compiled))]  # not used for the longest time
            compiled[op] = sql.copy()
        return sql

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Backend, "db_identity", "duckdb")  # otherwise tables of two databases are never equal
        patch.setattr(DuckDBCompiler, "translate", translate_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def params_read_once() -> Iterator[None]:
    """Parse the project's params.yaml once, because this takes 20 ms, and most tests begin with it."""
    read = load._read_values
    parsed = pickle.dumps(read(PARAMS))

    def read_once(path: Path, above: tuple[Path, ...] = ()) -> Any:
        return pickle.loads(parsed) if path == PARAMS else read(path, above)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "_read_values", read_once)
        yield


@pytest.fixture(scope="session")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> BuildOnce:
    """Build an expensive result once for all workers: the first caller builds it, the others wait and load it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def build(name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
        folder, result = root / f"once-{name}", root / f"once-{name}.pickle"
        with FileLock(root / f"once-{name}.lock"):
            if not result.exists():
                shutil.rmtree(folder, ignore_errors=True)  # left over from a failed worker
                folder.mkdir()
                part = result.with_suffix(".part")
                part.write_bytes(pickle.dumps(make(folder)))
                os.replace(part, result)  # a worker that is killed leaves no half of it
        return folder, pickle.loads(result.read_bytes())

    return build


@pytest.fixture(scope="session")
def mlflow_store(build_once: BuildOnce) -> Path:
    """The folder of a migrated MLflow store without runs. Migrating takes seconds; copying is fast."""

    def make(folder: Path) -> None:
        from pipeline.stores import mlflow_runs

        overrides = (f"tracking.uri=sqlite:///{folder / 'mlflow.db'}", f"tracking.artifacts={folder / 'artifacts'}")
        mlflow_runs.open_store(load.load_params(PARAMS, overrides), create=True)

    return build_once("store", make)[0]


def copy_store(source: Path, folder: Path) -> None:
    """Copy the store in ``source`` to ``folder`` and update the absolute paths in its database."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()  # this cache is keyed by run id, regardless of the store
    shutil.copytree(source, folder, dirs_exist_ok=True)
    with closing(sqlite3.connect(folder / "mlflow.db")) as con, con:
        tables = [name for (name,) in con.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for _, column, kind, *_ in con.execute(f'pragma table_info("{table}")').fetchall():
                if kind.startswith(("VARCHAR", "TEXT")):
                    change = f'update "{table}" set "{column}" = replace("{column}", ?, ?) where instr("{column}", ?)'
                    con.execute(change, (str(source), str(folder), str(source)))


@pytest.fixture(scope="session")
def con() -> Any:
    con = ibis.duckdb.connect()
    con.raw_sql("SET TimeZone='UTC'")
    return con


@pytest.fixture
def window() -> ObservationWindow:
    return ObservationWindow(AS_OF, 365)


def event_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Events from dicts; missing values are null, except quantity, which is 1."""
    frame = pd.DataFrame([{"quantity": 1.0, **row} for row in rows], columns=list(EVENT_SCHEMA))
    frame["occurred_at"] = pd.to_datetime(frame["occurred_at"])
    for name in ("quantity", "unit_price", "discount"):
        frame[name] = frame[name].astype("float64")
    return frame


@pytest.fixture
def events_table() -> Any:
    def make(rows: list[dict[str, Any]], **extra: str) -> Any:
        """A table of events; ``extra`` columns are given with their type, such as column="int64"."""
        frame = event_frame(rows)
        for name in extra:
            frame[name] = [row.get(name) for row in rows]
        schema = ibis.schema({**{k: v.copy(nullable=True) for k, v in EVENT_SCHEMA.items()}, **extra})
        return ibis.memtable(frame, schema=schema)

    return make
