"""When customers visit: seasons by category, working days or weekends, and hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from pipeline.simulate.draws import Floats, Ints, chance, choose
from pipeline.simulate.personas import DAY_PARTS, SEASONS, WEEKDAYS

HOUR = 3_600_000
DAY = 24 * HOUR


@dataclass(frozen=True)
class Calendar:
    """Days of the log, numbered from the first; timestamps are milliseconds since 1970, UTC.

    Attributes
    ----------
    curves : (second levels x working or weekend, days + 1)
        Cumulative share of visits up to the start of each day.
    """

    starts_at: int
    days: int
    curves: Floats

    def draw_days(
        self, generator: np.random.Generator, second: Ints, *, weekend: Floats, first: Ints, last: Ints
    ) -> Ints:
        """A day from ``first`` to ``last`` (inclusive), by the season of ``second`` and the preferred weekdays."""
        curve = second * len(WEEKDAYS) + chance(generator, weekend)
        low, high = self.curves[curve, first], self.curves[curve, last + 1]
        wanted = curve + low + (high - low) * generator.random(len(second))
        # Each curve is offset by one from the previous, so a single search in one array covers all curves.
        ends = (self.curves[:, 1:] + np.arange(len(self.curves))[:, None]).ravel()
        days = np.searchsorted(ends, wanted, side="right") - curve * self.days
        return np.asarray(np.clip(days, first, last), dtype=np.int64)

    def moments(self, generator: np.random.Generator, day: Ints, day_part_tastes: Floats) -> Ints:
        """A timestamp on each day, in a part of the day that the customer prefers."""
        middle, width = np.array(DAY_PARTS)[choose(generator, day_part_tastes)].T
        hour = np.mod(generator.normal(middle, width), 24.0)
        return np.asarray(self.starts_at + day * DAY + np.floor(hour * HOUR), dtype=np.int64)

    @property
    def ends_at(self) -> int:
        """The end of the log, exclusive."""
        return self.starts_at + self.days * DAY


def make_calendar(seasons: Sequence[str], *, starts_at: datetime, days: int) -> Calendar:
    """The calendar of a log, with a curve for each second-level category."""
    dates = [starts_at + timedelta(days=day) for day in range(days)]
    by_month = np.array([SEASONS[season] for season in seasons])[:, [date.month - 1 for date in dates]]
    by_weekday = np.array(WEEKDAYS)[:, [date.weekday() for date in dates]]
    weights = (by_month[:, None, :] * by_weekday[None, :, :]).reshape(-1, days)
    curves = np.zeros((len(weights), days + 1))
    curves[:, 1:] = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    return Calendar(starts_at=int(starts_at.timestamp()) * 1000, days=days, curves=curves)
