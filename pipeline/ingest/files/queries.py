"""Files that a query in params.yaml reads, and hints for its errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipeline.ingest.files.formats import FileError
from pipeline.stores.databases.sql import literal, quoted

NO_MATCH = re.compile(r"types '(\w+)\(VARCHAR")
"""DuckDB's error for a function of numbers or times that is given text."""
NOT_ALLOWED = (
    " A query may read files below the folder of the params file, below the folders that a `path` names, and below "
    "those listed in engine.allowed_folders, where addresses such as https://example.org/shop/ may stand as well. "
    "A link that leads out of them needs engine.allowed_folders too."
)


@dataclass(frozen=True)
class TableName:
    """A name after FROM or JOIN.

    Attributes
    ----------
    start : int
        Its place in the query, in bytes.
    """

    name: str
    start: int
    has_alias: bool


@dataclass(frozen=True)
class QueryNames:
    """Names in SQL that may be files.

    Attributes
    ----------
    tables : list of TableName
        Also the names of common table expressions.
    texts : list of str
        Texts that table functions such as read_csv are given.
    """

    tables: list[TableName]
    texts: list[str]


def names_in_query(query: str) -> QueryNames:
    """Possible file names in SQL; none if it is not valid."""
    parsed = duckdb.execute("select json_serialize_sql(?::varchar)", [query]).fetchone()
    found = QueryNames([], [])

    def walk(node: Any, *, is_read: bool) -> None:
        if isinstance(node, dict):
            kind, value = node.get("type"), node.get("value")
            is_read = is_read or kind == "TABLE_FUNCTION"
            if kind == "BASE_TABLE":
                # Without quotes, orders.csv is table csv of schema orders, or else the file.
                parts = (node["catalog_name"], node["schema_name"], node["table_name"])
                found.tables.append(
                    TableName(".".join(filter(None, parts)), node["query_location"], bool(node["alias"]))
                )
            elif is_read and kind == "VALUE_CONSTANT" and isinstance(value, dict):
                found.texts.append(str(value.get("value")))
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(child, is_read=is_read)

    walk(json.loads(parsed[0] if parsed else "{}"), is_read=False)
    return found


def replace_files(query: str, tables: Sequence[TableName], copies: Mapping[str, str]) -> str:
    """The query with SQL in place of file names. As in DuckDB, `from 'logs/orders.csv'` is called orders.

    Parameters
    ----------
    copies : mapping of str to str
        File name as in the query -> SQL after FROM.

    Raises
    ------
    FileError
        A name is not written as itself, such as with an escape.
    """
    text = query.encode()
    for table in sorted(tables, key=lambda table: table.start, reverse=True):
        if table.name not in copies:
            continue
        forms = [form.encode() for form in (literal(table.name), quoted(table.name), table.name)]
        written = next((form for form in forms if text[table.start :].startswith(form)), None)
        if written is None:
            raise FileError(f"expected the name of a file in quotes: {literal(table.name)}.", setting="query")
        alias = "" if table.has_alias else f" as {quoted(Path(table.name).name.partition('.')[0])}"
        text = text[: table.start] + (copies[table.name] + alias).encode() + text[table.start + len(written) :]
    return text.decode()


def query_hint(message: str, query: str, *, key: str) -> str:
    """What to do about an error of a query; empty if nothing is known about it.

    Parameters
    ----------
    message : str
        DuckDB's.
    key : str
        Of the table in params.yaml.
    """
    if "Permission Error" in message or "requires the extension" in message:
        return f"{'' if message.endswith('.') else '.'}{NOT_ALLOWED}"
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
