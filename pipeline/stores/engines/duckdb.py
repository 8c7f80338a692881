"""DuckDB as the engine: the local database itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from pipeline.stores import database
from pipeline.stores.database import TEMPORARY
from pipeline.stores.local.file_names import parquet_glob
from pipeline.stores.writers import write_batches

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


@dataclass(frozen=True)
class DuckDB:
    """`Engine` in one process; `pipeline.stores.database` has the settings and the work."""

    con: Backend

    def materialise(
        self, expression: ir.Table, name: str, *, codes: Mapping[str, Sequence[str]] | None = None
    ) -> ir.Table:
        """A temporary table, in which columns with ``codes`` are enums."""
        return database.materialise(self.con, expression, name, codes=codes)

    def view(self, expression: ir.Table, name: str) -> ir.Table:
        """A temporary view."""
        return database.create_view(self.con, expression, name)

    def table(self, name: str) -> ir.Table:
        """The temporary table or view."""
        table: ir.Table = self.con.table(name, database=TEMPORARY)
        return table

    def upload(self, rows: pa.Table, name: str) -> ir.Table:
        """A temporary table."""
        table: ir.Table = self.con.create_table(name, rows, temp=True, overwrite=True)
        return table

    def numbered(self, expression: ir.Table, name: str, *, order_by: str, number: str) -> ir.Table:
        """All rows are sorted at once."""
        place = ibis.row_number().over(ibis.window(order_by=expression[order_by]))
        return self.materialise(expression.mutate(**{number: place}), name)

    def drop(self, name: str) -> None:
        """Drop a temporary table."""
        self.con.drop_table(name, database=TEMPORARY)

    def batches(self, expression: ir.Table) -> Iterator[pa.RecordBatch]:
        """Fetched with all threads."""
        return database.batches(self.con, expression)

    def map_batches(self, expression: ir.Table, work: Callable[[pa.RecordBatch], pa.Table], name: str) -> ir.Table:
        """On all threads; the results stay in memory."""
        return database.map_batches(self.con, expression, work, name)

    def write_parts(self, name: str, folder: Path, schema: pa.Schema, *, order_by: str) -> None:
        """One file, as nothing writes another at the same time."""
        rows = self.batches(self.con.table(name).select(schema.names).order_by(order_by))
        write_batches(folder / "part.parquet", (batch.cast(schema) for batch in rows), schema)

    def read_parquet(self, path: Path, name: str) -> ir.Table:
        """A view of the files."""
        table: ir.Table = self.con.read_parquet(parquet_glob(path), table_name=name)
        return table

    def leave_room(self, byte_count: float) -> None:
        """Lower the memory limit of the database."""
        database.leave_room(self.con, byte_count)
