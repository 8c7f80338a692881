"""MLflow's store and runs; the registered model is in `model_registry`. Nothing else talks to MLflow."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.errors import UserError, without_passwords
from pipeline.config.params import Params

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

PACKAGES = ("duckdb", "hdbscan", "ibis-framework", "mlflow", "numpy", "pandas", "scikit-learn", "umap-learn")
RUN_ID_LENGTH = 32
DESCRIPTION = "mlflow.note.content"
MAX_DESCRIPTION_CHARS = 5000
LINEAGE = "lineage.json"
LINEAGE_KEYS = ("run_id", "as_of", "facet", "segment_id", "verdict", "is_here", "jaccard", "akin")
ABOUT_EXPERIMENT = """\
Each run is one training of customer segments: `kindred train`. Open a run for its segments; `report.html` among its
artifacts is what a CRM analyst reads. Metrics of one facet have its name before them, as in behaviour/stability_mean;
those without are of the whole run.

| metric | what it says | better |
|---|---|---|
| stability_mean, stability_min | how much of a segment is found again among parts of the customers, 0 to 1 | higher |
| silhouette | how far segments lie apart, -1 to 1; 0.1 to 0.3 is usual for customers | higher |
| davies_bouldin | spread within segments beside the distance between them | lower |
| calinski_harabasz | variance between segments beside that within; grows with customers | higher |
| density_validity | how dense segments are beside what lies between, -1 to 1; HDBSCAN only | higher |
| noise_share | share of customers that HDBSCAN left in no segment | lower |
| noise_share_fitted | share of customers that HDBSCAN found in no dense region | lower |
| smallest_share, largest_segment_share | share of customers in the smallest and the largest segment | |
| low_evidence_share | share of customers with too few events to be clustered; they are grouped by rule | |
| queries_learned, queries_by_text, queries_by_keyboard | different queries whose meaning is known: from what followed \
them, by their text, or by their text as typed on the wrong keyboard | |
| queries_abstained | different queries without a meaning, as nothing was sure | |
| n_segments, segments_with_archetype | segments found; those that a rule of params.yaml names | |
| rules_fidelity | share of customers whom the rules in words put into their segment; on held-out customers | higher |
| validity_buys_auc, validity_category_auc | who buys at all, and who in a category, in the time after a cutoff, \
foretold by the segment alone; 0.5 is chance | higher |
| validity_spend_r2 | how much of spend's spread (of its log) the segment foretold | higher |
| validity_kept_buys_auc, validity_kept_spend_r2, validity_kept_category_auc | share of what the whole profile could \
foretell at best (ceiling_buys_auc, ceiling_spend_r2, ceiling_category_auc) that segments keep | higher |
| rfm_buys_auc, rfm_spend_r2, rfm_category_auc | the same foretold by as many groups of RFM scores | |
| counts_buys_auc, counts_spend_r2, counts_category_auc | the same by as many groups of raw counts per category | |
| log_rfm_buys_auc, log_rfm_spend_r2, log_rfm_category_auc | the same by as many groups of log RFM | |
| log_rfm_activity_shares_buys_auc, log_rfm_activity_shares_spend_r2, log_rfm_activity_shares_category_auc | the same \
by as many groups of log RFM, activity and shares of interests | |
| segments_unstable | segments that rarely come back (quality.min_stability): no name to campaign on | lower |
"""


class TrackingError(UserError):
    """The MLflow store, a run or a model cannot be used."""


@dataclass(frozen=True)
class Origin:
    """A training: its id, the digest of its parameters, and the versions of the packages it was made with."""

    run_id: str
    params_digest: str
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def open_store(params: Params) -> Any:
    """The MLflow module, set to the store and experiment of ``params``; made first where there is none.

    Raises
    ------
    TrackingError
        The store does not answer.
    """
    import mlflow

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    uri = tracking_uri(params)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        with one_at_a_time(params):
            experiment = mlflow.get_experiment_by_name(params.tracking.experiment)
            if experiment is None:
                is_local = uri.startswith("sqlite:")
                location = params.path(params.tracking.artifacts).as_uri() if is_local else None
                mlflow.create_experiment(
                    params.tracking.experiment, artifact_location=location, tags={DESCRIPTION: ABOUT_EXPERIMENT}
                )
        mlflow.set_experiment(params.tracking.experiment)
    except Exception as error:  # a missing driver, a refused connection, a broken file: each has errors of its own
        raise TrackingError(
            f"tracking.uri: expected a store that answers, got none. {first_line(error)} Check `tracking` in "
            "params.yaml."
        ) from None
    return mlflow


def tracking_uri(params: Params) -> str:
    """``tracking.uri`` with a relative SQLite path made absolute."""
    uri = params.tracking.uri
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        return f"sqlite:///{params.path(uri.removeprefix('sqlite:///'))}"
    return uri


def has_store(params: Params) -> bool:
    """Whether the store's SQLite file is there; a server is taken to be."""
    uri = tracking_uri(params)
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///").partition("?")[0]).exists()


