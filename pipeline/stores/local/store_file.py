"""The SQLite file of a local MLflow store: created completely or not at all, and free before it is opened."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from pipeline.stores.local import locks

TEMPORARY = ".new-"
POLL_SECONDS = 0.2


def create_if_missing(database: Path, artifacts: Path) -> None:
    """Create the database under a temporary name, and rename it. Call it under a lock.

    MLflow creates its tables in many transactions. A process that is killed in between leaves a database that MLflow
    can neither use nor complete, so one that an earlier version left is created again as well: it holds nothing yet.
    """
    if database.exists() and not is_unfinished(database):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    temporary = database.with_name(TEMPORARY + database.name)
    _delete(temporary, _journal(temporary), _journal(database))
    try:
        SqlAlchemyStore(f"sqlite:///{temporary}", str(artifacts)).engine.dispose()  # type: ignore[no-untyped-call]
        os.replace(temporary, database)
    finally:
        _delete(temporary, _journal(temporary))


def _delete(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _journal(database: Path) -> Path:
    return database.with_name(f"{database.name}-journal")


def is_unfinished(database: Path) -> bool:
    """Whether this is a database that MLflow began to create: a finished one has at least one experiment."""
    try:
        with closing(sqlite3.connect(database)) as con:
            tables = {name for (name,) in con.execute("select name from sqlite_master where type = 'table'")}
            if not tables:
                return True
            # The column is MLflow's: a database of another program is never replaced.
            return not con.execute("select count(artifact_location) from experiments").fetchone()[0]
    except sqlite3.DatabaseError:  # locked, or something else: for MLflow to say
        return False


def wait_until_free(database: Path) -> None:
    """Wait until no other program is writing to the database, at most WAIT_SECONDS, and say so.

    MLflow would try fifteen times without a word.

    Raises
    ------
    LockedError
        Another program still writes to it.
    """
    end = time.monotonic() + locks.WAIT_SECONDS
    is_waiting = False
    while _is_locked(database):
        if not is_waiting:
            locks.say_waiting(database)
            is_waiting = True
        if time.monotonic() > end:
            raise locks.LockedError
        time.sleep(POLL_SECONDS)


def _is_locked(database: Path) -> bool:
    try:
        with closing(sqlite3.connect(database, timeout=0.0, isolation_level=None)) as con:
            con.execute("begin immediate")
            con.execute("rollback")
    except sqlite3.DatabaseError as error:
        return "locked" in str(error)
    return False
