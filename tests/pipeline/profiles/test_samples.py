"""Samples of customers are drawn by a hash of their ids."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import ibis
import pytest

from pipeline.ingest.source import Source
from pipeline.profiles.cutoffs import sample_of, training_sample
from pipeline.stores.engines.duckdb import DuckDB

IDS = [f"c{number}" for number in range(20_000)]


@pytest.fixture
def source() -> Source:
    con = ibis.duckdb.connect()
    events = con.create_table("events", {"customer_id": [customer for customer in IDS for _ in range(2)]})
    customers = con.create_table("customers", {"customer_id": IDS})
    summary: Any = SimpleNamespace(customer_count=len(IDS))
    return Source(events, None, customers, summary)


def ids(table: Any) -> list[str]:
    return sorted(table.customer_id.to_pyarrow().to_pylist())


def test_a_sample_has_all_events_of_its_customers_and_about_its_size(source: Source) -> None:
    sample = sample_of(source, 3_000)
    chosen = ids(sample.customers)
    assert ids(sample.events) == sorted([*chosen, *chosen])
    assert 2_850 < len(chosen) < 3_150
    # The first digits of their MD5 are below 0.15.
    assert "c1" not in chosen and "c3" in chosen


def test_a_smaller_sample_is_part_of_a_larger_one(source: Source) -> None:
    assert set(ids(sample_of(source, 1_000).customers)) < set(ids(sample_of(source, 3_000).customers))
    assert ids(sample_of(sample_of(source, 3_000), 1_000).customers) == ids(sample_of(source, 1_000).customers)


@pytest.mark.parametrize("count", [None, 20_000, 30_000])
def test_all_customers_are_no_sample(source: Source, count: int | None) -> None:
    assert sample_of(source, count) is source


def test_a_training_reads_the_events_of_its_sample_from_a_table_of_their_own(source: Source) -> None:
    engine = DuckDB(ibis.duckdb.connect())
    source = replace(source, events=engine.upload(source.events.to_pyarrow(), "events"))
    sample = training_sample(engine, source, params(3_000))
    assert sample.events.get_name().endswith("training_events")
    assert ids(sample.events) == ids(sample_of(source, 3_000).events)
    assert training_sample(engine, source, params(None)) is source


def params(count: int | None) -> Any:
    return SimpleNamespace(sample_customers=count)
