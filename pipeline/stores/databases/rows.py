"""Rows of a SELECT in a database, as Arrow batches: PostgreSQL by ADBC, files of SQLite and DuckDB."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.config.redaction import redact_message
from pipeline.stores.databases.connections import POSTGRESQL, DatabaseError, connect_postgresql, database_uri

BATCH_ROWS = 50_000
DUCKDB_MEMORY = "2GB"
"""Of a SELECT in a DuckDB file; the engine has engine.memory_limit in addition."""
FILE_FORM = re.compile(r"(?:sqlite|duckdb):///(.+)")
"""An address of a file; a second slash in front begins an absolute path."""
SHOWN_ERRORS = (duckdb.CatalogException, duckdb.BinderException, duckdb.ParserException)
"""Errors of SQL, whose messages name no values; so do those of SHOWN_SQLITE_ERRORS."""
SHOWN_SQLITE_ERRORS = (
    "no such",
    "near ",
    "incomplete input",
    "unrecognized token",
    "ambiguous column",
    "wrong number of arguments",
    "misuse of",
)
READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
"""What a statement of SQLite may do: everything else can write, or open another file."""

ASKED_BY_TABLES = {(sqlite3.SQLITE_UPDATE, "sqlite_master"), (sqlite3.SQLITE_PRAGMA, "data_version")}
"""What json_each and tables for full-text search ask for when a SELECT reads them; the file is read-only."""


def read_rows(variable: str, sql: str, *, folder: Path, key: str) -> Generator[pa.RecordBatch, None, None]:
    """Rows of ``sql``, a batch at a time; the first batch is empty and has the columns.

    Parameters
    ----------
    variable : str
        Name of the environment variable that holds the address, with its dollar sign.
    folder : Path
        Where relative paths of database files start.
    key : str
        Of the table in params.yaml.

    Raises
    ------
    DatabaseError
        The variable, the driver, the database or ``sql`` cannot be used, or the connection is lost.
    """
    scheme = database_uri(variable, key=key).partition("://")[0]
    if scheme in POSTGRESQL:
        yield from _from_postgresql(variable, sql, key=key)
        return
    if scheme not in FILES:
        raise DatabaseError(
            f"{key}.uri: expected an address in {variable} that begins with postgresql://, sqlite:/// or duckdb:///."
        )
    path = source_file(variable, folder)
    if path is None or not path.is_file():
        raise DatabaseError(
            f"{key}.uri: expected an address in {variable} of a file that exists, such as sqlite:///shop.db; found no "
            f"file. Relative paths start at {folder}."
        )
    yield from FILES[scheme](path, sql, key)


def source_file(variable: str, folder: Path) -> Path | None:
    """The database file at the address in ``variable``; None for a server, and if it is not set."""
    found = FILE_FORM.fullmatch(os.environ.get(variable[1:], ""))
    return folder / found[1] if found else None


def _from_postgresql(variable: str, sql: str, *, key: str) -> Iterator[pa.RecordBatch]:
    with connect_postgresql(variable, key=key, sql_key=f"{key}.sql") as con, con.cursor() as cursor:
        cursor.execute(sql)
        reader = cursor.fetch_record_batch()
        for field in reader.schema:
            if (field.metadata or {}).get(b"POSTGRESQL:type") == b"money":
                raise DatabaseError(
                    f"{key}.sql: expected numbers in column {field.name!r}, found the type money, whose unit depends "
                    f"on the server. Write {field.name}::numeric."
                )
        yield pa.RecordBatch.from_pylist([], reader.schema)
        yield from reader


def _from_duckdb(path: Path, sql: str, key: str) -> Iterator[pa.RecordBatch]:
    try:
        statements = duckdb.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise DatabaseError(f"{key}.sql: expected one SELECT.")
        with closing(duckdb.connect(path, read_only=True, config={"enable_external_access": "false"})) as con:
            con.execute(f"set TimeZone = 'UTC'; set memory_limit = '{DUCKDB_MEMORY}'")
            reader = con.sql(sql).to_arrow_reader(BATCH_ROWS)
            yield pa.RecordBatch.from_pylist([], reader.schema)
            yield from reader
    except SHOWN_ERRORS as error:
        message = redact_message(str(error).splitlines()[0])[:300]
        raise DatabaseError(f"{key}.sql: expected SQL that DuckDB can run. {message}") from None
    except duckdb.IOException:
        raise DatabaseError(
            f"{key}.uri: expected a DuckDB file that can be read. It is damaged, or another program writes to it."
        ) from None
    except (duckdb.Error, OSError) as error:  # the latter while rows are read
        if "disabled by configuration" in str(error):
            raise DatabaseError(
                f"{key}.sql: expected a SELECT from tables of the file; it reads another file."
            ) from None
        reason = "it failed on a value"
        if "Out of Memory" in str(error):
            reason = f"it needs more than {DUCKDB_MEMORY} of memory. Sort and group less, as Kindred needs no order"
        raise DatabaseError(f"{key}.sql: expected SQL that runs to the end; {reason}.") from None


def _from_sqlite(path: Path, sql: str, key: str) -> Iterator[pa.RecordBatch]:
    """All columns as text, as a column of SQLite may hold values of any type."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as con:
            con.set_authorizer(_may_read)
            cursor = con.execute(sql)
            names = [name for name, *_ in cursor.description or ()]
            schema = pa.schema([(name, pa.string()) for name in names])
            yield pa.RecordBatch.from_pylist([], schema)
            while rows := cursor.fetchmany(BATCH_ROWS):
                columns = zip(*rows, strict=True)
                texts = [pa.array([_as_text(value) for value in column], pa.string()) for column in columns]
                yield pa.RecordBatch.from_arrays(texts, schema=schema)
    except sqlite3.Error as error:
        raise _sqlite_failure(error, key) from None


def _may_read(action: int, name: str | None, *_: str | None) -> int:
    return sqlite3.SQLITE_OK if action in READING or (action, name) in ASKED_BY_TABLES else sqlite3.SQLITE_DENY


def _sqlite_failure(error: sqlite3.Error, key: str) -> DatabaseError:
    """Why SQLite failed, without the values that its message may quote."""
    message, code = str(error), getattr(error, "sqlite_errorname", "")
    if isinstance(error, sqlite3.ProgrammingError) or "authori" in message or code == "SQLITE_AUTH":
        return DatabaseError(f"{key}.sql: expected one SELECT from tables of the file, without parameters.")
    if message.startswith(SHOWN_SQLITE_ERRORS):
        return DatabaseError(f"{key}.sql: expected SQL that SQLite can run. {redact_message(message)[:300]}.")
    if isinstance(error, sqlite3.DataError | sqlite3.IntegrityError) or code == "SQLITE_ERROR":
        return DatabaseError(
            f"{key}.sql: expected SQL that runs to the end; SQLite refused it, or it failed on a value."
        )
    return DatabaseError(
        f"{key}.uri: expected a SQLite file that can be read. It is damaged, locked by another program, or has texts "
        "that are not UTF-8."
    )


def _as_text(value: str | int | float | bytes | None) -> str | None:
    """A value as text: whole numbers without decimals, as files have them; bytes as hexadecimal digits."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    return str(int(value)) if float(value).is_integer() else repr(value)


FILES: Mapping[str, Callable[[Path, str, str], Iterator[pa.RecordBatch]]] = {
    "sqlite": _from_sqlite,
    "duckdb": _from_duckdb,
}
"""Scheme -> (file, sql, key) -> batches."""
