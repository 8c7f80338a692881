"""The registered model in MLflow: its versions, the champion, and what is noted of its segments."""

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
from pipeline.stores.mlflow_runs import DESCRIPTION, TrackingError, first_line, known_run

if TYPE_CHECKING:
    import pandas as pd

MODEL_FOLDER, SHOP_FOLDER = "segmentation", "shop"
SCORER_REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn")
GIVEN_NAME = "name."
LAST_SEGMENT = "last_segment."
ABOUT_MODEL = """\
Puts customers into segments. `champion` is what `kindred score` uses unless told otherwise; `challenger` is the latest
training. `kindred promote RUN` makes a version the champion.
"""


@dataclass(frozen=True)
class LoadedModel:
    """A registered or logged model, on this disk as long as this object is there.

    Attributes
    ----------
    uri : str
        With the version spelt out, never an alias.
    columns : list of str
        Columns of the profile that it reads.
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
        Give the signature's columns and types; no row of them is logged.

    Returns
    -------
    (str, str)
        Model URI with its version, and the alias it got.
    """
    from mlflow.models import infer_signature

    import models

    name = params.tracking.model_name
    with redirect_stderr(StringIO()):  # MLflow tells there of a registered model that is there already, as of a mishap
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(models.__file__).parent / "scorer.py"),
            artifacts={part: str(folder / part) for part in (MODEL_FOLDER, SHOP_FOLDER)},
            signature=infer_signature(example, predicted),
            pip_requirements=[f"{package}=={version(package)}" for package in SCORER_REQUIREMENTS],
            registered_model_name=name,
            await_registration_for=0,
        )
    client = mlflow.MlflowClient()
    told = client.get_run(mlflow.active_run().info.run_id).data.tags.get(DESCRIPTION, "")
    client.update_registered_model(name, ABOUT_MODEL)
    client.update_model_version(name, info.registered_model_version, told)
    client.set_model_version_tag(name, info.registered_model_version, "as_of", f"{params.as_of:%Y-%m-%d %H:%M} UTC")
    alias = "challenger" if "champion" in client.get_registered_model(name).aliases else "champion"
    client.set_registered_model_alias(name, alias, str(info.registered_model_version))
    return f"models:/{name}/{info.registered_model_version}", alias


def load_model(mlflow: Any, uri: str) -> LoadedModel:
    """A model by URI: ``models:/kindred@champion``, ``models:/kindred/3``, ``runs:/<id>/model``.

    Raises
    ------
    TrackingError
        There is no such model; names those there are.
    """
    place = mkdtemp(prefix="kindred-model-")  # MLflow would leave what it downloads from a remote store
    try:
        loaded = _loaded(mlflow, uri, place)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    weakref.finalize(loaded, shutil.rmtree, place, ignore_errors=True)
    return loaded


