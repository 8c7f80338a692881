from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import ibis
import pandas as pd
import pytest

from features.events import ObservationWindow
from features.occasions import local_time, periods, visit_sums

WINDOW = ObservationWindow(datetime(2025, 11, 1, tzinfo=UTC), 365)


Sums = dict[tuple[str, str], dict[str, float]]
ALL = [(0, "behaviour", "a"), (1, "behaviour", "a")]


def sums_of(con: Any, visits: list[tuple[int, str, str | None]]) -> Sums:
    (sums,) = sums_by_segment(con, visits, ALL).values()
    return sums


def sums_by_segment(
    con: Any, visits: list[tuple[int, str, str | None]], members: list[tuple[int, str, str]]
) -> dict[tuple[str, str], Sums]:
    frame = pd.DataFrame(visits, columns=["customer_id", "started_at", "channel"])
    frame["started_at"] = pd.to_datetime(frame.started_at)
    segments = pd.DataFrame(members, columns=["customer_id", "facet", "segment_id"])
    sums, keys = visit_sums(
        ibis.memtable(frame, schema={"customer_id": "int64", "started_at": "timestamp", "channel": "string"}),
        ibis.memtable(segments),
        window=WINDOW,
        timezone="UTC",
        channels=["app"],
        occasions={"spring": ((3, 1), (3, 8))},
        margin_days=30,
    )
    return {
        (row["facet"], row["segment_id"]): {
            key: {name: row[f"{name}{number}"] for name in ("n", "total", "squares", "customers")}
            for number, key in enumerate(keys)
        }
        for row in con.to_pyarrow(sums).to_pylist()
    }


def test_each_customer_counts_once(con: Any) -> None:
    # One customer on a Monday at 9 and 20 and on a Tuesday at 9; another on one Monday.
    visits = [
        (0, "2025-06-02 09:00", "app"), (0, "2025-06-02 20:00", "web"), (0, "2025-06-03 09:00", None),
        (1, "2025-06-09 20:00", None),
    ]  # fmt: skip
    sums = sums_of(con, visits)
    assert sums["weekday", "1"] == pytest.approx({"n": 2, "total": 2 / 3 + 1, "squares": 4 / 9 + 1, "customers": 2})
    assert sums["part_of_day", "evening"]["total"] == pytest.approx(1 / 3 + 1)
    # Shares are of visits with a channel; a customer without one has no share.
    assert sums["channel", "app"] == pytest.approx({"n": 1, "total": 0.5, "squares": 0.25, "customers": 1})
    # No customer was active long enough for parts of the month.
    assert sums["ten_days", "early"]["n"] == 0


def test_each_facet_has_the_sums_that_it_has_alone(con: Any) -> None:
    visits: list[tuple[int, str, str | None]] = [(0, "2025-06-02 09:00", "app"), (1, "2025-06-03 20:00", None)]
    interest = [(0, "interest", "a"), (1, "interest", "b")]
    both, alone = sums_by_segment(con, visits, [*ALL, *interest]), sums_by_segment(con, visits, interest)
    assert both == {**sums_by_segment(con, visits, ALL), **alone}
    assert both["behaviour", "a"]["weekday", "1"]["n"] == 2 and both["interest", "a"]["weekday", "1"]["n"] == 1


def test_a_season_uses_customers_who_came_before_and_after(con: Any) -> None:
    around = ["2025-01-10", "2025-02-10", "2025-03-04", "2025-03-20", "2025-04-10", "2025-05-10"]
    visits = [(0, at, None) for at in around]
    # First visit in February: no figure, although two of three visits are in March.
    visits += [(1, at, None) for at in ["2025-02-20", "2025-03-03", "2025-03-05", "2025-05-20"]]
    sums = sums_of(con, visits)
    # March with thirty days on either side: 30 January to 30 April.
    assert sums["month", "3"] == pytest.approx({"n": 1, "total": 2 / 4, "squares": 1 / 4, "customers": 1})
    # 1 to 8 March with margins: 30 January to 7 April.
    assert sums["occasion", "spring"]["total"] == pytest.approx(1 / 3)


def test_months_at_the_edge_of_the_window_are_left_out() -> None:
    months = [int(value) for topic, value in periods(WINDOW, {}, margin_days=30) if topic == "month"]
    assert months == [1, 2, 3, 4, 5, 6, 7, 8, 9, 12]


def test_an_occasion_can_extend_into_the_new_year() -> None:
    spans = periods(WINDOW, {"turn": ((12, 27), (1, 7))}, margin_days=30)["occasion", "turn"]
    assert spans == [(datetime(2024, 12, 27), datetime(2025, 1, 8))]


def test_local_time_across_clock_changes(con: Any) -> None:
    moments = ["2024-12-01 22:30", "2025-03-30 00:59", "2025-03-30 01:00", "2025-07-01 21:30", "2025-10-26 01:00"]
    table = ibis.memtable(pd.DataFrame({"at": pd.to_datetime(moments)}))
    local = local_time(table.at, timezone="Europe/Kyiv", window=WINDOW)
    local_times = con.to_pyarrow(table.select(at=local)).to_pandas()["at"].dt.strftime("%m-%d %H:%M").sort_values()
    assert local_times.tolist() == ["03-30 02:59", "03-30 04:00", "07-02 00:30", "10-26 03:00", "12-02 00:30"]


def test_clock_changes_at_half_past(con: Any) -> None:
    moments = ["2025-04-05 16:29", "2025-04-05 16:30", "2025-10-04 16:29", "2025-10-04 16:30"]
    table = ibis.memtable(pd.DataFrame({"at": pd.to_datetime(moments)}))
    local = local_time(table.at, timezone="Australia/Adelaide", window=WINDOW)
    local_times = con.to_pyarrow(table.select(at=local)).to_pandas()["at"].dt.strftime("%m-%d %H:%M").sort_values()
    assert local_times.tolist() == ["04-06 02:00", "04-06 02:59", "10-05 01:59", "10-05 03:00"]
