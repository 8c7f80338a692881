"""The database engine: embedded DuckDB with a memory limit, which spills to disk. No other module knows the engine."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from pipeline.config.errors import UserError
from pipeline.config.sections.engine import EngineParams
from pipeline.stores.databases.sql import literal
from pipeline.stores.local.file_names import as_glob
from pipeline.stores.local.work_folders import work_folder

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from ibis.backends.duckdb import Backend

# The database merges nested selects faster than Ibis, which takes a tenth of a small training for it.
ibis.options.sql.fuse_selects = False

BATCH_ROWS = 100_000
MAX_SEARCHED_CODES = 20
"""A text is searched for in a list of at most this many values, which takes half the time of a cast; longer lists are
hashed."""
MAX_FULL_BYTES = 2**26
"""A disk with more free space than this is not the one that was full."""
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
LIMIT_VARIABLE = "engine_memory_limit"
"""Database variable that holds engine.memory_limit in bytes."""
MAX_DATABASE_SHARE, MIN_DATABASE_SHARE = 0.85, 0.2
"""Shares of engine.memory_limit: the most the database may use, and the least it keeps next to any table."""
CHANGED_SETTINGS = ("memory_limit", "preserve_insertion_order")
"""Settings that Kindred itself changes while it works."""
TEMPORARY = ("temp", "main")
"""Catalog and schema of temporary tables and views."""


class EngineError(UserError):
    """The database ran out of memory or disk."""


@contextmanager
def connect(params: EngineParams, *, folder: Path) -> Iterator[Backend]:
    """A new database in its own folder, deleted at the end. Leftovers of killed commands are deleted as well.

    Parameters
    ----------
    folder : Path
        Folder for the database and for what it spills, unless ``params.temp_directory`` names another.

    Raises
    ------
    EngineError
        There is too little memory or disk space, or the folder cannot be used; names the parameter to change.
    """
    place = (params.temp_folder or folder).resolve()
    with ExitStack() as stack:
        advice = "Name another in engine.temp_directory."
        work = stack.enter_context(table_folder(place, what="intermediate tables", advice=advice))
        try:
            con = ibis.duckdb.connect(work / "work.duckdb", temp_directory=str(work / "spill"))
            stack.callback(con.disconnect)
            # Closing first finishes a query that a signal ended at its start, unless it is interrupted again.
            stack.callback(con.con.interrupt)
            _configure(con, params)
            yield con
        except RuntimeError as error:
            if not is_interrupted(error):
                raise
            raise KeyboardInterrupt from None
        except duckdb.OutOfMemoryException:
            raise EngineError(
                f"engine.memory_limit ({params.memory_limit}) and the free space of {place} (up to "
                f"{params.max_temp_directory_size}) are too small for this log. Raise the limit, free some space, or "
                "name a larger disk in engine.temp_directory."
            ) from None
        except (duckdb.Error, OSError) as error:
            # The disk of something else may be full, such as that of the run's artifacts.
            if not is_disk_full(error) or shutil.disk_usage(place).free > MAX_FULL_BYTES:
                raise
            raise EngineError(
                f"expected space for intermediate tables in {place}, but the disk is full. Free some space, or name a "
                "larger disk in engine.temp_directory."
            ) from None


@contextmanager
def table_folder(place: Path, *, what: str, advice: str) -> Iterator[Path]:
    """A `work_folder` for tables.

    Raises
    ------
    EngineError
        The folder cannot be created; says ``what`` it is for, and what to do.
    """
    with ExitStack() as stack:
        try:
            work = stack.enter_context(work_folder(place))
        except OSError as error:
            raise EngineError(f"expected a writable folder for {what} at {place}. {error.strerror}. {advice}") from None
        yield work


def _configure(con: Backend, params: EngineParams) -> None:
    settings: dict[str, object] = {
        "memory_limit": params.memory_limit,
        "max_temp_directory_size": params.max_temp_directory_size,
        "preserve_insertion_order": False,
        # Otherwise the process keeps memory that the database has freed: 3 GB for 100 million events.
        "allocator_background_threads": True,
        "TimeZone": "UTC",
    }
    if params.threads:
        settings["threads"] = params.threads
    con.con.execute("; ".join(f"SET {name} = {_setting(value)}" for name, value in settings.items()))
    amount, unit = con.con.execute("select current_setting('memory_limit')").fetchone()[0].split()
    con.con.execute(f"SET VARIABLE {LIMIT_VARIABLE} = {float(amount) * 1024.0 ** UNITS.index(unit)}")
    leave_room(con, 0.0)


def confine(con: Backend, allowed: Iterable[str]) -> None:
    """Let the database read and write below some folders only, whatever SQL a params file has; for good.

    Parameters
    ----------
    allowed : iterable of str
        Absolute folders, and addresses such as https://example.org/shop/, for which DuckDB's httpfs must be available.

    Raises
    ------
    EngineError
        An address is allowed, and httpfs is neither installed nor can be downloaded.
    """
    named = {str(_database_folder(con.con)), *allowed}
    # DuckDB compares names as they are in a query, in which `as_glob` writes [[] for [.
    places = sorted(named | {as_glob(Path(place)) for place in named if "://" not in place})
    if any("://" in place for place in places):
        try:
            con.con.execute("install httpfs; load httpfs")
        except duckdb.Error:
            raise EngineError(
                "engine.allowed_folders: expected DuckDB's extension httpfs, which reads addresses, but it can be "
                "neither found nor downloaded. Remove the addresses, or run `install httpfs` in DuckDB."
            ) from None
    con.con.execute(
        f"SET allowed_directories = [{_listed(places)}]; SET autoinstall_known_extensions = false; "
        f"SET autoload_known_extensions = false; SET enable_external_access = false; "
        f"SET allowed_configs = {list(CHANGED_SETTINGS)}; SET lock_configuration = true"
    )


def is_allowed(con: DuckDBPyConnection, path: Path) -> bool:
    """Whether a query may read a file."""
    setting = "select current_setting('enable_external_access'), current_setting('allowed_directories')"
    is_open, places = con.execute(setting).fetchall()[0]
    return bool(is_open) or any(path.resolve().is_relative_to(place) for place in places)


def _database_folder(con: DuckDBPyConnection) -> Path | None:
    """The work folder; None for a database in memory."""
    found = con.execute("select path from duckdb_databases() where path is not null limit 1").fetchone()
    return Path(found[0]).parent if found else None


def private_folder(con: DuckDBPyConnection) -> tempfile.TemporaryDirectory[str]:
    """A new folder next to the database, which only its owner can read; deleted at the end of its context."""
    return tempfile.TemporaryDirectory(dir=_database_folder(con))


def is_interrupted(error: BaseException) -> bool:
    """Whether this is DuckDB's error for a query that a signal ended."""
    return isinstance(error, RuntimeError) and isinstance(error.__cause__, KeyboardInterrupt)


