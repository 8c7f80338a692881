"""The only place that knows which engine runs: DuckDB, embedded, spilling to disk under a memory limit."""

from __future__ import annotations

import errno
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.errors import UserError
from pipeline.config.params import EngineParams

WORK, LOCK = ".kindred-", "lock"
BATCH_ROWS = 100_000
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
WHOLE = "engine_memory_limit"
"""Variable of the database: engine.memory_limit, in bytes."""
DATABASE_SHARE, LEAST_SHARE = 0.85, 0.2
"""Of engine.memory_limit: what the database may take at most, and what it keeps beside any table."""
TEMPORARY = ("temp", "main")
"""Where temporary tables and views are."""


class EngineError(UserError):
    """The database ran out of memory or disk."""


@contextmanager
def connect(params: EngineParams, *, folder: Path) -> Iterator[Any]:
    """A database of its own in a fresh folder, gone at the end; what killed commands left is swept away.

    Parameters
    ----------
    folder : Path
        Where the database and what it spills lie, unless ``params.temp_directory`` names another.

    Raises
    ------
    EngineError
        Memory or disk do not suffice, or there is no such folder; says which parameter to change.
    """
    place = (params.temp_folder or folder).resolve()
    with _work_folder(place) as work:
        con = ibis.duckdb.connect(work / "work.duckdb", temp_directory=str(work / "spill"))
        try:
            _configure(con, params)
            yield con
        except duckdb.OutOfMemoryException:
            raise EngineError(
                f"expected engine.memory_limit ({params.memory_limit}) and the free space of {place} "
                f"(up to {params.max_temp_directory_size}) to suffice; they did not. Raise the limit, free some space, "
                "or name a larger disk in engine.temp_directory."
            ) from None
        except (duckdb.IOException, OSError) as error:
            if not is_disk_full(error):
                raise
            raise EngineError(
                f"expected room for intermediate tables in {place}; the disk is full. Free some space, or name a "
                "larger disk in engine.temp_directory."
            ) from None
        finally:
            con.disconnect()


def _configure(con: Any, params: EngineParams) -> None:
    settings: dict[str, object] = {
        "memory_limit": params.memory_limit,
        "max_temp_directory_size": params.max_temp_directory_size,
        "preserve_insertion_order": False,
        # Else what the database lets go of stays with the process: 3 GB of 100 M events.
        "allocator_background_threads": True,
        "TimeZone": "UTC",
    }
    if params.threads:
        settings["threads"] = params.threads
    con.con.execute("; ".join(f"SET {name} = {_literal(value)}" for name, value in settings.items()))
    amount, unit = con.con.execute("select current_setting('memory_limit')").fetchone()[0].split()
    con.con.execute(f"SET VARIABLE {WHOLE} = {float(amount) * 1024.0 ** UNITS.index(unit)}")
    leave_room(con, 0.0)


@contextmanager
def _work_folder(place: Path) -> Iterator[Path]:
    """A folder that is locked as long as its command runs, so that the next one can tell what a killed one left."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".new-kindred-", dir=place))
    except OSError as error:
        raise EngineError(
            f"expected a folder for intermediate tables that can be written to at {place}. {error.strerror}. Name "
            "another in engine.temp_directory."
        ) from None
    for left in place.glob(f"{WORK}*"):
        with suppress(OSError), (left / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    work = made.with_name(made.name.replace(".new-kindred-", WORK))
    with (made / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            made.rename(work)  # others see it locked, or not at all
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def is_disk_full(error: BaseException) -> bool:
    """Whether the system or the database says that there is no room left."""
    return getattr(error, "errno", None) == errno.ENOSPC or "no space left" in str(error).lower()


def _literal(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


def materialise(con: Any, expression: ir.Table, name: str) -> ir.Table:
    """``expression`` computed once, as table ``name``, which it replaces.

    A temporary table takes half the time of one in the database file: it is spilled only past the memory limit.
    Ibis writes a temporary table twice when it is to overwrite, so the old one makes way when the new one is there.
    """
    con.create_table(f"new_{name}", expression, temp=True)
    con.con.execute(f"drop table if exists temp.main.{name}; alter table temp.main.new_{name} rename to {name}")
    table: ir.Table = con.table(name, database=TEMPORARY)
    return table


def leave_room(con: Any, byte_count: float) -> None:
    """Hold the database to what a table of that size leaves of ``engine.memory_limit``; it spills the rest."""
    whole = con.con.execute(f"select getvariable({_literal(WHOLE)})::double").fetchone()[0]
    left = max(DATABASE_SHARE * whole - byte_count, LEAST_SHARE * whole)
    con.con.execute(f"SET memory_limit = '{left / 1024.0:.0f}KiB'")


def batches(con: Any, expression: ir.Table) -> Iterator[pa.RecordBatch]:
    """Rows of ``expression``, some at a time and in any order: what is made of them need not wait for the others.

    All threads fetch a relation, but one alone what is ordered or executed: it is ordered afterwards.
    """
    reader = con.con.sql(con.compile(expression)).to_arrow_reader(BATCH_ROWS)
    # Who wants columns of no rows gets them, too.
    yield next(reader, None) or pa.RecordBatch.from_pylist([], reader.schema)
    yield from reader


def fetch(con: Any, expression: ir.Table, *, order_by: str) -> pd.DataFrame:
    """Rows of ``expression`` in the order of a column without repeats.

    Of a wide table no two copies are there at once: batches of the database are let go one by one, and then columns.
    """
    parts: dict[str, list[Any]] = {}
    kinds: dict[str, pa.DataType] = {}
    for batch in batches(con, expression):
        kinds = dict(zip(batch.schema.names, batch.schema.types, strict=True))
        # A batch of the database goes as a whole, a copy of it column by column.
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            parts.setdefault(name, []).append(_copied(column))
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


def _copied(column: pa.Array) -> Any:
    """Numbers as NumPy has them, which copies and orders them faster than Arrow; all else as Arrow has it."""
    if column.type == pa.float64():
        return np.array(column.to_numpy(zero_copy_only=False))
    return column.take(np.arange(len(column)))


def create_view(con: Any, expression: ir.Table, name: str) -> ir.Table:
    """``expression`` as the temporary view ``name``, which it replaces: computed anew wherever it is read."""
    con.con.execute(f"create or replace temp view {name} as {con.compile(expression)}")
    view: ir.Table = con.table(name, database=TEMPORARY)
    return view
