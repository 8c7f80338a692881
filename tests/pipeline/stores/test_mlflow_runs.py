"""Runs in a store: what is written is read back, and a store that was moved is corrected or refused."""

from __future__ import annotations

import errno
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ibis
import pandas as pd
import pytest

from pipeline.config.params import Params
from pipeline.stores import mlflow_runs
from pipeline.stores.local import locks
from pipeline.stores.mlflow_runs import open_store, read_run, search_runs
from pipeline.stores.run_log import OpenRun, start_run
from pipeline.stores.store_errors import TrackingError


@pytest.fixture
def store(params: Callable[..., Params]) -> mlflow_runs.RunStore:
    return open_store(params())


def moved(settings: Params, folder: Path) -> Params:
    """The same parameters with the store in another folder."""
    places = {"uri": f"sqlite:///{folder / 'mlflow.db'}", "artifacts": str(folder / "artifacts")}
    return settings.model_copy(update={"tracking": settings.tracking.model_copy(update=places)})


def with_model(store: mlflow_runs.RunStore, run: OpenRun, file: Path) -> None:
    """Log a model of one file."""
    logged = store.client.create_logged_model(store.experiment_id, name="model", source_run_id=run.run_id)
    store.client.log_model_artifacts(logged.model_id, str(file.parent))


def test_a_server_that_does_not_answer_is_said_and_refused(
    params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "SLOW_SECONDS", 0.2)
    for name, value in {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}.items():
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setitem(mlflow_runs.OPENING, name, value)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(TrackingError, match="MLflow store that responds"),
    ):
        open_store(params(f"tracking.uri=http://127.0.0.1:{silent.getsockname()[1]}"))
    assert "Waiting for the MLflow store of tracking.uri, which does not answer." in caplog.text


