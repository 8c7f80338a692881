"""The MLflow store and the runs in it. `run_log` writes a run, `model_registry` has the registered model.

MLflow is used in this folder only.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.config.params import Params, flat_settings
from pipeline.stores.local import store_file
from pipeline.stores.local.locks import LockedError, lock, said_if_slow
from pipeline.stores.local.moved_store import folder_of, missing_folders, move_artifacts
from pipeline.stores.run_metrics import current_name, experiment_description
from pipeline.stores.store_errors import LOCKED, TrackingError, first_line, store_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

PACKAGES = ("duckdb", "hdbscan", "ibis-framework", "mlflow", "numpy", "pandas", "scikit-learn", "umap-learn")
OPENING = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""Settings of MLflow while a store is opened; with its own, a server that is silent takes twenty minutes."""
RUN_ID_LENGTH = 32
DESCRIPTION = "mlflow.note.content"
LINEAGE = "lineage.json"
LINEAGE_KEYS = ("run_id", "as_of", "facet", "segment_id", "verdict", "is_here", "jaccard", "related")


@dataclass(frozen=True)
class RunStore:
    """An open MLflow store, with the experiment and the registered model that ``tracking`` in params.yaml names.

    Attributes
    ----------
    artifacts : Path or None
        The folder of the artifacts; None if they are not on this machine.
    """

    client: MlflowClient
    experiment_id: str
    model_name: str
    artifacts: Path | None = None


class RunRecord(NamedTuple):
    """What a run holds: parameters and metrics by name, and its artifact ``summary.json`` (or nothing)."""

    params: dict[str, str]
    metrics: dict[str, float]
    summary: dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """A training: its run id, digest of its parameters, package versions, and whether it finished."""

    run_id: str
    params_digest: str
    versions: dict[str, str]
    is_finished: bool


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def open_store(params: Params, *, create: bool = False) -> RunStore:
    """The store of ``params`` with its experiment.

    Parameters
    ----------
    create : bool
        Create them if they are missing, as a training does.

    Raises
    ------
    TrackingError
        The store is missing, is locked or does not respond, or its artifacts are not in ``tracking.artifacts``.
    """
    database = _database_file(params)
    if not (create or has_store(params)):
        raise TrackingError(
            f"tracking.uri: expected an MLflow store, but there is no {database}. Run `kindred train` first, or "
            f"correct `tracking` in {params.file_name}."
        )
    if "://" in params.tracking.artifacts:
        raise TrackingError(
            "tracking.artifacts: expected a folder on this machine, got an address. Name a folder in "
            f"{params.file_name}; a server in tracking.uri has its own."
        )
    import mlflow

    for chatty in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    uri = tracking_uri(params)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        with one_at_a_time(params):
            if database is not None:
                if create:
                    store_file.create_if_missing(database, params.path(params.tracking.artifacts))
                store_file.wait_until_free(database)
            with said_if_slow("the MLflow store of tracking.uri"), _short_waits():
                client = mlflow.MlflowClient(uri, uri)
                experiment = _experiment(client, params, create=create)
            _require_artifacts(experiment, params)
    except TrackingError:
        raise
    except LockedError:
        raise TrackingError(f"tracking.uri: {LOCKED.format(database)}") from None
    except Exception as error:  # a missing driver, a refused connection and a broken file raise different errors
        raise TrackingError(
            f"tracking.uri: expected an MLflow store that responds. {first_line(error)} Check `tracking` in "
            f"{params.file_name}."
        ) from None
    artifacts = folder_of(experiment.artifact_location)
    return RunStore(client, experiment.experiment_id, params.tracking.model_name, artifacts)


@contextmanager
def _short_waits() -> Iterator[None]:
    """`OPENING` where the user has set nothing. Later, a server may restart, and a long training is still logged."""
    added = {name: value for name, value in OPENING.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _experiment(client: MlflowClient, params: Params, *, create: bool) -> Experiment:
    """The experiment, with the present description."""
    name, description = params.tracking.experiment, experiment_description()
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        if not create:
            raise TrackingError(
                f"tracking.experiment: expected an experiment of the store, found none called {name!r}. Run `kindred "
                f"train` first, or correct `tracking` in {params.file_name}."
            )
        location = params.path(params.tracking.artifacts).as_uri() if _database_file(params) else None
        created = client.create_experiment(name, artifact_location=location, tags={DESCRIPTION: description})
        return client.get_experiment(created)
    if experiment.lifecycle_stage == "deleted":
        raise TrackingError(
            f"tracking.experiment: expected an experiment that exists, but {name!r} was deleted. Choose another name, "
            "or restore it with `mlflow experiments restore`."
        )
    if experiment.tags.get(DESCRIPTION) != description:
        client.set_experiment_tag(experiment.experiment_id, DESCRIPTION, description)
    return experiment


def _require_artifacts(experiment: Experiment, params: Params) -> None:
    """Require that a local store has its artifacts in ``tracking.artifacts``; correct a store that was moved there."""
    database, old = _database_file(params), folder_of(experiment.artifact_location)
    new = params.path(params.tracking.artifacts)
    if database is None or old is None or old == new:
        return
    locations = experiment.artifact_location, new.as_uri()
    missing = missing_folders(database, *locations)
    if missing:
        raise TrackingError(
            f"tracking.artifacts: expected the folder with the artifacts of {database}, which were in {old}, but "
            f"{new} has no {missing[0].relative_to(new)}. If the store was moved or copied, move or copy that folder "
            f"to {new} as well; otherwise set tracking.artifacts to {old}."
        )
    move_artifacts(database, *locations)


def tracking_uri(params: Params) -> str:
    """``tracking.uri`` with a relative SQLite path made absolute."""
    uri = params.tracking.uri
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        return f"sqlite:///{params.path(uri.removeprefix('sqlite:///'))}"
    return uri


def _database_file(params: Params) -> Path | None:
    """The SQLite file of a local store; None for a server."""
    uri = tracking_uri(params)
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def has_store(params: Params) -> bool:
    """Whether the store's SQLite file exists; a server is assumed to exist."""
    database = _database_file(params)
    return database is None or database.exists()


@contextmanager
def one_at_a_time(params: Params) -> Iterator[None]:
    """A lock for what only one process on this machine may do to a store at a time, such as creating it.

    Raises
    ------
    TrackingError
        Another command keeps the lock.
    """
    path = params.path(params.tracking.artifacts)
    with ExitStack() as held:
        try:
            path.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock(path / ".lock", wait=True))
        except LockedError:
            raise TrackingError(f"tracking.artifacts: {LOCKED.format(path)}") from None
        except OSError as error:
            raise TrackingError(
                f"tracking.artifacts: expected a writable folder at {path}. {error.strerror}."
            ) from None
        held.enter_context(store_errors(path))
        yield


