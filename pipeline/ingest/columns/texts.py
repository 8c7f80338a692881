"""DuckDB expressions for texts: ids, words, category paths and event types."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from features.events import EventType
from pipeline.config.sections.source import EventsTable
from pipeline.ingest.columns.numbers import FLOATS
from pipeline.ingest.sql import ParsingError
from pipeline.stores.databases.sql import literal, quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

NESTED = ("STRUCT", "MAP", "UNION", "BLOB", "JSON")
NESTED_ADVICE = (
    "Name another column, or read the file with a query that unnests it; for an export of Google Analytics, "
    "`kindred init --from ga4 FILE` writes one."
)
SEPARATOR = " > "


def is_nested(kind: str) -> bool:
    """Whether a DuckDB type is a list, a structure or the like."""
    return kind.endswith("]") or kind.startswith(NESTED)


def as_text(column: str, kind: str, *, has_empty: bool = True) -> str:
    """SQL for an id or a word: 17850.0 in a column of floats is 17850; a text stays as it is, with leading zeros.

    Parameters
    ----------
    has_empty : bool
        Some texts are empty, which means null. A column without empty texts is used directly: DuckDB then works on its
        Parquet dictionary, and hashes and groups it in half the time.
    """
    if is_nested(kind):
        raise ParsingError(f"column {column!r}: expected text or numbers, got {kind}. {NESTED_ADVICE}")
    name = quoted(column)
    if kind == "VARCHAR":
        return f"nullif({name}, '')" if has_empty else name
    if kind in FLOATS or kind.startswith("DECIMAL"):
        whole = f"{name} = floor({name}) and abs({name}) < 1e18"
        return f"case when {whole} then {name}::bigint::varchar else {name}::varchar end"
    return f"{name}::varchar"


def text_of(con: Backend, rows: str, column: str, kind: str) -> str:
    """`as_text` for a column of the raw table ``rows``, in the faster form if it has no empty text."""
    # Parquet's statistics answer this without a scan if there is none.
    empty = f"select exists (from {rows} where {quoted(column)} = '')"
    return as_text(column, kind, has_empty=kind == "VARCHAR" and bool(con.con.execute(empty).fetchone()[0]))


def has_long_text(con: Backend, rows: str, columns: Sequence[str], max_chars: int) -> str:
    """SQL for whether a row of the raw table ``rows`` has a text that is too long.

    A column is measured row by row only if a value of it has that many bytes; finding that out is cheap, as DuckDB
    measures each word of Parquet's dictionary once.
    """
    names = [quoted(column) for column in columns]
    queries = (f"select exists (from {rows} where strlen({name}) > {max_chars})" for name in names)
    is_measured = [bool(con.con.execute(query).fetchone()[0]) for query in queries]
    lengths = [f"coalesce(length({name}) > {max_chars}, false)" for name in itertools.compress(names, is_measured)]
    return " or ".join(lengths) or "false"


def as_category_path(text: str, separator: str) -> str:
    """SQL for a path with ` > ` between trimmed levels.

    If the separator is another one, a ` > ` within a level becomes a slash. Empty levels are dropped.
    """
    level = "trim(level)" if separator in SEPARATOR else f"replace(trim(level), {literal(SEPARATOR)}, ' / ')"
    levels = f"list_transform(string_split({text}, {literal(separator)}), lambda level: {level})"
    return f"nullif(array_to_string(list_filter({levels}, lambda level: level <> ''), {literal(SEPARATOR)}), '')"


def with_aliases(column: str, aliases: Mapping[str, str], separator: str) -> str:
    """SQL for a path of `as_category_path` in which old names are replaced by new ones; the lowest old path decides.

    Parameters
    ----------
    column : str
        A column, as a longer expression would be computed once for each alias.
    aliases : mapping of str to str
        Old path -> new path, with ``separator``, in any case. An alias is not applied to the result of another.
    """
    longest_first = sorted(aliases.items(), key=lambda pair: -len(pair[0].split(separator)))
    cases = ""
    for old, new in longest_first:
        before, after = (as_category_path(literal(path), separator) for path in (old, new))
        below = f"starts_with(lower({column}) || {literal(SEPARATOR)}, lower({before} || {literal(SEPARATOR)}))"
        cases += f" when {below} then {after} || substr({column}, length({before}) + 1)"
    return f"case{cases} else {column} end" if cases else column


def as_event_type(column: str, kind: str, events: EventsTable) -> str:
    """SQL for our event type; types in no list become `other`."""
    text = as_text(column, kind, has_empty=False)
    mapping = events.event_types or {ours: [str(ours)] for ours in EventType}
    pairs = [(name, str(ours)) for ours, names in mapping.items() for name in names if name]
    # Types that already have our name are matched in one step, once per word of Parquet's dictionary.
    unchanged = ", ".join(literal(name) for name, ours in pairs if name == ours)
    cases = f" when list_contains([{unchanged}], {text}) then {text}" if unchanged else ""
    cases += "".join(f" when {text} = {literal(name)} then {literal(ours)}" for name, ours in pairs if name != ours)
    return f"case{cases} else 'other' end" if cases else "'other'"
