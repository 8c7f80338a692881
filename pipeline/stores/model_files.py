"""The files of a registered model: hashed when it is logged, and checked before any of them is loaded."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from pathlib import Path
from typing import Any

from models.model_checks import problems
from models.scorer import read_model
from pipeline.stores import files
from pipeline.stores.mlflow_runs import RunStore
from pipeline.stores.store_errors import TrackingError

MODEL_FOLDER, SHOP_FOLDER = "segmentation", "shop"
DIGEST = "model.sha256"
"""Tag of the version and of the run, with `folder_digest` of the model as it was logged."""
DOWNLOAD_NOTE = "registered_model_meta"
"""A file that MLflow adds to a model that it downloads by its registered name."""
URIS = re.compile(r"models:/[^/@%'\"\\]+(@[\w-]+|/\d+|/latest)|runs:/\w+/model")
log = logging.getLogger("kindred")


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and the contents of all files below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != DOWNLOAD_NOTE)
    lines = [f"{files.file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _delete_bytecode(folder: Path) -> None:
    """Delete what Python compiled below a folder: it is no part of the model, and would run instead of the code."""
    for cache in [path for path in folder.rglob("__pycache__") if path.is_dir()]:
        shutil.rmtree(cache)


def require_model_uri(uri: str) -> None:
    """Refuse addresses at which no model of the store can be: others would be downloaded and run.

    Raises
    ------
    TrackingError
        Lists the forms there are.
    """
    if not URIS.fullmatch(uri):
        raise TrackingError(
            f"--model: expected a model of the MLflow store, such as models:/NAME@champion, models:/NAME/3 or "
            f"runs:/RUN/model; got {uri[:80]!r}."
        )


def download(store: RunStore, uri: str, place: Path) -> Path:
    """A model's files, copied to ``place``, complete and unchanged since it was trained.

    Parameters
    ----------
    uri : str
        With a version number, never an alias; or of a run.

    Raises
    ------
    TrackingError
        A file was changed, added or removed, or the numbers of the model cannot be used.
    MlflowException, OSError
        There is no model at this URI.
    """
    from mlflow.artifacts import download_artifacts

    expected = _expected_digest(store, uri)
    # A folder of its own: everything in it is part of the digest.
    (place / "download").mkdir()
    folder = Path(download_artifacts(uri, dst_path=str(place / "download")))
    _delete_bytecode(folder)
    if not (folder / "artifacts" / SHOP_FOLDER).is_dir():
        raise TrackingError(f"{uri}: expected a model that Kindred trained; this one has no `shop` folder.")
    if expected is None:
        log.warning(
            "Warning: %s was trained before Kindred kept the digest of a model, so nobody can see whether its files "
            "were changed since. Train again to have one.",
            uri,
        )
    elif folder_digest(folder) != expected:
        raise TrackingError(
            f"{uri}: expected the model's files as they were when it was trained, but they were changed since. Nothing "
            "of them was run. Restore them from a backup, or use another model: train again, or `kindred promote RUN`."
        )
    read_numbers(folder / "artifacts" / MODEL_FOLDER, uri)
    return folder


def _expected_digest(store: RunStore, uri: str) -> str | None:
    kind, _, rest = uri.partition(":/")
    name, _, version = rest.partition("/")
    tags = store.client.get_model_version(name, version).tags if kind == "models" else None
    return (store.client.get_run(name).data.tags if tags is None else tags).get(DIGEST)


def read_numbers(folder: Path, uri: str) -> dict[str, Any]:
    """The numbers of a model, read without running anything of it.

    Raises
    ------
    TrackingError
        They are damaged, or cannot be used.
    """
    try:
        model = read_model(folder)
        found = problems(model)
    except Exception as error:  # what a damaged file raises depends on the damage
        found = [f"its files are damaged ({type(error).__name__})"]
    if found:
        raise TrackingError(
            f"{uri}: expected the numbers of a model that Kindred trained, but {'; '.join(found[:3])}. Restore the "
            "model from a backup, or train again."
        )
    return model
