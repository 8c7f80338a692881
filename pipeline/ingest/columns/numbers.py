"""DuckDB expressions for numbers: what cannot be read becomes null, with a flag, and a row rule rejects the row."""

from __future__ import annotations

from pipeline.ingest.sql import ParsingError, quoted

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
FLOATS = ("FLOAT", "DOUBLE")


def is_number(kind: str) -> bool:
    """Whether a DuckDB type is numeric."""
    return kind in INTEGERS or kind in FLOATS or kind.startswith("DECIMAL")


def as_number(column: str, kind: str) -> str:
    """SQL for a finite float64, or null."""
    if not (kind == "VARCHAR" or is_number(kind)):
        raise ParsingError(f"column {column!r}: expected numbers, got {kind}. Name another column.")
    value = f"try_cast({quoted(column)} as double)"
    return f"case when isfinite({value}) then {value} end" if kind == "VARCHAR" or kind in FLOATS else value


def is_unreadable_number(column: str, kind: str) -> str:
    """SQL for whether the column has a value that is not a number."""
    name = quoted(column)
    has_value = f"trim({name}) <> ''" if kind == "VARCHAR" else f"{name} is not null"
    return f"({has_value} and ({as_number(column, kind)}) is null)"
