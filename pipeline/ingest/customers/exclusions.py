"""Customers and rows that `source.exclude` leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import ibis.expr.types as ir

from features.events import EVENT_SCHEMA
from pipeline.config.params import Params
from pipeline.ingest.customers.id_lists import read_ids
from pipeline.ingest.customers.identities import ALIASES, resolve_ids
from pipeline.ingest.customers.ids import normalised
from pipeline.ingest.files.raw_tables import SourceError
from pipeline.stores.database import create_view
from pipeline.stores.databases.sql import literal

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

KEY = "source.exclude"
PARSED = "parsed_rows"
"""View of the events before `where` leaves rows out."""


def find_excluded(con: Backend, params: Params, customers: ir.Table | None) -> list[str]:
    """The customers that are listed, or have an address of a listed domain as an id or in the column email.

    Reads the table customer_ids. Of a person with several ids, any of them counts.
    """
    ids = "select source_id as email, customer_id from customer_ids"
    return sorted({*listed_ids(con, params), *customers_of_domains(con, params, customers, ids)})


def customers_of_domains(con: Backend, params: Params, customers: ir.Table | None, *queries: str) -> list[str]:
    """The customers with an address of ``email_domains`` in one of the queries, the identities or ``customers``.

    Parameters
    ----------
    queries : str
        SQL for email, customer_id.
    """
    domains = params.source.exclude.email_domains
    if not domains:
        return []
    searched = [*queries, f"select unnest([kindred_alias, kindred_person]), kindred_person from {ALIASES}"]
    if customers is not None and "email" in customers.columns:
        searched.append("select email, customer_id from customers")
    domain = f"split_part({normalised('email', 'email')}, '@', 2)"
    rows = f"({' union all '.join(searched)}) as found(email, customer_id)"
    query = f"select distinct customer_id from {rows} where {domain} in ({', '.join(map(literal, domains))})"
    return sorted(row[0] for row in con.con.execute(query).fetchall())


def exclusion_warnings(con: Backend, params: Params) -> list[str]:
    """A warning about listed ids that nobody has, as they may be mistyped. Reads the table customer_ids."""
    listed = listed_ids(con, params)
    known = "select count(distinct customer_id) from customer_ids where list_contains(?::varchar[], customer_id)"
    unknown_count = len(listed) - con.con.execute(known, [listed]).fetchone()[0] if listed else 0
    return [f"{KEY}.customer_ids: {unknown_count:,} of {len(listed):,} are no customer's"] if unknown_count else []


def listed_ids(con: Backend, params: Params) -> list[str]:
    """The customers of ``customer_ids``, which is a list or a file."""
    given = params.source.exclude.customer_ids
    ids = read_ids(params.path(given), key=f"{KEY}.customer_ids") if isinstance(given, str) else given
    return sorted(set(resolve_ids(con, params, ids).values()))


def without_excluded_rows(con: Backend, params: Params, parsed: ir.Table) -> tuple[ir.Table, int]:
    """Parsed events without the rows that meet ``where``, and the number of these.

    Of the table customers, those are deleted for whom the condition is true of the id alone.

    Raises
    ------
    SourceError
        DuckDB cannot evaluate the condition.
    """
    where = params.source.exclude.where
    if where is None:
        return parsed, 0
    create_view(con, parsed, PARSED)
    is_excluded = f"coalesce((\n{where}\n)::boolean, false)"
    has_customers = "customers" in con.list_tables()
    try:
        count = con.con.execute(f"select count(*) from {PARSED} where {is_excluded}").fetchone()[0]
        if has_customers:
            registered = f"(from {PARSED} where false union all by name select customer_id from customers)"
            excluded = f"select customer_id from {registered} where {is_excluded}"
            con.con.execute(f"delete from customers where customer_id in ({excluded})")
    # Without the database's own words, which quote the condition and the customers in it.
    except (duckdb.DataError, duckdb.InvalidInputException):
        raise _unusable("A value cannot be converted: use try_cast.") from None
    except (duckdb.ParserException, duckdb.SyntaxException):
        raise _unusable("It is not valid SQL: look for a missing value, quote or bracket.") from None
    except (duckdb.ProgrammingError, duckdb.NotSupportedError):
        raise _unusable(
            "It has an unknown column, table or function, or types that do not fit: write texts in single quotes."
        ) from None
    return con.sql(f"from {PARSED} where not {is_excluded}"), int(count)


def _unusable(reason: str) -> SourceError:
    return SourceError(
        f"{KEY}.where: expected one SQL condition on {', '.join(EVENT_SCHEMA)}, such as channel = 'internal'. {reason}"
    )
