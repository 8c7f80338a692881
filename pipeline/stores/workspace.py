"""Where a command works: the locked outputs folder, a database in it, and the MLflow store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.params import Params
from pipeline.stores import files, mlflow_runs
from pipeline.stores.database import connect

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


@dataclass(frozen=True)
class Workspace:
    """The outputs folder and a database of one command.

    Attributes
    ----------
    params : Params
    con : Backend
        The database; deleted at the end.
    """

    params: Params
    con: Backend

    @property
    def folder(self) -> Path:
        """The outputs folder; no other command writes to it."""
        return self.params.path(self.params.outputs.folder)

    @cached_property
    def store(self) -> mlflow_runs.RunStore:
        """The MLflow store, opened on first use, as some commands need none."""
        return mlflow_runs.open_store(self.params)


@contextmanager
def workspace(params: Params) -> Iterator[Workspace]:
    """Lock the outputs folder and connect to a new database.

    Raises
    ------
    OutputError
        Another command writes to the folder, or the folder is not writable.
    EngineError
        There is too little memory or disk space.
    """
    folder = params.path(params.outputs.folder)
    with files.lock(folder), connect(params.engine, folder=folder) as con:
        yield Workspace(params, con)
