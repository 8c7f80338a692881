"""Shopping occasions: date ranges of the calendar, including movable feasts, and paydays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import ibis
import ibis.expr.types as ir

from features.events import ObservationWindow
from features.occasions import local_time

DAY = re.compile(r"(?:(\d{4})-)?(\d{2})-(\d{2})|(easter|orthodox_easter)([+-]\d{1,3})?")


def easter(year: int) -> date:
    """Western Easter Sunday (Meeus, Jones and Butcher)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    e = (32 + 2 * (b % 4) + 2 * (c // 4) - d - c % 4) % 7
    months, day = divmod(d + e - 7 * ((a + 11 * d + 22 * e) // 451) + 114, 31)
    return date(year, months, day + 1)


def orthodox_easter(year: int) -> date:
    """Orthodox Easter Sunday as a Gregorian date, for the years 1900 to 2099 (Meeus)."""
    d = (19 * (year % 19) + 15) % 30
    e = (2 * (year % 4) + 4 * (year % 7) - d + 34) % 7
    months, day = divmod(d + e + 114, 31)
    return date(year, months, day + 1) + timedelta(days=13)


def spans(texts: Sequence[str], years: Sequence[int]) -> list[tuple[date, date]]:
    """First and last day, both included, of each span that begins in one of the years.

    Parameters
    ----------
    texts : sequence of str
        A day or a range of days: ``12-25``, ``12-01..01-06``, ``easter-7..easter+1``, ``orthodox_easter``, or a day of
        one year, ``2025-03-30``.

    Raises
    ------
    ValueError
        A text is not of this form, or is not a calendar day.
    """
    dates = []
    for text in texts:
        first, dots, last = text.partition("..")
        last = last if dots else first
        for year in years:
            start, end = _day(first, year, text), _day(last, year, text)
            if end < start:
                end = _day(last, year + 1, text)
            if end < start:
                raise ValueError(f"expected a first day that is not after the last one. Got {text!r}")
            dates.append((start, end))
    return sorted(set(dates))


def _day(text: str, year: int, span: str) -> date:
    match = DAY.fullmatch(text.strip())
    if not match:
        raise ValueError(f"expected days such as 12-25, 12-01..12-31, easter-7..easter or 2025-03-30. Got {span!r}")
    own_year, month, day, feast, offset = match.groups()
    if feast:
        return {"easter": easter, "orthodox_easter": orthodox_easter}[feast](year) + timedelta(days=int(offset or 0))
    if not own_year and (month, day) == ("02", "29"):
        raise ValueError(f"expected a day that every year has. Got {span!r}")
    try:
        return date(int(own_year or year), int(month), int(day))
    except ValueError:
        raise ValueError(f"expected days that exist. Got {span!r}") from None


def occasion_shares(
    orders: ir.Table,
    *,
    window: ObservationWindow,
    timezone: str,
    days: Mapping[str, Sequence[str]],
    paydays: Sequence[int],
    payday_days: int,
) -> ir.Table:
    """Share of each customer's orders placed on each occasion.

        orders (customer_id, ordered_at)
     -> shares (customer_id, <occasion>_order_share..., payday_order_share)     one row per buyer; 0 to 1

    A share is null for an occasion without days.

    Parameters
    ----------
    timezone : str
        Time zone of the days.
    days : mapping
        Occasion -> `spans`.
    paydays : sequence of int
        Days of the month on which wages are paid.
    payday_days : int
        Length of a payday period in days, starting on the payday.
    """
    at = local_time(orders.ordered_at, timezone=timezone, window=window)
    years = range(window.start.year - 1, window.end.year + 2)

    def share(tests: list[ir.BooleanValue]) -> ir.FloatingValue:
        if not tests:
            return ibis.null("float64")
        return orders.count(where=ibis.or_(*tests)).cast("float64") / orders.count().cast("float64")

    def inside(first: date, last: date) -> ir.BooleanValue:
        start = datetime(first.year, first.month, first.day)
        return (at >= start) & (at < datetime(last.year, last.month, last.day) + timedelta(days=1))

    named = {
        f"{name}_order_share": share([inside(*span) for span in spans(texts, years)]) for name, texts in days.items()
    }
    after_payday = [(at - ibis.interval(days=number)).day().isin(list(paydays)) for number in range(payday_days)]
    return orders.group_by("customer_id").aggregate(**named, payday_order_share=share(after_payday if paydays else []))
