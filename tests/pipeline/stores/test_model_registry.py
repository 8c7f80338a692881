"""A registered model: no folder of this machine in its files, and profiles with nulls are scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.commands.train import TrainingResult
from pipeline.config.params import Params
from pipeline.stores import mlflow_runs, model_registry
from pipeline.stores.store_errors import first_line


@pytest.fixture
def model_folder(trained: tuple[Params, TrainingResult], tmp_path: Path) -> Path:
    from mlflow.artifacts import download_artifacts

    mlflow_runs.open_store(trained[0])
    return Path(download_artifacts(trained[1].model_uri, dst_path=str(tmp_path)))


def test_no_file_of_a_model_names_a_folder_of_this_machine(
    trained: tuple[Params, TrainingResult], model_folder: Path, shop: Path
) -> None:
    settings, _ = trained
    data, outputs = str(shop), str(settings.path(settings.outputs.folder))
    folders = [data, outputs, str(settings.folder.resolve()), str(Path.home()), "/tmp/"]
    files = [path for path in model_folder.rglob("*") if path.is_file()]
    assert {"MLmodel", "params.json", "requirements.txt", "scorer.py"} <= {path.name for path in files}
    found = [(path.name, folder) for path in files for folder in folders if folder.encode() in path.read_bytes()]
    assert found == []


def test_columns_that_may_be_null_are_optional(trained: tuple[Params, TrainingResult], model_folder: Path) -> None:
    from mlflow import pyfunc

    loaded = pyfunc.load_model(str(model_folder))
    columns = loaded.metadata.get_input_schema().inputs
    optional = [column.name for column in columns if not column.required]
    assert {"days_since_last_purchase", "spend", "return_rate"} <= set(optional)
    required = {column.name for column in columns if column.required}
    assert {"order_count", "event_count", "evidence", "lifecycle_stage"} <= required
    assert not any(name.startswith("interest: ") for name in required)

    whole = pd.DataFrame({column.name: [1.0, 2.0, 30.0] for column in columns}).assign(lifecycle_stage="browsing")
    with_nulls = whole.assign(**dict.fromkeys(optional, np.nan))
    expected = loaded.predict(with_nulls)
    assert len(expected) == 3 and expected.segment_id.notna().all()
    # None in a column of objects and a missing column mean the same.
    as_objects = whole.assign(**{name: pd.Series([None] * 3, dtype=object) for name in optional})
    pd.testing.assert_frame_equal(loaded.predict(as_objects), expected)
    pd.testing.assert_frame_equal(loaded.predict(whole.drop(columns=optional)), expected)


def test_the_newcomers_view_of_a_training(trained: tuple[Params, TrainingResult]) -> None:
    settings, result = trained
    client = mlflow_runs.open_store(settings).client
    run = client.get_run(result.run_id)
    given = {key: text for key, text in run.data.params.items() if not key.startswith("fitted.")}
    assert 25 <= len(given) <= 40
    assert given["facets.behaviour.n_segments"] == "6" == run.data.params["fitted.facets.behaviour.n_segments"]
    assert given["interests.kappa"] == str(settings.interests.kappa)
    assert "fitted.interests.kappa" not in run.data.params  # interests.fit is off
    assert not any("/" in text for text in run.data.params.values())
    (dataset,) = run.inputs.dataset_inputs
    reading = mlflow_runs.read_run(mlflow_runs.open_store(settings), result.run_id).summary["reading"]
    assert f'"num_rows": {reading["accepted_count"]}' in dataset.dataset.profile
    version = client.get_model_version_by_alias(settings.tracking.model_name, "champion")
    assert version.run_id == result.run_id and version.source.startswith("models:/")
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert logged.tags == {"mlflow.modelVersions": '[{"name": "kindred", "version": 1}]'}
    assert not any(str(settings.folder.resolve()) in text for text in run.data.tags.values())
    assert model_registry.load_model(mlflow_runs.open_store(settings), f"runs:/{result.run_id}/model").run_id


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Registered Model with name=shop not found", "Registered Model with name shop not found."),
        ("Model Version (name=shop, version=3) not found", "Model Version (name shop, version 3) not found."),
        ("Run with id=4be3 not found", "Run with id 4be3 not found."),
        ("refused: Model with name=shop at host?password=hush", "refused: *** with name shop at host?password=***."),
        ("user with name=hush", "user with name=***."),
    ],
)
def test_messages_of_mlflow_name_the_model_and_no_secret(message: str, expected: str) -> None:
    assert first_line(ValueError(message)) == expected
