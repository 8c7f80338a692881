"""Ageing: decayed sums halve, days grow, and rows are compared as often as they stand there."""

from __future__ import annotations

from datetime import UTC, datetime

import ibis
import pandas as pd
import pytest

from features import time_decay
from features.events import ObservationWindow


def test_a_half_life_later_a_decayed_sum_is_half_and_days_are_more() -> None:
    taken = pd.DataFrame(
        {name: [1.5] for name in time_decay.DAYS_SINCE} | {"activity": [8.0], "evidence": [4.0], "spend": [3.0]}
    )
    measures = ibis.memtable(taken.assign(measured_at=pd.Timestamp("2025-01-01")))
    window = ObservationWindow(datetime(2025, 1, 11, tzinfo=UTC), 365.0)
    found = time_decay.aged(measures, window=window, half_life_days={"activity": 5.0}).to_pandas().iloc[0]
    assert found.activity == pytest.approx(2.0)
    assert found.spend == 3.0 and found.evidence == 4.0
    assert all(found[name] == 11.5 for name in time_decay.DAYS_SINCE)


def test_changed_are_those_whose_rows_differ_or_stand_there_another_number_of_times() -> None:
    before = pd.DataFrame({"customer_id": ["same", "twice", "gone", "null"], "query": ["a", "b", "c", None]})
    now = pd.DataFrame({"customer_id": ["same", "twice", "twice", "new", "null"], "query": ["a", "b", "b", "d", None]})
    found = time_decay.changed_customers(ibis.memtable(before), ibis.memtable(now)).to_pandas()
    assert sorted(found.customer_id) == ["gone", "new", "twice"]
