from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import ibis
import numpy as np
import pandas as pd
import pytest

from features.categories import OTHER, CategoryCut
from features.interests import SHARE_PREFIX
from features.value import ValueCuts
from pipeline.commands.check import check
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.segmentation import sanity_checks

PARAMS = load_params(Path(__file__).parents[3] / "params.yaml", [])


def at(day: str, **changes: Any) -> Params:
    return PARAMS.model_copy(update={"as_of": datetime.fromisoformat(day).replace(tzinfo=UTC), **changes})


def profiles(share_of_other: list[float], *, evidence: list[float], mix: float) -> Any:
    shares = {"Cats": 1.0 - mix, OTHER: mix} if mix < 1.0 else {OTHER: mix}
    cut = CategoryCut(1, tuple(shares), tuple(shares.values()))
    table = pd.DataFrame({SHARE_PREFIX + OTHER: share_of_other, "evidence": evidence})
    return cast(Any, SimpleNamespace(table=table, shop=SimpleNamespace(spec=SimpleNamespace(cut=cut))))


def test_a_tie_of_more_than_a_third_of_the_buyers_is_pointed_out() -> None:
    def warnings(orders: list[int], *more: str) -> list[str]:
        days = range(len(orders))
        buyers = pd.DataFrame({"order_count": orders, "net_spend": days, "days_since_last_purchase": days})
        cuts = ValueCuts((1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0), 0.0, 0.0)
        return sanity_checks.check_rfm_ties(buyers, cuts, load_params(PARAMS.folder / "params.yaml", more))

    [warning] = warnings([1] * 16 + [2, 3, 4, 5, 6] * 3)
    assert warning.startswith("67% of the buyers have the same order count (1), so the same frequency score")
    assert warnings([1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5] * 4) == []
    assert warnings([1] * 9 + [2, 3, 4, 5, 6]) == []  # a share of fewer than min_group
    fixed = "value.rfm_cuts={days_since_last_purchase: [1,2,3,4], order_count: [1,2,3,4], money: [1,2,3,4]}"
    assert warnings([1] * 16 + [2, 3, 4, 5, 6] * 3, fixed) == []


@pytest.mark.parametrize(("day", "warns"), [("2025-10-25", False), ("2025-11-01", False), ("2025-11-09", True)])
def test_as_of_long_after_the_end_of_the_log(day: str, warns: bool) -> None:
    warnings = sanity_checks.check_as_of_age(at(day), cast(Any, SimpleNamespace(last_event_at="2025-10-31T12:00:00")))
    assert bool(warnings) == warns
    assert not warns or "8 days after the last event (2025-10-31)" in warnings[0]


def test_most_interests_outside_the_category_columns() -> None:
    assert sanity_checks.check_category_coverage(PARAMS, profiles([0.5], evidence=[1.0], mix=0.5)) == []
    assert sanity_checks.check_category_coverage(PARAMS, profiles([0.9], evidence=[1.0], mix=0.7))[0].startswith(
        "70% of interests lie outside the 1"
    )
    assert (
        "no interests are shown"
        in sanity_checks.check_category_coverage(PARAMS, profiles([1.0], evidence=[1.0], mix=1.0))[0]
    )


def test_a_log_described_without_categories_gets_no_warning() -> None:
    none = profiles([1.0], evidence=[1.0], mix=1.0)
    without = PARAMS.model_copy(update={"source": PARAMS.source.model_copy(update={"products": None})})
    assert sanity_checks.check_category_coverage(without, none) == []
    assert len(sanity_checks.check_categories_left_out(without, none)) == 1
    assert sanity_checks.check_categories_left_out(PARAMS, none) == []


def test_signs_of_another_shop() -> None:
    similar = profiles([0.3, 1.0], evidence=[9.0, np.nan], mix=0.1)
    cut = similar.shop.spec.cut
    assert sanity_checks.foreign_model_signs(PARAMS, PARAMS, cut, 0.3, drift=0.4) == []
    assert sanity_checks.unknown_share(6.5, 10.0) == 0.65 and sanity_checks.unknown_share(0.0, 0.0) == 0.0
    (unknown,) = sanity_checks.foreign_model_signs(PARAMS, PARAMS, cut, 0.65, drift=None)
    assert unknown.startswith("65% of its customers' interests")
    _, moved = sanity_checks.foreign_model_signs(PARAMS, PARAMS, cut, 0.65, drift=0.6)
    assert moved.startswith("60% of its customers would have to move")


