"""Shopping occasions: date ranges of the calendar, including movable feasts, and paydays."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import ibis
import ibis.expr.types as ir
from dateutil.easter import EASTER_ORTHODOX, EASTER_WESTERN, easter

from features.events import ObservationWindow
from features.occasions import local_time

DAY = re.compile(r"(?:(\d{4})-)?(\d{2})-(\d{2})|(easter|orthodox_easter|eid_al_fitr|eid_al_adha)([+-]\d{1,3})?")
EIDS = {"eid_al_fitr": "Eid al-Fitr", "eid_al_adha": "Eid al-Adha"}
"""Our names of the feasts that follow the moon, and their names in `holidays`."""


def feast_days(feast: str, year: int) -> list[date]:
    """The days of a movable feast in a year, as Gregorian dates; usually one.

    The year of the moon has 354 or 355 days, so an Eid can fall twice into one year, as Eid al-Fitr does in 2033.
    """
    if feast in EIDS:
        return _eids(year)[feast]
    return [easter(year, EASTER_ORTHODOX if feast == "orthodox_easter" else EASTER_WESTERN)]


@functools.cache
def _eids(year: int) -> dict[str, list[date]]:
    """The first day of each Eid, as celebrated in Albania; those to come are estimates of the library."""
    from holidays import country_holidays  # takes 0.2 s; most shops have no such feast

    days = country_holidays("AL", years=year, observed=False, language="en_US", islamic_show_estimated=False)
    return {feast: sorted(days.get_named(name)) for feast, name in EIDS.items()}


def spans(texts: Sequence[str], years: Sequence[int]) -> list[tuple[date, date]]:
    """First and last day, both included, of each span that begins in one of the years.

    Parameters
    ----------
    texts : sequence of str
        A day or a range of days: ``12-25``, ``12-01..01-06``, ``easter-7..easter+1``, ``orthodox_easter``,
        ``eid_al_fitr``, ``eid_al_adha-2..eid_al_adha``, or a day of one year, ``2025-03-30``.

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
            for start in _days(first, year, text):
                ends = [day for at in (year, year + 1) for day in _days(last, at, text) if day >= start]
                if not ends:
                    raise ValueError(f"expected a first day that is not after the last one. Got {text!r}")
                dates.append((start, ends[0]))
    return sorted(set(dates))


def check_spans(texts: Sequence[str]) -> None:
    """Raise a ValueError if `spans` cannot read a text. Dates of the moon are not looked up, so this is fast."""
    spans([re.sub("|".join(EIDS), "easter", text) for text in texts], range(2024, 2026))


def _days(text: str, year: int, span: str) -> list[date]:
    match = DAY.fullmatch(text.strip())
    if not match:
        raise ValueError(
            f"expected days such as 12-25, 12-01..12-31, easter-7..easter, eid_al_fitr or 2025-03-30. Got {span!r}"
        )
    own_year, month, day, feast, offset = match.groups()
    if feast:
        return [feast_day + timedelta(days=int(offset or 0)) for feast_day in feast_days(feast, year)]
    if not own_year and (month, day) == ("02", "29"):
        raise ValueError(f"expected a day that every year has. Got {span!r}")
    try:
        return [date(int(own_year or year), int(month), int(day))]
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
