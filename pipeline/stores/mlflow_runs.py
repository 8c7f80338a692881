"""MLflow's store and runs; `model_registry` has the registered model. No other module uses MLflow."""

from __future__ import annotations

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
from pipeline.stores.locks import lock

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
LINEAGE_KEYS = ("run_id", "as_of", "facet", "segment_id", "verdict", "is_here", "jaccard", "related")
ABOUT_EXPERIMENT = """\
Each run is one training of customer segments by `kindred train`. Open a run to see its segments; its artifact
`report.html` is the report for CRM analysts. Metrics of a facet start with the facet's name, as in
behaviour/stability_mean; metrics without a prefix are of the whole run.

| metric | meaning | better |
|---|---|---|
| stability_mean, stability_min | share of a segment that re-clustering samples of customers recovers, 0 to 1 | higher |
| silhouette | separation of segments, -1 to 1; 0.1 to 0.3 is usual for customers | higher |
| davies_bouldin | spread within segments compared with the distance between them | lower |
| calinski_harabasz | variance between segments compared with that within; grows with the number of customers | higher |
| density_validity | density within segments compared with that between them, -1 to 1; HDBSCAN only | higher |
| noise_share | share of customers that HDBSCAN assigned to no segment | lower |
| noise_share_fitted | share of the customers fitted on that HDBSCAN found outside dense regions | lower |
| smallest_share, largest_segment_share | share of customers in the smallest and the largest segment | |
| low_evidence_share | share of customers with too few events to cluster; they are in rule-based groups | |
| queries_learned, queries_by_text, queries_by_keyboard | different queries with a meaning: learned from the actions \
after them, guessed from their text, or guessed from their text as typed in the wrong keyboard layout | |
| queries_abstained | different queries without a meaning, as no guess was confident enough | |
| n_segments, segments_with_archetype | segments found; segments named by an archetype | |
| rules_fidelity | share of held-out customers that the readable rules put into their own segment | higher |
| validity_buys_auc, validity_category_auc | prediction by the segment alone of who buys after a cutoff, \
at all and in a category; 0.5 is chance | higher |
| validity_spend_r2 | share of the variance of log spend that the segment predicted | higher |
| validity_kept_buys_auc, validity_kept_spend_r2, validity_kept_category_auc | share of the best possible prediction \
from the full profile (ceiling_buys_auc, ceiling_spend_r2, ceiling_category_auc) that segments retain | higher |
| rfm_buys_auc, rfm_spend_r2, rfm_category_auc | the same prediction by as many groups of RFM scores | |
| counts_buys_auc, counts_spend_r2, counts_category_auc | the same by as many groups of raw counts per category | |
| log_rfm_buys_auc, log_rfm_spend_r2, log_rfm_category_auc | the same by as many groups of log RFM | |
| log_rfm_activity_shares_buys_auc, log_rfm_activity_shares_spend_r2, log_rfm_activity_shares_category_auc | the same \
by as many groups of log RFM, activity and shares of interests | |
| segments_unstable | segments that re-clustering rarely recovers (quality.min_stability): no campaign name | lower |
"""


class TrackingError(UserError):
    """An MLflow store, run or model that cannot be used."""


@dataclass(frozen=True)
class Origin:
    """A training: its run id, the digest of its parameters, and the package versions it used."""

    run_id: str
    params_digest: str
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def open_store(params: Params) -> Any:
    """The MLflow module, set to the store and experiment of ``params``, which are created if missing.

    Raises
    ------
    TrackingError
        The store does not respond.
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
    except Exception as error:  # a missing driver, a refused connection and a broken file raise different errors
        raise TrackingError(
            f"tracking.uri: expected an MLflow store that responds. {first_line(error)} Check `tracking` in "
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
    """Whether the store's SQLite file exists; a server is assumed to exist."""
    uri = tracking_uri(params)
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///").partition("?")[0]).exists()


@contextmanager
def one_at_a_time(params: Params) -> Iterator[None]:
    """A lock for what only one process on this machine may do to a store at a time, such as creating it."""
    path = params.path(params.tracking.artifacts)
    path.mkdir(parents=True, exist_ok=True)
    with lock(path / ".lock", wait=True):
        yield


def _process_id() -> str:
    """Machine and process; the machine name is hashed."""
    return f"{hashlib.sha256(platform.node().encode()).hexdigest()[:12]}:{os.getpid()}"


def close_stale_runs(mlflow: Any, params: Params) -> int:
    """Mark runs as KILLED whose process on this machine is gone; return their number."""
    experiment = mlflow.get_experiment_by_name(params.tracking.experiment)
    open_runs = mlflow.search_runs(
        [experiment.experiment_id], filter_string="attributes.status = 'RUNNING'", output_format="list"
    )
    machine = _process_id().partition(":")[0]
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
    """An MLflow run: FINISHED at the end, FAILED after an error. Yields its id."""
    all_tags = {"kindred.process": _process_id(), "mlflow.user": "kindred", "mlflow.source.name": "kindred", **tags}
    with mlflow.start_run(run_name=name, tags=all_tags, nested=nested) as active:
        yield active.info.run_id