def test_only_the_opening_of_a_store_gives_up_soon(
    params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES as RETRIES
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT as TIMEOUT

    monkeypatch.delenv(RETRIES.name, raising=False)
    monkeypatch.delenv(TIMEOUT.name, raising=False)
    seen: list[tuple[int, int]] = []
    settings, search = params(), MlflowClient.get_experiment_by_name

    def noted(client: MlflowClient, name: str) -> Any:
        seen.append((TIMEOUT.get(), RETRIES.get()))
        if len(seen) == 3:
            raise OSError("refused")
        return search(client, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", noted)
    open_store(settings)
    assert (TIMEOUT.get(), RETRIES.get()) == (TIMEOUT.default, RETRIES.default)
    monkeypatch.setenv(TIMEOUT.name, "60")
    open_store(settings)
    with pytest.raises(TrackingError, match="refused"):
        open_store(settings)
    assert (TIMEOUT.get(), RETRIES.get()) == (60, RETRIES.default)
    assert seen == [(10, 1), (60, 1), (60, 1)]


def test_a_store_that_answers_is_not_waited_for(
    params: Callable[..., Params], caplog: pytest.LogCaptureFixture
) -> None:
    open_store(params())
    assert "Waiting" not in caplog.text


def test_an_address_is_no_folder_of_artifacts(params: Callable[..., Params], tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="expected a folder on this machine") as refused:
        open_store(params("tracking.artifacts=s3://bucket/x?sig=secret"))
    assert "secret" not in str(refused.value) and not list(Path().glob("s3:*"))


def test_a_run_ends_as_its_work_did(store: mlflow_runs.RunStore) -> None:
    with start_run(store, name="good", tags={"kind": "a"}) as good:
        good.log_params({"seed": "1"})
        good.log_metrics({"behaviour/stability_mean": 0.5})
        good.log_json({"segments": []}, "summary.json")
    with pytest.raises(ValueError, match="wrong"), start_run(store, name="bad", tags={}, parent=good) as bad:
        raise ValueError("wrong")
    with pytest.raises(KeyboardInterrupt), start_run(store, name="stopped", tags={}) as stopped:
        raise KeyboardInterrupt
    runs = {run.info.run_id: run for run in search_runs(store, [store.experiment_id])}
    statuses = [runs[run.run_id].info.status for run in (good, bad, stopped)]
    assert statuses == ["FINISHED", "FAILED", "KILLED"]
    assert runs[bad.run_id].data.tags["mlflow.parentRunId"] == good.run_id
    record = read_run(store, good.run_id)
    assert record == ({"seed": "1"}, {"behaviour/stability_mean": 0.5}, {"segments": []})


def test_a_query_that_a_signal_ended_does_not_count_as_failed(store: mlflow_runs.RunStore) -> None:
    with pytest.raises(RuntimeError), start_run(store, name="stopped", tags={}) as run:
        raise RuntimeError("Query interrupted") from KeyboardInterrupt()
    assert store.client.get_run(run.run_id).info.status == "KILLED"


def test_a_full_disk_of_the_artifacts_is_named_and_not_another(store: mlflow_runs.RunStore, tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir(exist_ok=True)
    message = r"expected space for a run of MLflow, but a disk is full: .* MiB left.*TMPDIR"
    with pytest.raises(TrackingError, match=message), start_run(store, name="full", tags={}) as run:
        raise OSError(errno.ENOSPC, "No space left on device")
    assert store.client.get_run(run.run_id).info.status == "FAILED"
    with pytest.raises(OSError, match="another"), start_run(store, name="other", tags={}):
        raise OSError(errno.EIO, "another error")


def test_a_store_that_is_locked_meanwhile(store: mlflow_runs.RunStore) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(TrackingError, match=r"tracking\.uri: .*locked"), start_run(store, name="locked", tags={}):
        raise MlflowException("(sqlite3.OperationalError) database is locked")


def test_metrics_of_an_older_run_have_their_present_names(store: mlflow_runs.RunStore) -> None:
    with start_run(store, name="0.1", tags={}) as run:
        run.log_metrics({"validity_buys_auc": 0.7})
    assert read_run(store, run.run_id).metrics == {"validity/buys_auc": 0.7}


def test_metrics_and_tables_tell_no_exact_ratio(store: mlflow_runs.RunStore) -> None:
    with start_run(store, name="rounded", tags={}) as run:
        run.log_metrics({"validity/buys_auc": 123_457 / 150_000, "behaviour/n_segments": 12})
        run.log_table(pd.DataFrame({"score": [123_457 / 150_000, None], "name": ["a", "b"]}), "candidates.json")
    assert read_run(store, run.run_id).metrics == {"validity/buys_auc": 0.823, "behaviour/n_segments": 12}
    table = json.loads(Path(run.location("candidates.json")).read_text())
    assert table == {"columns": ["score", "name"], "data": [[0.823, "a"], [None, "b"]]}


def test_the_data_is_described_without_rows_or_addresses(store: mlflow_runs.RunStore) -> None:
    schema = ibis.schema({"customer_id": "!string", "occurred_at": "timestamp", "quantity": "float64"})
    with start_run(store, name="data", tags={}) as run:
        run.log_dataset(schema, row_count=1234, digest="0123456789abcdef")
    (logged,) = store.client.get_run(run.run_id).inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("events", "0123456789ab")
    assert json.loads(logged.dataset.profile) == {"num_rows": 1234, "num_elements": 3702}
    assert json.loads(logged.dataset.schema)["mlflow_colspec"] == [
        {"name": "customer_id", "type": "string", "required": True},
        {"name": "occurred_at", "type": "datetime", "required": False},
        {"name": "quantity", "type": "double", "required": False},
    ]
    assert "/" not in logged.dataset.source


def test_a_copied_store_is_used_where_it_is(params: Callable[..., Params], tmp_path: Path) -> None:
    settings = params()
    original = open_store(settings)
    with start_run(original, name="before", tags={}) as run:
        run.log_text("x", "note.txt")
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / "MLmodel").write_text("a model")
        with_model(original, run, tmp_path / "files" / "MLmodel")
    elsewhere = tmp_path / "else where"
    shutil.copytree(tmp_path / "artifacts", elsewhere / "artifacts")
    shutil.copy(tmp_path / "mlflow.db", elsewhere)
    copy = open_store(moved(settings, elsewhere))
    with start_run(copy, name="after", tags={}) as later:
        later.log_text("y", "note.txt")
    for name in (run.run_id, later.run_id):
        assert Path(OpenRun(copy, name).location("note.txt")).is_relative_to(elsewhere)
        assert Path(OpenRun(copy, name).location("note.txt")).is_file()
    (model,) = copy.client.search_logged_models([copy.experiment_id])
    assert model.artifact_location.startswith((elsewhere / "artifacts").as_uri())
    assert not (tmp_path / "artifacts" / later.run_id).exists()
    # The original is as it was.
    assert Path(OpenRun(open_store(settings), run.run_id).location("note.txt")).is_relative_to(tmp_path / "artifacts")


@pytest.mark.parametrize("kind", ["model", "run"])
def test_a_store_copied_without_its_artifacts_is_refused(
    params: Callable[..., Params], tmp_path: Path, kind: str
) -> None:
    settings = params()
    original = open_store(settings)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "MLmodel").write_text("a model")
    with start_run(original, name="before", tags={}) as run:
        if kind == "model":
            with_model(original, run, tmp_path / "files" / "MLmodel")
        else:
            run.log_text("x", "note.txt")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(tmp_path / "mlflow.db", elsewhere)
    with pytest.raises(TrackingError, match=r"tracking\.artifacts: expected .*has no .*move or copy that folder"):
        open_store(moved(settings, elsewhere))
    assert run.run_id in [found.info.run_id for found in search_runs(open_store(settings), [original.experiment_id])]
