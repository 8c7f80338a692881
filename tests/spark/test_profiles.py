"""Profiles and all that is computed before them are the same on DuckDB and on Spark, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from features.events import ObservationWindow
from features.seasons import SEASON_LISTS
from pipeline.config.progress import SILENT
from pipeline.drift.recent import recent_activity
from pipeline.drift.value_drift import moved_shares
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles, build_profiles, fetch_profiles
from pipeline.profiles.cutoffs import backtest_cutoffs, snapshot_at
from pipeline.profiles.measures import measure, to_customer_measures
from pipeline.profiles.seasonality import expected_shares_for_profiles, full_season_mix
from pipeline.profiles.unusual import find_unusual
from pipeline.segmentation.predictive_validity import build_cutoff_data
from pipeline.stores.engines.engine import Engine
from tests.spark.conftest import Shop

Result = TypeVar("Result")


def on_both(shop: Shop, run: Callable[[Engine, Source], Result]) -> tuple[Result, Result]:
    """The result of DuckDB, and that of Spark."""
    by_duckdb, by_spark = (run(engine, source) for engine, source in shop.sources)
    return by_duckdb, by_spark


def require_same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Same columns with same types, and same bits in each."""
    assert left.dtypes.to_dict() == right.dtypes.to_dict()
    differing = [name for name in left if not same_bits(left[name], right[name])]
    assert not differing, [
        (name, [*zip(left[name], right[name], strict=True)][first_difference(left[name], right[name])])
        for name in differing
    ]


def first_difference(left: pd.Series, right: pd.Series) -> int:
    is_same = (left == right) | (left.isna() & right.isna())
    return int((~is_same).to_numpy().argmax())


def same_bits(left: pd.Series, right: pd.Series) -> bool:
    if left.dtype == np.float64:
        return left.to_numpy().tobytes() == right.to_numpy().tobytes()
    return left.equals(right)


def require_same_fields(left: Any, right: Any) -> None:
    """Two objects of a class whose fields are arrays and plain values."""
    for field in fields(left):
        values = getattr(left, field.name), getattr(right, field.name)
        if isinstance(values[0], np.ndarray):
            np.testing.assert_array_equal(*values, field.name)
        else:
            assert values[0] == values[1], field.name


@pytest.fixture(scope="module")
def learned(shop: Shop) -> tuple[Profiles, Profiles]:
    return on_both(shop, lambda engine, source: build_profiles(engine, source, shop.params))


def test_profiles_of_a_training(learned: tuple[Profiles, Profiles]) -> None:
    by_duckdb, by_spark = learned
    assert len(by_duckdb.table) > 350
    require_same(by_duckdb.table, by_spark.table)


def test_what_a_training_learns(learned: tuple[Profiles, Profiles]) -> None:
    by_duckdb, by_spark = learned
    assert by_duckdb.shop.spec == by_spark.shop.spec
    assert len(by_duckdb.shop.queries.queries) > 20 and by_duckdb.shop.spec.channels
    assert by_duckdb.shop.queries.queries == by_spark.shop.queries.queries
    np.testing.assert_array_equal(by_duckdb.shop.queries.probabilities, by_spark.shop.queries.probabilities)
    assert by_duckdb.query_counts == by_spark.query_counts
    pd.testing.assert_frame_equal(by_duckdb.shop.known_categories, by_spark.shop.known_categories)


def test_expected_shares_by_season(shop: Shop, learned: tuple[Profiles, Profiles]) -> None:
    """They read the evidence of single events by customer number, so the numbers must be the same."""
    expected = [
        expected_shares_for_profiles(profiles, source, shop.params)
        for profiles, (_, source) in zip(learned, shop.sources, strict=True)
    ]
    for left, right in zip(expected[0].evidence, expected[1].evidence, strict=True):
        np.testing.assert_array_equal(left, right)


