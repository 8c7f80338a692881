"""What is wrong with an MLflow store, in plain words."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

from pipeline.config.errors import UserError
from pipeline.config.redaction import redact_message
from pipeline.stores.database import is_disk_full

LOCKED = (
    "expected a store that other programs leave free for a moment, but one keeps {} locked. Close it, and run again."
)
NAMED = re.compile(r"\b((?:Model|Run) with (?:name|id)|Model Version \(name)=(\S+?)(?:, version=(\d+))?(?=[\s)])")
"""How MLflow names a registered model, a version of it, and a run."""


class TrackingError(UserError):
    """An MLflow store, run or model that cannot be used."""


@contextmanager
def store_errors(artifacts: Path | None) -> Iterator[None]:
    """Say what is wrong with a store that was open, in place of errors of MLflow and of the system.

    Raises
    ------
    TrackingError
        The database is locked, or a disk is full.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        if "database is locked" in str(error):
            raise TrackingError(f"tracking.uri: {LOCKED.format('its database')}") from None
        if not (is_disk_full(error) or "disk is full" in str(error)):
            raise
        places = [place for place in (artifacts, Path(gettempdir())) if place is not None and place.is_dir()]
        fullest = min(places, key=lambda place: shutil.disk_usage(place).free)
        raise TrackingError(
            f"expected space for a run of MLflow, but a disk is full: {fullest} has "
            f"{shutil.disk_usage(fullest).free / 2**20:,.1f} MiB left. Free some space, or change `tracking` in "
            "params.yaml, or the environment variable TMPDIR for temporary files."
        ) from None


def first_line(error: BaseException) -> str:
    """The first line of an error, without secrets; in MLflow's errors, the other lines are a traceback."""
    text = NAMED.sub(lambda found: f"{found[1]} {found[2]}{f', version {found[3]}' if found[3] else ''}", str(error))
    return redact_message(text).strip().partition("\n")[0][:300].rstrip(". ") + "."
