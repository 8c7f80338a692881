"""Signs that the times of a log are wrong: days that lack, a month read as a day, two clocks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.events import EventType, epoch_seconds, hashed

MIN_DAY_EVENTS = 50
"""Events on the median day with events that make a day without any unusual."""
OPEN_SHARE = 0.8
"""A shop is open every day if each weekday has events in at least this share of the weeks; others keep holidays."""
MAX_MISSING_DAYS = 3
"""A longer gap is a holiday or a closed shop, and is not pointed out."""
LAST_SURE_MONTH = 12
"""No month has a larger number; most days do, so a log without any has its months and days exchanged."""
MIN_SPAN_DAYS = 60
CLOCK_CUSTOMERS = 64
"""One in so many customers is looked at for two clocks, in logs of more than `SMALL_LOG` events."""
SMALL_LOG = 1_000_000
MIN_PAIRS = 200
MIN_PAIR_SHARE = 0.5
"""Share of the purchases at one distance, in whole hours, from the steps before them that shows a second clock."""
SAME_CLOCK_SHARE = 0.2
SHOWN_DAYS = 5


@dataclass(frozen=True)
class DayCounts:
    """Events of each day of the log.

    Attributes
    ----------
    days : DataFrame
        day (date), events, one row per day with events, in order.
    """

    days: pd.DataFrame

    @staticmethod
    def of(events: ir.Table) -> DayCounts:
        """Count the days of accepted events (occurred_at), in UTC."""
        counted = events.group_by(day=events.occurred_at.date()).aggregate(events=events.count())
        return DayCounts(counted.order_by("day").to_pandas())


def check_missing_days(counts: DayCounts) -> list[str]:
    """Warn of days without events of a shop that is open every day, as after an export that failed."""
    by_day = {pd.Timestamp(day).date(): int(count) for day, count in counts.days.itertuples(index=False)}
    if not by_day or np.median(list(by_day.values())) < MIN_DAY_EVENTS:
        return []
    first, last = min(by_day), max(by_day)
    every = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    weekdays = [[day in by_day for day in every if day.weekday() == weekday] for weekday in range(7)]
    if not all(seen and sum(seen) / len(seen) >= OPEN_SHARE for seen in weekdays):
        return []
    missing = [day for day in every if day not in by_day]
    short = [day for run in _runs(missing) if len(run) <= MAX_MISSING_DAYS for day in run]
    if not short:
        return []
    shown = ", ".join(f"{day:%Y-%m-%d}" for day in short[:SHOWN_DAYS])
    more = f" and {len(short) - SHOWN_DAYS:,} more" if len(short) > SHOWN_DAYS else ""
    return [
        f"no events on {len(short):,} days, though the shop is usually open every day ({shown}{more}). If it was not "
        "closed, add the files of these days"
    ]


def _runs(days: list[date]) -> list[list[date]]:
    """Days grouped into runs of consecutive ones."""
    runs: list[list[date]] = []
    for day in days:
        if runs and (day - runs[-1][-1]).days == 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return runs


def check_exchanged_days(counts: DayCounts) -> list[str]:
    """Warn if no event is after the 12th of any month, though the log is of months: day and month are exchanged."""
    days = pd.to_datetime(counts.days["day"])
    if len(days) == 0 or (days.iloc[-1] - days.iloc[0]).days < MIN_SPAN_DAYS or days.dt.day.max() > LAST_SURE_MONTH:
        return []
    return [
        f"no event is after the {LAST_SURE_MONTH}th of a month, from {days.iloc[0]:%Y-%m-%d} to "
        f"{days.iloc[-1]:%Y-%m-%d}: day and month may be exchanged. Set source.events.time_format to the other order, "
        "or read the times as text in the query"
    ]


def check_two_clocks(events: ir.Table, event_count: int) -> list[str]:
    """Warn if purchases are whole hours apart from the carts and views that led to them, as with two time zones.

    events (customer_id, occurred_at, event_type, product_id)     accepted
    """
    lags = _purchase_lags(events, is_sampled=event_count > SMALL_LOG)
    if len(lags) < MIN_PAIRS:
        return []
    hours = np.floor(lags / 3_600.0 + 1e-6).astype(int)
    values, counts = np.unique(hours, return_counts=True)
    hour, share = int(values[counts.argmax()]), counts.max() / len(hours)
    if hour == 0 or share < MIN_PAIR_SHARE or float((hours == 0).mean()) > SAME_CLOCK_SHARE:
        return []
    size = abs(hour)
    return [
        f"{share:.0%} of the purchases are about {size} hour{'s' * (size > 1)} {'after' if hour > 0 else 'before'} the "
        "cart or view that led to them: the two seem to come from clocks in different time zones. Shift one of them in "
        "source.events.query"
    ]


def _purchase_lags(events: ir.Table, *, is_sampled: bool) -> np.ndarray:
    """Seconds from the nearest cart or view of the same product to each purchase, shape (n_purchases,)."""
    if is_sampled:
        events = events.filter(hashed(events.customer_id) % CLOCK_CUSTOMERS == 0)
    events = events.filter(events.product_id.notnull())
    events = events.select("customer_id", "product_id", "event_type", at=epoch_seconds(events.occurred_at))
    bought = events.filter(events.event_type == str(EventType.PURCHASE))
    steps = events.filter(events.event_type.isin([str(EventType.CART), str(EventType.VIEW)])).rename(step_at="at")
    pairs = bought.join(steps, ["customer_id", "product_id"])
    lag = pairs["at"] - pairs.step_at
    pairs = pairs.mutate(lag=lag).filter(lag.abs() < 14 * 3_600)
    nearest = pairs.group_by("customer_id", "product_id", "at").aggregate(lag=pairs.lag.argmin(pairs.lag.abs()))
    return nearest.lag.to_pandas().to_numpy(np.float64)
