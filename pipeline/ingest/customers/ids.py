"""DuckDB expressions for ids of customers: in one form, and whether they stand for a customer at all."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config.sections.source import Normalisation
from pipeline.stores.databases.sql import literal

BLANKS = " \t\n\r\v\f\u00a0"
"""Also the no-break space of spreadsheets and web pages."""
WHOLE_DECIMAL = r"^(\d+)\.0$"
"""A whole number in a column of decimals that was written as text, such as 17850.0."""


def normalised(text: str, rule: Normalisation) -> str:
    """SQL for an id by `source.ids.normalise`; each rule also does what ``trim`` does, and email what lower does."""
    if rule == "none":
        return text
    trimmed = f"nullif({_trimmed(text)}, '')"
    if rule == "trim":
        return trimmed
    if rule == "whole":
        return f"regexp_replace({trimmed}, {literal(WHOLE_DECIMAL)}, '\\1')"
    return f"lower({trimmed})" if rule == "lower" else f"nfc_normalize(lower({trimmed}))"


def is_not_a_customer(text: str, names: Sequence[str]) -> str:
    """SQL for whether an id is one of `source.ids.not_customers`; 0 is also 0.0, as in columns of decimals."""
    if not names:
        return "false"
    plain = f"lower({_trimmed(text)})"
    numbers = [name for name in names if name.isascii() and name.removeprefix("-").isdecimal()]
    is_number = f" or try_cast({plain} as double) in ({', '.join(numbers)})" if numbers else ""
    # Few ids begin like one of the names; looking at the first character of the others takes a tenth of the time.
    first = {*BLANKS, *"+-.", *(sign for name in names for sign in (name[0].lower(), name[0].upper()))}
    may_be = f"{text}[1] in ({', '.join(map(literal, sorted(first)))})"
    return (
        f"case when {may_be} then coalesce({plain} in ({', '.join(map(literal, names))}){is_number}, false) "
        "else false end"
    )


def _trimmed(text: str) -> str:
    return f"trim({text}, {literal(BLANKS)})"
