"""DuckDB expressions that turn the user's columns into ours without changing a value silently.

Numbers and times that cannot be read become null, with a flag, and the row rules reject those rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from features.events import EventType
from pipeline.config.errors import UserError
from pipeline.config.profile_params import EventsTable

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
FLOATS = ("FLOAT", "DOUBLE")
NESTED = ("STRUCT", "MAP", "UNION", "BLOB", "JSON")
EPOCH_MICROSECONDS = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0, "epoch_ns": 1e-3}
OFFSET = r"(?i)(z|utc|gmt|[+-]\d{2}(:?\d{2})?)$"
LATEST_MICROSECONDS = 9e18
SEPARATOR = " > "
FILE, ROW = "kindred_file", "kindred_row"


class ParsingError(UserError):
    """The type of a column does not fit its meaning, or its format is unclear."""


def quoted(identifier: str) -> str:
    """An identifier, quoted for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def is_number(kind: str) -> bool:
    """Whether a DuckDB type is numeric."""
    return kind in INTEGERS or kind in FLOATS or kind.startswith("DECIMAL")


def as_text(column: str, kind: str, *, has_empty: bool = True) -> str:
    """SQL for an id or a word: 17850.0 in a column of floats is 17850; a text stays as it is, with leading zeros.

    Parameters
    ----------
    has_empty : bool
        Some texts are empty, which means null. A column without empty texts is used directly: DuckDB then works on its
        Parquet dictionary, and hashes and groups it in half the time.
    """
    if kind.endswith("]") or kind.startswith(NESTED):
        raise ParsingError(f"column {column!r}: expected text or numbers, got {kind}. Name another column.")
    name = quoted(column)
    if kind == "VARCHAR":
        return f"nullif({name}, '')" if has_empty else name
    if kind in FLOATS or kind.startswith("DECIMAL"):
        whole = f"{name} = floor({name}) and abs({name}) < 1e18"
        return f"case when {whole} then {name}::bigint::varchar else {name}::varchar end"
    return f"{name}::varchar"


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


def has_long_text(columns: Sequence[str], max_chars: int) -> str:
    """SQL for whether a text is too long. Bytes are checked first, as characters are slower to count."""
    if not columns:
        return "false"
    byte_counts = [f"strlen({column})" for column in columns]
    longest = f"greatest({', '.join(byte_counts)})" if len(columns) > 1 else byte_counts[0]
    is_long = " or ".join(f"coalesce(length({column}) > {max_chars}, false)" for column in columns)
    return f"case when {longest} > {max_chars} then {is_long} else false end"


def as_time(column: str, kind: str, *, time_format: str, timezone: str, largest: float | None) -> str:
    """SQL for a moment in UTC without a zone, or null.

    Parameters
    ----------
    largest : float or None
        Largest value of a column of numbers, by which the error suggests a unit.

    Raises
    ------
    ParsingError
        Numbers without a declared unit, or an invalid format.
    """
    if kind == "TIMESTAMP WITH TIME ZONE":
        return _from_microseconds(f"epoch_us({quoted(column)})")
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        return _to_utc(f"{quoted(column)}::timestamp", timezone)
    if not (kind == "VARCHAR" or is_number(kind)):
        raise ParsingError(f"column {column!r}: expected times, got {kind}. Name another column.")
    if time_format in EPOCH_MICROSECONDS:
        # A double would lose the last three digits of current times in nanoseconds.
        number = f"try_cast({quoted(column)} as {'hugeint' if time_format == 'epoch_ns' else 'double'})"
        return _from_microseconds(f"try_cast(round({number} * {EPOCH_MICROSECONDS[time_format]!r}) as bigint)")
    if time_format != "auto":
        return _declared(f"trim({quoted(column)}::varchar)", time_format, timezone)
    if is_number(kind):
        raise ParsingError(
            f"column {column!r}: expected times, got numbers (largest {largest or 0:.0f}). Declare their unit, "
            f"probably with time_format: {likely_unit(largest)}."
        )
    return _iso(f"trim({quoted(column)})", timezone)


def _from_microseconds(count: str) -> str:
    return f"case when abs({count}) < {LATEST_MICROSECONDS:.0f} then make_timestamp({count}) end"


def _declared(text: str, time_format: str, timezone: str) -> str:
    _check_format(time_format)
    moment = f"try_strptime({text}, {literal(time_format)})"
    if re.search(r"%[zZ]", time_format):
        return f"timezone('UTC', {moment}::timestamptz)"
    return _to_utc(moment, timezone)


def _iso(text: str, timezone: str) -> str:
    """SQL for an ISO 8601 text with its own offset, or else in ``timezone``.

    DuckDB silently drops an offset when it reads a timestamp without a zone, so a text with a plus or minus sign after
    its date is read with a zone or not at all. A text of ten characters has no offset, though 2025-10-01 ends like one.
    """
    has_offset = f"length({text}) > 10 and regexp_matches({text}, {literal(OFFSET)})"
    joined = f"regexp_replace(regexp_replace({text}, '(?i) ?(utc|gmt)$', 'Z'), ' ([+-][0-9:]+)$', '\\1')"
    with_offset = f"timezone('UTC', try_cast({joined} as timestamptz))"
    naive = _to_utc(f"try_cast({text} as timestamp)", timezone)
    return (
        f"case when {has_offset} then {with_offset} "
        f"when not regexp_matches(substr({text}, 11), '[+-]') then {naive} end"
    )


def _to_utc(naive: str, timezone: str) -> str:
    """SQL for a local time in UTC. A time skipped in spring is null; of a time repeated in autumn, the later is taken.

    A skipped midnight, as in Santiago and Cairo, comes from a log of dates without hours and is the day's first moment.
    """
    if timezone == "UTC":
        return naive
    moment = f"timezone({literal(timezone)}, {naive})"
    exists = f"timezone({literal(timezone)}, {moment}) = {naive} or date_trunc('day', {naive}) = {naive}"
    return f"case when {exists} then timezone('UTC', {moment}) end"


def likely_unit(largest: float | None) -> str:
    """The epoch unit in which a number of this size is a recent date."""
    for unit, bound in (("epoch_s", 1e11), ("epoch_ms", 1e14), ("epoch_us", 1e17)):
        if (largest or 0) < bound:
            return unit
    return "epoch_ns"


def _check_format(time_format: str) -> None:
    try:
        if "%" not in time_format:
            raise duckdb.InvalidInputException(time_format)
        duckdb.sql(f"select try_strptime('', {literal(time_format)})").fetchall()
    except duckdb.Error:
        raise ParsingError(
            f"time_format: expected auto, epoch_s, epoch_ms, epoch_us, epoch_ns or a format such as "
            f"%Y-%m-%d %H:%M:%S. Got {time_format!r}."
        ) from None


def as_category_path(text: str, separator: str) -> str:
    """SQL for a path with ` > ` between trimmed levels.

    If the separator is another one, a ` > ` within a level becomes a slash. Empty levels are dropped.
    """
    level = "trim(level)" if separator in SEPARATOR else f"replace(trim(level), {literal(SEPARATOR)}, ' / ')"
    levels = f"list_transform(string_split({text}, {literal(separator)}), lambda level: {level})"
    return f"nullif(array_to_string(list_filter({levels}, lambda level: level <> ''), {literal(SEPARATOR)}), '')"


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
