"""The registered model in MLflow: its versions, the champion, and the names and numbers of its segments."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.params import Params
from pipeline.stores.local.work_folders import temporary_folder
from pipeline.stores.mlflow_runs import DESCRIPTION, RunStore, find_run
from pipeline.stores.model_files import (
    DIGEST,
    MODEL_FOLDER,
    SHOP_FOLDER,
    LoadedModel,
    download,
    folder_digest,
    in_temporary_folder,
    open_model,
    require_model_uri,
)
from pipeline.stores.run_log import OpenRun
from pipeline.stores.store_errors import TrackingError, first_line

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import RegisteredModel
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

SCORER, SCORER_REQUIREMENTS = "scorer.py", ("mlflow", "numpy", "pandas", "scikit-learn")
ALWAYS_KNOWN = ("_count", "evidence", "lifecycle_stage", "segment_id", "segment")
"""Ends of the names of profile and segment columns that are never null; of the next segment, they may be."""
GIVEN_NAME = "name."
LAST_SEGMENT = "last_segment."
RENAMING = "renaming"  # tag of the registered model: segment_id and old name of the segment that is being renamed
ABOUT_MODEL = """\
Puts customers into segments: profile rows in, segment columns of the scores out. `kindred score` uses the version with
the alias `champion`; `challenger` is the latest training. `kindred promote RUN` makes a version the champion. Tags that
start with `name.` are names given by `kindred rename`.
"""


def log_model(
    run: OpenRun, params: Params, *, alias: str, folder: Path, example: pd.DataFrame, predicted: pd.DataFrame
) -> str:
    """Log and register the model as code, with ``alias``; returns its URI with the version.

    Parameters
    ----------
    alias : str
        `champion` or `challenger`; see `alias_of_next`.
    folder : Path
        Holds the folders ``segmentation`` and ``shop``.
    example, predicted : DataFrame
        Columns and types for the signature; no row of them is logged.
    """
    from mlflow.entities import LoggedModelOutput

    client, name = run.store.client, run.store.model_name
    logged = client.create_logged_model(run.store.experiment_id, name="model", source_run_id=run.run_id)
    with temporary_folder() as temporary:
        place = temporary / "model"
        _save(place, folder, _signature(example, predicted), model_id=logged.model_id, run_id=run.run_id)
        digest = folder_digest(place)
        client.set_tag(run.run_id, DIGEST, digest)
        client.log_model_artifacts(logged.model_id, str(place))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    registered = _registered_model(run.store)
    if registered is None:
        registered = client.create_registered_model(name)
    client.update_registered_model(name, ABOUT_MODEL)
    created = client.create_model_version(
        name,
        f"models:/{logged.model_id}",
        run.run_id,
        tags={"as_of": f"{params.as_of:%Y-%m-%d %H:%M} UTC", DIGEST: digest},
        description=client.get_run(run.run_id).data.tags.get(DESCRIPTION, ""),
        await_creation_for=0,
        model_id=logged.model_id,
    )
    link = json.dumps([{"name": name, "version": int(created.version)}])  # MLflow's pages of runs and models show it
    client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": link})
    client.set_registered_model_alias(name, alias, str(created.version))
    return f"models:/{name}/{created.version}"


def _save(place: Path, folder: Path, signature: ModelSignature, *, model_id: str, run_id: str) -> None:
    """Write the model's files, without the folders of this machine that MLflow notes in them."""
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    import models

    save_model(
        str(place),
        python_model=str(Path(models.__file__).parent / SCORER),
        artifacts={part: str(folder / part) for part in (MODEL_FOLDER, SHOP_FOLDER)},
        signature=signature,
        pip_requirements=[f"{package}=={version(package)}" for package in SCORER_REQUIREMENTS],
        mlflow_model=Model("model", run_id=run_id, model_id=model_id, model_uuid=model_id),
    )
    shutil.rmtree(place / "__pycache__", ignore_errors=True)
    model = Model.load(str(place))
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = SCORER
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    model.save(str(place / "MLmodel"))


def _signature(example: pd.DataFrame, predicted: pd.DataFrame) -> ModelSignature:
    """Columns and types of profiles and scores; those that may be null are optional."""
    from mlflow.models import ModelSignature, infer_signature

    inferred = infer_signature(example, predicted)
    return ModelSignature(_with_optional(inferred.inputs), _with_optional(inferred.outputs))


def _with_optional(schema: Schema) -> Schema:
    from mlflow.types import Schema

    columns = schema.to_dict()
    for column in columns:
        name = column["name"]
        column["required"] = name.endswith(ALWAYS_KNOWN) and not name.startswith("next_")
    return Schema.from_json(json.dumps(columns))


def load_model(store: RunStore, uri: str) -> LoadedModel:
    """A model by URI: ``models:/kindred@champion``, ``models:/kindred/3``, ``runs:/<id>/model``.

    Raises
    ------
    TrackingError
        There is no model at this URI, and the message lists the models there are; or its files were changed.
    """
    require_model_uri(uri)
    # MLflow would not delete a download.
    return in_temporary_folder(lambda place: _load(store, uri, place))


