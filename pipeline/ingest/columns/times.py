"""DuckDB expressions for times: what cannot be read becomes null, and a row rule rejects the row."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb

from pipeline.config.sections.source import TimedTable
from pipeline.ingest.columns.numbers import is_number
from pipeline.ingest.sql import ParsingError
from pipeline.stores.databases.sql import literal, quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

EPOCH_MICROSECONDS = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0, "epoch_ns": 1e-3}
OFFSET = r"(?i)(z|utc|gmt|[+-]\d{2}(:?\d{2})?)$"
LATEST_MICROSECONDS = 9e18
FIRST_EPOCH = 1e8
"""A smaller number is a date such as 20250131, and not the seconds since 1970 (this many were over in 1973)."""
DAY_ORDERS = {"day_first": "%d/%m/%Y", "month_first": "%m/%d/%Y"}
"""Time format in params.yaml -> its date in strptime's signs, with any of `DATE_SEPARATORS`."""
CLOCKS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H:%M:%S.%f")
DATE_SEPARATORS = "[/.-]"
NUMERIC_DATE = rf"^(\d{{1,2}}){DATE_SEPARATORS}(\d{{1,2}}){DATE_SEPARATORS}\d{{4}}(?:T|\b)"
PROBED_ROWS = 1_000
"""Rows that are enough to see that times are written with the year last."""


def as_time(column: str, kind: str, *, time_format: str, timezone: str, middle: float | None, others: str = "") -> str:
    """SQL for a moment in UTC without a zone, or null.

    Parameters
    ----------
    middle : float or None
        `middle_number` of the column, by which the error suggests a unit.
    others : str
        Columns to take in its place, for the error on numbers that are no times.

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
    if time_format in DAY_ORDERS:
        return _to_utc(_year_last(f"trim({quoted(column)}::varchar)", DAY_ORDERS[time_format]), timezone)
    if time_format != "auto":
        return _declared(f"trim({quoted(column)}::varchar)", time_format, timezone)
    if is_number(kind):
        unit = likely_unit(middle)
        advice = f"Declare their unit, probably with time_format: {unit}." if unit else f"Name another column{others}."
        raise ParsingError(f"column {column!r}: expected times, got numbers (median {middle or 0:.0f}). {advice}")
    return _iso(f"trim({quoted(column)})", timezone)


def time_sql(con: Backend, rows: str, column: str, kind: str, table: TimedTable) -> str:
    """`as_time` for a column of the raw table ``rows``, with the format of ``table``."""
    middle = middle_number(con, rows, column) if is_number(kind) and table.time_format == "auto" else None
    others = _time_columns(con, rows) if middle is not None and likely_unit(middle) is None else ""
    return as_time(column, kind, time_format=table.time_format, timezone=table.timezone, middle=middle, others=others)


def _time_columns(con: Backend, rows: str) -> str:
    """The columns of the raw table ``rows`` that hold times by their type, to end an error with."""
    described = con.con.execute(f"describe {rows}").fetchall()
    names = [repr(name) for name, kind, *_ in described if kind == "DATE" or kind.startswith("TIMESTAMP")]
    return f", such as {', '.join(names)}" if names else ""


def whole_time_sql(con: Backend, rows: str, column: str, kind: str, table: TimedTable, *, key: str) -> str:
    """`time_sql` for a whole column, which also shows the order of day and month (`with_day_order`)."""
    return time_sql(con, rows, column, kind, with_day_order(con, rows, column, kind, table, key=key))


def with_day_order(con: Backend, rows: str, column: str, kind: str, table: TimedTable, *, key: str) -> TimedTable:
    """``table`` with day_first or month_first as its format, if that is how its times are written.

    A single 03/04/2025 can be read both ways, so the whole column decides: a first number above 12 is a day.

    Raises
    ------
    ParsingError
        The column has no number above 12, or has them in both places.
    """
    if kind != "VARCHAR" or table.time_format != "auto":
        return table
    text, date = f"trim({quoted(column)})", literal(NUMERIC_DATE)
    has_dates = f"select bool_or(regexp_matches({text}, {date})) from (from {rows} limit {PROBED_ROWS})"
    if not con.con.execute(has_dates).fetchone()[0]:
        return table
    first, second = (f"regexp_extract({text}, {date}, {group})::integer" for group in (1, 2))
    day_first, month_first, example = con.con.execute(
        f"select count(*) filter ({first} > 12), count(*) filter ({second} > 12), "
        f"min(rtrim(regexp_extract({text}, {date}), 'T')) from {rows} where regexp_matches({text}, {date})"
    ).fetchone()
    if bool(day_first) == bool(month_first):
        raise ParsingError(f"{key}.time_format: {_both_readings(example, day_first, month_first, column)}")
    return table.model_copy(update={"time_format": "day_first" if day_first else "month_first"})


def _both_readings(example: str, day_first: int, month_first: int, column: str) -> str:
    """Why the order of day and month is not known, and what to do."""
    if day_first:
        return (
            f"expected one order of day and month in column {column!r}. Got {day_first:,} times with the day first and "
            f"{month_first:,} with the month first. Write all times as 2025-12-31, in a query or in the export."
        )
    parts = [int(part) for part in re.split(DATE_SEPARATORS, example)]
    readings = (datetime(parts[2], month, day) for day, month in (parts[:2], parts[1::-1]))
    as_day_first, as_month_first = (f"{reading.day} {reading:%B %Y}" for reading in readings)
    return (
        f"expected a known order of day and month in column {column!r}, where no number is above 12. {example} is "
        f"{as_day_first} with day_first, {as_month_first} with month_first: write the one that is right."
    )


def _year_last(text: str, date: str) -> str:
    """SQL for a time such as 31/12/2025 23:59, with any of the separators and clocks, or null."""
    formats = ", ".join(literal(date + clock) for clock in CLOCKS)
    separated = f"regexp_replace({text}, '^(\\d+){DATE_SEPARATORS}(\\d+){DATE_SEPARATORS}', '\\1/\\2/')"
    return f"try_strptime(regexp_replace({separated}, '(\\d)T(\\d)|, *', '\\1 \\2'), [{formats}])"


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


def middle_number(con: Backend, rows: str, column: str) -> float | None:
    """The median of what is a finite number in a column; None without any. A few wrong values do not change it."""
    number = f"try_cast({quoted(column)} as double)"
    return con.con.execute(f"select median({number}) from {rows} where isfinite({number})").fetchone()[0]


def likely_unit(middle: float | None) -> str | None:
    """The epoch unit in which a number of this size is a recent date; None for a number that is too small."""
    if middle is None or middle < FIRST_EPOCH:
        return None
    for unit, bound in (("epoch_s", 1e11), ("epoch_ms", 1e14), ("epoch_us", 1e17)):
        if middle < bound:
            return unit
    return "epoch_ns"


def _check_format(time_format: str) -> None:
    try:
        if "%" not in time_format:
            raise duckdb.InvalidInputException(time_format)
        duckdb.sql(f"select try_strptime('', {literal(time_format)})").fetchall()
    except duckdb.Error:
        raise ParsingError(
            "time_format: expected auto, day_first, month_first, epoch_s, epoch_ms, epoch_us, epoch_ns or a format "
            f"such as %Y-%m-%d %H:%M:%S. Got {time_format!r}."
        ) from None
