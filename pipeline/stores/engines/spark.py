"""Apache Spark as the engine, where one machine is not enough. Tables are folders of Parquet files."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sql
from pyspark.sql.pandas.types import from_arrow_schema
from threadpoolctl import threadpool_limits

from pipeline.config.sections.engine import EngineParams
from pipeline.stores import database
from pipeline.stores.database import BATCH_ROWS, TEMPORARY, EngineError, table_folder
from pipeline.stores.engines.spark_dialect import SparkBackend
from pipeline.stores.local.file_names import parquet_glob

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

FIXED_CONF = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.caseSensitive": "false",
    # Otherwise sums that overflow become null, and rows of files that are lost or damaged are left out.
    "spark.sql.ansi.enabled": "true",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
}
"""Settings of Spark that results depend on."""
DEFAULT_CONF = {
    "spark.app.name": "kindred",
    "spark.log.level": "OFF",  # errors may quote values of the log
    "spark.ui.showConsoleProgress": "false",
}
"""Settings that engine.spark.conf may change."""
QUERY_LOGGERS = ("SQLQueryContextLogger", "DataFrameQueryContextLogger")
"""Loggers of PySpark, which print errors of queries with the values that they quote."""
PLACE_BITS = 33
"""Of Spark's monotonically_increasing_id: the lower bits count the rows of a part, those above them the parts."""


@dataclass(frozen=True)
class Spark:
    """`Engine` on a cluster.

    Attributes
    ----------
    con : Backend
        DuckDB on the driver.
    backend : SparkBackend
        Ibis on the cluster.
    scratch : Path
        Folder of the tables, which this machine and all workers can read and write.
    """

    con: Backend
    backend: SparkBackend
    scratch: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _folders: dict[str, Path] = field(default_factory=dict)

    def materialise(
        self, expression: ir.Table, name: str, *, codes: Mapping[str, Sequence[str]] | None = None
    ) -> ir.Table:
        """A Parquet folder, which has codes of its own, and a temporary view of it."""
        return self._save(self.backend.frame(expression), name)

    def view(self, expression: ir.Table, name: str) -> ir.Table:
        """A temporary view."""
        self.backend.frame(expression).createOrReplaceTempView(name)
        return self.table(name)

    def table(self, name: str) -> ir.Table:
        """The view of a table, or another one."""
        table: ir.Table = self.backend.table(name)
        return table

    def upload(self, rows: pa.Table, name: str) -> ir.Table:
        """A Parquet folder of one file. Spark lacks times of day, which become texts, and nanoseconds."""
        fields = [field.with_type(pa.string()) if pa.types.is_time(field.type) else field for field in rows.schema]
        known = rows.cast(pa.schema(fields))
        file = self._new_file(name)
        pq.write_table(known, file, coerce_timestamps="us", allow_truncated_timestamps=True)
        return self._replace(file.parent, name)

    def numbered(self, expression: ir.Table, name: str, *, order_by: str, number: str) -> ir.Table:
        """The rows are sorted in parts, and each part's numbers begin where those of the part before it end."""
        rows = self.backend.frame(expression).orderBy(order_by).withColumn(number, sql.monotonically_increasing_id())
        ordered = self.backend.frame(self._save(rows, f"{name}_in_order"))
        part = sql.shiftright(number, PLACE_BITS)
        counts = ordered.groupBy(part.alias("part")).count().orderBy("part").collect()
        firsts = itertools.accumulate((row["count"] for row in counts), initial=0)
        shifts: list[Column] = []
        for row, first in zip(counts, firsts, strict=False):
            shifts += [sql.lit(row["part"]), sql.lit(first - (row["part"] << PLACE_BITS))]
        shift = sql.create_map(*shifts)[part] if shifts else sql.lit(0)
        table = self._save(ordered.withColumn(number, sql.col(number) + shift), name)
        self.drop(f"{name}_in_order")
        return table

    def drop(self, name: str) -> None:
        """Drop the view, here or on the cluster, and delete its folder."""
        if not self.backend.session.catalog.dropTempView(name):
            self.con.drop_view(name, database=TEMPORARY)
        shutil.rmtree(self._folders.pop(name), ignore_errors=True)

    def batches(self, expression: ir.Table) -> Iterator[pa.RecordBatch]:
        """Written by all workers, and read here file by file."""
        folder = self._write(self.backend.frame(expression), "batches")
        schema = expression.schema().to_pyarrow()
        yield pa.RecordBatch.from_pylist([], schema)
        for file in sorted(folder.glob("*.parquet")):
            for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS):
                yield batch.cast(schema)
            file.unlink()

    def map_batches(self, expression: ir.Table, work: Callable[[pa.RecordBatch], pa.Table], name: str) -> ir.Table:
        """By all workers; ``con`` reads what they write."""
        read = expression.schema().to_pyarrow()
        written = work(pa.RecordBatch.from_pylist([], read)).schema
        task = functools.partial(_map_task, work=work, read=read, written=written)
        frame = self.backend.frame(expression).mapInArrow(task, from_arrow_schema(written))
        folder = self._write(frame, name)
        table: ir.Table = self.con.read_parquet(parquet_glob(folder), table_name=name)
        self._keep(folder, name)
        return table

    def write_parts(self, name: str, folder: Path, schema: pa.Schema, *, order_by: str) -> None:
        """A file of each task."""
        rows = self.read_files(self._folders[name]).select(*schema.names).orderBy(order_by)
        rows.write.mode("append").option("compression", "zstd").parquet(str(folder))

    def read_parquet(self, path: Path, name: str) -> ir.Table:
        """A copy of the file where all workers can read it; tasks wrote a folder where they can read it as well."""
        if path.is_dir():
            self.read_files(path.resolve()).createOrReplaceTempView(name)
            return self.table(name)
        file = self._new_file(name)  # Spark would skip a name that begins with _ or a dot
        shutil.copy(path, file)
        return self._replace(file.parent, name)

    def leave_room(self, byte_count: float) -> None:
        """Lower the memory limit of the database of this machine; Spark's memory is not that of this process."""
        database.leave_room(self.con, byte_count)

    def read_files(self, *paths: Path) -> DataFrame:
        """The rows of Parquet files, or of folders of them, by their names: Spark takes every name for a pattern."""
        return self.backend.session.read.parquet(*(re.sub(r"[\[\]{}*?\\]", r"\\\g<0>", str(path)) for path in paths))

    def _save(self, frame: DataFrame, name: str) -> ir.Table:
        return self._replace(self._write(frame, name), name)

    def _replace(self, folder: Path, name: str) -> ir.Table:
        self.read_files(folder).createOrReplaceTempView(name)
        self._keep(folder, name)
        return self.table(name)

    def _keep(self, folder: Path, name: str) -> None:
        """Keep the folder of a table, and delete that of the table it replaces."""
        before, self._folders[name] = self._folders.get(name), folder
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)

    def _write(self, frame: DataFrame, name: str) -> Path:
        folder = self._new_folder(name)
        frame.write.parquet(str(folder))
        return folder

    def _new_file(self, name: str) -> Path:
        """A file in a new folder."""
        folder = self._new_folder(name)
        folder.mkdir()
        return folder / "rows.parquet"

    def _new_folder(self, name: str) -> Path:
        return self.scratch / f"{name}-{next(self._numbers)}"


