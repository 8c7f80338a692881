"""Commands that are told to run next: with the params file and the overrides of the one that tells them."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config.errors import without_passwords
from pipeline.config.params import Params
from pipeline.report.texts.wording import proposed_name
from pipeline.stores.mlflow_runs import tracking_uri

MAKEFILE = "Makefile"


def command(params: Params, *words: str, overrides: Mapping[str, str] | None = None) -> str:
    """``kindred`` with ``words``, as a shell runs it; a password that was set stays out, and is to be put in again."""
    sets = [word for key, value in (overrides or {}).items() for word in ("--set", f"{key}={value}")]
    return _joined([_program("kindred"), *words, *params.called_with, *sets])


def to_see_runs(params: Params) -> str:
    """What shows the runs: `make ui` where they are in the store that it opens."""
    uri = tracking_uri(params)
    if uri == f"sqlite:///{Path.cwd() / 'mlflow.db'}" and Path(MAKEFILE).exists():
        return "make ui"
    if uri.startswith("http"):
        return without_passwords(uri)
    return _joined([_program("mlflow"), "ui", "--backend-store-uri", uri])


def _joined(words: Sequence[str]) -> str:
    """Words as a shell reads them. Passwords go before they are quoted: quotes in one would end it too early."""
    return shlex.join(without_passwords(word) for word in words)


def _program(name: str) -> str:
    """``name`` where the shell finds it, else where it lies beside this program."""
    beside = Path(sys.argv[0]).with_name(name)
    return str(beside) if shutil.which(name) is None and beside.exists() else name


def proposals_text(params: Params, segments: pd.DataFrame, *, is_champion: bool) -> list[str]:
    """What was proposed, as lines with the command that takes each."""
    rows: list[dict[Any, Any]] = segments.to_dict("records")
    names = [(one, proposed_name(one, params.language)) for one in rows]
    lines = [
        f"         {command(params, 'rename', one['segment_id'], name)}  # now {one['name']}"
        for one, name in names
        if name
    ]
    when = "when you take it" if is_champion else "when you take it; of a new segment, once this run is promoted"
    return [f"Names    proposed by naming.proposer, each a name {when}:", *lines] if lines else []