def is_disk_full(error: BaseException) -> bool:
    """Whether the error of the system or the database means that the disk is full."""
    return getattr(error, "errno", None) == errno.ENOSPC or "no space left" in str(error).lower()


def _listed(values: Sequence[str]) -> str:
    return ", ".join(map(literal, values))


def _setting(value: object) -> str:
    return literal(value) if isinstance(value, str) else str(value).lower()


def materialise(
    con: Backend, expression: ir.Table, name: str, *, codes: Mapping[str, Sequence[str]] | None = None
) -> ir.Table:
    """``expression`` computed once, as table ``name``, which it replaces.

    Parameters
    ----------
    codes : mapping, optional
        Text column -> all its values. The table holds the number of a value, in one or two bytes in place of sixteen;
        expressions still see texts.

    A temporary table takes half the time of one in the database file, as it is spilled only above the memory limit. The
    old table is dropped after the new one is complete, because Ibis writes a temporary table twice when it overwrites.
    """
    if codes:
        coded = ", ".join(f"{_code_of(column, values)} as {column}" for column, values in codes.items())
        rows = f"select * replace ({coded}) from ({con.compile(expression)})"
        con.con.execute(f"create temp table new_{name} as {rows}")
    else:
        con.create_table(f"new_{name}", expression, temp=True)
    con.con.execute(f"drop table if exists temp.main.{name}; alter table temp.main.new_{name} rename to {name}")
    table: ir.Table = con.table(name, database=TEMPORARY)
    return table


