"""Signs of wrong times: missing days, exchanged days and months, two clocks; and logs that must not warn."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import ibis
import pandas as pd
import pytest

from pipeline.ingest.findings.clocks import DayCounts, check_exchanged_days, check_missing_days, check_two_clocks


def counts(days: list[date], events: int = 100) -> DayCounts:
    return DayCounts(pd.DataFrame({"day": pd.to_datetime(days), "events": events}))


def days(first: date, number: int) -> list[date]:
    return [first + timedelta(days=each) for each in range(number)]


def test_days_of_a_failed_export_are_pointed_out() -> None:
    seen = [day for day in days(date(2025, 1, 1), 90) if day not in (date(2025, 2, 3), date(2025, 2, 4))]
    [warning] = check_missing_days(counts(seen))
    assert "2 days" in warning
    assert "2025-02-03, 2025-02-04" in warning


@pytest.mark.parametrize(
    ("seen", "events"),
    [
        (days(date(2025, 1, 1), 90), 100),
        ([day for day in days(date(2025, 1, 1), 90) if day.weekday() != 6], 100),  # closed on Sundays
        ([day for day in days(date(2025, 1, 1), 90) if not 24 <= day.day <= 31], 100),  # closed for a week
        (days(date(2025, 1, 1), 90)[::2], 5),  # a small shop
        ([], 100),
    ],
    ids=["whole", "sundays", "holidays", "small", "empty"],
)
def test_closed_days_and_small_shops_do_not_warn(seen: list[date], events: int) -> None:
    assert check_missing_days(counts(seen, events)) == []


def test_a_log_whose_days_are_months_is_pointed_out() -> None:
    right = days(date(2025, 1, 1), 200)
    exchanged = [date(day.year, day.day, day.month) for day in right if day.day <= 12]
    [warning] = check_exchanged_days(counts(sorted(exchanged)))
    assert "after the 12th" in warning
    assert check_exchanged_days(counts(right)) == []
    assert check_exchanged_days(counts(days(date(2025, 1, 1), 12))) == []


def log(hours: float, purchases: int = 300) -> ibis.expr.types.Table:
    """Each customer views a product, and buys it ten minutes later by a clock that is ``hours`` ahead."""
    viewed = [datetime(2025, 1, 1, 12) + timedelta(hours=7 * number) for number in range(purchases)]
    bought = [at + timedelta(minutes=10, hours=hours) for at in viewed]
    rows = [("view", at, number) for number, at in enumerate(viewed)]
    rows += [("purchase", at, number) for number, at in enumerate(bought)]
    frame = pd.DataFrame(rows, columns=["event_type", "occurred_at", "number"])
    frame["customer_id"] = frame["product_id"] = frame.pop("number").astype(str)
    return ibis.memtable(frame)


@pytest.mark.parametrize(("hours", "text"), [(2, "2 hours after"), (-1, "1 hour before"), (-3, "3 hours before")])
def test_purchases_of_another_clock_are_pointed_out(hours: float, text: str) -> None:
    [warning] = check_two_clocks(log(hours), 600)
    assert text in warning


def test_one_clock_and_few_purchases_do_not_warn() -> None:
    assert check_two_clocks(log(0), 600) == []
    assert check_two_clocks(log(2, purchases=100), 200) == []
