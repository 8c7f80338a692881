"""A model whose files were changed is not loaded, whatever was changed; nothing of it runs, and nothing is written."""

from __future__ import annotations

import gc
import importlib.util
import json
import pickle
import py_compile
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.commands.score import score
from pipeline.commands.train import TrainingResult
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.stores.mlflow_runs import open_store
from pipeline.stores.model_files import DIGEST, require_model_uri
from pipeline.stores.model_registry import load_model
from pipeline.stores.store_errors import TrackingError

BOMB = "from pathlib import Path\nPath({!r}).write_text('executed')\n"


def model_folder(folder: Path) -> Path:
    (found,) = folder.glob("artifacts/models/*/artifacts")
    return found


def refuse(settings: Params, match: str, uri: str = "") -> None:
    with pytest.raises(TrackingError, match=match):
        load_model(open_store(settings), uri or settings.tracking.champion_uri)


def test_no_change_of_any_file_goes_unseen(
    params: Callable[..., Params], champion: TrainingResult, tmp_path: Path
) -> None:
    settings, folder, kept = params(), model_folder(tmp_path), tmp_path / "kept"
    load_model(open_store(settings), settings.tracking.champion_uri)
    shutil.copytree(folder, kept)
    paths = [
        path.relative_to(folder)
        for path in kept.rglob("*")
        if path.is_file()
        for path in [folder / path.relative_to(kept)]
    ]
    assert {"scorer.py", "MLmodel", "arrays.npz", "spec.json"} <= {path.name for path in paths}
    changes: list[tuple[Path, Callable[[Path], Any]]] = [
        *((path, lambda place: place.write_bytes(place.read_bytes() + b" ")) for path in paths),
        (Path("artifacts/shop/drift.json"), Path.unlink),
        (Path("code/added.py"), lambda place: (place.parent.mkdir(), place.write_text("x = 1"))),
        (Path("scorer.py"), lambda place: place.write_text(BOMB.format(str(tmp_path / "bomb")))),
    ]
    for path, change in changes:
        change(folder / path)
        for uri in ("", f"runs:/{champion.run_id}/model"):
            refuse(settings, "files as they were when it was trained", uri)
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
    assert not (tmp_path / "bomb").exists()
    assert load_model(open_store(settings), settings.tracking.champion_uri).run_id == champion.run_id


