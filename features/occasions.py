"""When and where the customers of a segment come, beside the shop's: each customer counts once, however often they come.

A segment's figure is the mean over its customers of the share of their visits, so that one who comes daily does not
speak for all, and the customer is the unit of the test (see `models.significance.compare_means`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from features.context import PARTS_OF_DAY
from features.events import SECONDS_PER_DAY, ObservationWindow, epoch_seconds, exact_sum

SEASONAL = ("month", "occasion")
"""Topics that can be told only of customers who were there through the year: one who came in May has no December."""
TEN_DAYS = {"early": (1, 10), "middle": (11, 20), "late": (21, 31)}
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
            changes.append((at, now))
            now = offset(at)
    last = moment + ibis.interval(seconds=now)
    if not changes:
        return last
    cases = [(moment < at, moment + ibis.interval(seconds=seconds)) for at, seconds in changes]
    return ibis.cases(*cases, else_=last)


def conditions(at: ir.TimestampValue, occasions: Mapping[str, Days]) -> dict[tuple[str, str], ir.BooleanValue]:
    """(topic, value) -> whether a visit at local time ``at`` belongs to it."""
    hour, day = at.hour(), at.day()
    return {
        **{("part_of_day", part): (hour >= low) & (hour < high) for part, (low, high) in PARTS_OF_DAY.items()},
        **{("weekday", str(number + 1)): at.day_of_week.index() == number for number in range(7)},
        **{("ten_days", part): (day >= low) & (day <= high) for part, (low, high) in TEN_DAYS.items()},
        **{("month", str(number)): at.month() == number for number in range(1, 13)},
        **{("occasion", name): _falls_in(at, days) for name, days in occasions.items()},
    }


def _falls_in(at: ir.TimestampValue, days: Days) -> ir.BooleanValue:
    first, last = (month * 100 + day for month, day in days)
    date = at.month() * 100 + at.day()
    # From December into January.
    return (date >= first) & (date <= last) if first <= last else (date >= first) | (date <= last)


def visit_sums(
    visits: ir.Table,
    membership: ir.Table,
    *,
    window: ObservationWindow,
    timezone: str,
    channels: Sequence[str],
    occasions: Mapping[str, Days],
    season_days: float,
) -> tuple[ir.Table, list[tuple[str, str]]]:
    """What the means and their errors are made of, per segment.

        visits (customer_id, started_at, channel), membership (customer_id, segment_id)
     -> sums (segment_id, n<i>, total<i>, squares<i>, customers<i>...)     one row per segment,
        and the (topic, value) of each i

    ``n``: customers of whom the share is known, ``total`` and ``squares``: sums of their shares and of the squares,
    ``customers``: those with a share above 0. Shares by channel are of visits with a channel.

    Parameters
    ----------
    season_days : float, in days
        Shares by month and occasion are known of customers whose first and last visit lie as far apart.
    """
    timed = visits.mutate(at=local_time(visits.started_at, timezone=timezone, window=window))
    tests = conditions(timed.at, occasions) | {("channel", name): timed.channel == name for name in channels}
    keys = list(tests)
    per_customer = timed.group_by("customer_id").aggregate(
        first_at=timed.started_at.min(),
        last_at=timed.started_at.max(),
        visit_count=timed.count(),
        channel_visit_count=timed.channel.count(),
        **{f"count{place}": timed.count(where=tests[key]) for place, key in enumerate(keys)},
    )
    members = per_customer.join(membership, "customer_id")
    span_days = (epoch_seconds(members.last_at) - epoch_seconds(members.first_at)) / SECONDS_PER_DAY
    seasonal = (span_days >= season_days).ifelse(members.visit_count, ibis.null("int64"))
    bases = {"channel": members.channel_visit_count, **dict.fromkeys(SEASONAL, seasonal)}
    shares = members.select(
        "segment_id",
        **{
            f"share{place}": members[f"count{place}"].cast("float64")
            / bases.get(topic, members.visit_count).nullif(0).cast("float64")
            for place, (topic, _) in enumerate(keys)
        },
    )
    sums = {}
    for place in range(len(keys)):
        share = shares[f"share{place}"]
        sums |= {
            f"n{place}": share.count(),
            f"total{place}": exact_sum(share),
            f"squares{place}": exact_sum(share * share),
            f"customers{place}": share.count(where=share > 0),
        }
    return shares.group_by("segment_id").aggregate(**sums), keys

