"""What a task of Spark does with one file of the log: DuckDB reads and checks it, as on one machine.

A task writes files with names of its own and returns them. Only what a task returns is used, so a task that failed, was
repeated or ran twice leaves nothing double.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pyspark import TaskContext

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.ingest.columns.texts import text_of
from pipeline.ingest.customers.known_ids import CustomerIds, count_ids
from pipeline.ingest.duplicates import HASH
from pipeline.ingest.events import check_events
from pipeline.ingest.files.digests import file_digest
from pipeline.ingest.files.raw_tables import RawTable, SourceError, read_files
from pipeline.ingest.findings.rejects import write_rejected
from pipeline.ingest.source import event_rules
from pipeline.ingest.sql import FILE, ROW
from pipeline.stores import files
from pipeline.stores.databases.sql import literal, quoted
from pipeline.stores.local.file_names import as_glob
from pipeline.stores.workspace import confined_database

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

    from pipeline.stores.engines.spark import Spark

Item = TypeVar("Item")
Result = TypeVar("Result")
KEY = "source.events"
RAW = "raw_events"


def run_each(engine: Spark, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The results of ``function``, each from a task of its own, in the order of ``items``.

    Raises
    ------
    SourceError
        That of the first item for which ``function`` raised a UserError.
    """
    parts = engine.backend.session.sparkContext.parallelize(items, len(items))
    results: list[Result] = []
    for result in parts.map(partial(_result_or_problem, function)).collect():
        if isinstance(result, _Problem):
            raise SourceError(result.message)
        results.append(result)
    return results


@dataclass(frozen=True)
class _Problem:
    """A mistake of the user: Spark would show where it was raised, and run the task again."""

    message: str


def _result_or_problem(function: Callable[[Item], Result], item: Item) -> Result | _Problem:
    try:
        return function(item)
    except UserError as error:
        return _Problem(str(error))
    except Exception as error:
        # Spark writes messages to a log, and this one may quote values.
        raise RuntimeError(type(error).__name__) from None


@dataclass(frozen=True)
class TaskSetting:
    """What all tasks know.

    Attributes
    ----------
    params : Params
        With the threads and memory of one task.
    folder : Path
        Where tasks write, which the driver and all workers share.
    """

    params: Params
    folder: Path

    def new_file(self, name: str) -> Path:
        """A file that no other task writes, nor another attempt of this one."""
        context = TaskContext.get()
        assert context is not None
        return self.folder / f"{name}-{context.partitionId():05}-{context.taskAttemptId()}.parquet"

    @contextmanager
    def database(self, path: Path) -> Iterator[Backend]:
        """A database that reads the file ``path`` of the log."""
        events = self.params.source.events.model_copy(update={"path": str(path)})
        source = self.params.source.model_copy(update={"events": events})
        engine = self.params.engine
        if engine.temp_directory is None:  # a folder of its own, as a process of another machine looks like one killed
            engine = engine.model_copy(update={"temp_directory": str(self.new_file("work").with_suffix(""))})
        with confined_database(self.params.model_copy(update={"source": source, "engine": engine})) as con:
            yield con


@dataclass(frozen=True)
class LoadedFile:
    """A file of the log.

    Attributes
    ----------
    raw : RawTable
        What was found in it.
    rows : Path
        Parquet file with the rows: a copy of a text file or workbook, in which each row has its file and number.
    lines : Path or None
        Parquet file with the offsets of lines, of a text file.
    first : int
        Place of the file among those of the whole log, or of the first one of a zip archive.
    """

    path: Path
    raw: RawTable
    rows: Path
    lines: Path | None
    first: int = 0


def load_file(setting: TaskSetting, path: Path) -> LoadedFile:
    """Copy a text file or workbook to Parquet, which later steps read. Of a Parquet file, only compute the digest."""
    rows, lines = path, None
    with setting.database(path) as con:
        raw = read_files(con.con, [path], setting.params.source.events, name=RAW, key=KEY)
        if not raw.is_view:
            rows = setting.new_file("rows")
            files.copy_query(con, f"from {RAW}", rows, mode=files.PRIVATE, storage=files.FAST)
        if raw.has_lines:
            lines = setting.new_file("lines")
            files.copy_query(con, f"from {RAW}_shifts", lines, mode=files.PRIVATE, storage=files.FAST)
    return LoadedFile(path, replace(raw, digest=file_digest(path)), rows, lines)


