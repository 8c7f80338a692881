"""Limits that a few customers do not move, and the customers beyond them."""

from __future__ import annotations

from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest

from features.outliers import customer_totals, is_unusual, unusual_measures, usual_limits
from tests.conftest import AS_OF

USUAL: dict[str, float] = {
    "event_count": 20.0,
    "order_count": 2.0,
    "spend": 100.0,
    "order_day_count": 2.0,
    "usual_interval_days": 30.0,
    "interval_variation": 0.8,
}


def totals(*unusual: dict[str, float], customers: int = 1_000) -> Any:
    """Usual customers with log-normal amounts, and others."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame([USUAL] * customers)
    frame["spend"] *= draw.lognormal(0.0, 1.0, customers)
    frame["event_count"] = np.round(frame.event_count * draw.lognormal(0.0, 1.0, customers)) + 2.0
    frame = pd.concat([frame, pd.DataFrame([{**USUAL, **row} for row in unusual])], ignore_index=True)
    return ibis.memtable(frame.assign(customer_id=[f"c{number}" for number in range(len(frame))]))


def found(table: Any, **given: float) -> list[set[str]]:
    """The measures in which each unusual customer is beyond the limits found, or given."""
    limits = usual_limits(table, min_ratio=10.0, min_share=0.005).to_pandas().iloc[0].dropna().to_dict() | given
    measures = {f"is_{name}": is_above for name, is_above in unusual_measures(table, limits).items()}
    rows = table.mutate(**measures).filter(is_unusual(table, limits)).to_pandas()
    return [{name for name in limits if row[f"is_{name}"]} for row in rows.to_dict("records")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"spend": 50_000.0}, "spend"),
        ({"order_count": 600.0, "order_day_count": 300.0}, "order_count"),
        ({"event_count": 9_000.0}, "event_count"),
        ({"order_count": 30.0, "order_day_count": 1.0}, "orders_per_day"),
        ({"order_day_count": 31.0, "usual_interval_days": 1.0, "interval_variation": 0.05}, "clock_order_days"),
    ],
)
def test_a_customer_far_beyond_all_others_is_found(row: dict[str, float], reason: str) -> None:
    (reasons,) = found(totals(row))
    assert reason in reasons


@pytest.mark.parametrize(
    "row",
    [
        {"spend": 1_500.0},  # the tail of a log-normal distribution
        {"order_count": 19.0, "order_day_count": 19.0},
        {"order_count": 29.0, "order_day_count": 1.0},  # all on one day
        {"order_count": 52.0, "order_day_count": 52.0, "usual_interval_days": 7.0, "interval_variation": 0.0},  # weekly
        {"order_count": 52.0, "order_day_count": 52.0, "usual_interval_days": 1.5, "interval_variation": 0.5},
    ],
)
def test_a_good_customer_is_usual(row: dict[str, float]) -> None:
    assert found(totals(row), order_count=60.0) == []


def test_a_small_shop_without_orders_has_no_unusual_customer() -> None:
    table = totals(customers=30).mutate(
        order_count=ibis.null("float64"), spend=ibis.null("float64"), order_day_count=ibis.null("float64")
    )
    assert found(table) == []


def test_the_share_keeps_the_tail_of_a_large_shop_usual() -> None:
    """Of 20,000 customers, one who spends 12 times the 99th percentile has 0.4% of the spend; 24 times are 0.8%."""
    assert found(totals({"spend": 12_300.0}, customers=20_000)) == []
    assert found(totals({"spend": 24_600.0}, customers=20_000)) == [{"spend"}]


def test_three_wholesale_buyers_do_not_hide_each_other() -> None:
    assert found(totals(*[{"spend": 50_000.0 + number} for number in range(3)])) == [{"spend"}] * 3


def test_totals_count_orders_and_not_lines(events_table: Any) -> None:
    at = AS_OF.replace(tzinfo=None, month=10)
    rows = [
        {"customer_id": "a", "occurred_at": at.replace(day=day), "event_type": "purchase", "product_id": "p"}
        | {"order_id": f"o{day}", "quantity": 2.0, "unit_price": 5.0}
        for day in (1, 2, 2, 3, 4)
    ]
    rows += [{"customer_id": "b", "occurred_at": at, "event_type": "view", "product_id": "p"}]
    a, b = customer_totals(events_table(rows)).order_by("customer_id").to_pandas().to_dict("records")
    assert (a["event_count"], a["order_count"], a["spend"], a["order_day_count"]) == (5.0, 4.0, 50.0, 4.0)
    assert (a["usual_interval_days"], a["interval_variation"]) == (1.0, 0.0)
    assert b["event_count"] == 1.0
    assert np.isnan(b["spend"])