def test_a_model_of_another_shop_or_trained_on_later_data() -> None:
    assert sanity_checks.check_model(PARAMS, PARAMS, []) == []
    assert "another shop's: this, and that. Train" in sanity_checks.check_model(PARAMS, PARAMS, ["this", "that"])[0]
    (later,) = sanity_checks.check_model(at("2025-10-01"), PARAMS, [])
    assert "before the model's training (2025-11-01)" in later


def test_a_champion_of_another_shop() -> None:
    assert sanity_checks.check_champion_source(PARAMS, at("2025-12-01")) == ""
    assert "tracking.model_name" in sanity_checks.check_champion_source(in_zone("Europe/Kyiv"), PARAMS)


def log(clock: list[str], *, days: int, each: int, kind: str = "view") -> Any:
    """``each`` events at each time of day, on ``days`` days of October 2025; UTC."""
    at = [f"2025-10-{day + 1:02} {time}" for day in range(days) for time in clock for _ in range(each)]
    table = pd.DataFrame({"event_type": kind, "occurred_at": pd.to_datetime(at).astype("datetime64[us]")})
    return cast(Any, SimpleNamespace(events=ibis.memtable(table)))


def in_zone(source_zone: str, cards_zone: str | None = None) -> Params:
    events = PARAMS.source.events.model_copy(update={"timezone": source_zone})
    return PARAMS.model_copy(
        update={
            "source": PARAMS.source.model_copy(update={"events": events}),
            "cards": PARAMS.cards.model_copy(update={"timezone": cards_zone}),
        }
    )


EVENINGS = ["18:30", "19:10", "20:00", "21:40", "22:05"]


def test_a_wrong_time_zone_shows_as_activity_at_night() -> None:
    evenings = log(EVENINGS, days=10, each=20)  # 1,000 events
    for params in (in_zone("UTC"), in_zone("UTC", "Europe/London")):
        assert sanity_checks.check_timezone(params, evenings) == []
    # Tokyo is nine hours ahead: 3:30, 4:10 and 5:00 are at night, 6:40, 7:05 and 13:00 are not.
    (warning,) = sanity_checks.check_timezone(in_zone("UTC", "Asia/Tokyo"), log([*EVENINGS, "04:00"], days=10, each=20))
    assert warning.startswith("50% of customer activity takes place from 0:00 to 6:00 in Asia/Tokyo")
    assert (
        sanity_checks.check_timezone(in_zone("UTC", "Asia/Tokyo"), log(EVENINGS, days=10, each=20, kind="email_open"))
        == []
    )


@pytest.mark.parametrize("zone", ["UTC", "Europe/Kyiv", "America/New_York"])
def test_dates_without_hours_and_short_logs_are_not_checked_for_the_time_zone(zone: str) -> None:
    midnight = "00:00" if zone == "UTC" else {"Europe/Kyiv": "21:00", "America/New_York": "04:00"}[zone]
    for source in (log([midnight], days=10, each=200), log([midnight, "00:00"], days=10, each=200)):
        assert sanity_checks.check_timezone(in_zone(zone), source) == []
    assert sanity_checks.check_timezone(in_zone("UTC"), log(["01:00", "02:50"], days=6, each=200)) == []
    assert sanity_checks.check_timezone(in_zone("UTC"), log(["01:00", "02:50"], days=9, each=20)) == []
    assert sanity_checks.check_timezone(in_zone("UTC"), log([], days=9, each=20)) == []


def test_activity_spread_evenly_over_the_day_causes_no_warning() -> None:
    even = log([f"{hour:02}:30" for hour in range(24)], days=10, each=5)
    assert sanity_checks.check_timezone(in_zone("UTC"), even) == []
    assert (
        sanity_checks.check_timezone(in_zone("UTC"), log([f"{hour:02}:30" for hour in range(6)], days=10, each=20))
        != []
    )