def count_file_ids(setting: TaskSetting, raw: RawTable, column: str, file: LoadedFile) -> Path:
    """Parquet file with the rows of each id in a file of the log: source_id, row_count."""
    counted = setting.new_file("ids")
    with setting.database(file.path) as con:
        _open_rows(con, raw, file)
        counts = count_ids(raw, text_of(con, RAW, column, raw.columns[column]))
        files.copy_query(con, counts, counted, mode=files.PRIVATE)
    return counted


@dataclass(frozen=True)
class CheckSetting:
    """What all tasks that check the log know.

    Attributes
    ----------
    raw : RawTable
        The whole log, without its rows that could not be read.
    tables : dict of str to Path
        Table that the checks look up -> Parquet file of it.
    has_rejects : bool
        Whether rejected rows are written.
    """

    task: TaskSetting
    raw: RawTable
    ids: CustomerIds
    tables: dict[str, Path]
    has_rejects: bool


@dataclass(frozen=True)
class CheckedFile:
    """Parquet files with the accepted events, the places of rejected rows, and these rows; and the rows left out."""

    accepted: Path
    broken: Path
    rejected: Path | None
    left_out: dict[str, int]


def check_file(setting: CheckSetting, file: LoadedFile) -> CheckedFile:
    """Check the rows of a file."""
    task, raw = setting.task, replace(setting.raw, unreadable=file.raw.unreadable)
    accepted, broken = task.new_file("accepted"), task.new_file("broken")
    rejected = task.new_file("rejected") if setting.has_rejects else None
    with task.database(file.path) as con:
        _open_rows(con, raw, file)
        for name, path in setting.tables.items():
            con.con.execute(f"create temp table {name} as from read_parquet({literal(as_glob(path))})")
        rules = event_rules(task.params, raw)
        left_out = check_events(con, task.params, raw, rules, setting.ids)
        # Spark has no unsigned numbers.
        signed = f"(case when {HASH} < {2**63} then {HASH}::hugeint else {HASH}::hugeint - {2**64} end)::bigint"
        events = f"select * replace ({signed} as {HASH}) from accepted_events"
        files.copy_query(con, events, accepted, mode=files.PRIVATE)
        files.copy_query(con, "from broken_rows", broken, mode=files.PRIVATE)
        if rejected is not None:
            write_rejected(con, task.params, raw, rules, rejected)
    return CheckedFile(accepted, broken, rejected, left_out)


def _open_rows(con: Backend, raw: RawTable, file: LoadedFile) -> None:
    """View raw_events: the rows of a file with the columns of the whole log."""
    own = {name.lower(): kind for name, kind in file.raw.columns.items()}
    columns = [_as_in_log(name, kind, own.get(name.lower())) for name, kind in raw.columns.items()]
    columns.append(
        f"({FILE} + {file.first})::integer as {FILE}" if file.rows != file.path else f"{file.first} as {FILE}"
    )
    columns.append(ROW if file.rows != file.path else f"file_row_number + 1 as {ROW}")
    con.con.execute(
        f"create view {RAW} as select {', '.join(columns)} from read_parquet({literal(as_glob(file.rows))})"
    )
    if file.lines is not None:
        con.con.execute(
            f"create table {RAW}_shifts as select * replace (file + {file.first} as file) "
            f"from read_parquet({literal(as_glob(file.lines))})"
        )


def _as_in_log(name: str, kind: str, own_kind: str | None) -> str:
    """SQL for a column, which the other files may have in another type, or which only they have."""
    value = "null" if own_kind is None else quoted(name)
    return quoted(name) if kind == own_kind else f"{value}::{kind} as {quoted(name)}"
