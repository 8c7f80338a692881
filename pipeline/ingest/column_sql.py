"""A user's columns as ours: DuckDB expressions that read texts, numbers and times without a silent change.

Texts, times and numbers that cannot be read become null, with a flag, and the row rules set them aside.
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
    """A column is of a type that Kindred cannot read as what it is named to be."""


def quoted(identifier: str) -> str:
    """An identifier for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text for SQL."""
    return "'" + text.replace("'", "''") + "'"


def is_number(kind: str) -> bool:
    """Whether a DuckDB type is numeric."""
    return kind in INTEGERS or kind in FLOATS or kind.startswith("DECIMAL")


def as_text(column: str, kind: str, *, has_empty: bool = True) -> str:
    """An id or a word: 17850.0 in a column of floats is 17850; a text stays as it is, zeros in front included.

    Parameters
    ----------
    has_empty : bool
        Texts may be empty, which is null. A bare column is read by the dictionary that Parquet keeps of it, and hashed
        and grouped in half the time.
    """
    if kind.endswith("]") or kind.startswith(NESTED):
        raise ParsingError(f"column {column!r}: expected a text or a number, came {kind}. Name another column.")
    name = quoted(column)
    if kind == "VARCHAR":
        return f"nullif({name}, '')" if has_empty else name
    if kind in FLOATS or kind.startswith("DECIMAL"):
        whole = f"{name} = floor({name}) and abs({name}) < 1e18"
        return f"case when {whole} then {name}::bigint::varchar else {name}::varchar end"
    return f"{name}::varchar"


def as_number(column: str, kind: str) -> str:
    """A finite float64, or null."""
    if not (kind == "VARCHAR" or is_number(kind)):
        raise ParsingError(f"column {column!r}: expected numbers, came {kind}. Name another column.")
    value = f"try_cast({quoted(column)} as double)"
    return f"case when isfinite({value}) then {value} end" if kind == "VARCHAR" or kind in FLOATS else value


def is_unreadable_number(column: str, kind: str) -> str:
    """Something stands there, and it is no number."""
    name = quoted(column)
    there = f"trim({name}) <> ''" if kind == "VARCHAR" else f"{name} is not null"
    return f"({there} and ({as_number(column, kind)}) is null)"


def has_long_text(columns: Sequence[str], most: int) -> str:
    """Whether a text has more characters; few have as many bytes, and only of those are characters counted."""
    if not columns:
        return "false"
    bytes_of = [f"strlen({column})" for column in columns]
    longest = f"greatest({', '.join(bytes_of)})" if len(columns) > 1 else bytes_of[0]
    is_long = " or ".join(f"coalesce(length({column}) > {most}, false)" for column in columns)
    return f"case when {longest} > {most} then {is_long} else false end"


def as_time(column: str, kind: str, *, time_format: str, timezone: str, largest: float | None) -> str:
    """A moment in UTC without a zone, or null.

    Parameters
    ----------
    largest : float or None
        Largest value of a column of numbers, from which the message proposes a unit.

    Raises
    ------
    ParsingError
        Numbers without a declared unit, or a format that is none.
    """
    if kind == "TIMESTAMP WITH TIME ZONE":
        return _from_microseconds(f"epoch_us({quoted(column)})")
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        return _to_utc(f"{quoted(column)}::timestamp", timezone)
    if not (kind == "VARCHAR" or is_number(kind)):
        raise ParsingError(f"column {column!r}: expected times, came {kind}. Name another column.")
    if time_format in EPOCH_MICROSECONDS:
        # As double, nanoseconds of today lose their last three digits.
        number = f"try_cast({quoted(column)} as {'hugeint' if time_format == 'epoch_ns' else 'double'})"
        return _from_microseconds(f"try_cast(round({number} * {EPOCH_MICROSECONDS[time_format]!r}) as bigint)")
    if time_format != "auto":
        return _declared(f"trim({quoted(column)}::varchar)", time_format, timezone)
    if is_number(kind):
        raise ParsingError(
            f"column {column!r}: expected times, came numbers (largest {largest or 0:.0f}). Say what they count "
            f"with time_format: {likely_unit(largest)}."
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
    """ISO 8601: with its own offset, or in ``timezone``.

    DuckDB drops an offset in silence when it reads a timestamp without a zone, so a text with a sign after its date
    is read with a zone or not at all. A date alone ends like an offset: 2025-10-01.
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
    """A local time in UTC; one that the clocks skipped in spring is null, one they showed twice is the later.

    A midnight that was skipped, as in Santiago and Cairo, is the date of a log without hours: its first moment.
    """
    if timezone == "UTC":
        return naive
    moment = f"timezone({literal(timezone)}, {naive})"
    is_there = f"timezone({literal(timezone)}, {moment}) = {naive} or date_trunc('day', {naive}) = {naive}"
    return f"case when {is_there} then timezone('UTC', {moment}) end"


def likely_unit(largest: float | None) -> str:
    """The epoch unit in which a number of this size is a time of our days."""
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
    """A path with ` > ` between its levels, without the room around them.

    A level in which ` > ` is no separator gets a slash instead; empty levels fall out.
    """
    level = "trim(level)" if separator in SEPARATOR else f"replace(trim(level), {literal(SEPARATOR)}, ' / ')"
    levels = f"list_transform(string_split({text}, {literal(separator)}), lambda level: {level})"
    return f"nullif(array_to_string(list_filter({levels}, lambda level: level <> ''), {literal(SEPARATOR)}), '')"


def as_event_type(column: str, kind: str, events: EventsTable) -> str:
    """Ours for theirs; what is in no list is `other`."""
    text = as_text(column, kind, has_empty=False)
    mapping = events.event_types or {ours: [str(ours)] for ours in EventType}
    pairs = [(name, str(ours)) for ours, theirs in mapping.items() for name in theirs if name]
    # Names that are ours already are found in one look, and once per word of Parquet's dictionary.
    same = ", ".join(literal(name) for name, ours in pairs if name == ours)
    cases = f" when list_contains([{same}], {text}) then {text}" if same else ""
    cases += "".join(f" when {text} = {literal(name)} then {literal(ours)}" for name, ours in pairs if name != ours)
    return f"case{cases} else 'other' end" if cases else "'other'"