@contextmanager
def one_at_a_time(params: Params) -> Iterator[None]:
    """What several processes on this machine must not do to one store at once, such as to make it."""
    path = params.path(params.tracking.artifacts)
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _process() -> str:
    """Machine and process, without the name of the machine."""
    return f"{hashlib.sha256(platform.node().encode()).hexdigest()[:12]}:{os.getpid()}"


def close_stale_runs(mlflow: Any, params: Params) -> int:
    """Mark runs that this machine began and no longer runs as KILLED; returns how many."""
    experiment = mlflow.get_experiment_by_name(params.tracking.experiment)
    open_runs = mlflow.search_runs(
        [experiment.experiment_id], filter_string="attributes.status = 'RUNNING'", output_format="list"
    )
    machine = _process().partition(":")[0]
    stale = 0
    for run in open_runs:
        owner, _, process = run.data.tags.get("kindred.process", "").partition(":")
        if owner == machine and not _is_alive(int(process)):
            mlflow.MlflowClient().set_terminated(run.info.run_id, status="KILLED")
            stale += 1
    return stale


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


@contextmanager
def run(mlflow: Any, *, name: str, tags: Mapping[str, str], nested: bool = False) -> Iterator[str]:
    """An MLflow run: FINISHED at the end, FAILED when it breaks; gives its id."""
    ours = {"kindred.process": _process(), "mlflow.user": "kindred", "mlflow.source.name": "kindred", **tags}
    with mlflow.start_run(run_name=name, tags=ours, nested=nested) as active:
        yield active.info.run_id


def describe_run(mlflow: Any, *, name: str, text: str) -> None:
    """Name the active run, and say in Markdown what came of it."""
    mlflow.set_tags({"mlflow.runName": name, DESCRIPTION: text[:MAX_DESCRIPTION_CHARS]})


def run_tags(params: Params) -> dict[str, str]:
    """Commit, versions and digests that say where a run comes from."""
    commit = _git_commit(Path(__file__).parent)
    tags = {f"version.{name}": value for name, value in versions().items()}
    tags |= {"as_of": params.as_of.isoformat(), "params.digest": params.digest()}
    return tags | ({"git.commit": commit} if commit else {})


def _git_commit(folder: Path) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def log_parameters(mlflow: Any, values: Mapping[str, str]) -> None:
    """Parameters as texts, cut at MLflow's 6000 characters."""
    mlflow.log_params({key: value[:6000] for key, value in values.items()})


def log_figures(mlflow: Any, figures: Mapping[str, Figure]) -> None:
    """Figures as PNG under figures/."""
    for name, figure in figures.items():
        mlflow.log_figure(figure, f"figures/{name}.png")