def _loaded(mlflow: Any, uri: str, place: str) -> LoadedModel:
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
        raise TrackingError(f"{uri}: expected a model that Kindred trained; this one holds no shop.")

    scorer = model.unwrap_python_model()

    def predict(profile: pd.DataFrame) -> pd.DataFrame:
        try:
            # Columns and types are checked on a table without rows, since MLflow copies what it checks.
            model.predict(profile.head(0))
        except MlflowException:
            raise TrackingError(
                f"{uri}: the profiles do not have the columns or types that the model was trained on."
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
    return f"There are: {', '.join(known)}." if known else "There is none yet: run `kindred train` first."


def _registered_model(mlflow: Any, params: Params) -> Any | None:
    """The registered model with its aliases and tags; None before the first training."""
    found = mlflow.MlflowClient().search_registered_models(f"name = '{params.tracking.model_name}'")
    return found[0] if found else None


def has_champion(mlflow: Any, params: Params) -> bool:
    """Whether a model is registered as the one to score with."""
    model = _registered_model(mlflow, params)
    return model is not None and "champion" in model.aliases


def version_of_run(mlflow: Any, params: Params, run: str) -> tuple[str, str]:
    """Id of a run, given whole or by its beginning, and the version of the model that it registered.

    Raises
    ------
    TrackingError
        There is no such run, or it registered none.
    """
    run_id = known_run(mlflow, run).info.run_id
    found = mlflow.MlflowClient().search_model_versions(f"run_id = '{run_id}'")
    own = [one for one in found if one.name == params.tracking.model_name]
    if not own:
        raise TrackingError(f"{run}: expected a run that trained a model; this one registered none.")
    return run_id, str(own[0].version)


def champion_run(mlflow: Any, params: Params) -> str | None:
    """Id of the run that the champion comes from; None where there is no champion."""
    if not has_champion(mlflow, params):
        return None
    return str(mlflow.MlflowClient().get_model_version_by_alias(params.tracking.model_name, "champion").run_id)


def promote(mlflow: Any, params: Params, version: str, *, forced: list[str]) -> None:
    """Make a version the champion; ``forced`` names the figures in which it is worse, which is recorded."""
    client, model = mlflow.MlflowClient(), params.tracking.model_name
    if forced:
        client.set_model_version_tag(model, version, "promoted_though_worse_in", ", ".join(forced))
    client.set_registered_model_alias(model, "champion", version)


def given_names(mlflow: Any, params: Params) -> dict[str, str]:
    """segment_id -> the name that was given by hand; they are tags of the registered model."""
    model = _registered_model(mlflow, params)
    tags = dict(model.tags) if model else {}
    return {key.removeprefix(GIVEN_NAME): str(name) for key, name in tags.items() if key.startswith(GIVEN_NAME)}


def give_name(mlflow: Any, params: Params, segment_id: str, name: str | None) -> None:
    """Note a name given by hand; None takes it back."""
    client, model = mlflow.MlflowClient(), params.tracking.model_name
    if name is not None:
        client.set_registered_model_tag(model, GIVEN_NAME + segment_id, name)
    elif segment_id in given_names(mlflow, params):
        client.delete_registered_model_tag(model, GIVEN_NAME + segment_id)


def renamed(predicted: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Segment columns of scores, of every facet, with the names given by hand."""
    if not names:
        return predicted
    changes: dict[str, Any] = {}
    called: dict[str, str] = {}
    for segment_id in [str(one) for one in predicted if str(one).endswith("segment_id")]:
        segment = segment_id.removesuffix("_id")
        by_hand = predicted[segment_id].map(names)
        is_given = by_hand.notna()
        called |= dict(zip(predicted[segment][is_given], by_hand[is_given], strict=True))
        changes[segment] = predicted[segment].where(~is_given, by_hand)
    if "what_would_move" in predicted:
        # A move ends in the name of the segment that it leads to.
        moves = {
            text: next(
                (text.removesuffix(old) + new for old, new in called.items() if text.endswith(f" -> {old}")), text
            )
            for text in predicted.what_would_move.dropna().unique()
        }
        changes["what_would_move"] = predicted.what_would_move.map(moves)
    return predicted.assign(**changes).astype(predicted.dtypes.to_dict())


def last_segment(mlflow: Any, params: Params, prefix: str) -> int:
    """The highest number that any training gave to a segment with a prefix; 0 where none was registered."""
    model = _registered_model(mlflow, params)
    return int(model.tags.get(LAST_SEGMENT + prefix, 0)) if model else 0


def note_last_segment(mlflow: Any, params: Params, prefix: str, number: int) -> None:
    """Keep ``number`` from being given to another segment; the registered model notes it, before its first version."""
    client, model = mlflow.MlflowClient(), params.tracking.model_name
    if _registered_model(mlflow, params) is None:
        client.create_registered_model(model, description=ABOUT_MODEL)
    if number > last_segment(mlflow, params, prefix):
        client.set_registered_model_tag(model, LAST_SEGMENT + prefix, str(number))
