"""DuckDB expressions for times: what cannot be read becomes null, and a row rule rejects the row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import duckdb

from pipeline.config.sections.source import TimedTable
from pipeline.ingest.columns.numbers import is_number
from pipeline.ingest.sql import ParsingError, literal, quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

EPOCH_MICROSECONDS = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0, "epoch_ns": 1e-3}
OFFSET = r"(?i)(z|utc|gmt|[+-]\d{2}(:?\d{2})?)$"
LATEST_MICROSECONDS = 9e18


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


def time_sql(con: Backend, rows: str, column: str, kind: str, table: TimedTable) -> str:
    """`as_time` for a column of the raw table ``rows``, with the format of ``table``."""
    largest = None
    if is_number(kind):
        largest = con.con.execute(f"select max({quoted(column)})::double from {rows}").fetchone()[0]
    return as_time(column, kind, time_format=table.time_format, timezone=table.timezone, largest=largest)


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
