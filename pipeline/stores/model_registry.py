"""The registered model in MLflow: its versions, the champion, and the names and numbers of its segments."""

from __future__ import annotations

import shutil
import weakref
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from pipeline.config.params import Params
from pipeline.stores.mlflow_runs import DESCRIPTION, TrackingError, find_run, first_line

if TYPE_CHECKING:
    import pandas as pd

MODEL_FOLDER, SHOP_FOLDER = "segmentation", "shop"
SCORER_REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn")
OPTIONAL_OUTPUTS = ("cluster_id", "strength", "margin", "what_would_move", "_stable")
"""How segment columns end that are null for some customers, whatever the facet."""
GIVEN_NAME = "name."
LAST_SEGMENT = "last_segment."
ABOUT_MODEL = """\
Puts customers into segments. `kindred score` uses `champion` by default; `challenger` is the latest training. `kindred
promote RUN` makes a version the champion.
"""


@dataclass(frozen=True)
class LoadedModel:
    """A registered or logged model, on disk as long as this object exists.

    Attributes
    ----------
    uri : str
        With a version number, never an alias.
    columns : list of str
        Profile columns that the model reads.
    predict : callable
        Profile rows (DataFrame) -> segment columns of the scores.
    shop_folder : Path
        What was learned about the shop.
    """

    uri: str
    run_id: str
    columns: list[str]
    predict: Any
    shop_folder: Path


def log_model(
    mlflow: Any, params: Params, *, folder: Path, example: pd.DataFrame, predicted: pd.DataFrame
) -> tuple[str, str]:
    """Log and register the model as code; the first version is `champion`, a later one `challenger`.

    Parameters
    ----------
    folder : Path
        Holds the folders ``segmentation`` and ``shop``.
    example, predicted : DataFrame
        Columns and types for the signature; no row of them is logged.

    Returns
    -------
    (str, str)
        Model URI with its version, and the alias of that version.
    """
    from mlflow.models import infer_signature

    import models

    name = params.tracking.model_name
    with redirect_stderr(StringIO()):  # MLflow reports an existing registered model there, as if it were an error
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(models.__file__).parent / "scorer.py"),
            artifacts={part: str(folder / part) for part in (MODEL_FOLDER, SHOP_FOLDER)},
            signature=with_optional_outputs(infer_signature(example, predicted)),
            pip_requirements=[f"{package}=={version(package)}" for package in SCORER_REQUIREMENTS],
            registered_model_name=name,
            await_registration_for=0,
        )
    client = mlflow.MlflowClient()
    description = client.get_run(mlflow.active_run().info.run_id).data.tags.get(DESCRIPTION, "")
    client.update_registered_model(name, ABOUT_MODEL)
    client.update_model_version(name, info.registered_model_version, description)
    client.set_model_version_tag(name, info.registered_model_version, "as_of", f"{params.as_of:%Y-%m-%d %H:%M} UTC")
    alias = "challenger" if "champion" in client.get_registered_model(name).aliases else "champion"
    client.set_registered_model_alias(name, alias, str(info.registered_model_version))
    return f"models:/{name}/{info.registered_model_version}", alias


def with_optional_outputs(signature: Any) -> Any:
    """The signature with the segment columns optional that are null for customers in no cluster or on no border."""
    from mlflow.types.schema import ColSpec, Schema

    def is_optional(name: str) -> bool:
        return name.startswith("next_") or name.endswith(OPTIONAL_OUTPUTS)

    signature.outputs = Schema(
        [ColSpec(column.type, column.name, required=not is_optional(column.name)) for column in signature.outputs]
    )
    return signature


def load_model(mlflow: Any, uri: str) -> LoadedModel:
    """A model by URI: ``models:/kindred@champion``, ``models:/kindred/3``, ``runs:/<id>/model``.

    Raises
    ------
    TrackingError
        There is no model at this URI; the message lists the models there are.
    """
    place = mkdtemp(prefix="kindred-model-")  # deleted at the end, which MLflow would not do after a download
    try:
        loaded = _load(mlflow, uri, place)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    weakref.finalize(loaded, shutil.rmtree, place, ignore_errors=True)
    return loaded


def _load(mlflow: Any, uri: str, place: str) -> LoadedModel:
    from mlflow.exceptions import MlflowException

    try:
        resolved = _with_version(mlflow, uri)
        folder = Path(mlflow.artifacts.download_artifacts(resolved, dst_path=place))
        model = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"{uri}: expected a model that Kindred trained. {first_line(error)} {_known_models(mlflow)}"
        ) from None
    if not (folder / "artifacts" / SHOP_FOLDER).is_dir():
        raise TrackingError(f"{uri}: expected a model that Kindred trained; this one has no `shop` folder.")

    scorer = model.unwrap_python_model()

    def predict(profile: pd.DataFrame) -> pd.DataFrame:
        try:
            # Checked on a table without rows, since MLflow copies the rows it checks.
            model.predict(profile.head(0))
        except MlflowException:
            raise TrackingError(
                f"{uri}: expected profiles with the columns and types that the model was trained on. Train again, or "
                "score with the version that trained it."
            ) from None
        predicted: pd.DataFrame = scorer.predict(None, profile)
        return predicted

    return LoadedModel(
        uri=resolved,
        run_id=model.metadata.run_id,
        columns=model.metadata.get_input_schema().input_names(),
        predict=predict,
        shop_folder=folder / "artifacts" / SHOP_FOLDER,
    )