def test_profiles_of_a_scoring(shop: Shop, learned: tuple[Profiles, Profiles]) -> None:
    """With the shop of a model, evidence by season, and unusual customers in a group of their own."""
    settings = shop.params.outliers.model_copy(update={"action": "own_segment", "limits": {"event_count": 200.0}})
    params, known = shop.params.model_copy(update={"outliers": settings}), learned[0].shop
    columns = {*learned[0].table.columns, *SEASON_LISTS}

    def scored(engine: Engine, source: Source) -> tuple[pd.DataFrame, dict[str, float]]:
        raw = measure(engine, source, params, shop=known, progress=SILENT, with_seasons=True)
        measures = to_customer_measures(raw)
        return fetch_profiles(engine, measures, params, columns=columns), moved_shares(engine, measures, params)

    (by_duckdb, moved), (by_spark, moved_on_spark) = on_both(shop, scored)
    assert any(name.startswith("season: ") for name in by_duckdb)
    require_same(by_duckdb, by_spark)
    assert moved == moved_on_spark and moved


def test_signals_before_a_cutoff(shop: Shop) -> None:
    """Of a log without session ids, whose visits end where a customer was silent."""
    cutoff = backtest_cutoffs(shop.sources[0][1], shop.params)[0]

    def signals(engine: Engine, source: Source) -> Any:
        without_ids = source.events.mutate(session_id=ibis.null("string"))
        return snapshot_at(engine, replace(source, events=without_ids), shop.params, cutoff)

    (by_duckdb, adobe), (by_spark, adobe_on_spark) = on_both(shop, signals)
    assert len(by_duckdb.event_count) > 1_000
    require_same_fields(by_duckdb, by_spark)
    np.testing.assert_array_equal(adobe, adobe_on_spark)


def test_outcomes_after_a_cutoff(shop: Shop) -> None:
    cutoff = backtest_cutoffs(shop.sources[0][1], shop.params)[-1]
    by_duckdb, by_spark = on_both(shop, lambda engine, source: build_cutoff_data(engine, source, shop.params, cutoff))
    assert by_duckdb.outcomes.bought.any()
    require_same(by_duckdb.profiles.table, by_spark.profiles.table)
    require_same_fields(by_duckdb.outcomes, by_spark.outcomes)
    for name in ("counts", "shares", "seen"):
        np.testing.assert_array_equal(getattr(by_duckdb, name), getattr(by_spark, name))


def test_profiles_of_summaries(shop: Shop) -> None:
    """Of one row per customer in place of a log."""
    rows = pa.table(
        {
            "customer_id": ["é", "a", "Z", "no orders"],
            "recency_days": [0.5, 30.0, 400.0, None],
            "order_count": [1.0, 12.0, 3.0, 0.0],
            "spend": [19.99, 98_765_432.1, 1 / 3, 0.0],
        }
    )

    def profiles(engine: Engine, source: Source) -> pd.DataFrame:
        summaries = engine.upload(rows, "summaries")
        without_events = replace(source, events=source.events.limit(0), products=None, summaries=summaries)
        shop_of_summaries = replace(without_events, customers=summaries.select("customer_id"))
        return build_profiles(engine, shop_of_summaries, shop.params).table

    by_duckdb, by_spark = on_both(shop, profiles)
    assert by_duckdb.customer_id.tolist() == ["Z", "a", "no orders", "é"]
    require_same(by_duckdb, by_spark)


def test_unusual_customers(shop: Shop) -> None:
    by_duckdb, by_spark = on_both(shop, lambda engine, source: find_unusual(engine, source, shop.params))
    assert by_duckdb.limits == by_spark.limits and by_duckdb.shares == by_spark.shares
    require_same(by_duckdb.table, by_spark.table)


def test_recent_activity_and_seasons(shop: Shop, learned: tuple[Profiles, Profiles]) -> None:
    params, spec = shop.params, learned[0].shop.spec
    recent, recent_on_spark = on_both(shop, lambda _, source: recent_activity(source, spec, params.as_of, 28.0, 10))
    require_same(recent.customers, recent_on_spark.customers)
    assert recent.category_shares == recent_on_spark.category_shares
    window = ObservationWindow(params.as_of, params.history_days)
    np.testing.assert_array_equal(*on_both(shop, lambda _, source: full_season_mix(source, spec, params, window)))