def _code_of(column: str, values: Sequence[str]) -> str:
    """SQL for a text as an enum; an error, which does not quote it, for a text that is not among ``values``."""
    listed, kind = _listed(values), f"enum({_listed(values)})"
    if len(values) > MAX_SEARCHED_CODES:
        code = f"try_cast({column} as {kind})"
    else:  # functions, unlike a cast, are computed once for each word of Parquet's dictionary
        code = f"list_extract([{listed}]::{kind}[], list_position([{listed}], {column}))"
    unlisted = literal(f"expected only listed values in {column}")
    return f"coalesce({code}, case when {column} is not null then error({unlisted})::{kind} end)"


def leave_room(con: Backend, byte_count: float) -> None:
    """Lower the database's memory limit so that a table of that size also fits into ``engine.memory_limit``."""
    limit = con.con.execute(f"select getvariable({literal(LIMIT_VARIABLE)})::double").fetchone()[0]
    left = max(MAX_DATABASE_SHARE * limit - byte_count, MIN_DATABASE_SHARE * limit)
    con.con.execute(f"SET memory_limit = '{left / 1024.0:.0f}KiB'")


def batches(con: Backend, expression: ir.Table) -> Iterator[pa.RecordBatch]:
    """Rows of ``expression`` in batches and in any order.

    DuckDB fetches an unordered relation with all threads, but an ordered or executed one with a single thread.
    """
    reader = con.con.sql(con.compile(expression)).to_arrow_reader(BATCH_ROWS)
    # A result without rows still has its columns.
    yield next(reader, None) or pa.RecordBatch.from_pylist([], reader.schema)
    yield from reader


def map_batches(con: Backend, expression: ir.Table, work: Callable[[pa.RecordBatch], pa.Table], name: str) -> ir.Table:
    """The results of ``work`` for all batches of ``expression``, as table ``name``."""
    threads = con.con.execute("select current_setting('threads')").fetchone()[0]
    parts = _on_threads(work, batches(con, expression), min(threads, len(os.sched_getaffinity(0))))
    con.con.register(name, pa.concat_tables(parts))
    table: ir.Table = con.table(name)
    return table


def _on_threads(
    work: Callable[[pa.RecordBatch], pa.Table], batches: Iterable[pa.RecordBatch], count: int
) -> Iterator[pa.Table]:
    """Results of ``work`` for each batch, in order; at most one batch more than there are threads is in memory."""
    waiting: deque[Future[pa.Table]] = deque()
    # Each worker computes one batch on a single thread, so the libraries do not start further threads.
    single_thread = functools.partial(threadpool_limits, 1, user_api="openmp")
    with threadpool_limits(limits=1), ThreadPoolExecutor(count, initializer=single_thread) as pool:
        for batch in batches:
            waiting.append(pool.submit(work, batch))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def in_order(batches: Iterable[pa.RecordBatch], *, order_by: str) -> pd.DataFrame:
    """All rows of ``batches``, at least one, ordered by a column of unique values.

    Memory never holds two copies of a wide table: batches are freed one by one, and columns after them.
    """
    parts: dict[str, list[Any]] = {}
    kinds: dict[str, pa.DataType] = {}
    for batch in batches:
        kinds = dict(zip(batch.schema.names, batch.schema.types, strict=True))
        # A batch of the database can only be freed as a whole, copies of its columns one by one.
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            parts.setdefault(name, []).append(_copy_column(column))
    places = pc.sort_indices(pa.chunked_array(parts[order_by], kinds[order_by]))
    order = np.asarray(places).astype(np.intp)
    columns = {}
    for name, kind in kinds.items():
        chunks = parts.pop(name)
        if kind == pa.float64():
            columns[name] = np.concatenate(chunks).take(order)
        else:
            columns[name] = pa.chunked_array(chunks, kind).combine_chunks().take(order).to_pandas()
        del chunks
    return pd.DataFrame(columns, copy=False)


def _copy_column(column: pa.Array) -> Any:
    """A copy of a column: numbers in NumPy, which copies and sorts them faster than Arrow, all else in Arrow."""
    if column.type == pa.float64():
        return np.array(column.to_numpy(zero_copy_only=False))
    return column.take(np.arange(len(column)))


def create_view(con: Backend, expression: ir.Table, name: str) -> ir.Table:
    """``expression`` as the temporary view ``name``, which it replaces; it is computed each time it is read."""
    con.con.execute(f"create or replace temp view {name} as {con.compile(expression)}")
    view: ir.Table = con.table(name, database=TEMPORARY)
    return view