def _with_version(mlflow: Any, uri: str) -> str:
    if not uri.startswith("models:/"):
        return uri
    name, at, alias = uri.removeprefix("models:/").partition("@")
    client = mlflow.MlflowClient()
    if at:
        return f"models:/{name}/{client.get_model_version_by_alias(name, alias).version}"
    if name.endswith("/latest"):
        name = name.removesuffix("/latest")
        versions = client.search_model_versions(f"name = '{name}'", max_results=1, order_by=["version_number DESC"])
        return f"models:/{name}/{versions[0].version}" if versions else uri
    return uri


def _known_models(mlflow: Any) -> str:
    known = [
        f"models:/{model.name}@{alias}"
        for model in mlflow.MlflowClient().search_registered_models()
        for alias in sorted(model.aliases)
    ]
    return f"There are: {', '.join(known)}." if known else "There is no model yet: run `kindred train` first."


def _registered_model(mlflow: Any, params: Params) -> Any | None:
    """The registered model with its aliases and tags; None before the first training."""
    models = mlflow.MlflowClient().search_registered_models(f"name = '{params.tracking.model_name}'")
    return models[0] if models else None


def has_champion(mlflow: Any, params: Params) -> bool:
    """Whether the registered model has a champion."""
    model = _registered_model(mlflow, params)
    return model is not None and "champion" in model.aliases


def version_of_run(mlflow: Any, params: Params, run: str) -> tuple[str, str]:
    """Id of a run, from the id or the beginning of it, and the version of the model that the run registered.

    Raises
    ------
    TrackingError
        There is no run with this id, or it registered no model.
    """
    run_id = find_run(mlflow, run).info.run_id
    versions = mlflow.MlflowClient().search_model_versions(f"run_id = '{run_id}'")
    own = [version for version in versions if version.name == params.tracking.model_name]
    if not own:
        raise TrackingError(f"{run}: expected a run that trained a model; this one registered no model.")
    return run_id, str(own[0].version)


def champion_run(mlflow: Any, params: Params) -> str | None:
    """Id of the run that trained the champion; None if there is no champion."""
    if not has_champion(mlflow, params):
        return None
    return str(mlflow.MlflowClient().get_model_version_by_alias(params.tracking.model_name, "champion").run_id)


def promote(mlflow: Any, params: Params, version: str, *, forced: list[str]) -> None:
    """Make a version the champion; ``forced`` lists the figures in which it is worse, for the record."""
    client, model = mlflow.MlflowClient(), params.tracking.model_name
    if forced:
        client.set_model_version_tag(model, version, "promoted_though_worse_in", ", ".join(forced))
    client.set_registered_model_alias(model, "champion", version)


def given_names(mlflow: Any, params: Params) -> dict[str, str]:
    """segment_id -> the name given by hand, from the tags of the registered model."""
    model = _registered_model(mlflow, params)
    tags = dict(model.tags) if model else {}
    return {key.removeprefix(GIVEN_NAME): str(name) for key, name in tags.items() if key.startswith(GIVEN_NAME)}


def set_given_name(mlflow: Any, params: Params, segment_id: str, name: str | None) -> None:
    """Save a name given by hand; None removes it."""
    client, model = mlflow.MlflowClient(), params.tracking.model_name
    if name is not None:
        client.set_registered_model_tag(model, GIVEN_NAME + segment_id, name)
    elif segment_id in given_names(mlflow, params):
        client.delete_registered_model_tag(model, GIVEN_NAME + segment_id)


def with_given_names(predicted: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Segment columns of scores, of every facet, with the names given by hand."""
    if not names:
        return predicted
    changes: dict[str, Any] = {}
    new_names: dict[str, str] = {}
    for segment_id in [str(column) for column in predicted if str(column).endswith("segment_id")]:
        segment = segment_id.removesuffix("_id")
        by_hand = predicted[segment_id].map(names)
        is_given = by_hand.notna()
        new_names |= dict(zip(predicted[segment][is_given], by_hand[is_given], strict=True))
        changes[segment] = predicted[segment].where(~is_given, by_hand)
    if "what_would_move" in predicted:
        # A move ends with the name of the segment that it leads to.
        moves = {
            text: next(
                (text.removesuffix(old) + new for old, new in new_names.items() if text.endswith(f" -> {old}")), text
            )
            for text in predicted.what_would_move.dropna().unique()
        }
        changes["what_would_move"] = predicted.what_would_move.map(moves)
    return predicted.assign(**changes).astype(predicted.dtypes.to_dict())


def last_segment_number(mlflow: Any, params: Params, prefix: str) -> int:
    """The highest number that any training gave to a segment with a prefix; 0 if no model is registered."""
    model = _registered_model(mlflow, params)
    return int(model.tags.get(LAST_SEGMENT + prefix, 0)) if model else 0


def record_last_segment_number(mlflow: Any, params: Params, prefix: str, number: int) -> None:
    """Save ``number`` as used, so no other segment gets it; creates the registered model if there is none."""
    client, model = mlflow.MlflowClient(), params.tracking.model_name
    if _registered_model(mlflow, params) is None:
        client.create_registered_model(model, description=ABOUT_MODEL)
    if number > last_segment_number(mlflow, params, prefix):
        client.set_registered_model_tag(model, LAST_SEGMENT + prefix, str(number))
