"""Loads the rows of a database as a raw table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.ingest.sql import FILE, ROW, create_table
from pipeline.stores.databases.connections import DatabaseError
from pipeline.stores.databases.rows import read_rows
from pipeline.stores.databases.sql import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BATCH = "database_rows"
IS_IMPOSSIBLE = "not isfinite({0}) or year({0}) not between 1 and 9999"
"""SQL for a date or a time; PostgreSQL's infinities may arrive as finite ones, millions of years away."""


def load_rows(db: DuckDBPyConnection, variable: str, sql: str, name: str, *, folder: Path, key: str) -> list[str]:
    """Create table ``name`` from a SELECT, a batch at a time, with kindred_file (null) and kindred_row.

    Returns
    -------
    list of str
        Warnings, for times that are infinite or outside of the years 1 to 9999, which become null.

    Raises
    ------
    DatabaseError
        See `read_rows`; or the SELECT has no columns, or several of one name.
    """
    with closing(read_rows(variable, sql, folder=folder, key=key)) as batches:
        count = 0
        for batch in batches:
            rows = f"select *, null::integer as {FILE}, {count} + row_number() over () as {ROW} from {BATCH}"
            if not count and not batch.num_rows:
                _require_columns(batch.schema.names, key=key)
                rows = f"{create_table(name, is_temporary=False)} as {rows}"
            else:
                rows = f"insert into {quoted(name)} {rows}"
            db.register(BATCH, batch)
            db.execute(rows)
            db.unregister(BATCH)
            count += batch.num_rows
    return _drop_impossible_times(db, name, key=key)


def _require_columns(names: Sequence[str], *, key: str) -> None:
    if not names:
        raise DatabaseError(f"{key}.sql: expected one SELECT, found a statement without columns.")
    repeated = sorted({each for each in names if [name.lower() for name in names].count(each.lower()) > 1})
    if repeated:
        raise DatabaseError(
            f"{key}.sql: expected a name of its own for each column. Repeated: {', '.join(repeated)}. Rename with AS."
        )


def _drop_impossible_times(db: DuckDBPyConnection, name: str, *, key: str) -> list[str]:
    warnings = []
    for column, kind, *_ in db.execute(f"describe {quoted(name)}").fetchall():
        if kind == "DATE" or kind.startswith("TIMESTAMP"):
            # A date may be too late for a timestamp, and the year of a timestamptz is positive even before our era.
            moment = quoted(column) if kind == "DATE" else f"{quoted(column)}::timestamp"
            is_impossible = IS_IMPOSSIBLE.format(moment)
            [(count,)] = db.execute(f"select count(*) from {quoted(name)} where {is_impossible}").fetchall()
            if count:
                db.execute(f"update {quoted(name)} set {quoted(column)} = null where {is_impossible}")
                warnings.append(
                    f"{key}: {count:,} times in column {column!r} are infinite or outside of the years 1 to 9999, and "
                    "were left empty"
                )
    return warnings
