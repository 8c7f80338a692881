"""`kindred backtest`, and how training uses its result."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.interests import FittedFormula
from pipeline.commands.backtest import backtest
from pipeline.commands.train import train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT, Progress
from pipeline.ingest.source import Source, read_source
from pipeline.profiles.interest_fit import fitted_params, formula_from_params, formula_text
from pipeline.stores import mlflow_runs, model_registry
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.engines.engine import Engine

SMALL = ("backtest.bootstrap_resamples=10", "interests.fit_min_purchases=50", "interests.fit=auto")


def artifact(store: mlflow_runs.RunStore, run_id: str, name: str) -> str:
    return Path(store.client.download_artifacts(run_id, name)).read_text()


@pytest.mark.slow
def test_the_table_is_printed_and_tracked(params: Callable[..., Params], shop: Path) -> None:
    query = f"select * from '{shop}/events/*.parquet' where 'password=hunter2' <> ''"
    settings = params(*SMALL, "source.events.path=null", f"source.events.query={query}")
    output = backtest(settings, progress=SILENT)
    for row in ("popularity", "raw counts", "Adobe Target's rule", "configured weights", "fitted weights"):
        assert row in output
    assert "an action counts half after" in output
    assert "bought something with a category in the horizon after it. The training report also counts" in output
    store = mlflow_runs.open_store(settings)
    (run,) = mlflow_runs.search_runs(store, [store.experiment_id])
    assert 0.5 < run.data.metrics["backtest/who_auc"] <= 1.0
    table = json.loads(artifact(store, run.info.run_id, "backtest.json"))
    assert len(table["data"]) == 8
    leads = json.loads(artifact(store, run.info.run_id, "backtest_leads.json"))
    names = [row[0] for row in leads["data"]]
    assert names == [row[0] for row in table["data"]][:-1]
    popularity = leads["data"][names.index("popularity")]
    ahead = popularity[leads["columns"].index("who_auc_mean")]
    assert re.split(r"Kindred \(fitted weights\) ahead of\nScores .*\n", output)[1].split()[:2] == [
        "popularity",
        f"{ahead:+.3f}",
    ]
    logged = mlflow_runs.read_run(store, run.info.run_id).params
    assert "where '***' <> ''" in logged["source.events.query"] and "hunter2" not in str([logged, run.to_dictionary()])


@pytest.mark.parametrize("action", ["warn", "exclude"])
def test_unusual_customers_are_set_apart_as_in_training(
    action: str, params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = params(f"outliers.action={action}", "outliers.limits={order_count: 5}")
    seen: list[tuple[int, int]] = []

    def count(engine: Engine, source: Source, given: Params, *, progress: Progress) -> None:
        whole = read_source(engine.con, settings, rejected_path=None).events
        seen.append((source.events.customer_id.nunique().execute(), whole.customer_id.nunique().execute()))
        raise UserError("counted")

    monkeypatch.setattr("pipeline.commands.backtest.run_backtest", count)
    with pytest.raises(UserError, match="counted"):
        backtest(settings, progress=SILENT)
    [(used, whole)] = seen
    assert used == whole if action == "warn" else used < whole


def test_the_formula_text_uses_the_units_of_its_weights(params: Callable[..., Params]) -> None:
    """The units are those of params.yaml, the report and `kindred explain`."""
    formula = formula_from_params(params("interests.signal_weights.view=0", "interests.kappa=24"))
    text = formula_text(FittedFormula(formula, False, "from params", ("purchase", "view", "remove_from_cart")))
    weight = formula.interest.signal_weights["purchase"]
    assert text.startswith(f"Weight of each action: a purchase {weight:.3g}, a view 0, a remove from cart 0. ")
    assert "the shop's mix counts as much as 24 views. For" in text
    # No event has a category, so no action type is listed.
    assert formula_text(FittedFormula(formula, False, "from params", ())).startswith(
        "For interests, an action 45 days before"
    )


def test_events_after_a_cutoff_do_not_affect_the_snapshot(params: Callable[..., Params]) -> None:
    """Without the events after the last cutoff, the snapshot is the same except for the purchases."""
    from pipeline.profiles.cutoffs import backtest_cutoffs, snapshot_at

    settings = params()
    with connect(settings.engine, folder=settings.path(settings.outputs.folder)) as con:
        source = read_source(con, settings, rejected_path=None)
        cutoff = backtest_cutoffs(source, settings)[-1]
        full, _ = snapshot_at(DuckDB(con), source, settings, cutoff)
        moment = cutoff.replace(tzinfo=None)
        truncated_source = type(source)(
            source.events.filter(source.events.occurred_at < moment), source.products, source.customers, source.summary
        )
        truncated, _ = snapshot_at(DuckDB(con), truncated_source, settings, cutoff)
    assert full.bought.any() and not truncated.bought.any()
    for name in ("customer", "column", "kind", "event_count", "mean_age_days", "mix"):
        np.testing.assert_array_equal(getattr(full, name), getattr(truncated, name))


@pytest.mark.slow
def test_training_uses_and_stores_the_fitted_formula(params: Callable[..., Params]) -> None:
    settings = params(*SMALL)
    trained = train(settings, sweep=False, progress=SILENT)
    assert any("fitted to" in note for note in trained.notes)
    store = mlflow_runs.open_store(settings)
    model = model_registry.load_model(store, trained.model_uri)
    stored = json.loads((model.shop_folder / "params.json").read_text())["interests"]
    formula = json.loads(artifact(store, trained.run_id, "interest_formula.json"))["formula"]
    assert stored["half_life_days"] == formula["interest"]["half_life_days"] != settings.interests.half_life_days
    assert stored["kappa"] == formula["kappa"]
    assert stored["activity"]["half_life_days"] == formula["activity"]["half_life_days"]
    assert stored["fit"] == "off"
    assert mlflow_runs.read_run(store, trained.run_id).summary["method"]["is_fitted"]


@pytest.mark.slow
def test_unfitted_weights_are_not_reported_as_fitted(params: Callable[..., Params]) -> None:
    settings = params(*SMALL, "interests.fit_min_purchases=1000000", "facets.behaviour.algorithm=rule")
    trained = train(settings, sweep=False, progress=SILENT)
    assert any("the configured weights are kept" in note for note in trained.notes)
    store = mlflow_runs.open_store(settings)
    assert not mlflow_runs.read_run(store, trained.run_id).summary["method"]["is_fitted"]
    page = artifact(store, trained.run_id, "report.html")
    assert "The weights come from the settings and were not fitted to this shop." in page


def test_a_short_log_trains_with_the_configured_weights(params: Callable[..., Params]) -> None:
    settings = params(*SMALL, "backtest.horizon_days=300")
    with connect(settings.engine, folder=settings.path(settings.outputs.folder)) as con:
        source = read_source(con, settings, rejected_path=None)
        after, measured, note = fitted_params(DuckDB(con), source, settings, progress=SILENT)
    assert after == settings and measured is None
    assert "at least 600 days" in note
    with pytest.raises(UserError, match=r"backtest\.horizon_days"):
        backtest(settings, progress=SILENT)


def test_the_sample_does_not_depend_on_the_order_of_rows(
    params: Callable[..., Params], shop: Any, tmp_path: Any
) -> None:
    from pipeline.profiles.cutoffs import backtest_cutoffs, snapshot_at

    events = pd.concat([pd.read_parquet(path) for path in sorted((shop / "events").glob("*.parquet"))])
    events.sample(frac=1.0, random_state=1).to_parquet(tmp_path / "shuffled.parquet")
    snapshots = []
    for more in ((), (f"source.events.path={tmp_path / 'shuffled.parquet'}",)):
        settings = params("backtest.sample_customers=500", *more)
        with connect(settings.engine, folder=settings.path(settings.outputs.folder)) as con:
            source = read_source(con, settings, rejected_path=None)
            snapshots.append(snapshot_at(DuckDB(con), source, settings, backtest_cutoffs(source, settings)[0])[0])
    assert snapshots[0].paths == snapshots[1].paths
    for name in ("customer", "column", "kind", "event_count", "mean_age_days", "mix", "bought"):
        np.testing.assert_array_equal(getattr(snapshots[0], name), getattr(snapshots[1], name))
    assert len(snapshots[0].bought) < 600