@pytest.mark.parametrize(
    ("high_price", "count", "warns"), [(10.0, 1_000, False), (2_000.0, 1_000, True), (2_000.0, 990, False)]
)
def test_a_few_rows_that_hold_most_of_the_spend(high_price: float, count: int, warns: bool) -> None:
    prices = [1.0] * (count - 10) + [high_price] * 10
    rows = pd.DataFrame({"event_type": "purchase", "quantity": 1.0, "unit_price": prices})
    warnings = sanity_checks.check_row_totals(ibis.memtable(rows))
    assert bool(warnings) == warns
    assert not warns or warnings[0].startswith("1% of purchases account for 95% of the spend")


def purchases(categories: dict[str | None, tuple[int, float]]) -> Any:
    """Purchases from category -> (rows, items per row)."""
    rows = [(path, items) for path, (count, items) in categories.items() for _ in range(count)]
    table = pd.DataFrame(rows, columns=["category_path", "quantity"]).assign(event_type="purchase", product_id="p")
    return ibis.memtable(table.astype({"category_path": "object"}), schema=PURCHASES)


PURCHASES = {"category_path": "string", "quantity": "float64", "event_type": "string", "product_id": "string"}


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        ({"Food > Milk": (990, 1.0), "Fuel > Petrol": (10, 9_000.0)}, "purchases in 'Fuel' hold 99%"),
        # Grams next to pieces: most items are in one category, but not in a few rows.
        ({"Food > Milk": (700, 2.0), "Fruit": (300, 500.0)}, "purchases in 'Fruit' hold 99%"),
        ({None: (990, 1.0), "Food": (5, 1.0), "Fuel": (5, 9_000.0)}, "purchases in 'Fuel' hold 98%"),
        ({None: (991, 1.0), "": (9, 9_000.0)}, "1% of purchases hold 99%"),
        ({"Food": (900, 1.0), "Screws": (100, 9.0)}, ""),  # half of all items, at a similar count per row
        ({"Food": (989, 1.0), "Fuel": (10, 9_000.0)}, ""),  # too few to judge by
        ({"Food": (1_000, 5.0)}, ""),
        ({"Food": (1_000, 0.0)}, ""),
    ],
)
def test_a_few_rows_or_categories_that_hold_most_of_all_items(
    categories: dict[str | None, tuple[int, float]], expected: str
) -> None:
    (warning,) = sanity_checks.check_units(purchases(categories), None) or [""]
    assert warning.startswith(expected) and bool(warning) == bool(expected)


def test_categories_of_items_may_come_from_the_catalogue() -> None:
    bought = purchases({"a": (990, 1.0), "b": (10, 9_000.0)})
    bought = bought.mutate(product_id=bought.category_path).drop("category_path")
    products = ibis.memtable(pd.DataFrame({"product_id": ["a", "b"], "category_path": ["Food", "Fuel > Petrol"]}))
    assert "in 'Fuel' hold 99%" in sanity_checks.check_units(bought, products)[0]
    assert sanity_checks.check_units(bought, None)[0].startswith("1% of purchases hold 99%")


@pytest.mark.parametrize(
    ("contacts", "orders", "warns"),
    [
        ([1.0] * 100 + [0.0] * 200, [1.0] * 300, False),
        ([1.0] * 160 + [0.0] * 140, [9.0] * 300, True),  # more than half as many customers as buy
        ([4.0] * 100 + [0.0] * 200, [1.0] * 300, True),  # more contacts than orders
        ([1.0] * 99, [0.0] * 99, False),
        ([1.0] * 100, [0.0] * 100, True),
        ([0.0] * 100, [0.0] * 100, False),
    ],
)
def test_contacts_that_are_probably_emails(contacts: list[float], orders: list[float], warns: bool) -> None:
    warnings = sanity_checks.check_contact_events(pd.DataFrame({"contact_count": contacts, "order_count": orders}))
    assert bool(warnings) == warns


def test_check_prints_the_warnings_of_a_training(params: Callable[..., Params]) -> None:
    emails_as_contacts = [
        "source.events.event_types.email_open=[]",
        "source.events.event_types.contact=[contact, email_open]",
    ]
    for more, expected in (
        ([], ()),
        ([*emails_as_contacts, "as_of=2026-05-01T00:00:00Z"], ("days after the last event", " orders of ")),
    ):
        output = check(params(*more), progress=SILENT)
        assert output.count("\n  - ") == len(expected) and ("Warnings" in output) == bool(expected)
        assert all(text in output for text in expected)