def _load(store: RunStore, uri: str, place: Path) -> LoadedModel:
    from mlflow.exceptions import MlflowException

    try:
        resolved = _with_version(store, uri)
        return open_model(download(store, resolved, place), resolved)
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"{uri}: expected a model that Kindred trained. {first_line(error)} {_known_models(store)}"
        ) from None


def _with_version(store: RunStore, uri: str) -> str:
    if not uri.startswith("models:/"):
        return uri
    name, at, alias = uri.removeprefix("models:/").partition("@")
    client = store.client
    if at:
        return f"models:/{name}/{client.get_model_version_by_alias(name, alias).version}"
    if name.endswith("/latest"):
        name = name.removesuffix("/latest")
        versions = client.search_model_versions(f"name = '{name}'", max_results=1, order_by=["version_number DESC"])
        return f"models:/{name}/{versions[0].version}" if versions else uri
    return uri


def _known_models(store: RunStore) -> str:
    known = [
        f"models:/{model.name}@{alias}"
        for model in store.client.search_registered_models()
        for alias in sorted(model.aliases)
    ]
    if not known:
        return "There is no model yet: run `kindred train` first."
    missing = (
        "" if has_champion(store) else " There is no champion yet: `kindred promote RUN` makes a model the champion."
    )
    return f"There are: {', '.join(known)}.{missing}"


def _registered_model(store: RunStore) -> RegisteredModel | None:
    """The registered model with its aliases and tags; None before the first training."""
    models = store.client.search_registered_models(f"name = '{store.model_name}'")
    return models[0] if models else None


def has_champion(store: RunStore) -> bool:
    """Whether the registered model has a champion."""
    model = _registered_model(store)
    return model is not None and "champion" in model.aliases


def alias_of_next(store: RunStore, *, is_short: bool) -> str:
    """Alias of the next version: the first is `champion` unless its log is short; all others are `challenger`."""
    return "challenger" if is_short or has_champion(store) else "champion"


def version_of_run(store: RunStore, run: str) -> tuple[str, str]:
    """Id of a run, from the id or the beginning of it, and the version of the model that the run registered.

    Raises
    ------
    TrackingError
        There is no run with this id, or it registered no model.
    """
    run_id = find_run(store, run).info.run_id
    versions = store.client.search_model_versions(f"run_id = '{run_id}'")
    own = [version for version in versions if version.name == store.model_name]
    if not own:
        raise TrackingError(f"{run}: expected a run that trained a model; this one registered no model.")
    return run_id, str(own[0].version)


def champion_run(store: RunStore) -> str | None:
    """Id of the run that trained the champion; None if there is no champion."""
    if not has_champion(store):
        return None
    return str(store.client.get_model_version_by_alias(store.model_name, "champion").run_id)


def promote(store: RunStore, version: str, *, forced: list[str]) -> None:
    """Make a version the champion; ``forced`` lists the figures in which it is worse, for the record."""
    client, model = store.client, store.model_name
    if forced:
        client.set_model_version_tag(model, version, "promoted_though_worse_in", ", ".join(forced))
    client.set_registered_model_alias(model, "champion", version)


def given_names(store: RunStore) -> dict[str, str]:
    """segment_id -> the name given by hand, from the tags of the registered model."""
    model = _registered_model(store)
    tags = dict(model.tags) if model else {}
    return {key.removeprefix(GIVEN_NAME): str(name) for key, name in tags.items() if key.startswith(GIVEN_NAME)}


def set_given_name(store: RunStore, segment_id: str, name: str | None) -> None:
    """Save a name given by hand; None removes it."""
    client, model = store.client, store.model_name
    if name is not None:
        client.set_registered_model_tag(model, GIVEN_NAME + segment_id, name)
    elif segment_id in given_names(store):
        client.delete_registered_model_tag(model, GIVEN_NAME + segment_id)


@contextmanager
def renaming(store: RunStore, segment_id: str, old_name: str) -> Iterator[None]:
    """Remember what a segment was called until its renaming is complete, so that it can be repeated after a crash."""
    store.client.set_registered_model_tag(store.model_name, RENAMING, f"{segment_id} {old_name}")
    yield
    store.client.delete_registered_model_tag(store.model_name, RENAMING)


def unfinished_renaming(store: RunStore) -> tuple[str, str]:
    """segment_id and old name of a renaming that was interrupted; empty texts if there is none."""
    model = _registered_model(store)
    segment_id, _, name = (model.tags.get(RENAMING, "") if model else "").partition(" ")
    return segment_id, name


def last_segment_number(store: RunStore, prefix: str) -> int:
    """The highest number that any training gave to a segment with a prefix; 0 if no model is registered."""
    model = _registered_model(store)
    return int(model.tags.get(LAST_SEGMENT + prefix, 0)) if model else 0


def record_last_segment_number(store: RunStore, prefix: str, number: int) -> None:
    """Save ``number`` as used, so no other segment gets it; creates the registered model if there is none."""
    client, model = store.client, store.model_name
    if _registered_model(store) is None:
        client.create_registered_model(model, description=ABOUT_MODEL)
    if number > last_segment_number(store, prefix):
        client.set_registered_model_tag(model, LAST_SEGMENT + prefix, str(number))
