"""Calendar dates checked against almanacs, and order shares computed by hand."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Any

import ibis
import pytest

from features import calendar
from features.calendar import check_spans, feast_days, occasion_shares, spans
from features.journey import campaign_response


@pytest.mark.parametrize(
    ("year", "west", "east"),
    [
        (2011, date(2011, 4, 24), date(2011, 4, 24)),
        (2016, date(2016, 3, 27), date(2016, 5, 1)),
        (2024, date(2024, 3, 31), date(2024, 5, 5)),
        (2025, date(2025, 4, 20), date(2025, 4, 20)),
        (2026, date(2026, 4, 5), date(2026, 4, 12)),
    ],
)
def test_easter_dates_match_almanacs(year: int, west: date, east: date) -> None:
    assert (feast_days("easter", year), feast_days("orthodox_easter", year)) == ([west], [east])


@pytest.mark.parametrize(
    ("feast", "year", "days"),
    [
        ("eid_al_fitr", 2000, ["2000-01-08", "2000-12-27"]),
        ("eid_al_fitr", 2025, ["2025-03-30"]),
        ("eid_al_adha", 2025, ["2025-06-06"]),
        ("eid_al_fitr", 2026, ["2026-03-20"]),
        ("eid_al_adha", 2026, ["2026-05-27"]),
        ("eid_al_fitr", 2033, ["2033-01-02", "2033-12-23"]),
        ("eid_al_adha", 2035, ["2035-02-18"]),
    ],
)
def test_eids_match_almanacs(feast: str, year: int, days: list[str]) -> None:
    assert [day.isoformat() for day in feast_days(feast, year)] == days


def test_the_years_2000_to_2035_have_all_eids() -> None:
    for feast in ("eid_al_fitr", "eid_al_adha"):
        days = [day for year in range(2000, 2036) for day in feast_days(feast, year)]
        gaps = {(later - earlier).days for earlier, later in pairwise(days)}
        assert gaps <= set(range(353, 357))  # a year of the moon


def test_a_span_before_each_of_two_eids_in_a_year() -> None:
    assert spans(["eid_al_fitr-2..eid_al_fitr"], [2033]) == [
        (date(2032, 12, 31), date(2033, 1, 2)),
        (date(2033, 12, 21), date(2033, 12, 23)),
    ]


def test_spans_by_hand() -> None:
    assert spans(["12-20..01-06", "easter-2..easter+1"], [2025]) == [
        (date(2025, 4, 18), date(2025, 4, 21)),
        (date(2025, 12, 20), date(2026, 1, 6)),
    ]
    assert spans(["2025-03-30"], [2024, 2025, 2026]) == [(date(2025, 3, 30), date(2025, 3, 30))]


@pytest.mark.parametrize(
    "text", ["13-01", "02-29", "12-1", "ester", "2025-03-30..2025-03-01", "..12-01", "12-01..", ""]
)
def test_an_invalid_span_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        spans([text], [2025])
    with pytest.raises(ValueError, match="expected"):
        check_spans([text])


def test_checking_spans_needs_no_dates_of_the_moon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "_eids", pytest.fail)
    check_spans(["eid_al_fitr-2..eid_al_fitr", "eid_al_adha", "easter", "12-20..01-06", "2025-03-30"])


def test_shares_of_orders_by_hand(con: Any, window: Any) -> None:
    # Kyiv is two hours ahead in winter and three in summer: 21:30 UTC on 4 July is 5 July there.
    days = ["2025-04-20 09:00", "2024-12-31 12:00", "2025-07-04 21:30", "2025-07-07 21:30"]
    orders = ibis.memtable({"customer_id": ["ann"] * 4, "ordered_at": days})
    orders = orders.mutate(ordered_at=orders.ordered_at.cast("timestamp"))

    def shares(**changes: Any) -> dict[str, float | None]:
        settings = {"days": {"holiday": ["easter", "12-30..01-06"], "gift": []}, "paydays": [5], "payday_days": 3}
        by_default = occasion_shares(orders, window=window, timezone="Europe/Kyiv", **{**settings, **changes})
        return con.to_pandas(by_default).drop(columns="customer_id").iloc[0].to_dict()

    by_default = shares()
    assert by_default["holiday_order_share"] == 0.5
    assert by_default["payday_order_share"] == 0.25  # 5 July, not 8 July
    assert by_default["gift_order_share"] is None or by_default["gift_order_share"] != by_default["gift_order_share"]
    assert shares(payday_days=4)["payday_order_share"] == 0.5
    assert shares(paydays=[31])["payday_order_share"] == 0.25  # 31 December
    assert shares(days={"gift": ["02-01"]})["gift_order_share"] == 0.0


def test_response_to_emails_and_coupons(con: Any) -> None:
    table = ibis.memtable(
        {
            "redemption_count": [0.0, 0.0, 0.0, 0.0, 2.0],
            "email_click_count": [1.0, 0.0, 0.0, 1.0, 1.0],
            "email_open_count": [2.0, 1.0, 0.0, 0.0, 5.0],
        }
    )
    responses = con.execute(campaign_response(table, has_campaigns=True)).tolist()
    assert responses == ["clicked", "opened", "none", "clicked", "redeemed"]
    # If campaigns began after training, only customers who responded get a value.
    without_campaigns = con.execute(campaign_response(table, has_campaigns=False))
    assert without_campaigns.fillna("").tolist() == ["clicked", "opened", "", "clicked", "redeemed"]
