"""Tables of Delta Lake in a folder: each is replaced at once, and its earlier versions stay readable."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.stores.databases.connections import DatabaseError
from pipeline.stores.databases.target_table import CUSTOMER, KEY, TargetTable, WrittenRows, is_written_by_kindred

if TYPE_CHECKING:
    from deltalake import DeltaTable

PRIVATE_FOLDER = 0o700
NO_STATISTICS = {"delta.dataSkippingNumIndexedCols": "0"}
"""Otherwise the log would hold the smallest and the largest customer id of each file for ever."""
SIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.int64()}
"""Types that Delta Lake does not have -> those that hold their values."""


@dataclass(frozen=True)
class DeltaTables:
    """The tables of one folder; only its owner can enter it, if Kindred creates it."""

    folder: Path

    def require_usable(self) -> None:
        """Refuse a folder that cannot be written to.

        Raises
        ------
        DatabaseError
            It cannot be created, or deltalake is not installed.
        """
        try:
            import deltalake  # noqa: F401
        except ImportError:
            raise DatabaseError(
                f"{KEY}.delta: expected the package deltalake, which is not installed. Install it next to Kindred: "
                "pip install -e '.[databases]'"
            ) from None
        try:
            self.folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(f"{KEY}.delta: expected a writable folder. {error.strerror}.") from None

    def write(self, tables: Sequence[TargetTable]) -> list[WrittenRows]:
        """Write a new version of each table, one after the other.

        Raises
        ------
        DatabaseError
            A column has a type that would lose values, another program wrote at the same time, or the disk refuses.
        """
        self.require_usable()
        written = []
        with _translated():
            for table in tables:
                rows = _with_delta_types(table.known_columns, table.name)
                self._overwrite(table.name, rows, table.as_of)
                written.append(WrittenRows(table.name, rows.num_rows, rows.num_rows))
        return written

    def count_rows(self, customer_ids: Collection[str]) -> int:
        """Rows of these customers in the latest versions."""
        with _translated():
            return sum(int(pc.sum(held).as_py() or 0) for _, _, held in self._held(customer_ids))

    def delete_rows(self, customer_ids: Collection[str]) -> None:
        """Delete the rows of these customers, and all earlier versions of the tables."""
        with _translated():
            for name, rows, held in self._held(customer_ids):
                # Not by a predicate: the table's log would hold it, and with it the ids.
                if pc.any(held).as_py():
                    self._overwrite(name, rows.filter(pc.invert(held)))
                self._open(name).vacuum(0, enforce_retention_duration=False, dry_run=False)

    def _overwrite(self, name: str, rows: pa.Table, as_of: datetime | None = None) -> None:
        import deltalake

        path, predicate = self.folder / name, None
        if deltalake.DeltaTable.is_deltatable(str(path)):
            _require_same_types(self._open(name), rows, name)
            predicate = f"as_of = '{as_of.isoformat()}'" if as_of else None
        deltalake.write_deltalake(
            path, rows, mode="overwrite", schema_mode="merge", predicate=predicate, configuration=NO_STATISTICS
        )

    def _held(self, customer_ids: Collection[str]) -> Iterator[tuple[str, pa.Table, pa.Array]]:
        """Name, rows, and whether each row is of these customers, of every table with customer ids."""
        import deltalake

        listed = pa.array(sorted(customer_ids), pa.string())
        for path in sorted(self.folder.glob("*")):
            if is_written_by_kindred(path.name) and deltalake.DeltaTable.is_deltatable(str(path)):
                rows = self._open(path.name).to_pyarrow_table()
                if CUSTOMER in rows.column_names:
                    yield path.name, rows, pc.is_in(rows[CUSTOMER].cast(pa.string()), value_set=listed)

    def _open(self, name: str) -> DeltaTable:
        import deltalake

        return deltalake.DeltaTable(self.folder / name)


@contextmanager
def _translated() -> Iterator[None]:
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        yield
    except CommitFailedError:
        raise DatabaseError(
            f"{KEY}.delta: expected to be the only program that writes; another one wrote a version at the same time. "
            "Run the command again."
        ) from None
    except (DeltaError, OSError):
        raise DatabaseError(
            f"{KEY}.delta: expected a folder of Delta tables that can be read and written. Check its permissions and "
            "the space on its disk."
        ) from None


def _with_delta_types(rows: pa.Table, name: str) -> pa.Table:
    """Rows with the types that Delta Lake stores, so that the next rows of the same types fit."""
    schema = pa.schema([field.with_type(_delta_type(field.type)) for field in rows.schema])
    try:
        return pa.table(
            [
                pc.cast(rows[field.name], options=pc.CastOptions(field.type, allow_time_truncate=True))
                for field in schema
            ],
            schema=schema,
        )
    except pa.ArrowInvalid:
        raise DatabaseError(
            f"{KEY}.delta: expected numbers below 2^63 and times that microseconds can hold in {name}, found others."
        ) from None


def _delta_type(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(type_):
        return pa.timestamp("us", "UTC" if type_.tz else None)
    return SIGNED.get(type_, type_)


def _require_same_types(table: DeltaTable, rows: pa.Table, name: str) -> None:
    """Refuse values that would be converted to the type that a column has."""
    existing = {field.name: field.type for field in pa.schema(table.schema().to_arrow())}
    for field in rows.schema:
        if field.name in existing and _plain(field.type) != _plain(existing[field.name]):
            raise DatabaseError(
                f"{KEY}: expected column {field.name} of {name} to have the type {_plain(field.type)}, found "
                f"{_plain(existing[field.name])}, which would lose values. Rename the table's folder."
            )


def _plain(type_: pa.DataType) -> str:
    """A type in words, whatever the width of its offsets."""
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return f"list of {_plain(type_.value_type)}"
    return str(type_).removeprefix("large_").replace("string_view", "string")
