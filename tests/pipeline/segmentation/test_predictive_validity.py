"""Predictive validity of segments, from the log to the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.commands.train import TrainingResult
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.report.parts.quality import Validity as ReportedValidity
from pipeline.report.texts.predictions import predictions
from pipeline.report.texts.wording import wording
from pipeline.segmentation.predictive_validity import (
    BASELINES,
    CutoffData,
    build_cutoffs,
    measure_latest_validity,
    measure_validity,
)
from pipeline.stores import mlflow_runs
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from tests.pipeline.conftest import params_in

SMALL = ("quality.validity=true", "backtest.bootstrap_resamples=20", "quality.ceiling_customers=800")


def cutoff_data(params: Params, *, last_only: bool = True, until_cutoff: bool = False) -> list[CutoffData]:
    with connect(params.engine, folder=params.path(params.outputs.folder)) as con:
        source = read_source(con, params, rejected_path=None)
        if until_cutoff:
            cutoff = params.as_of - pd.Timedelta(days=params.backtest.horizon_days)
            source = replace(
                source, events=source.events.filter(source.events.occurred_at < cutoff.replace(tzinfo=None))
            )
        return build_cutoffs(DuckDB(con), source, params, last_only=last_only, progress=SILENT)[0]


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> CutoffData:
    """The last cutoff of the whole log."""
    return cutoff_data(params_in(tmp_path_factory.mktemp("last"), shop, *SMALL))[0]


def test_outcomes_equal_those_computed_with_pandas(params: Callable[..., Params], last: CutoffData, shop: Any) -> None:
    as_of = params(*SMALL).as_of
    profile = last.profiles.table
    events = pd.concat([pd.read_parquet(path) for path in sorted((shop / "events").glob("*.parquet"))])
    at = pd.to_datetime(events.occurred_at, errors="coerce", utc=True, format="mixed")
    inside = (at >= last.cutoff) & (at < as_of) & (events.event_type == "purchase") & ~(events.unit_price < 0)
    later = events[inside & events.customer_id.isin(profile.customer_id)]
    paid = later.quantity.fillna(1.0) * later.unit_price.fillna(0.0) - later.discount.fillna(0.0)
    spend = paid.groupby(later.customer_id).sum().reindex(profile.customer_id).fillna(0.0)
    np.testing.assert_allclose(last.outcomes.spend, spend, atol=1e-6)
    assert last.outcomes.bought.tolist() == profile.customer_id.isin(later.customer_id).tolist()
    seen = events[(at >= last.cutoff) & (at < as_of) & ~(events.unit_price < 0)]
    assert last.seen.tolist() == profile.customer_id.isin(seen.customer_id).tolist()
    assert last.outcomes.categories.sum(axis=0).min() >= params(*SMALL).backtest.min_buyers
    assert last.shares.shape == last.outcomes.categories.shape
    assert last.counts.sum() > 0 and (last.counts[profile.event_count == 0] == 0).all()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> CutoffData:
    """The same cutoff of a log that ends there."""
    return cutoff_data(params_in(tmp_path_factory.mktemp("alone"), shop, *SMALL), until_cutoff=True)[0]


def test_events_after_the_cutoff_do_not_change_the_profiles(last: CutoffData, alone: CutoffData) -> None:
    pd.testing.assert_frame_equal(last.profiles.table, alone.profiles.table)
    assert last.outcomes.bought.any() and not alone.outcomes.bought.any()


def test_a_sample_includes_customers_without_events(params: Callable[..., Params]) -> None:
    (data,) = cutoff_data(params(*SMALL, "backtest.sample_customers=600"))
    assert 450 < len(data.profiles.table) < 700
    assert (data.profiles.table.event_count == 0).any()


def test_segments_predict_better_than_chance_and_hardly_beat_the_ceiling(params: Callable[..., Params]) -> None:
    settings = params(*SMALL, "quality.ceiling_customers=3000")
    cutoffs = cutoff_data(settings, last_only=False)
    moments = [data.cutoff for data in cutoffs]
    assert moments == sorted(moments) and len(cutoffs) == 3
    validity = measure_validity(cutoffs[-1], settings)
    ours, chance = validity.rows["segments"], {"buys_auc": 0.5, "spend_r2": 0.0, "category_auc": 0.5}
    for name, at_least in chance.items():
        assert ours[name].low > at_least
        assert validity.kept[name] < 1.15  # the ceiling learns from the same customers, and sees more of them
    assert measure_validity(cutoffs[-1], settings) == validity
    few = replace(validity, buyer_count=21, ceiling_count=validity.customer_count).published(10)
    assert (
        few.rows["segments"]["buys_auc"].mean == round(ours["buys_auc"].mean, 1) == few.metrics()["validity/buys_auc"]
    )
    fewer = replace(few, buyer_count=9, rows=validity.rows, kept=validity.kept).published(10)
    assert fewer.metrics() == {} == fewer.kept  # hidden, not 0
    assert list(validity.rows) == ["segments", "behaviour", "interest", *BASELINES, "ceiling"]
    behaviour, interest = validity.rows["behaviour"], validity.rows["interest"]
    assert behaviour["buys_auc"].mean > interest["buys_auc"].mean > 0.5
    assert interest["category_auc"].mean > 0.5
    assert ours["category_auc"].mean > max(behaviour["category_auc"].mean, interest["category_auc"].mean)
    assert validity.rows["log_rfm"]["buys_auc"].mean > validity.rows["counts"]["buys_auc"].mean


def test_all_groupings_are_the_same_if_nobody_is_clustered(params: Callable[..., Params], last: CutoffData) -> None:
    validity = measure_validity(last, params(*SMALL, "facets.behaviour.algorithm=rule", "facets.interest=null"))
    assert all(validity.rows[name] == validity.rows["segments"] for name in BASELINES)


def test_a_note_explains_why_validity_was_not_measured(params: Callable[..., Params], alone: CutoffData) -> None:
    validity, notes = measure_latest_validity([alone], params(*SMALL))
    assert validity is None
    assert "expected at least 10 customers (backtest.min_buyers) who bought" in notes[0]
    assert cutoff_data(params("quality.validity=false")) == []


def test_validity_is_tracked_and_reported(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    _, metrics, summary = mlflow_runs.read_run(mlflow_runs.open_store(params), result.run_id)
    assert 0.5 < metrics["validity/buys_auc"] <= 1.0
    others = {f"validity/{name}_buys_auc" for name in (*BASELINES, "ceiling")}
    assert {"validity/kept_buys_auc", *others} <= set(metrics)
    assert result.as_text().count("How well segments predict:\n         who buys: AUROC 0.") == 1
    page = result.report_path.read_text()
    assert "How well the segments predict behaviour" in page and "RFM quintiles, clustered" in page
    assert "K-means on log RFM, activity and interest shares" in page
    assert "customer_id" not in json.dumps(summary["quality"]["validity"])


def test_the_section_of_the_report() -> None:
    figure = {"mean": 0.75, "low": 0.7, "high": 0.8}
    measured = {
        **{"cutoff": "2025-10-02", "horizon_days": 30, "customer_count": 1200, "buyer_count": 300},
        **{"group_count": 9, "ceiling_count": 1000, "kept": {"buys_auc": 0.5}, "facets": ["behaviour"]},
        "rows": {"segments": {"buys_auc": figure}, "behaviour": {"buys_auc": figure}, "counts": {}},
    }
    section = predictions(ReportedValidity.model_validate(measured), wording("en"))
    assert section is not None
    assert section.head == ["Who buys at all (AUROC)"]
    assert section.rows == [
        ("Segments", ["0.75 (0.7–0.8)"]),
        ("K-means on raw category counts", ["–"]),
        ("Share of the achievable signal", ["50%"]),
    ]
    both = measured | {"facets": ["behaviour", "interest"]}
    both["rows"] = {"segments": {"buys_auc": figure}, "behaviour": {"buys_auc": figure}, "interest": {}, "counts": {}}
    section = predictions(ReportedValidity.model_validate(both), wording("en"))
    assert section is not None and len(section.rows) == 5
    assert [cells for _, cells in section.rows][:3] == [["0.75 (0.7–0.8)"], ["0.75 (0.7–0.8)"], ["–"]]
    assert len({name for name, _ in section.rows}) == 5
    assert predictions(None, wording("uk")) is None
