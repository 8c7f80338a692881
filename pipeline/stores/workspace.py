"""Where a command works: the locked outputs folder, a database in it, and the MLflow store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.params import Params
from pipeline.config.sections.source import Table
from pipeline.stores import files, mlflow_runs
from pipeline.stores.database import confine, connect
from pipeline.stores.local.file_names import matching_files

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
def workspace(params: Params, *, out: Path | None = None) -> Iterator[Workspace]:
    """Lock the outputs folder and connect to a new database, confined to the folders of ``params``.

    Parameters
    ----------
    out : Path, optional
        A file elsewhere that the command writes.

    Raises
    ------
    OutputError
        Another command writes to the folder, or the folder is not writable.
    EngineError
        There is too little memory or disk space.
    """
    folder = params.path(params.outputs.folder)
    with files.lock(folder), confined_database(params, out=out) as con:
        yield Workspace(params, con)


@contextmanager
def confined_database(params: Params, *, out: Path | None = None) -> Iterator[Backend]:
    """A new database that reads and writes in the folders of ``params`` only, whatever its queries say.

    Raises
    ------
    EngineError
        There is too little memory or disk space.
    """
    with connect(params.engine, folder=params.path(params.outputs.folder)) as con:
        confine(con, _allowed(params, out))
        yield con


def _allowed(params: Params, out: Path | None) -> Iterator[str]:
    """Folders of the params file, of its outputs and of the files that `path` names, and those allowed besides."""
    yield str(params.folder.resolve())
    yield str(params.path(params.outputs.folder))
    for file in (params.path(params.outputs.scores), *([out] if out else [])):
        yield str(file.resolve().parent)
    for text in params.engine.allowed_folders:
        yield text if "://" in text else str(params.path(text))
    for table in [*(table for _, table in params.source), params.contacts]:
        if isinstance(table, Table):
            for text in [table.path] if isinstance(table.path, str) else table.path or []:
                place = params.path(text)
                yield from {str(file.resolve().parent) for file in [place / "file", *matching_files(place)]}
