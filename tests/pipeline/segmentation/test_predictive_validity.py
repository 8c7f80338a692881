"""What segments foretell, from the log to the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.commands.train import Trained
from pipeline.config.params import Params
from pipeline.ingest.source import read_source
from pipeline.report.texts.wording import wording
from pipeline.segmentation.predictive_validity import BASELINES, Past, foretell, measure_validity, pasts
from pipeline.stores import mlflow_runs
from pipeline.stores.database import connect
from tests.pipeline.conftest import params_in

SMALL = ("quality.validity=true", "backtest.bootstrap_resamples=20", "quality.ceiling_customers=800")


def quiet(step: str) -> None:
    """No progress."""


def past_of(given: Params, *, last_only: bool = True, until_cutoff: bool = False) -> list[Past]:
    with connect(given.engine, folder=given.path(given.outputs.folder)) as con:
        source = read_source(con, given, rejected_path=None)
        if until_cutoff:
            cutoff = given.as_of - pd.Timedelta(days=given.backtest.horizon_days)
            source = replace(
                source, events=source.events.filter(source.events.occurred_at < cutoff.replace(tzinfo=None))
            )
        return pasts(con, source, given, last_only=last_only, progress=quiet)[0]


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> Past:
    """The last cutoff of the whole log."""
    return past_of(params_in(tmp_path_factory.mktemp("last"), shop, *SMALL))[0]


def test_outcomes_are_those_of_plain_pandas(params: Callable[..., Params], last: Past, shop: Any) -> None:
    given, past = params(*SMALL), last
    profile = past.profiles.table
    events = pd.concat([pd.read_parquet(path) for path in sorted((shop / "events").glob("*.parquet"))])
    at = pd.to_datetime(events.occurred_at, errors="coerce", utc=True, format="mixed")
    inside = (at >= past.cutoff) & (at < given.as_of) & (events.event_type == "purchase") & ~(events.unit_price < 0)
    later = events[inside & events.customer_id.isin(profile.customer_id)]
    paid = later.quantity.fillna(1.0) * later.unit_price.fillna(0.0) - later.discount.fillna(0.0)
    spend = paid.groupby(later.customer_id).sum().reindex(profile.customer_id).fillna(0.0)
    np.testing.assert_allclose(past.outcomes.spend, spend, atol=1e-6)
    assert past.outcomes.bought.tolist() == profile.customer_id.isin(later.customer_id).tolist()
    assert past.outcomes.categories.sum(axis=0).min() >= given.backtest.min_buyers
    assert past.shares.shape == past.outcomes.categories.shape
    assert past.counts.sum() > 0 and (past.counts[profile.event_count == 0] == 0).all()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> Past:
    """The same of a log that ends there."""
    return past_of(params_in(tmp_path_factory.mktemp("alone"), shop, *SMALL), until_cutoff=True)[0]


def test_what_comes_after_the_cutoff_is_not_known_at_it(last: Past, alone: Past) -> None:
    pd.testing.assert_frame_equal(last.profiles.table, alone.profiles.table)
    assert last.outcomes.bought.any() and not alone.outcomes.bought.any()


def test_a_sample_is_of_customers_registered_ones_among_them(params: Callable[..., Params]) -> None:
    (past,) = past_of(params(*SMALL, "backtest.sample_customers=600"))
    assert 450 < len(past.profiles.table) < 700
    assert (past.profiles.table.event_count == 0).any()


def test_segments_foretell_and_nobody_beats_the_ceiling_by_much(params: Callable[..., Params]) -> None:
    given = params(*SMALL, "quality.ceiling_customers=3000")
    past = past_of(given, last_only=False)
    assert [one.cutoff for one in past] == sorted(one.cutoff for one in past) and len(past) == 3
    found = measure_validity(past[-1], given)
    ours, chance = found.rows["segments"], {"buys_auc": 0.5, "spend_r2": 0.0, "category_auc": 0.5}
    for name, at_least in chance.items():
        assert ours[name].low > at_least
        assert found.kept[name] < 1.15  # the ceiling learns from the same customers, and sees more of them
    assert measure_validity(past[-1], given) == found
    assert list(found.rows) == ["segments", "behaviour", "interest", *BASELINES, "ceiling"]
    behaviour, interest = found.rows["behaviour"], found.rows["interest"]
    assert behaviour["buys_auc"].mean > interest["buys_auc"].mean > 0.5
    assert interest["category_auc"].mean > 0.5
    assert ours["category_auc"].mean > max(behaviour["category_auc"].mean, interest["category_auc"].mean)
    assert found.rows["log_rfm"]["buys_auc"].mean > found.rows["counts"]["buys_auc"].mean


def test_where_nobody_is_clustered_all_ways_to_group_are_alike(params: Callable[..., Params], last: Past) -> None:
    found = measure_validity(last, params(*SMALL, "facets.behaviour.algorithm=rule", "facets.interest=null"))
    assert all(found.rows[name] == found.rows["segments"] for name in BASELINES)


def test_a_log_without_outcomes_says_so(params: Callable[..., Params], alone: Past) -> None:
    found, notes = foretell([alone], params(*SMALL))
    assert found is None
    assert "expected at least 10 customers (backtest.min_buyers) who bought" in notes[0]
    assert past_of(params("quality.validity=false")) == []


def test_it_is_tracked_and_told(trained: tuple[Params, Trained]) -> None:
    given, result = trained
    _, metrics, summary = mlflow_runs.read_run(mlflow_runs.open_store(given), result.run_id)
    assert 0.5 < metrics["validity_buys_auc"] <= 1.0
    others = {f"{way}_buys_auc" for way in (*BASELINES, "ceiling")}
    assert {"validity_kept_buys_auc", "log_rfm_activity_shares_buys_auc", *others} <= set(metrics)
    assert result.as_text().count("Predicted who buys at all (AUROC)") == 1
    page = result.report_path.read_text()
    assert "How well the segments predict behaviour" in page and "RFM quintiles, clustered" in page
    assert "K-means on log RFM, activity and shares of interests" in page
    assert "customer_id" not in json.dumps(summary["quality"]["validity"])


def test_the_section_by_hand() -> None:
    figure = {"mean": 0.75, "low": 0.7, "high": 0.8}
    measured = {
        **{"cutoff": "2025-10-02", "horizon_days": 30, "customer_count": 1200, "buyer_count": 300},
        **{"group_count": 9, "ceiling_count": 1000, "kept": {"buys_auc": 0.5}, "facets": ("behaviour",)},
        "rows": {"segments": {"buys_auc": figure}, "behaviour": {"buys_auc": figure}, "counts": {}},
    }
    told = wording("en").foretold(measured)
    assert told is not None
    assert told["head"] == ["Who buys at all (AUROC)"]
    assert told["rows"] == [
        ("Segments", ["0.750 (0.700–0.800)"]),
        ("K-means on raw category counts", ["–"]),
        ("Share of the achievable gain", ["50%"]),
    ]
    both = measured | {"facets": ("behaviour", "interest")}
    both["rows"] = {"segments": {"buys_auc": figure}, "behaviour": {"buys_auc": figure}, "interest": {}, "counts": {}}
    told = wording("en").foretold(both)
    assert told is not None and len(told["rows"]) == 5
    assert [cells for _, cells in told["rows"]][:3] == [["0.750 (0.700–0.800)"], ["0.750 (0.700–0.800)"], ["–"]]
    assert len({name for name, _ in told["rows"]}) == 5
    assert wording("uk").foretold(None) is None