def test_code_that_python_compiled_in_the_store_neither_counts_nor_runs(
    params: Callable[..., Params], champion: TrainingResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import pyfunc

    settings, folder = params(), model_folder(tmp_path)
    store = open_store(settings)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    pyfunc.load_model(settings.tracking.champion_uri, suppress_warnings=True)
    assert (folder / "__pycache__").is_dir()  # otherwise the test shows nothing
    assert load_model(store, settings.tracking.champion_uri).run_id == champion.run_id
    bomb, compiled = tmp_path / "bomb.py", importlib.util.cache_from_source(str(folder / "scorer.py"))
    bomb.write_text(BOMB.format(str(tmp_path / "bomb")))
    py_compile.compile(str(bomb), compiled, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert load_model(store, settings.tracking.champion_uri).run_id == champion.run_id
    assert not (tmp_path / "bomb").exists()


def test_no_scores_of_a_changed_model_are_written(
    params: Callable[..., Params], champion: TrainingResult, tmp_path: Path
) -> None:
    settings, out = params(), tmp_path / "scores.parquet"
    (model_folder(tmp_path) / "scorer.py").write_text(BOMB.format(str(tmp_path / "bomb")))
    out.write_text("the old scores")
    with pytest.raises(UserError, match="Nothing of them was run"):
        score(settings, model_uri=settings.tracking.champion_uri, out=out, progress=SILENT)
    assert out.read_text() == "the old scores" and not (tmp_path / "bomb").exists()


def without_digest(settings: Params) -> None:
    """A model as earlier versions registered it."""
    client, name = open_store(settings).client, settings.tracking.model_name
    client.delete_model_version_tag(name, "1", DIGEST)


def edit_arrays(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    path = folder / "artifacts" / "segmentation" / "behaviour" / "arrays.npz"
    with np.load(path) as arrays:
        content = dict(arrays)
    np.savez(path, **{**content, name: change(content[name])})


def edit_json(folder: Path, change: Callable[[Any], Any]) -> None:
    path = folder / "artifacts" / "segmentation" / "behaviour" / "model.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def edit_json_text(folder: Path, text: str) -> None:
    (folder / "artifacts" / "segmentation" / "facets.json").write_text(text)


def damage_arrays(folder: Path) -> None:
    path = folder / "artifacts" / "segmentation" / "interest" / "arrays.npz"
    path.write_bytes(path.read_bytes()[:500])


TAMPERINGS: dict[str, Callable[[Path], Any]] = {
    "a centre is not finite": lambda folder: edit_arrays(folder, "clusters.centres", lambda centres: centres * np.nan),
    "the centres have another number of columns": lambda folder: edit_arrays(
        folder, "clusters.centres", lambda centres: centres[:, 1:]
    ),
    "a centre is not finite;?.*": lambda folder: edit_arrays(
        folder, "clusters.centres", lambda centres: centres.astype(str)
    ),
    "a cluster has no segment": lambda folder: edit_arrays(
        folder, "clusters.centres", lambda centres: np.vstack([centres, centres])
    ),
    "the scaling is not finite": lambda folder: edit_arrays(folder, "scaling.scale", lambda scale: scale * np.inf),
    r"its files are damaged \(KeyError\)": lambda folder: edit_json(folder, lambda model: {**model, "segments": [{}]}),
    "border_margin is not in 0..1": lambda folder: edit_json(folder, lambda model: {**model, "border_margin": 7}),
    r"its files are damaged \(JSONDecodeError\)": lambda folder: edit_json_text(folder, "{"),
    r"its files are damaged \(BadZipFile\)": damage_arrays,
}


def test_a_model_without_a_digest_is_used_with_a_warning_if_its_numbers_can_be(
    params: Callable[..., Params], champion: TrainingResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, folder, kept = params(), model_folder(tmp_path), tmp_path / "kept"
    load_model(open_store(settings), settings.tracking.champion_uri)
    assert "digest" not in caplog.text
    without_digest(settings)
    load_model(open_store(settings), settings.tracking.champion_uri)
    assert "before Kindred kept the digest of a model" in caplog.text
    shutil.copytree(folder, kept)
    for message, tamper in TAMPERINGS.items():
        tamper(folder)
        refuse(settings, f"{message}")
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)


@pytest.mark.parametrize(
    "uri",
    [
        "http://example.org/model",
        "file:///tmp/model",
        "/tmp/model",
        "s3://bucket/model",
        "models:/a'b@champion",
        "models:/a/../b/1",
        "mlflow-artifacts:/model",
        "runs:/abc/../../x",
        "champion",
    ],
)
def test_only_models_of_the_store_are_loaded(uri: str) -> None:
    with pytest.raises(TrackingError, match="--model: expected a model of the MLflow store"):
        require_model_uri(uri)


@pytest.mark.parametrize(
    "uri", ["models:/kindred@champion", "models:/my shop/3", "models:/крамниця/latest", "runs:/abc123/model"]
)
def test_models_of_the_store_are(uri: str) -> None:
    require_model_uri(uri)


def test_a_pickled_model_scores_without_the_files_of_the_first(
    params: Callable[..., Params], champion: TrainingResult
) -> None:
    model = load_model(open_store(params()), champion.model_uri)
    packed, first = pickle.dumps(model), model.folder
    profile = pd.DataFrame({column: [1.0, 2.0] for column in model.columns})
    profile = profile.assign(lifecycle_stage="active")
    expected = model.predict(profile)
    del model
    gc.collect()
    assert not first.exists()
    copy = pickle.loads(packed)
    pd.testing.assert_frame_equal(copy.predict(profile), expected, check_exact=True)
    assert (copy.uri, copy.run_id) == (champion.model_uri, champion.run_id)
    assert set(expected.segment_id) <= set(copy.segment_names)
    second = copy.folder
    del copy
    gc.collect()
    assert not second.exists()
