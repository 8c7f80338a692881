"""Arguments that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config.params import Params
    from pipeline.config.progress import Progress


@dataclass(frozen=True)
class Outcome:
    """What a command prints, and its exit code."""

    text: str
    exit_code: int


Run = Callable[[argparse.Namespace, "Progress"], str | Outcome]
LANGUAGES = ("en", "uk", "ru", "sq")
"""Those of `models.naming`, which imports pandas and would make ``--help`` slow."""
RUN_HELP = "run id, or its first characters"


def add_command(
    commands: Any, name: str, run: Run, *, summary: str, needs_params: bool = True
) -> argparse.ArgumentParser:
    """A command that ``run`` runs, with --params and --set unless it needs no params."""
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    command.set_defaults(run=run)
    if needs_params:
        command.add_argument(
            "--params",
            type=Path,
            default=Path("params.yaml"),
            metavar="FILE",
            help="settings file (default: params.yaml)",
        )
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override one setting for this run; can be repeated",
        )
    return command


def read_params(options: argparse.Namespace, *more: str) -> Params:
    """The parameters of a command; ``more`` settings win over those of ``--set``."""
    from pipeline.config.load import load_params

    return load_params(options.params, [*options.set, *more])


def add_model(command: argparse.ArgumentParser) -> None:
    """An option for the model."""
    command.add_argument(
        "--model", metavar="URI", help="model to use (default: models:/<model_name>@champion, see tracking.model_name)"
    )


def add_out(command: argparse.ArgumentParser, text: str) -> None:
    """An option for the output file; ``text`` describes it."""
    command.add_argument("--out", type=Path, metavar="FILE", help=text)


def add_language(command: argparse.ArgumentParser, text: str) -> None:
    """An option for a language; ``text`` says of what."""
    command.add_argument("--language", choices=LANGUAGES, help=text)
