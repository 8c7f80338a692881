"""Tables in a schema of PostgreSQL, written in one transaction.

Rows are deleted and inserted, and tables never dropped, so views and grants stay, and readers see the old rows or the
new ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.stores.databases.connections import DatabaseError, connect_postgresql
from pipeline.stores.databases.sql import literal, quoted
from pipeline.stores.databases.target_table import CUSTOMER, KEY, TargetTable, WrittenRows, is_written_by_kindred

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

NEW = "pg_temp.kindred_rows"
LOCK_SECONDS = 60
MAX_NAME_BYTES = 63
LOSSLESS = {("text", "character varying"), ("integer", "bigint"), ("bigint", "numeric")}
"""Type of new values and another type that holds all of them."""


@dataclass(frozen=True)
class PostgresTables:
    """The tables of one schema.

    Attributes
    ----------
    variable : str
        Name of the environment variable that holds the address, with its dollar sign.
    """

    variable: str
    schema: str

    def require_usable(self) -> None:
        """Refuse a database that cannot be reached.

        Raises
        ------
        DatabaseError
            See `connect_postgresql`.
        """
        with self._transaction():
            pass

    def write(self, tables: Sequence[TargetTable]) -> list[WrittenRows]:
        """Make the tables hold these rows, in one transaction. Rows that are there already are not written.

        Raises
        ------
        DatabaseError
            A column has a type that would lose values, a name is too long, or the database refuses.
        """
        with self._transaction() as cursor:
            if not _fetch(cursor, f"select 1 from pg_namespace where nspname = {literal(self.schema)}"):
                cursor.execute(f"create schema {quoted(self.schema)}")
            written = [self._write(cursor, table) for table in tables]
            cursor.connection.commit()
        return written

    def count_rows(self, customer_ids: Collection[str]) -> int:
        """Rows of these customers in all tables that Kindred writes."""
        with self._transaction() as cursor:
            _ingest(cursor, _id_table(customer_ids))
            return sum(
                int(_fetch(cursor, f"select count(*) from {place} t where {_IS_LISTED}")[0][0])
                for place in self._customer_tables(cursor)
            )

    def delete_rows(self, customer_ids: Collection[str]) -> None:
        """Delete the rows of these customers from all tables that Kindred writes, in one transaction."""
        with self._transaction() as cursor:
            _ingest(cursor, _id_table(customer_ids))
            for place in self._customer_tables(cursor):
                cursor.execute(f"delete from {place} t where {_IS_LISTED}")
            cursor.connection.commit()

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        """A transaction, undone unless it is committed; one of Kindred's at a time for this schema."""
        with connect_postgresql(self.variable, key=KEY, sql_key=KEY) as con, con.cursor() as cursor:
            cursor.execute(f"set local lock_timeout = '{LOCK_SECONDS}s'")
            cursor.execute(f"select pg_advisory_xact_lock(hashtext({literal(f'kindred {self.schema}')}))")
            cursor.fetchall()
            yield cursor

    def _write(self, cursor: Cursor, table: TargetTable) -> WrittenRows:
        rows, place = table.known_columns, self._place(table.name)
        _ingest(cursor, rows)
        self._create_or_widen(cursor, table)
        existing = _column_types(cursor, place)
        same = [f"n.{quoted(name)} is not distinct from t.{quoted(name)}" for name in rows.column_names]
        same += [f"t.{quoted(name)} is null" for name in table.empty_columns if name in existing]
        is_key = " and ".join(f"n.{quoted(name)} = t.{quoted(name)}" for name in table.key)
        moment = f"t.as_of = {literal(table.as_of.isoformat())}::timestamptz" if table.as_of else "true"
        cursor.execute(
            f"delete from {place} t where {moment} and not exists "
            f"(select from {NEW} n where {is_key} and {' and '.join(same)})"
        )
        listed = ", ".join(map(quoted, rows.column_names))
        cursor.execute(
            f"insert into {place} ({listed}) select {listed} from {NEW} n "
            f"where not exists (select from {place} t where {is_key})"
        )
        return WrittenRows(f"{self.schema}.{table.name}", rows.num_rows, cursor.rowcount)

    def _create_or_widen(self, cursor: Cursor, table: TargetTable) -> None:
        place, shown = self._place(table.name), f"{self.schema}.{table.name}"
        kinds = _fetch(cursor, f"select relkind::text from pg_class where oid = to_regclass({literal(place)})")
        if not kinds:
            listed = ", ".join(map(quoted, table.key))
            cursor.execute(f"create table {place} (like {NEW}, primary key ({listed}))")
            return
        if kinds[0][0] not in ("r", "p"):
            raise DatabaseError(f"{KEY}: expected {shown} to be a table, found a view or the like. Rename it.")
        existing = _column_types(cursor, place)
        for name, kind in _column_types(cursor, NEW).items():
            if name not in existing:
                cursor.execute(f"alter table {place} add column {quoted(name)} {kind}")
            elif kind != existing[name] and (kind, existing[name]) not in LOSSLESS:
                raise DatabaseError(
                    f"{KEY}: expected column {name} of {shown} to have the type {kind}, found {existing[name]}, which "
                    "would lose values. Change its type, or rename the table, and run the command again."
                )

    def _customer_tables(self, cursor: Cursor) -> list[str]:
        """The tables that Kindred wrote, with their schema, that have a column of customer ids."""
        found = _fetch(
            cursor,
            "select c.relname::text from pg_class c join pg_namespace s on s.oid = c.relnamespace "
            "join pg_attribute a on a.attrelid = c.oid "
            f"where s.nspname = {literal(self.schema)} and c.relkind in ('r', 'p') and a.attname = '{CUSTOMER}'",
        )
        return [self._place(name) for (name,) in sorted(found) if is_written_by_kindred(name)]

    def _place(self, name: str) -> str:
        if len(name.encode()) > MAX_NAME_BYTES:
            raise DatabaseError(
                f"{KEY}: expected a name of at most {MAX_NAME_BYTES} bytes for a table, found {name}. Write a shorter "
                "name for the audience."
            )
        return f"{quoted(self.schema)}.{quoted(name)}"


_IS_LISTED = f"exists (select from {NEW} n where n.{CUSTOMER} = t.{CUSTOMER})"


def _id_table(customer_ids: Collection[str]) -> pa.Table:
    return pa.table({CUSTOMER: pa.array(sorted(customer_ids), pa.string())})


def _ingest(cursor: Cursor, rows: pa.Table) -> None:
    """Rows as the temporary table `NEW`, which they replace."""
    cursor.execute(f"drop table if exists {NEW}")
    cursor.adbc_ingest(NEW.partition(".")[2], rows, mode="create", temporary=True)
    cursor.execute(f"analyze {NEW}")


def _column_types(cursor: Cursor, place: str) -> dict[str, str]:
    """Column -> its type, in the words of PostgreSQL."""
    return dict(
        _fetch(
            cursor,
            "select attname::text, format_type(atttypid, atttypmod) from pg_attribute "
            f"where attrelid = to_regclass({literal(place)}) and attnum > 0 and not attisdropped order by attnum",
        )
    )


def _fetch(cursor: Cursor, sql: str) -> list[tuple[Any, ...]]:
    cursor.execute(sql)
    return [tuple(row) for row in cursor.fetchall()]
