"""Where a command works: the locked outputs folder, a database in it, and the MLflow store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.params import Params
from pipeline.config.sections.source import Table
from pipeline.stores import files, mlflow_runs
from pipeline.stores.database import EngineError, confine, connect, is_disk_full
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.engines.engine import Engine
from pipeline.stores.local.file_names import matching_files

NAMED_FILE = re.compile(r"(?:file|pattern) \"([^\"]+\.(?:parquet|pq))\"")
"""How DuckDB names a Parquet file that it cannot read, in some of its errors."""
PARQUET = b"PAR1"
"""First bytes of Parquet files."""

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


@dataclass(frozen=True)
class Workspace:
    """The outputs folder and a database of one command.

    Attributes
    ----------
    params : Params
    engine : Engine
        What computes profiles; its tables are deleted at the end.
    """

    params: Params
    engine: Engine

    @property
    def con(self) -> Backend:
        """The database of this machine, which reads files."""
        return self.engine.con

    @property
    def folder(self) -> Path:
        """The outputs folder; no other command writes to it."""
        return self.params.path(self.params.outputs.folder)

    @cached_property
    def store(self) -> mlflow_runs.RunStore:
        """The MLflow store, opened on first use, as some commands need none."""
        return mlflow_runs.open_store(self.params)


@contextmanager
def workspace(params: Params, *, out: Path | None = None, uses_cluster: bool = False) -> Iterator[Workspace]:
    """Lock the outputs folder and connect to a new database, confined to the folders of ``params``.

    Parameters
    ----------
    out : Path, optional
        A file elsewhere that the command writes.
    uses_cluster : bool
        Whether the command works with ``engine.kind``. Others work on this machine.

    Raises
    ------
    OutputError
        Another command writes to the folder, or the folder is not writable.
    EngineError
        There is too little memory or disk space.
    """
    folder = params.path(params.outputs.folder)
    with (
        files.lock(folder),
        confined_database(params, out=out) as con,
        open_engine(con, params) if uses_cluster else nullcontext(DuckDB(con)) as engine,
    ):
        yield Workspace(params, engine)


@contextmanager
def open_engine(con: Backend, params: Params) -> Iterator[Engine]:
    """The engine of ``engine.kind``, with ``con`` as the database that reads files.

    Raises
    ------
    EngineError
        The engine is not installed, or cannot start.
    """
    if params.engine.kind == "duckdb":
        yield DuckDB(con)
        return
    try:
        from pipeline.stores.engines.spark import connect_spark
    except ModuleNotFoundError:
        raise EngineError(
            "engine.kind: expected the package pyspark for spark, which is not installed. Install it with `pip install "
            "-e '.[spark]'` in the folder of Kindred, or set engine.kind to duckdb."
        ) from None
    with connect_spark(con, params.engine, folder=params.path(params.outputs.folder)) as engine:
        yield engine


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
        with _naming_damaged_file(params):
            yield con


@contextmanager
def _naming_damaged_file(params: Params) -> Iterator[None]:
    """Say which Parquet file cannot be read: they are read as long as a command works, not only at its beginning."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        named = NAMED_FILE.search(str(error))
        damaged = [Path(named[1])] if named else [path for path in _parquet_files(params) if not _is_whole(path)]
        if is_disk_full(error) or not damaged:
            raise
        raise EngineError(
            f"{damaged[0].name}: expected a file that can be read to its end and stays as it is meanwhile. It is "
            "damaged, or was changed or deleted. Write it again, and repeat the command."
        ) from None


def _parquet_files(params: Params) -> Iterator[Path]:
    for place in _places(params):
        for path in filter(Path.is_file, sorted(place.iterdir()) if place.is_dir() else matching_files(place)):
            with path.open("rb") as file:
                if file.read(len(PARQUET)) == PARQUET:
                    yield path


def _is_whole(path: Path) -> bool:
    try:
        for _ in pq.ParquetFile(path).iter_batches():
            pass
    except (pa.ArrowException, OSError):
        return False
    return True


def _allowed(params: Params, out: Path | None) -> Iterator[str]:
    """Folders of the params file, its outputs and the files that `path` names, and those that `engine` names."""
    yield str(params.folder.resolve())
    yield str(params.path(params.outputs.folder))
    for file in (params.path(params.outputs.scores), *([out] if out else [])):
        yield str(file.resolve().parent)
    if params.engine.scratch_folder is not None:
        yield str(params.engine.scratch_folder.resolve())
    for text in params.engine.allowed_folders:
        yield text if "://" in text else str(params.path(text))
    for place in _places(params):
        yield from {str(file.resolve().parent) for file in [place / "file", *matching_files(place)]}


def _places(params: Params) -> Iterator[Path]:
    """What the tables of the source name in `path`: files, globs and folders."""
    for table in [*(table for _, table in params.source), params.contacts]:
        if isinstance(table, Table):
            yield from map(params.path, [table.path] if isinstance(table.path, str) else table.path or [])
