"""Addresses of databases from environment variables, connections to PostgreSQL, and errors without any address."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.config.errors import UserError
from pipeline.config.redaction import redact_message

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

POSTGRESQL = ("postgresql", "postgres")
"""Schemes of an address of PostgreSQL."""
CONNECT_SECONDS = 15
"""A host that does not answer is given up after so long, unless the address has its own connect_timeout."""
REFUSALS = {
    "authentication failed|no password supplied|role .* does not exist|no pg_hba.conf entry|SSL": (
        "expected an address in {variable} whose user, password and encryption the database accepts; it refused them"
    ),
    "database .* does not exist": "expected an address in {variable} of a database that exists; the server has no such",
    "could not translate host name|Connection refused|No such file|timeout|timed out|unreachable|No route": (
        "expected a database that answers at the address in {variable}; nothing answers there. Check the host and the "
        "port, and whether the database is running"
    ),
}
"""What libpq says -> what was expected. Its own words may hold the address, or the password."""
FAILURES = {
    "42501": "expected rights that suffice.",
    "42|3F": "expected SQL that the database can run.",
    "22": "expected values that the database can convert; one cannot be, and is not shown, as it may be a customer's.",
    "23": "expected rows that the table's own constraints allow; they do not allow one.",
    "55P03|40": "expected the table to be free; another program holds it. Run the command again.",
    "57014": "expected enough time; the database cancelled the statement, probably by its statement_timeout.",
    "53": "expected room in the database; it has too little disk, memory or connections.",
}
"""Beginning of SQLSTATE -> what was expected. Only messages of class 42 name no values."""


class DatabaseError(UserError):
    """A database cannot be reached, read or written. The message has neither address nor values."""


def database_uri(variable: str, *, key: str) -> str:
    """The address that an environment variable holds.

    Parameters
    ----------
    variable : str
        With its dollar sign, such as $SHOP_DATABASE.
    key : str
        Of the section in params.yaml that names it.

    Raises
    ------
    DatabaseError
        It is not set, or is no address.
    """
    uri = os.environ.get(variable[1:], "")
    if "://" not in uri:
        found = "It holds something else" if uri else "It is not set"
        raise DatabaseError(
            f"{key}.uri: expected the address of a database in the environment variable {variable[1:]}, such as "
            f"postgresql://user:password@host/database, sqlite:///shop.db or duckdb:///shop.duckdb. {found}."
        )
    return uri


@contextmanager
def connect_postgresql(variable: str, *, key: str, sql_key: str) -> Iterator[Connection]:
    """A connection to the PostgreSQL at the address in ``variable``; what is not committed at the end is undone.

    Parameters
    ----------
    key : str
        Of the section in params.yaml that names the variable.
    sql_key : str
        Of what says which statements are run.

    Raises
    ------
    DatabaseError
        The driver is not installed, the database does not answer, or a statement fails.
    """
    uri = database_uri(variable, key=key)
    if uri.partition("://")[0] not in POSTGRESQL:
        raise DatabaseError(f"{key}.uri: expected an address in {variable} that begins with postgresql://.")
    try:
        from adbc_driver_manager import Error
        from adbc_driver_postgresql import dbapi
    except ImportError:
        raise DatabaseError(
            f"{key}.uri: expected the driver of PostgreSQL, which is not installed. Install it next to Kindred: "
            "pip install -e '.[databases]'"
        ) from None
    if "connect_timeout" not in uri:
        uri += f"{'&' if '?' in uri else '?'}connect_timeout={CONNECT_SECONDS}"
    try:
        con = dbapi.connect(uri)
    except Error as error:
        raise DatabaseError(f"{key}.uri: {_refusal(str(error), variable)}.") from None
    with con:
        try:
            yield con
        except Error as error:
            raise _failure(str(error), error.sqlstate or "", variable, key=key, sql_key=sql_key) from None
        except OSError as error:  # while rows are read, and without a code
            raise _failure(str(error), _state_in(str(error)), variable, key=key, sql_key=sql_key) from None


def _refusal(message: str, variable: str) -> str:
    """Why there is no connection."""
    known = (text for pattern, text in REFUSALS.items() if re.search(pattern, message))
    default = "expected an address in {variable} such as postgresql://user:password@host/database, found another form"
    return next(known, default).format(variable=variable)


def _state_in(message: str) -> str:
    """The likely SQLSTATE of an error that ended the reading of rows."""
    if "canceling statement" in message:
        return "57014"
    return "22000" if "ERROR:" in message else ""


def _failure(message: str, sqlstate: str, variable: str, *, key: str, sql_key: str) -> DatabaseError:
    """Why a statement failed, without the values and the address that the database's message may quote."""
    expected = next((text for code, text in FAILURES.items() if re.match(code, sqlstate)), None)
    code = f" (SQLSTATE {sqlstate})" if sqlstate else ""
    if expected is None:
        return DatabaseError(
            f"{key}.uri: expected the database at {variable} to answer to the end; the connection was lost{code}. Run "
            "the command again."
        )
    shown = re.search(r"ERROR:\s*(.*)", message) if re.match("42|3F", sqlstate) else None
    return DatabaseError(f"{sql_key}: {expected}{f' {redact_message(shown[1])[:300]}.' if shown else code}")
