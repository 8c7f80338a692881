"""Points of the most viewed product, on hand-made customers."""

from __future__ import annotations

from typing import Any

import ibis
import pytest

from features.journey import temperature
from features.product_interest import product_points

# as_of is 2025-11-01. With a half-life of 7 days, a view on 25 October counts half.
LOGS = {
    "repeatedly": [("view", "2025-10-25", "a", 1), ("view", "2025-10-25", "a", 1), ("view", "2025-10-18", "a", 2)],
    "four products once": [("view", "2025-10-25", product, 1) for product in "abcd"],
    "after a search": [("search", "2025-10-25", None, 1), ("view", "2025-10-25", "a", 1)],
    "before the search": [("view", "2025-10-25", "a", 1), ("search", "2025-10-26", None, 1)],
    "in another visit": [("search", "2025-10-24", None, 1), ("view", "2025-10-25", "a", 2)],
    "bought without a view": [("purchase", "2025-10-25", "a", 1)],
}


def as_events(logs: dict[str, list[tuple[Any, ...]]]) -> ibis.Table:
    rows = [
        {"customer_id": name, "event_type": kind, "occurred_at": at, "product_key": product, "session_key": visit}
        for name, log in logs.items()
        for kind, at, product, visit in log
    ]
    return ibis.memtable(rows).mutate(occurred_at=ibis._.occurred_at.cast("timestamp"))


@pytest.mark.parametrize("searched_points", [0.0, 1.0])
def test_points_by_hand(con: Any, window: Any, searched_points: float) -> None:
    points = product_points(as_events(LOGS), window=window, half_life_days=7.0, searched_points=searched_points)
    assert con.to_pandas(points).set_index("customer_id").product_points.to_dict() == pytest.approx(
        {
            "repeatedly": 0.5 + 0.5 + 0.25,
            "four products once": 0.5,
            "after a search": 0.5 * (1 + searched_points),
            "before the search": 0.5,
            "in another visit": 0.5,
        }
    )


@pytest.mark.parametrize(
    ("points", "of_one_product", "expected"),
    [
        (0.9, None, "cold"),
        (1.0, 1.0, "warm"),
        (8.0, None, "hot"),
        (4.0, 3.0, "hot"),
        (4.0, 2.9, "warm"),
        (0.9, 3.0, "cold"),
    ],
)
def test_temperature_at_its_bounds(con: Any, points: float, of_one_product: float | None, expected: str) -> None:
    schema = {"points": "float64", "of_one_product": "float64"}
    table = ibis.memtable({"points": [points], "of_one_product": [of_one_product]}, schema=schema)
    temperatures = temperature(
        table.points, table.of_one_product, warm_points=1.0, hot_points=8.0, hot_product_points=3.0
    )
    assert con.execute(temperatures).tolist() == [expected]
