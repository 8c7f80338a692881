"""Ageing of measures: decayed sums halve and days grow. Rows are compared with their counts."""

from __future__ import annotations

from datetime import UTC, datetime

import ibis
import pandas as pd
import pytest

from features import time_decay
from features.events import ObservationWindow


def test_decayed_sums_halve_and_days_grow() -> None:
    measured = pd.DataFrame(
        {name: [1.5] for name in time_decay.DAYS_SINCE} | {"activity": [8.0], "evidence": [4.0], "spend": [3.0]}
    )
    measures = ibis.memtable(measured.assign(measured_at=pd.Timestamp("2025-01-01")))
    window = ObservationWindow(datetime(2025, 1, 11, tzinfo=UTC), 365.0)
    now = time_decay.aged(measures, window=window, half_life_days={"activity": 5.0}).to_pandas().iloc[0]
    assert now.activity == pytest.approx(2.0)
    assert now.spend == 3.0 and now.evidence == 4.0
    assert all(now[name] == 11.5 for name in time_decay.DAYS_SINCE)


def test_changed_customers_have_different_rows_or_counts() -> None:
    before = pd.DataFrame({"customer_id": ["same", "twice", "gone", "null"], "query": ["a", "b", "c", None]})
    now = pd.DataFrame({"customer_id": ["same", "twice", "twice", "new", "null"], "query": ["a", "b", "b", "d", None]})
    changed = time_decay.changed_customers(ibis.memtable(before), ibis.memtable(now)).to_pandas()
    assert sorted(changed.customer_id) == ["gone", "new", "twice"]
