"""DuckDB expressions for numbers: what cannot be read becomes null, with a flag, and a row rule rejects the row."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.config.sections.source import EventsTable
from pipeline.ingest.sql import ParsingError
from pipeline.stores.databases.sql import literal, quoted

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
FLOATS = ("FLOAT", "DOUBLE")
SPACES = r"[\s\x{00A0}\x{202F}\x{2009}]"
SEPARATORS = {" ": SPACES, "'": r"['\x{2019}]", ",": ",", ".": r"\."}
"""Separator of thousands -> a pattern for it."""
SIGN = r"(?:\p{Lu}{0,3}\p{Sc}|\p{Lu}{3}|kr|zł|Kč|Ft|lei|[Ll]ekë?|L|Fr|Rs|RM|\p{Cyrillic}{1,4})\.?"
"""A currency sign, a code, or a usual abbreviation; in Cyrillic, a short word."""


@dataclass(frozen=True)
class NumberFormat:
    """How numbers are written in texts.

    Attributes
    ----------
    decimal : str
        Decimal separator: a point or a comma.
    thousands : str or None
        Separator of thousands: a comma, point, space or apostrophe. A number may also be written without it.
    """

    decimal: str
    thousands: str | None = None

    def digits(self) -> str:
        """Pattern of a number without its sign. Groups have three digits (in India two), so 1,25 is none."""
        point = re.escape(self.decimal)
        plain = rf"\d+(?:{point}\d*)?|{point}\d+"
        if self.thousands is None:
            return plain
        group = SEPARATORS[self.thousands]
        return rf"\d{{1,3}}(?:{group}\d{{2,3}})*{group}\d{{3}}(?:{point}\d+)?|{plain}"


def is_number(kind: str) -> bool:
    """Whether a DuckDB type is numeric."""
    return kind in INTEGERS or kind in FLOATS or kind.startswith("DECIMAL")


def as_number(column: str, kind: str, form: NumberFormat | None = None) -> str:
    """SQL for a finite float64, or null.

    Parameters
    ----------
    form : NumberFormat, optional
        Of a column of texts; they may then also have a currency sign. By default they are numbers as in SQL.
    """
    if not (kind == "VARCHAR" or is_number(kind)):
        raise ParsingError(f"column {column!r}: expected numbers, got {kind}. Name another column.")
    value = f"try_cast({quoted(column)} as double)"
    if kind == "VARCHAR" and form is not None:
        value = _written(quoted(column), form)
    return f"case when isfinite({value}) then {value} end" if kind == "VARCHAR" or kind in FLOATS else value


def _written(text: str, form: NumberFormat) -> str:
    """SQL for a number as people write it: 1.234,56 €, -$5 or (5.00)."""
    around = rf"{SPACES}*(?:{SIGN})?{SPACES}*"
    number = rf"(?:{form.digits()})"
    whole = rf"{around}[-\x{2212}+]?{around}{number}{around}|{SPACES}*\({around}{number}{around}\){SPACES}*"
    digits = f"regexp_extract({text}, {literal(number)})"
    if form.thousands is not None:
        digits = f"regexp_replace({digits}, {literal(SEPARATORS[form.thousands])}, '', 'g')"
    size = f"try_cast(replace({digits}, {literal(form.decimal)}, '.') as double)"
    sign = rf"case when regexp_matches({text}, '[-\x{{2212}}(]') then -1 else 1 end"
    return f"case when regexp_full_match({text}, {literal(whole)}) then {size} * {sign} end"


def is_unreadable_number(column: str, kind: str, form: NumberFormat | None = None) -> str:
    """SQL for whether the column has a value that is not a number."""
    name = quoted(column)
    has_value = f"trim({name}) <> ''" if kind == "VARCHAR" else f"{name} is not null"
    return f"({has_value} and ({as_number(column, kind, form)}) is null)"


def declared_format(table: EventsTable) -> NumberFormat | None:
    """The format that params.yaml declares for the numbers of the log; of two separators, one implies the other."""
    if table.decimal is None and table.thousands is None:
        return None
    return NumberFormat(table.decimal or ("," if table.thousands == "." else "."), table.thousands)
