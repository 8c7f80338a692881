"""What all engines can do. Profiles and all that is built on them know nothing else of the engine that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import ibis.expr.types as ir
import pyarrow as pa

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


class Engine(Protocol):
    """Runs expressions, and keeps their results as tables until it is closed.

    A result that fits in memory is fetched with Ibis's own ``to_pyarrow`` or ``to_pandas``, which run where the tables
    of the expression are.
    """

    @property
    def con(self) -> Backend:
        """DuckDB on this machine, which reads the user's files. It may be the engine itself."""
        ...

    def materialise(
        self, expression: ir.Table, name: str, *, codes: Mapping[str, Sequence[str]] | None = None
    ) -> ir.Table:
        """``expression`` computed once, as table ``name``, which it replaces; it may read the table it replaces.

        Parameters
        ----------
        codes : mapping, optional
            Text column -> all its values, by which an engine may store it in less space.
        """
        ...

    def view(self, expression: ir.Table, name: str) -> ir.Table:
        """``expression`` as view ``name``, which it replaces; it is computed each time it is read."""
        ...

    def table(self, name: str) -> ir.Table:
        """The table or view made with this name."""
        ...

    def upload(self, rows: pa.Table, name: str) -> ir.Table:
        """Rows from memory as table ``name``, which it replaces."""
        ...

    def numbered(self, expression: ir.Table, name: str, *, order_by: str, number: str) -> ir.Table:
        """`materialise` with one more column, ``number``: 0, 1, 2 ... in the order of a column of unique texts."""
        ...

    def drop(self, name: str) -> None:
        """Drop a table, which frees its space."""
        ...

    def batches(self, expression: ir.Table) -> Iterator[pa.RecordBatch]:
        """Rows of ``expression`` in batches, at least one, and in any order."""
        ...

    def map_batches(self, expression: ir.Table, work: Callable[[pa.RecordBatch], pa.Table], name: str) -> ir.Table:
        """The results of ``work`` for all batches of ``expression``, as table ``name`` of ``con``.

        ``work`` must be picklable, and take a batch without rows as well.
        """
        ...

    def write_parts(self, name: str, folder: Path, schema: pa.Schema, *, order_by: str) -> None:
        """Write columns of a table of `map_batches` as Parquet files; in order, those of one file before the next's."""
        ...

    def read_parquet(self, path: Path, name: str) -> ir.Table:
        """A Parquet file of this machine, or a folder of them that `write_parts` wrote, as table ``name``."""
        ...

    def leave_room(self, byte_count: float) -> None:
        """Leave room in the memory of this machine for a table of that size."""
        ...
