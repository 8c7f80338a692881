"""Results as tables of a database: a schema of PostgreSQL or a folder of Delta tables, as `outputs.tables` says."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from pipeline.config.params import Params
from pipeline.stores.databases.connections import DatabaseError
from pipeline.stores.databases.delta import DeltaTables
from pipeline.stores.databases.postgresql import PostgresTables
from pipeline.stores.databases.target_table import KEY, TargetTable, WrittenRows


class Tables(Protocol):
    """Where tables are written."""

    def require_usable(self) -> None:
        """Refuse a target that cannot be reached, before hours of work."""

    def write(self, tables: Sequence[TargetTable]) -> list[WrittenRows]:
        """Make the tables hold these rows; each is created or widened as needed."""

    def count_rows(self, customer_ids: Collection[str]) -> int:
        """Rows of these customers in all tables that Kindred writes."""

    def delete_rows(self, customer_ids: Collection[str]) -> None:
        """Delete the rows of these customers from all tables that Kindred writes."""


def target_tables(params: Params) -> Tables | None:
    """The target that ``outputs.tables`` names, if any.

    Raises
    ------
    DatabaseError
        Delta tables are to lie in the outputs folder.
    """
    target = params.outputs.tables
    if target is None:
        return None
    if target.uri is not None:
        return PostgresTables(target.uri, target.schema_name)
    folder = params.path(target.delta or "")
    if folder.is_relative_to(params.path(params.outputs.folder)):
        raise DatabaseError(
            f"{KEY}.delta: expected a folder outside of outputs.folder, as `kindred forget` writes each file in there "
            "anew, which a Delta table does not allow. Name another folder."
        )
    return DeltaTables(folder)