def log_source(mlflow: Any, *, digest: str, columns: pd.DataFrame) -> None:
    """The source's digest and column names; no rows, no address.

    Parameters
    ----------
    columns : DataFrame
        Empty, with the columns of the checked events.
    """
    dataset = mlflow.data.from_pandas(columns, source="events", name="events", digest=digest[:12])
    mlflow.log_input(dataset, context="training")


def whole_run_id(mlflow: Any, beginning: str) -> str:
    """The one run whose id begins so; what was given where there is none, or more than one."""
    if len(beginning) >= RUN_ID_LENGTH:
        return beginning
    known = mlflow.search_runs(search_all_experiments=True, output_format="list")
    found = [run.info.run_id for run in known if run.info.run_id.startswith(beginning)]
    return found[0] if len(found) == 1 else beginning


def known_run(mlflow: Any, run: str) -> Any:
    """The run, its id given whole or by its beginning.

    Raises
    ------
    TrackingError
        There is no such run.
    """
    from mlflow.exceptions import MlflowException

    try:
        return mlflow.get_run(whole_run_id(mlflow, run))
    except MlflowException as error:
        raise TrackingError(
            f"{run}: expected the id of a run, or its beginning. {first_line(error)} See them in `make ui`."
        ) from None


def origin(mlflow: Any, run: str) -> Origin:
    """Where the results of a run, its id given whole or by its beginning, come from.

    Raises
    ------
    TrackingError
        There is no such run.
    """
    found = known_run(mlflow, run)
    tags = found.data.tags
    made_with = {key.removeprefix("version."): text for key, text in tags.items() if key.startswith("version.")}
    return Origin(found.info.run_id, tags.get("params.digest", ""), made_with)


def log_comparison(mlflow: Any, run_ids: Sequence[str], html: str) -> list[str]:
    """Keep a comparison with each of its runs; gives where."""
    places = []
    for run_id in run_ids:
        name = f"compare/with-{'-'.join(other[:8] for other in run_ids if other != run_id)[:80]}.html"
        mlflow.MlflowClient().log_text(run_id, html, name)
        places.append(f"{mlflow.get_run(run_id).info.artifact_uri}/{name}".removeprefix("file://"))
    return places


def read_lineage(mlflow: Any, run_id: str, name: str) -> list[dict[str, Any]]:
    """Artifact ``name`` of a run, a list of rows; empty where the run or the artifact is gone.

    Raises
    ------
    TrackingError
        It is there, and holds something else.
    """
    from mlflow.exceptions import MlflowException

    try:
        text = mlflow.artifacts.load_text(f"{mlflow.get_run(run_id).info.artifact_uri}/{name}")
    except (MlflowException, OSError):
        return []
    except ValueError:
        text = ""
    try:
        rows = json.loads(text)
    except ValueError:
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and set(LINEAGE_KEYS) <= set(row) for row in rows):
        raise TrackingError(f"{name} of run {run_id}: expected the rows of a line of trainings; the file is damaged.")
    return rows


def read_run(mlflow: Any, run_id: str) -> tuple[dict[str, str], dict[str, float], dict[str, Any]]:
    """Parameters, metrics, and the summary (artifact ``summary.json``) of a run.

    Raises
    ------
    TrackingError
        There is no such run, or its summary is damaged.
    """
    from mlflow.exceptions import MlflowException

    found = known_run(mlflow, run_id)
    try:
        summary = json.loads(mlflow.artifacts.load_text(f"{found.info.artifact_uri}/summary.json"))
    except (MlflowException, OSError):
        summary = {}
    except ValueError:
        raise TrackingError(f"summary.json of run {run_id}: expected JSON; the file is damaged.") from None
    return dict(found.data.params), dict(found.data.metrics), summary


def first_line(error: BaseException) -> str:
    """What went wrong, as a sentence without passwords; what follows in MLflow's texts is its own traceback."""
    return without_passwords(str(error)).strip().partition("\n")[0][:300].rstrip(". ") + "."