def full_run_id(store: RunStore, beginning: str) -> str:
    """The id of the only run that begins with ``beginning``; ``beginning`` if there is none or more than one."""
    if len(beginning) >= RUN_ID_LENGTH:
        return beginning
    experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
    matches = [run.info.run_id for run in search_runs(store, experiments) if run.info.run_id.startswith(beginning)]
    return matches[0] if len(matches) == 1 else beginning


def search_runs(store: RunStore, experiments: list[str], condition: str = "") -> Iterator[Run]:
    """All runs of experiments that fulfil a condition in MLflow's filter language."""
    page = store.client.search_runs(experiments, condition)
    yield from page
    while page.token:
        page = store.client.search_runs(experiments, condition, page_token=page.token)
        yield from page


def find_run(store: RunStore, run: str) -> Run:
    """The run with this id, or with this beginning of an id.

    Raises
    ------
    TrackingError
        There is no run with this id.
    """
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_run(full_run_id(store, run))
    except MlflowException as error:
        raise TrackingError(
            f"{run}: expected the id of a run, or its beginning. {first_line(error)} `make ui` shows all runs."
        ) from None


def origin(store: RunStore, run: str) -> Origin:
    """What is known of the training of a run, by its id or the beginning of it.

    Raises
    ------
    TrackingError
        There is no run with this id.
    """
    found = find_run(store, run)
    tags, is_finished = found.data.tags, found.info.status == "FINISHED"
    packages = {key.removeprefix("version."): text for key, text in tags.items() if key.startswith("version.")}
    return Origin(found.info.run_id, tags.get("params.digest", ""), packages, is_finished)


def read_lineage(store: RunStore, run_id: str, name: str) -> list[dict[str, Any]]:
    """Artifact ``name`` of a run, a list of rows; empty if the run or the artifact is gone.

    Raises
    ------
    TrackingError
        The artifact has other content.
    """
    from mlflow.exceptions import MlflowException

    try:
        text = _read_text(store.client.get_run(run_id), name)
    except MlflowException:
        return []
    if text is None:
        return []
    try:
        rows = json.loads(text)
    except ValueError:
        rows = None
    # Earlier versions call the related segments akin.
    rows = [
        {"related" if key == "akin" else key: value for key, value in row.items()} if isinstance(row, dict) else row
        for row in (rows if isinstance(rows, list) else [None])
    ]
    if not all(isinstance(row, dict) and set(LINEAGE_KEYS) <= set(row) for row in rows):
        raise TrackingError(f"{name} of run {run_id}: expected rows of lineage; the file is damaged.")
    return rows


def read_run(store: RunStore, run_id: str) -> RunRecord:
    """All settings, the metrics and the summary of a run. Metrics of version 0.1 get their present names.

    Raises
    ------
    TrackingError
        There is no run with this id, or an artifact is damaged.
    """
    found = find_run(store, run_id)
    settings, summary = (_read_dict(found, name) for name in ("params.json", "summary.json"))
    return RunRecord(
        params=flat_settings(settings) if settings else dict(found.data.params),
        metrics={current_name(name): value for name, value in found.data.metrics.items()},
        summary=summary,
    )


def _read_dict(run: Run, name: str) -> dict[str, Any]:
    """The content of a JSON artifact; empty if it is missing."""
    text = _read_text(run, name)
    try:
        return {} if text is None else dict(json.loads(text))
    except (TypeError, ValueError):
        raise TrackingError(f"{name} of run {run.info.run_id}: expected JSON; the file is damaged.") from None


def _read_text(run: Run, name: str) -> str | None:
    """The content of a text artifact; None if it is missing."""
    from mlflow.artifacts import load_text
    from mlflow.exceptions import MlflowException

    try:
        return str(load_text(f"{run.info.artifact_uri}/{name}"))
    except UnicodeDecodeError:
        return ""
    except (MlflowException, OSError):
        return None
