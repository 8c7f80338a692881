"""Suggested next commands, with the params file and the overrides of the current command."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from models.segment_names import SegmentNames
from pipeline.config.load import DEFAULT
from pipeline.config.params import Params
from pipeline.config.redaction import redact_setting, redact_text
from pipeline.stores.mlflow_runs import tracking_uri

MAKEFILE = "Makefile"
MAX_COMMAND_CHARS = 60
"""Purposes of longer commands are not aligned."""


def command(params: Params, *words: str, overrides: Mapping[str, str] | None = None) -> str:
    """A ``kindred`` command line for the shell; what may be a secret is ``***`` and must be entered again."""
    sets = [word for key, value in (overrides or {}).items() for word in ("--set", f"{key}={value}")]
    # Before they are quoted, as that could hide where a secret ends.
    given = [redact_setting(word) for word in (*params.called_with, *sets)]
    return shlex.join([_program("kindred"), *words, *given])


def audience_command(options: Sequence[str], params_file: str | None) -> str:
    """The command that writes a list, for a report that is read elsewhere; ``params_file``: `shown_params_file`."""
    return shlex.join(["kindred", "audience", *options, *(["--params", params_file] if params_file else [])])


def shown_params_file(params: Params) -> str | None:
    """The params file as it was named, without the folders of this machine; None if it is the default one."""
    path = Path(params.file_name)
    if path == DEFAULT:
        return None
    return path.name if path.is_absolute() else str(path)


def runs_command(params: Params) -> str:
    """The command or address that shows the runs: `make ui` if it opens the store they are in."""
    uri = tracking_uri(params)
    if uri == f"sqlite:///{Path.cwd() / 'mlflow.db'}" and Path(MAKEFILE).exists():
        return "make ui"
    if uri.startswith("http"):
        return redact_text(uri)
    return shlex.join([_program("mlflow"), "ui", "--backend-store-uri", redact_text(uri)])


def next_lines(commands: Mapping[str, str]) -> list[str]:
    """The next commands, each with what it is for."""
    widest = min(max(map(len, commands)), MAX_COMMAND_CHARS)
    return [
        f"{'' if at else 'Next':<9}{text:<{widest}}  # {purpose}" for at, (text, purpose) in enumerate(commands.items())
    ]


def _program(name: str) -> str:
    """``name`` if the shell finds it, else its path next to this program."""
    neighbour = Path(sys.argv[0]).with_name(name)
    return str(neighbour) if shutil.which(name) is None and neighbour.exists() else name


def proposals_text(params: Params, segments: pd.DataFrame, *, is_champion: bool) -> list[str]:
    """Proposed names as lines, each with the command that accepts it."""
    rows: list[dict[Any, Any]] = segments.to_dict("records")
    names = [(row, SegmentNames.from_dict(row).proposal(params.language)) for row in rows]
    lines = [
        f"         {command(params, 'rename', segment['segment_id'], name)}  # now {segment['name']}"
        for segment, name in names
        if name
    ]
    when = "" if is_champion else " Names of new segments can be accepted once this run is promoted."
    return [f"Names    proposed by naming.proposer. To accept a name, run its command.{when}", *lines] if lines else []