def _map_task(
    batches: Iterable[pa.RecordBatch],
    work: Callable[[pa.RecordBatch], pa.Table],
    read: pa.Schema,
    written: pa.Schema,
) -> Iterator[pa.RecordBatch]:
    """The part of `Spark.map_batches` that runs in a worker."""
    try:
        with threadpool_limits(limits=1):  # as many tasks run at once as there are cores
            for batch in batches:
                yield from work(batch.cast(read)).cast(written).to_batches()
    except Exception as error:
        raise RuntimeError(type(error).__name__) from None  # workers log errors, and this one may quote values


@contextmanager
def connect_spark(con: Backend, params: EngineParams, *, folder: Path) -> Iterator[Spark]:
    """A session of Spark with a scratch folder, which is deleted at the end.

    Parameters
    ----------
    con : Backend
        DuckDB on this machine.
    folder : Path
        Folder for tables, unless ``engine.spark.scratch`` names another.

    Raises
    ------
    EngineError
        Java is missing, the folder cannot be used, or Spark cannot start or stops.
    """
    place = (params.scratch_folder or folder).resolve()
    _require_java()
    with ExitStack() as stack:
        advice = "Name one that this machine and all workers share in engine.spark.scratch."
        scratch = stack.enter_context(table_folder(place, what="tables of Spark", advice=advice))
        stack.enter_context(translate_errors(params))
        session = _start(params, scratch)
        stack.callback(session.stop)
        yield Spark(con, _connect(session), scratch)


def _start(params: EngineParams, scratch: Path) -> SparkSession:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # otherwise workers take the first python of PATH
    for name in QUERY_LOGGERS:
        logging.getLogger(name).disabled = True
    builder = SparkSession.builder.master(params.spark.master)
    # Others could read what Spark writes to /tmp, which stays there if the command is killed.
    own = {"spark.local.dir": str(scratch / "local")} if params.spark.master.startswith("local") else {}
    settings = DEFAULT_CONF | own | params.spark.conf | FIXED_CONF
    if own and "," in str(scratch):
        raise EngineError(
            f"expected a folder for tables of Spark without a comma, at which Spark splits it. Got {scratch.parent}. "
            "Name another in engine.spark.scratch."
        )
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def _connect(session: SparkSession) -> SparkBackend:
    SparkBackend.register_options()  # as Ibis does where it finds a backend itself
    backend = SparkBackend()
    backend.do_connect(session)
    return backend


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if not (Path(home, "bin", "java").exists() if home else shutil.which("java")):
        raise EngineError(
            "engine.kind: expected Java 17 or later for spark, found none. Install it, such as by `apt-get install "
            "openjdk-17-jre-headless`, and set JAVA_HOME to its folder; or set engine.kind to duckdb."
        )


@contextmanager
def translate_errors(params: EngineParams) -> Iterator[None]:
    """Say what failed in Spark without its own message, which may quote values of the log.

    Raises
    ------
    EngineError
        Spark cannot start, refused a query, or stopped.
    """
    try:
        yield
    except (PySparkException, Py4JError) as error:
        condition = None
        with suppress(Exception):  # it asks the process that may have stopped
            condition = error.getCondition() if isinstance(error, PySparkException) else None
        raise EngineError(
            f"engine.kind: Spark at {params.spark.master} stopped with {condition or type(error).__name__}. Its log "
            "says more, and may show customers' data (engine.spark.conf: {spark.log.level: INFO}). Change "
            "engine.spark, or set engine.kind to duckdb."
        ) from None
