"""Customers far beyond all others in real logs: a wholesaler's largest buyers, and nobody elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.events import ObservationWindow
from pipeline.ingest.duplicates import retry_warnings
from pipeline.ingest.source import read_source
from pipeline.profiles.unusual import find_unusual
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from tests.real.test_real import DATA, LOGS, params_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"expected the real logs in shared/{DATA.name}/ next to the project"),
]


@pytest.mark.parametrize("log", LOGS)
def test_only_the_wholesaler_has_unusual_customers(log: str, tmp_path: Path) -> None:
    params = params_of(log, tmp_path)
    with connect(params.engine, folder=tmp_path) as con:
        source = read_source(con, params, rejected_path=None)
        unusual = find_unusual(DuckDB(con), source, params)
        retries = retry_warnings(ObservationWindow(params.as_of, params.history_days).of(source.events), params)
    assert retries == []
    reasons = sorted(unusual.table.reasons)
    assert reasons == (["event_count", "spend", "spend", "spend"] if log == "online_retail" else [])
    if log == "online_retail":
        assert 0.09 < unusual.shares["spend"] < 0.1
