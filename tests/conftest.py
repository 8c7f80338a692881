"""What every test may use: a database in memory and events made from a few words each."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: threads that wait for one another only heat them
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

import ibis
import pandas as pd
import pytest
from filelock import FileLock

from features.events import EVENT_SCHEMA, ObservationWindow

AS_OF = datetime(2025, 11, 1, tzinfo=UTC)
PARAMS = Path(__file__).parents[1] / "params.yaml"
MadeOnce = Callable[[str, Callable[[Path], Any]], tuple[Path, Any]]


def pytest_collection_finish() -> None:
    """What libraries made at their import is not searched for garbage again and again: a fourteenth of the time."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Make what takes long once for all workers: the first to ask makes it in a folder, the others wait and read it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def making(name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
        folder, result = root / f"once-{name}", root / f"once-{name}.pickle"
        with FileLock(root / f"once-{name}.lock"):
            if not result.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what a worker left that failed
                folder.mkdir()
                result.write_bytes(pickle.dumps(make(folder)))
        return folder, pickle.loads(result.read_bytes())

    return making


@pytest.fixture(scope="session")
def mlflow_store(made_once: MadeOnce) -> Path:
    """The folder of a migrated store without runs: making one takes seconds, copying it none."""

    def make(folder: Path) -> None:
        from pipeline.config.load import load_params
        from pipeline.stores import mlflow_runs

        places = (f"tracking.uri=sqlite:///{folder / 'mlflow.db'}", f"tracking.artifacts={folder / 'artifacts'}")
        mlflow_runs.open_store(load_params(PARAMS, places))

    return made_once("store", make)[0]


def copy_store(source: Path, folder: Path) -> None:
    """All that lies in ``source`` in ``folder``, as if it had been made there: the store keeps absolute addresses."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()  # by the id of a run, whatever store it is in
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
    """Events from dicts; what a row does not name is null, quantity 1."""
    frame = pd.DataFrame([{"quantity": 1.0, **row} for row in rows], columns=list(EVENT_SCHEMA))
    frame["occurred_at"] = pd.to_datetime(frame["occurred_at"])
    for name in ("quantity", "unit_price", "discount"):
        frame[name] = frame[name].astype("float64")
    return frame


@pytest.fixture
def events_table() -> Any:
    def make(rows: list[dict[str, Any]], **extra: str) -> Any:
        """Extra columns, such as column="int64", come with their type."""
        frame = event_frame(rows)
        for name in extra:
            frame[name] = [row.get(name) for row in rows]
        schema = ibis.schema({**{k: v.copy(nullable=True) for k, v in EVENT_SCHEMA.items()}, **extra})
        return ibis.memtable(frame, schema=schema)

    return make
