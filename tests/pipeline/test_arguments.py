"""The command line: what it accepts, and that --help is quick."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.naming import LANGUAGES as LANGUAGES_OF_NAMES
from pipeline.arguments import START, parser
from pipeline.arguments.common import LANGUAGES
from pipeline.arguments.segments import PRESETS
from pipeline.presets.shapes import preset_names

PROJECT = Path(__file__).parents[2]
COMMANDS = {
    *("simulate", "init", "check", "train", "score", "report", "explain"),
    *("rename", "compare", "promote", "history", "migration", "backtest"),
}


def test_help_imports_neither_pandas_nor_mlflow() -> None:
    code = (
        "import sys\nfrom pipeline.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'pandas', 'mlflow', 'duckdb', 'ibis', 'numpy', 'pydantic', 'rich'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert run.stderr.splitlines()[-1] == "[]"
    assert " ".join(START.split()) in " ".join(run.stdout.split())


def test_every_language_of_names_can_be_chosen() -> None:
    assert LANGUAGES == LANGUAGES_OF_NAMES


def test_every_preset_can_be_chosen() -> None:
    assert sorted(PRESETS) == preset_names()


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args([command, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"usage: kindred {command}")
    assert ("--params FILE" in text) == ("--set KEY=VALUE" in text) == (command not in {"simulate", "init"})


def test_every_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args(["--help"])
    assert set(capsys.readouterr().out.split()) >= COMMANDS


def test_arguments_of_a_command() -> None:
    options = parser().parse_args(["rename", "Regulars", "Friends", "--set", "a=1", "--set", "b=2"])
    assert (options.segment, options.name, options.reset, options.set) == ("Regulars", "Friends", False, ["a=1", "b=2"])
    options = parser().parse_args(["compare", "one", "two", "--flow", "--params", "shop.yaml"])
    assert (options.runs, options.flow, options.params) == (["one", "two"], True, Path("shop.yaml"))
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["report", "one", "--language", "fr"])
