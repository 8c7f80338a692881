"""Counts by customer, category, signal and age, and Adobe's rule for comparison; all computed by hand."""

from __future__ import annotations

from typing import Any

import ibis
import pytest

from features.baselines import adobe_affinity
from features.events import EventType, ObservationWindow
from features.signals import purchases_by_category, signal_counts


def test_counts_by_age_bin(con: Any, events_table: Any, window: ObservationWindow) -> None:
    events = events_table(
        [
            {"customer_id": "ann", "occurred_at": "2025-10-31 12:00:00", "event_type": "view", "column": 0},
            {"customer_id": "ann", "occurred_at": "2025-10-31 00:00:00", "event_type": "view", "column": 0},
            {"customer_id": "ann", "occurred_at": "2025-10-30 00:00:00", "event_type": "view", "column": 0},
            {"customer_id": "ann", "occurred_at": "2025-10-30 00:00:00", "event_type": "cart", "column": 0},
            {"customer_id": "ann", "occurred_at": "2025-10-30 00:00:00", "event_type": "view"},
        ],
        column="int64",
    )
    counted = signal_counts(events, None, window=window, kinds=[EventType.VIEW])
    rows = con.to_pandas(counted.order_by("age_bin"))
    assert rows[["age_bin", "event_count", "mean_age_days", "min_age_days"]].to_numpy().tolist() == [
        [0.0, 1.0, 0.5, 0.5],
        [1.0, 2.0, 1.5, 1.0],
    ]


def test_a_search_counts_by_its_probability(con: Any, events_table: Any, window: ObservationWindow) -> None:
    events = events_table(
        [{"customer_id": "ann", "occurred_at": "2025-10-31 12:00:00", "event_type": "search", "query": "lamp"}] * 2,
        column="int64",
    )
    meanings = ibis.memtable({"query": ["lamp", "lamp", "sofa"], "column": [0, 1, 0], "probability": [0.5, 0.25, 1.0]})
    counted = signal_counts(events, meanings, window=window, kinds=[EventType.SEARCH])
    rows = con.to_pandas(counted).set_index("column")
    assert rows.event_count.to_dict() == {0: 1.0, 1: 0.5}
    assert rows.mean_age_days.to_dict() == {0: pytest.approx(0.5), 1: pytest.approx(0.5)}


def test_purchases_count_once_per_category(con: Any, events_table: Any) -> None:
    bought = {"customer_id": "ann", "occurred_at": "2025-10-31", "event_type": "purchase"}
    events = events_table(
        [{**bought, "column": 1}] * 2 + [bought, {**bought, "event_type": "view", "column": 2}], column="int64"
    )
    assert con.to_pandas(purchases_by_category(events)).to_numpy().tolist() == [["ann", 1]]


def test_adobe_affinity_by_hand(con: Any, events_table: Any) -> None:
    def seen(day: int, column: int, visit: int) -> dict[str, Any]:
        at = f"2025-10-{day:02} 10:{column:02}:00"
        return {"customer_id": "ann", "occurred_at": at, "event_type": "view", "column": column, "session_key": visit}

    events = events_table(
        [seen(1, 0, 7), seen(1, 1, 7), seen(2, 0, 8), seen(2, 2, 8)], column="int64", session_key="int64"
    )
    affinity_by_column = con.to_pandas(adobe_affinity(events)).set_index("column").affinity.to_dict()
    # Two visits ended after the events of the first day, one after those of the second.
    assert affinity_by_column == {
        0: pytest.approx(10 / 4 + 5 / 2 - 1 / 4 - 1 / 2, abs=1e-8),
        1: pytest.approx(10 / 4 - 1 / 2, abs=1e-8),
        2: pytest.approx(10 / 2, abs=1e-8),
    }
