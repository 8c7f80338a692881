"""Writes a run to the MLflow store: its parameters, metrics, artifacts and the description of its data."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.disclosure import significant, significant_figures
from pipeline.config.params import Params
from pipeline.stores.database import is_interrupted
from pipeline.stores.local.locks import is_running
from pipeline.stores.local.moved_store import folder_of
from pipeline.stores.mlflow_runs import DESCRIPTION, RunStore, search_runs, versions
from pipeline.stores.store_errors import store_errors

if TYPE_CHECKING:
    import ibis
    import pandas as pd
    from matplotlib.figure import Figure

MAX_DESCRIPTION_CHARS = 5000
MAX_PARAM_CHARS = 6000
PROCESS = "kindred.process"


@dataclass(frozen=True)
class OpenRun:
    """A run that is being written."""

    store: RunStore
    run_id: str

    def rename(self, name: str) -> None:
        """Give the run another name."""
        self.store.client.set_tag(self.run_id, "mlflow.runName", name)

    def describe(self, text: str) -> None:
        """Give the run a description in Markdown."""
        self.store.client.set_tag(self.run_id, DESCRIPTION, text[:MAX_DESCRIPTION_CHARS])

    def log_params(self, values: Mapping[str, str]) -> None:
        """Log parameters as texts, cut at MLflow's limit."""
        from mlflow.entities import Param

        params = [Param(key, value[:MAX_PARAM_CHARS]) for key, value in values.items()]
        self.store.client.log_batch(self.run_id, params=params)

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Log metrics to three significant digits (`models.disclosure`); `run_metrics` describes each."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, significant(value, 3), now, step=0) for name, value in values.items()]
        self.store.client.log_batch(self.run_id, metrics=metrics)

    def log_json(self, value: Any, name: str) -> None:
        """Log a dict or a list as a JSON artifact."""
        self.log_text(json.dumps(value, ensure_ascii=False, indent=1), name)

    def log_text(self, text: str, name: str) -> None:
        """Log a text artifact."""
        self.store.client.log_text(self.run_id, text, name)

    def location(self, name: str) -> str:
        """Where an artifact is: its path in a local store, else its address."""
        location = f"{self.store.client.get_run(self.run_id).info.artifact_uri}/{name}"
        return str(folder_of(location) or location)

    def log_table(self, table: pd.DataFrame, name: str) -> None:
        """Log a table that MLflow shows among the run's artifacts, figures as in metrics; ``name`` ends in .json."""
        self.store.client.log_table(self.run_id, table.map(significant_figures), name)

    def log_figures(self, figures: Mapping[str, Figure]) -> None:
        """Log figures as PNG under figures/."""
        for name, figure in figures.items():
            self.store.client.log_figure(self.run_id, figure, f"figures/{name}.png")

    def log_dataset(self, schema: ibis.Schema, *, row_count: int, digest: str) -> None:
        """Log the number of events, their columns and the source's digest; no rows, no address."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        columns = [
            {"name": name, "type": _column_type(kind), "required": not kind.nullable} for name, kind in schema.items()
        ]
        dataset = Dataset(
            name="events",
            digest=digest[:12],
            source_type="kindred",
            source=json.dumps({"table": "events"}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps({"num_rows": row_count, "num_elements": row_count * len(columns)}),
        )
        tagged = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
        self.store.client.log_inputs(self.run_id, [tagged])


def _column_type(kind: ibis.expr.datatypes.DataType) -> str:
    """The name of a column's type in MLflow."""
    if kind.is_floating() or kind.is_decimal():
        return "double"
    if kind.is_integer():
        return "long"
    return "datetime" if kind.is_timestamp() else "boolean" if kind.is_boolean() else "string"


@contextmanager
def start_run(
    store: RunStore, *, name: str, tags: Mapping[str, str], parent: OpenRun | None = None
) -> Iterator[OpenRun]:
    """A new run: FINISHED at the end, FAILED after an error, KILLED after an interruption.

    Parameters
    ----------
    parent : OpenRun, optional
        The run that this one belongs to.
    """
    own = {
        PROCESS: _process_id(),
        "mlflow.user": "kindred",
        "mlflow.source.name": "kindred",
        "mlflow.source.type": "LOCAL",
    }
    nesting = {"mlflow.parentRunId": parent.run_id} if parent else {}
    created = store.client.create_run(store.experiment_id, run_name=name, tags={**own, **nesting, **tags})
    run = OpenRun(store, created.info.run_id)
    status = "KILLED"
    try:
        with store_errors(store.artifacts):
            yield run
        status = "FINISHED"
    except Exception as error:
        status = "KILLED" if is_interrupted(error) else "FAILED"
        raise
    finally:
        _close(run, status)


def _close(run: OpenRun, status: str) -> None:
    """Give a run its final status; if the store cannot be written, `close_stale_runs` does so another time."""
    from mlflow.exceptions import MlflowException

    with suppress(*(() if status == "FINISHED" else (MlflowException,))):
        run.store.client.set_terminated(run.run_id, status)
        run.store.client.delete_tag(run.run_id, PROCESS)


def close_stale_runs(store: RunStore) -> int:
    """Mark runs as KILLED whose process on this machine is gone; return their number."""
    machine = _process_id().partition(":")[0]
    stale = 0
    for run in list(search_runs(store, [store.experiment_id], "attributes.status = 'RUNNING'")):
        owner, _, process = run.data.tags.get(PROCESS, "").partition(":")
        if owner == machine and (int(process) == os.getpid() or not is_running(int(process))):
            store.client.set_terminated(run.info.run_id, "KILLED")
            stale += 1
    return stale


def _process_id() -> str:
    """Machine and process; the machine name is hashed."""
    return f"{hashlib.sha256(platform.node().encode()).hexdigest()[:12]}:{os.getpid()}"


def run_tags(params: Params) -> dict[str, str]:
    """Commit, versions and digests from which a run can be reproduced."""
    commit = _git_commit(Path(__file__).parent)
    tags = {f"version.{name}": value for name, value in versions().items()}
    tags |= {"as_of": params.as_of.isoformat(), "params.digest": params.digest()}
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def _git_commit(folder: Path) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
