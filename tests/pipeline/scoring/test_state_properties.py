"""Events -> state -> update gives what a full scoring gives, whatever events are added to a small shop's log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.pipeline.scoring.test_state import EVENT_TYPES, START, Night, assert_same, random_log, small_params

FIRST = START + timedelta(days=30)
EVENT = st.fixed_dictionaries(
    {
        "customer_id": st.sampled_from(["c1", "c2", "new", "Old One"]),
        "hours": st.floats(-28 * 24, 4 * 24),  # around the first scoring
        "event_type": st.sampled_from(sorted({*EVENT_TYPES} - {"contact", "search"})),
        "product_id": st.sampled_from(["p1", "p2", "p9"]),
        "quantity": st.integers(1, 3).map(float),
        "unit_price": st.integers(1, 5_000).map(lambda cents: cents / 100),
        "order_id": st.sampled_from([None, "o1", "o2"]),
        "late_days": st.floats(0, 2.5),
    }
)


@pytest.fixture(scope="module")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    numbers = count()
    return lambda: tmp_path_factory.mktemp(f"night{next(numbers)}")


def with_events(night: Night, drawn: list[dict[str, object]]) -> None:
    more = pd.DataFrame(drawn)
    occurred_at = (FIRST + pd.to_timedelta(more.hours, unit="h")).dt.floor("us")
    arrived = occurred_at + pd.to_timedelta(more.late_days, unit="D")
    more = more.drop(columns=["hours", "late_days"]).assign(occurred_at=occurred_at, arrived=arrived, channel="web")
    night.events = pd.concat([night.events, more], ignore_index=True)


@pytest.mark.slow
@settings(max_examples=4, phases=[Phase.generate])  # shrinking an example would take minutes
@given(st.lists(EVENT, min_size=1, max_size=12), st.floats(0.5, 3).map(lambda days: round(days, 2)))
def test_an_update_gives_what_a_full_scoring_gives(
    new_folder: Callable[[], Path], drawn: list[dict[str, object]], days: float
) -> None:
    night = Night(small_params(new_folder()), *random_log(3, customers=12, count=300))
    with_events(night, drawn)
    night.write(FIRST)
    night.shop = night.rebuilt(FIRST).profiles.shop
    assert_same(replace(night.updated(FIRST), messages=[]), night.rebuilt(FIRST))
    night.write(FIRST + timedelta(days=days))
    assert_same(night.updated(FIRST + timedelta(days=days)), night.rebuilt(FIRST + timedelta(days=days)))
