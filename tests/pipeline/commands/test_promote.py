"""A model becomes the champion only if it is not worse, or if promotion is forced."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.commands.promote import promote, worse_in
from pipeline.commands.train import TrainingResult
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.stores import mlflow_runs
from pipeline.stores.run_log import start_run


def test_a_less_stable_run_is_refused_unless_forced(
    params: Callable[..., Params], champion_and_challenger: tuple[TrainingResult, TrainingResult]
) -> None:
    settings, (first, second) = params(), champion_and_challenger
    client = mlflow_runs.open_store(settings).client

    def version() -> str:
        return str(client.get_model_version_by_alias("kindred", "champion").version)

    for name, value in mlflow_runs.read_run(mlflow_runs.open_store(settings), first.run_id).metrics.items():
        client.log_metric(second.run_id, name, value)
    assert "is the champion" in promote(settings, second.run_id[:12], force=False)
    assert version() == "2"
    client.log_metric(first.run_id, "interest/stability_min", 0.01)
    client.log_metric(first.run_id, "behaviour/stability_mean", 0.9)
    with pytest.raises(
        UserError,
        match=r"no worse than the champion .*worse in interest/stability_min:\n(.|\n)*interest/stability_min +0\.010",
    ):
        promote(settings, first.run_id, force=False)
    assert version() == "2"
    assert "Forced, although worse in interest/stability_min" in promote(settings, first.run_id, force=True)
    assert version() == "1"
    assert client.get_model_version("kindred", "1").tags["promoted_though_worse_in"] == "interest/stability_min"
    assert "promoted_though_worse_in" not in client.get_model_version("kindred", "2").tags


def test_predictive_validity_counts_if_both_runs_measured_it(params: Callable[..., Params]) -> None:
    settings = params("promote.tolerance=0.1", "promote.validity_tolerance=0.02")
    before = {
        "behaviour/stability_mean": 0.8,
        "interest/stability_mean": 0.8,
        "validity/buys_auc": 0.70,
        "validity/spend_r2": 0.30,
    }
    assert (
        worse_in(
            {"behaviour/stability_mean": 0.71, "interest/stability_mean": 0.9, "validity/buys_auc": 0.685},
            before,
            settings,
        )
        == []
    )
    assert worse_in(
        {"behaviour/stability_mean": 0.69, "interest/stability_mean": 0.6, "validity/buys_auc": 0.67}, before, settings
    ) == [
        "behaviour/stability_mean",
        "interest/stability_mean",
        "validity/buys_auc",
    ]
    assert worse_in({"behaviour/stability_mean": 0.9, "behaviour/silhouette": -1.0}, before, settings) == []


def test_a_run_without_a_model(params: Callable[..., Params]) -> None:
    settings = params()
    store = mlflow_runs.open_store(settings)
    with start_run(store, name="nothing", tags={}) as run:
        pass
    with pytest.raises(UserError, match="registered no model"):
        promote(settings, run.run_id, force=False)
    with pytest.raises(UserError, match="expected the id of a run"):
        promote(settings, "nosuchrun", force=False)
