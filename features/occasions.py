"""When and through which channel the customers of a segment visit; every customer counts once.

A segment's figure is the mean over its customers of their shares of visits. So daily visitors do not dominate, and the
customer is the unit of the test (see `models.significance.compare_means`).
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
"""Local hours of each part of the day; the end is excluded."""
TEN_DAYS = {"early": (1, 10), "middle": (11, 20), "late": (21, 31)}
MIN_SPAN_MARGINS = 3
"""Parts of the month use customers whose first and last visit are at least this many margins apart."""
Days = tuple[tuple[int, int], tuple[int, int]]
"""First and last (month, day), both included."""


def local_time(moment: ir.TimestampValue, *, timezone: str, window: ObservationWindow) -> ir.TimestampValue:
    """UTC moments converted to local time in ``timezone``.

    Clock changes within the window are looked up beforehand, so all engines agree on them.
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
            # In Adelaide, clocks change at half past an hour in UTC.
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
    """(topic, value) of every month and occasion -> its (start, end) pairs that lie in the window with their margins.

    Ends are excluded. The time zone is ignored at the window's edges.
    """
    named: dict[tuple[str, str], Days] = {
        **{("month", str(month)): ((month, 1), (month, 31)) for month in range(1, 13)},
        **{("occasion", name): days for name, days in occasions.items()},
    }
    margin = timedelta(days=margin_days)
    spans: dict[tuple[str, str], list[tuple[datetime, datetime]]] = {}
    for key, (first, last) in named.items():
        for year in range(window.start.year, window.end.year + 1):
            start, end = _day(year, *first), _day(year + (last < first), *last) + timedelta(days=1)
            if start - margin >= window.start and end + margin <= window.end:
                spans.setdefault(key, []).append((start, end))
    return spans


def _day(year: int, month: int, day: int) -> datetime:
    """That day, or the last day of a shorter month."""
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
    """The sums behind each segment's means and standard errors.

        visits (customer_id, started_at, channel), membership (customer_id, facet, segment_id)
     -> sums (facet, segment_id, n<i>, total<i>, squares<i>, customers<i>...)     one row per segment,
        and the (topic, value) of each i

    ``n``: customers with a known share; ``total`` and ``squares``: sums of their shares and squared shares;
    ``customers``: customers with a share above 0. Shares by channel are of visits with a channel. Shares by month and
    occasion are of visits during it and ``margin_days`` on either side, of customers who visited both before and after
    that span. Segments also differ in when their customers joined and left, which must not look like a season.
    """
    timed = visits.mutate(at=local_time(visits.started_at, timezone=timezone, window=window))
    per_customer = ibis.window(group_by="customer_id")
    timed = timed.mutate(first_at=timed.at.min().over(per_customer), last_at=timed.at.max().over(per_customer))
    tests = _tests(timed, channels, periods(window, occasions, margin_days=margin_days), timedelta(days=margin_days))
    keys = list(tests)
    counts = timed.group_by("customer_id").aggregate(
        **{f"count{number}": timed.count(where=tests[key][0]) for number, key in enumerate(keys)},
        **{f"base{number}": timed.count(where=tests[key][1]) for number, key in enumerate(keys)},
    )
    members = counts.join(membership, "customer_id")
    shares = members.select(
        "facet",
        "segment_id",
        **{
            f"share{number}": members[f"count{number}"].cast("float64")
            / members[f"base{number}"].nullif(0).cast("float64")
            for number in range(len(keys))
        },
    )
    sums: dict[str, ir.Value] = {}
    for number in range(len(keys)):
        share = shares[f"share{number}"]
        sums |= {
            f"n{number}": share.count(),
            f"total{number}": exact_sum(share),
            f"squares{number}": exact_sum(share * share),
            f"customers{number}": share.count(where=share > 0),
        }
    return shares.group_by("facet", "segment_id").aggregate(**sums), keys


def _tests(
    visits: ir.Table,
    channels: Sequence[str],
    seasons: Mapping[tuple[str, str], Sequence[tuple[datetime, datetime]]],
    margin: timedelta,
) -> dict[tuple[str, str], tuple[ir.BooleanValue, ir.BooleanValue]]:
    """(topic, value) -> whether a visit (at, channel, first_at, last_at) is in it, and whether it is in its base."""
    at = visits.at
    hour, day, always = at.hour(), at.day(), at.notnull()
    plain = {
        **{("part_of_day", part): (hour >= low) & (hour < high) for part, (low, high) in PARTS_OF_DAY.items()},
        **{("weekday", str(number + 1)): at.day_of_week.index() == number for number in range(7)},
    }
    tests = {key: (inside, always) for key, inside in plain.items()}
    # A customer who first came last week can only have come in that part of the month.
    span_seconds = epoch_seconds(visits.last_at) - epoch_seconds(visits.first_at)
    is_long = span_seconds >= MIN_SPAN_MARGINS * margin.total_seconds()
    tests |= {
        ("ten_days", part): (is_long & (day >= low) & (day <= high), is_long) for part, (low, high) in TEN_DAYS.items()
    }
    has_channel = visits.channel.notnull()
    tests |= {("channel", name): (has_channel & (visits.channel == name), has_channel) for name in channels}
    for key, times in seasons.items():
        around = [
            (at >= start - margin, at < end + margin, visits.first_at < start - margin, visits.last_at >= end + margin)
            for start, end in times
        ]
        is_near = ibis.or_(*(ibis.and_(*conditions) for conditions in around))
        tests[key] = (is_near & ibis.or_(*((at >= start) & (at < end) for start, end in times)), is_near)
    return tests