def describe_run(mlflow: Any, *, name: str, text: str) -> None:
    """Give the active run a name and a description in Markdown."""
    mlflow.set_tags({"mlflow.runName": name, DESCRIPTION: text[:MAX_DESCRIPTION_CHARS]})


def run_tags(params: Params) -> dict[str, str]:
    """Commit, versions and digests from which a run can be reproduced."""
    commit = _git_commit(Path(__file__).parent)
    tags = {f"version.{name}": value for name, value in versions().items()}
    tags |= {"as_of": params.as_of.isoformat(), "params.digest": params.digest()}
    return tags | ({"git.commit": commit} if commit else {})


def _git_commit(folder: Path) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def log_parameters(mlflow: Any, values: Mapping[str, str]) -> None:
    """Log parameters as texts, cut at MLflow's limit of 6000 characters."""
    mlflow.log_params({key: value[:6000] for key, value in values.items()})


def log_figures(mlflow: Any, figures: Mapping[str, Figure]) -> None:
    """Log figures as PNG under figures/."""
    for name, figure in figures.items():
        mlflow.log_figure(figure, f"figures/{name}.png")


def log_source(mlflow: Any, *, digest: str, columns: pd.DataFrame) -> None:
    """Log the source's digest and column names; no rows, no address.

    Parameters
    ----------
    columns : DataFrame
        Empty, with the columns of the checked events.
    """
    dataset = mlflow.data.from_pandas(columns, source="events", name="events", digest=digest[:12])
    mlflow.log_input(dataset, context="training")


def full_run_id(mlflow: Any, beginning: str) -> str:
    """The id of the only run that begins with ``beginning``; ``beginning`` if there is none or more than one."""
    if len(beginning) >= RUN_ID_LENGTH:
        return beginning
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    matches = [run.info.run_id for run in runs if run.info.run_id.startswith(beginning)]
    return matches[0] if len(matches) == 1 else beginning


def find_run(mlflow: Any, run: str) -> Any:
    """The run with this id, or with this beginning of an id.

    Raises
    ------
    TrackingError
        There is no run with this id.
    """
    from mlflow.exceptions import MlflowException

    try:
        return mlflow.get_run(full_run_id(mlflow, run))
    except MlflowException as error:
        raise TrackingError(
            f"{run}: expected the id of a run, or its beginning. {first_line(error)} `make ui` shows all runs."
        ) from None


def origin(mlflow: Any, run: str) -> Origin:
    """Run id, digest of parameters and package versions of a run, by its id or the beginning of it.

    Raises
    ------
    TrackingError
        There is no run with this id.
    """
    mlflow_run = find_run(mlflow, run)
    tags = mlflow_run.data.tags
    packages = {key.removeprefix("version."): text for key, text in tags.items() if key.startswith("version.")}
    return Origin(mlflow_run.info.run_id, tags.get("params.digest", ""), packages)


def log_comparison(mlflow: Any, run_ids: Sequence[str], html: str) -> list[str]:
    """Log a comparison to each of its runs; return the addresses."""
    places = []
    for run_id in run_ids:
        name = f"compare/with-{'-'.join(other[:8] for other in run_ids if other != run_id)[:80]}.html"
        mlflow.MlflowClient().log_text(run_id, html, name)
        places.append(f"{mlflow.get_run(run_id).info.artifact_uri}/{name}".removeprefix("file://"))
    return places


def read_lineage(mlflow: Any, run_id: str, name: str) -> list[dict[str, Any]]:
    """Artifact ``name`` of a run, a list of rows; empty if the run or the artifact is gone.

    Raises
    ------
    TrackingError
        The artifact has other content.
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
    # Earlier versions call the related segments akin.
    rows = [
        {"related" if key == "akin" else key: value for key, value in row.items()} if isinstance(row, dict) else row
        for row in (rows if isinstance(rows, list) else [None])
    ]
    if not all(isinstance(row, dict) and set(LINEAGE_KEYS) <= set(row) for row in rows):
        raise TrackingError(f"{name} of run {run_id}: expected rows of lineage; the file is damaged.")
    return rows


def read_run(mlflow: Any, run_id: str) -> tuple[dict[str, str], dict[str, float], dict[str, Any]]:
    """Parameters, metrics, and the summary (artifact ``summary.json``) of a run.

    Raises
    ------
    TrackingError
        There is no run with this id, or its summary is damaged.
    """
    from mlflow.exceptions import MlflowException

    mlflow_run = find_run(mlflow, run_id)
    try:
        summary = json.loads(mlflow.artifacts.load_text(f"{mlflow_run.info.artifact_uri}/summary.json"))
    except (MlflowException, OSError):
        summary = {}
    except ValueError:
        raise TrackingError(f"summary.json of run {run_id}: expected JSON; the file is damaged.") from None
    return dict(mlflow_run.data.params), dict(mlflow_run.data.metrics), summary


def first_line(error: BaseException) -> str:
    """The first line of an error, without passwords; in MLflow's errors, the other lines are a traceback."""
    return without_passwords(str(error)).strip().partition("\n")[0][:300].rstrip(". ") + "."
