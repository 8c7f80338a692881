"""The files of a registered model: hashed when it is logged, checked before any of them is loaded, and loaded."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.model_checks import problems
from models.scorer import read_model
from pipeline.stores import files
from pipeline.stores.local.work_folders import temporary_folder
from pipeline.stores.mlflow_runs import RunStore
from pipeline.stores.store_errors import TrackingError

if TYPE_CHECKING:
    import pandas as pd

MODEL_FOLDER, SHOP_FOLDER = "segmentation", "shop"
DIGEST = "model.sha256"
"""Tag of the version and of the run, with `folder_digest` of the model as it was logged."""
DOWNLOAD_NOTE = "registered_model_meta"
"""A file that MLflow adds to a model that it downloads by its registered name."""
URIS = re.compile(r"models:/[^/@%'\"\\]+(@[\w-]+|/\d+|/latest)|runs:/\w+/model")
log = logging.getLogger("kindred")


@dataclass(frozen=True)
class LoadedModel:
    """A registered or logged model, on disk as long as this object exists. Pickled, it holds its files.

    Attributes
    ----------
    uri : str
        With a version number, never an alias.
    columns : list of str
        Profile columns that the model reads.
    segment_names : dict
        segment_id -> name, for all facets, as trained.
    predict : callable
        Profile rows (DataFrame) -> segment columns of the scores.
    folder : Path
    """

    uri: str
    run_id: str
    columns: list[str]
    segment_names: dict[str, str]
    predict: Callable[[pd.DataFrame], pd.DataFrame]
    folder: Path

    @property
    def shop_folder(self) -> Path:
        """What was learned about the shop."""
        return self.folder / "artifacts" / SHOP_FOLDER

    def __reduce__(self) -> tuple[Callable[..., LoadedModel], tuple[str, dict[str, bytes]]]:
        """Other processes, which may run on other machines, open a copy of the files."""
        paths = [path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
        return _unpack, (self.uri, {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths})


def _unpack(uri: str, contents: dict[str, bytes]) -> LoadedModel:
    def write(place: Path) -> LoadedModel:
        for name, content in contents.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        return open_model(place, uri)

    return in_temporary_folder(write)


def in_temporary_folder(load: Callable[[Path], LoadedModel]) -> LoadedModel:
    """The model that ``load`` reads in a new folder, which is deleted with the model."""
    with ExitStack() as stack:
        loaded = load(stack.enter_context(temporary_folder()))
        weakref.finalize(loaded, stack.pop_all().close)
    return loaded


def open_model(folder: Path, uri: str) -> LoadedModel:
    """The model whose files, already checked by `download`, are in ``folder``."""
    from mlflow import pyfunc
    from mlflow.exceptions import MlflowException

    model = pyfunc.load_model(str(folder), suppress_warnings=True)
    scorer = model.unwrap_python_model()
    columns = model.metadata.get_input_schema().input_names()

    def predict(profile: pd.DataFrame) -> pd.DataFrame:
        try:
            # Checked on a table without rows, since MLflow copies the rows it checks.
            model.predict(profile.head(0))
            is_complete = set(columns) <= set(profile)  # columns may be null, but ours are all there
        except MlflowException:
            is_complete = False
        if not is_complete:
            raise TrackingError(
                f"{uri}: expected profiles with the columns and types that the model was trained on. Train again, or "
                "score with the version that trained it."
            )
        predicted: pd.DataFrame = scorer.predict(None, profile)
        return predicted

    return LoadedModel(uri, model.metadata.run_id, columns, _segment_names(scorer.model), predict, folder)


def _segment_names(model: Mapping[str, Any]) -> dict[str, str]:
    named = [item for facet in model["facets"] for item in (*facet["standing"].values(), *facet["segments"])]
    return {item["segment_id"]: item["name"] for item in named if item["segment_id"] is not None}


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
