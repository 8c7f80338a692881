"""Files that a query in params.yaml reads, and hints for its errors."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import duckdb

NO_MATCH = re.compile(r"types '(\w+)\(VARCHAR")
"""DuckDB's error for a function of numbers or times that is given text."""


@dataclass(frozen=True)
class QueryNames:
    """Names in SQL that may be files.

    Attributes
    ----------
    tables : list of str
        Names after FROM and JOIN.
    unquoted : list of str
        Those of them without quotes: DuckDB reads `from orders.csv` as table csv of schema orders, or else as a file.
    texts : list of str
        Texts that table functions such as read_csv are given.
    """

    tables: list[str]
    unquoted: list[str]
    texts: list[str]


def names_in_query(query: str) -> QueryNames:
    """Possible file names in SQL; none if it is not valid."""
    parsed = duckdb.execute("select json_serialize_sql(?::varchar)", [query]).fetchone()
    found = QueryNames([], [], [])

    def walk(node: Any, *, is_read: bool) -> None:
        if isinstance(node, dict):
            kind, value = node.get("type"), node.get("value")
            is_read = is_read or kind == "TABLE_FUNCTION"
            if kind == "BASE_TABLE" and node["schema_name"]:
                parts = (node["catalog_name"], node["schema_name"], node["table_name"])
                found.unquoted.append(".".join(filter(None, parts)))
            elif kind == "BASE_TABLE":
                found.tables.append(node["table_name"])
            elif is_read and kind == "VALUE_CONSTANT" and isinstance(value, dict):
                found.texts.append(str(value.get("value")))
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(child, is_read=is_read)

    walk(json.loads(parsed[0] if parsed else "{}"), is_read=False)
    return found


def query_hint(message: str, query: str, *, key: str) -> str:
    """What to do about an error of a query; empty if nothing is known about it.

    Parameters
    ----------
    message : str
        DuckDB's.
    key : str
        Of the table in params.yaml.
    """
    if "read_xlsx" in query:
        return f" Kindred reads workbooks itself: write from 'file.xlsx', and the sheet in {key}.sheet."
    if "encoding" in message and "read_csv" in query:
        return f" Kindred finds encodings itself: write from 'file.csv', and the encoding in {key}.encoding."
    if "VARCHAR" not in message:
        return ""
    call = NO_MATCH.search(message)
    column = re.search(rf'\b{call[1]}\s*\(\s*(\w+|"[^"]+")\s*[,)]', query, re.IGNORECASE) if call else None
    name = column[1] if column else "quantity"
    return (
        " All columns of CSV files and workbooks are text, so that ids keep their zeros: write "
        f"{name}::double for a column of numbers, or {name}::timestamp for one of times."
    )
