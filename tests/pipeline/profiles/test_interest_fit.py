"""`kindred backtest`, and what training makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.interests import Fitted
from pipeline.commands.backtest import backtest
from pipeline.commands.train import train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.ingest.source import read_source
from pipeline.profiles.interest_fit import fitted_params, formula_words, given_formula
from pipeline.stores import mlflow_runs, model_registry
from pipeline.stores.database import connect


def quiet(step: str) -> None:
    """No progress."""


SMALL = ("backtest.bootstrap_resamples=10", "interests.fit_min_purchases=50", "interests.fit=auto")


def test_the_table_is_told_and_tracked(params: Callable[..., Params], shop: Path) -> None:
    query = f"select * from '{shop}/events/*.parquet' where 'password=hunter2' <> ''"
    given = params(*SMALL, "source.events.path=null", f"source.events.query={query}")
    told = backtest(given, progress=quiet)
    for row in ("popularity", "raw counts", "Adobe Target's rule", "given weights", "fitted weights"):
        assert row in told
    assert "forgotten after" in told
    assert "bought something with a category in the horizon after it; the report of a training also counts" in told
    mlflow = mlflow_runs.open_store(given)
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert 0.5 < run.data.metrics["backtest_who_auc"] <= 1.0
    table = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/backtest.json"))
    assert len(table["data"]) == 8
    leads = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/backtest_leads.json"))
    names = [row[0] for row in leads["data"]]
    assert names == [row[0] for row in table["data"]][:-1]
    popularity = leads["data"][names.index("popularity")]
    ahead = popularity[leads["columns"].index("who_auc_mean")]
    assert re.split(r"Kindred \(fitted weights\) ahead of.*\n", told)[1].split()[:2] == ["popularity", f"{ahead:+.3f}"]
    assert "password=***" in run.data.params["source.events.query"] and "hunter2" not in str(run.to_dictionary())


def test_the_formula_is_told_in_the_units_of_its_weights(params: Callable[..., Params]) -> None:
    """As in params.yaml, in the report and by `kindred explain`."""
    given = given_formula(params("interests.signal_weights.view=0", "interests.kappa=24"))
    told = formula_words(Fitted(given, False, "as given", ("purchase", "view", "remove_from_cart")))
    weight = given.interest.signal_weights["purchase"]
    assert told.startswith(f"What each action counts: a purchase {weight:.3g}, a view 0, a remove from cart 0. ")
    assert "the shop's mix counts 24. Of" in told
    # Nothing that was seen has a category: no kind of action is spoken of.
    assert formula_words(Fitted(given, False, "as given", ())).startswith("For interests, what was done 45 days before")


def test_what_comes_after_a_cutoff_is_not_known_at_it(params: Callable[..., Params]) -> None:
    """With everything after the last cutoff changed, what was known at it is the same, and what was bought is not."""
    from pipeline.profiles.cutoffs import backtest_cutoffs, snapshot_at

    given = params()
    with connect(given.engine, folder=given.path(given.outputs.folder)) as con:
        source = read_source(con, given, rejected_path=None)
        cutoff = backtest_cutoffs(source, given)[-1]
        whole, _ = snapshot_at(con, source, given, cutoff)
        moment = cutoff.replace(tzinfo=None)
        cut_off = type(source)(
            source.events.filter(source.events.occurred_at < moment), source.products, source.customers, source.summary
        )
        alone, _ = snapshot_at(con, cut_off, given, cutoff)
    assert whole.bought.any() and not alone.bought.any()
    for name in ("customer", "column", "kind", "event_count", "mean_age_days", "mix"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(alone, name))


def test_training_uses_and_keeps_the_fitted_formula(params: Callable[..., Params]) -> None:
    given = params(*SMALL)
    trained = train(given, sweep=False, progress=quiet)
    assert any("fitted to" in note for note in trained.notes)
    mlflow = mlflow_runs.open_store(given)
    model = model_registry.load_model(mlflow, trained.model_uri)
    kept = json.loads((model.shop_folder / "params.json").read_text())["interests"]
    formula = json.loads(mlflow.artifacts.load_text(f"runs:/{trained.run_id}/interest_formula.json"))["formula"]
    assert kept["half_life_days"] == formula["interest"]["half_life_days"] != given.interests.half_life_days
    assert kept["kappa"] == formula["kappa"]
    assert kept["activity"]["half_life_days"] == formula["activity"]["half_life_days"]
    assert kept["fit"] == "off"
    assert mlflow_runs.read_run(mlflow, trained.run_id)[2]["method"]["is_fitted"]


def test_weights_that_stayed_are_not_told_to_be_fitted(params: Callable[..., Params]) -> None:
    given = params(*SMALL, "interests.fit_min_purchases=1000000")
    trained = train(given, sweep=False, progress=quiet)
    assert any("given weights stay" in note for note in trained.notes)
    mlflow = mlflow_runs.open_store(given)
    assert not mlflow_runs.read_run(mlflow, trained.run_id)[2]["method"]["is_fitted"]
    page = mlflow.artifacts.load_text(f"runs:/{trained.run_id}/report.html")
    assert "Weights come from the settings and were not fitted to this shop." in page


def test_a_log_too_short_trains_with_what_is_given(params: Callable[..., Params]) -> None:
    given = params(*SMALL, "backtest.horizon_days=300")
    with connect(given.engine, folder=given.path(given.outputs.folder)) as con:
        source = read_source(con, given, rejected_path=None)
        after, measured, note = fitted_params(con, source, given, progress=quiet)
    assert after == given and measured is None
    assert "at least 600 days" in note
    with pytest.raises(UserError, match=r"backtest\.horizon_days"):
        backtest(given, progress=quiet)


def test_a_sample_is_the_same_whatever_the_order_of_rows(
    params: Callable[..., Params], shop: Any, tmp_path: Any
) -> None:
    from pipeline.profiles.cutoffs import backtest_cutoffs, snapshot_at

    events = pd.concat([pd.read_parquet(path) for path in sorted((shop / "events").glob("*.parquet"))])
    events.sample(frac=1.0, random_state=1).to_parquet(tmp_path / "shuffled.parquet")
    found = []
    for more in ((), (f"source.events.path={tmp_path / 'shuffled.parquet'}",)):
        given = params("backtest.sample_customers=500", *more)
        with connect(given.engine, folder=given.path(given.outputs.folder)) as con:
            source = read_source(con, given, rejected_path=None)
            found.append(snapshot_at(con, source, given, backtest_cutoffs(source, given)[0])[0])
    assert found[0].paths == found[1].paths
    for name in ("customer", "column", "kind", "event_count", "mean_age_days", "mix", "bought"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))
    assert len(found[0].bought) < 600
