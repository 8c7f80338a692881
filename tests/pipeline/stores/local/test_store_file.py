"""A local MLflow store is created whole, redone if an earlier version left half of it, and waited for."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.config.params import Params
from pipeline.stores.local import locks, store_file
from pipeline.stores.mlflow_runs import open_store
from pipeline.stores.store_errors import TrackingError

KILLED = 9
CREATE_AND_DIE = f"""
import os, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from pipeline.stores.local.store_file import create_if_missing

statements = 0
@event.listens_for(Engine, "after_cursor_execute")
def die(*_):
    global statements
    statements += 1
    if statements == int(sys.argv[3]):
        os._exit({KILLED})

database = Path(sys.argv[1])
if sys.argv[2] == "whole":
    create_if_missing(database, database.parent / "artifacts")
else:
    SqlAlchemyStore(f"sqlite:///{{database}}", str(database.parent / "artifacts"))
"""


def killed_creation(database: Path, way: str, statement: int) -> None:
    command = [sys.executable, "-W", "ignore", "-c", CREATE_AND_DIE, str(database), way, str(statement)]
    result = subprocess.run(command, cwd=Path(__file__).parents[4], check=False, capture_output=True, text=True)
    assert result.returncode == KILLED, result.stderr[-500:]


@pytest.mark.slow
def test_a_killed_creation_leaves_no_store(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    killed_creation(database, "whole", 60)
    assert not database.exists()
    store_file.create_if_missing(database, tmp_path / "artifacts")
    assert not store_file.is_unfinished(database)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.slow
@pytest.mark.parametrize("statement", [8, 60])
def test_a_store_that_an_earlier_version_left_half_made_is_created_again(tmp_path: Path, statement: int) -> None:
    database = tmp_path / "mlflow.db"
    killed_creation(database, "as MLflow does", statement)
    assert store_file.is_unfinished(database)
    store_file.create_if_missing(database, tmp_path / "artifacts")
    assert not store_file.is_unfinished(database)


def test_a_finished_store_and_other_databases_stay(tmp_path: Path, mlflow_store: Path) -> None:
    finished, other, text = tmp_path / "mlflow.db", tmp_path / "other.db", tmp_path / "text.db"
    shutil.copy(mlflow_store / "mlflow.db", finished)
    with closing(sqlite3.connect(other)) as con, con:
        con.execute("create table experiments (name text)")
    text.write_text("no database" * 99)
    for database in (finished, other, text):
        before = database.read_bytes()
        store_file.create_if_missing(database, tmp_path)
        assert database.read_bytes() == before


def test_a_missing_store_is_not_made_by_commands_that_read_it(params: Callable[..., Params], tmp_path: Path) -> None:
    wrong = params(f"tracking.uri=sqlite:///{tmp_path / 'wrong' / 'x.db'}", f"tracking.artifacts={tmp_path / 'wrong'}")
    with pytest.raises(TrackingError, match=r"tracking\.uri: expected an MLflow store, but there is no .*x\.db"):
        open_store(wrong)
    assert not (tmp_path / "wrong").exists()
    with pytest.raises(TrackingError, match=r"tracking\.experiment: expected an experiment .* none called 'other'"):
        open_store(params("tracking.experiment=other"))


def test_a_locked_store_is_waited_for_and_said_at_once(
    params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = params()
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.3)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as con:
        con.execute("begin exclusive")
        with pytest.raises(TrackingError, match=r"tracking\.uri: .* keeps .*mlflow\.db locked"):
            open_store(settings, create=True)
    assert caplog.text.count("Waiting up to") == 1
    caplog.clear()
    assert open_store(settings, create=True).experiment_id
    assert not caplog.text
