"""What every test may use: a database in memory and events made from a few words each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import ibis
import pandas as pd
import pytest

from features.events import EVENT_SCHEMA, ObservationWindow

AS_OF = datetime(2025, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def con() -> Any:
    con = ibis.duckdb.connect()
    con.raw_sql("SET TimeZone='UTC'")
    return con


@pytest.fixture
def window() -> ObservationWindow:
    return ObservationWindow(AS_OF, 365)


def event_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Events from dicts; what a row does not name is null, quantity 1."""
    frame = pd.DataFrame([{"quantity": 1.0, **row} for row in rows], columns=list(EVENT_SCHEMA))
    frame["occurred_at"] = pd.to_datetime(frame["occurred_at"])
    for name in ("quantity", "unit_price", "discount"):
        frame[name] = frame[name].astype("float64")
    return frame


@pytest.fixture
def events_table() -> Any:
    def make(rows: list[dict[str, Any]], **extra: str) -> Any:
        """Extra columns, such as column="int64", come with their type."""
        frame = event_frame(rows)
        for name in extra:
            frame[name] = [row.get(name) for row in rows]
        schema = ibis.schema({**{k: v.copy(nullable=True) for k, v in EVENT_SCHEMA.items()}, **extra})
        return ibis.memtable(frame, schema=schema)

    return make
