"""When and where the customers of a segment come, each of them counted once, however often they come.

A segment's figure is the mean over its customers of the share of their visits, so that one who comes daily does not
speak for all, and the customer is the unit of the test (see `models.significance.compare_means`).
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from features.events import ObservationWindow, epoch_seconds, exact_sum

PARTS_OF_DAY = {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}
"""Hours of each part, the end not included, by the customers' clock."""
TEN_DAYS = {"early": (1, 10), "middle": (11, 20), "late": (21, 31)}
MARGINS_OF_TEN_DAYS = 3
"""Parts of the month are told of customers whose first and last visit lie so many margins apart."""
Days = tuple[tuple[int, int], tuple[int, int]]
"""First and last (month, day), both included."""


def local_time(moment: ir.TimestampValue, *, timezone: str, window: ObservationWindow) -> ir.TimestampValue:
    """Moments in UTC as a clock in ``timezone`` shows them.

    The changes of the clock within the window are looked up beforehand, so that every engine agrees on them.
    """
    zone = ZoneInfo(timezone)

    def offset(at: datetime) -> int:
        ahead = at.replace(tzinfo=ZoneInfo("UTC")).astimezone(zone).utcoffset()
        return int(ahead.total_seconds()) if ahead else 0

    hours = int((window.end - window.start) / timedelta(hours=1)) + 1
    start = window.start.replace(minute=0, second=0, microsecond=0)
    changes: list[tuple[datetime, int]] = []
    now = offset(start)
    for at in (start + timedelta(hours=number) for number in range(1, hours + 1)):
        if offset(at) != now:
            # In Adelaide clocks change at half past an hour of UTC.
            minutes = (at - timedelta(minutes=number) for number in reversed(range(60)))
            changes.append((next(minute for minute in minutes if offset(minute) != now), now))
            now = offset(at)
    last = moment + ibis.interval(seconds=now)
    if not changes:
        return last
    cases = [(moment < at, moment + ibis.interval(seconds=seconds)) for at, seconds in changes]
    return ibis.cases(*cases, else_=last)


def periods(
    window: ObservationWindow, occasions: Mapping[str, Days], *, margin_days: float
) -> dict[tuple[str, str], list[tuple[datetime, datetime]]]:
    """(topic, value) of every month and occasion -> its (start, end) that lie in the window, with what is around them.

    An end is the first moment after. A clock ahead of UTC, or behind it, is not minded at the window's edges.
    """
    named: dict[tuple[str, str], Days] = {
        **{("month", str(month)): ((month, 1), (month, 31)) for month in range(1, 13)},
        **{("occasion", name): days for name, days in occasions.items()},
    }
    margin = timedelta(days=margin_days)
    found: dict[tuple[str, str], list[tuple[datetime, datetime]]] = {}
    for key, (first, last) in named.items():
        for year in range(window.start.year, window.end.year + 1):
            start, end = _day(year, *first), _day(year + (last < first), *last) + timedelta(days=1)
            if start - margin >= window.start and end + margin <= window.end:
                found.setdefault(key, []).append((start, end))
    return found


def _day(year: int, month: int, day: int) -> datetime:
    """That day, or the last one of a shorter month."""
    return datetime(year, month, min(day, monthrange(year, month)[1]))


def visit_sums(
    visits: ir.Table,
    membership: ir.Table,
    *,
    window: ObservationWindow,
    timezone: str,
    channels: Sequence[str],
    occasions: Mapping[str, Days],
    margin_days: float,
) -> tuple[ir.Table, list[tuple[str, str]]]:
    """What the means and their errors are made of, per segment.

        visits (customer_id, started_at, channel), membership (customer_id, segment_id)
     -> sums (segment_id, n<i>, total<i>, squares<i>, customers<i>...)     one row per segment,
        and the (topic, value) of each i

    ``n``: customers of whom the share is known, ``total`` and ``squares``: sums of their shares and of the squares,
    ``customers``: those with a share above 0. Shares by channel are of visits with a channel; those by month and
    occasion are of visits in it and the ``margin_days`` (in days) on either side, by customers who came both before and
    after all that: segments differ in when their customers came and left, and that is no season.
    """
    timed = visits.mutate(at=local_time(visits.started_at, timezone=timezone, window=window))
    of_customer = ibis.window(group_by="customer_id")
    timed = timed.mutate(first_at=timed.at.min().over(of_customer), last_at=timed.at.max().over(of_customer))
    tests = _tests(timed, channels, periods(window, occasions, margin_days=margin_days), timedelta(days=margin_days))
    keys = list(tests)
    per_customer = timed.group_by("customer_id").aggregate(
        **{f"count{place}": timed.count(where=tests[key][0]) for place, key in enumerate(keys)},
        **{f"base{place}": timed.count(where=tests[key][1]) for place, key in enumerate(keys)},
    )
    members = per_customer.join(membership, "customer_id")
    shares = members.select(
        "segment_id",
        **{
            f"share{place}": members[f"count{place}"].cast("float64")
            / members[f"base{place}"].nullif(0).cast("float64")
            for place in range(len(keys))
        },
    )
    sums: dict[str, ir.Value] = {}
    for place in range(len(keys)):
        share = shares[f"share{place}"]
        sums |= {
            f"n{place}": share.count(),
            f"total{place}": exact_sum(share),
            f"squares{place}": exact_sum(share * share),
            f"customers{place}": share.count(where=share > 0),
        }
    return shares.group_by("segment_id").aggregate(**sums), keys


def _tests(
    visits: ir.Table,
    channels: Sequence[str],
    seasons: Mapping[tuple[str, str], Sequence[tuple[datetime, datetime]]],
    margin: timedelta,
) -> dict[tuple[str, str], tuple[ir.BooleanValue, ir.BooleanValue]]:
    """(topic, value) -> whether a visit (at, channel, first_at, last_at) belongs to it, and whether to its base."""
    at = visits.at
    hour, day, always = at.hour(), at.day(), at.notnull()
    plain = {
        **{("part_of_day", part): (hour >= low) & (hour < high) for part, (low, high) in PARTS_OF_DAY.items()},
        **{("weekday", str(number + 1)): at.day_of_week.index() == number for number in range(7)},
    }
    tests = {key: (inside, always) for key, inside in plain.items()}
    # Whoever first came last week has come in that part of the month, whatever their payday.
    span_seconds = epoch_seconds(visits.last_at) - epoch_seconds(visits.first_at)
    is_long = span_seconds >= MARGINS_OF_TEN_DAYS * margin.total_seconds()
    tests |= {
        ("ten_days", part): (is_long & (day >= low) & (day <= high), is_long) for part, (low, high) in TEN_DAYS.items()
    }
    named = visits.channel.notnull()
    tests |= {("channel", name): (named & (visits.channel == name), named) for name in channels}
    for key, times in seasons.items():
        around = [
            (at >= start - margin, at < end + margin, visits.first_at < start - margin, visits.last_at >= end + margin)
            for start, end in times
        ]
        is_near = ibis.or_(*(ibis.and_(*conditions) for conditions in around))
        tests[key] = (is_near & ibis.or_(*((at >= start) & (at < end) for start, end in times)), is_near)
    return tests
