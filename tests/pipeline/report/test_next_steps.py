"""Suggested commands can be run unchanged."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.report.next_steps import audience_command, command, runs_command, shown_params_file

PARAMS = Path(__file__).parents[3] / "params.yaml"


def params_of_command(text: str) -> Params:
    """The parameters that a suggested command results in."""
    words = shlex.split(text)
    path = words[words.index("--params") + 1] if "--params" in words else "params.yaml"
    return load_params(Path(path), [words[at + 1] for at, word in enumerate(words) if word == "--set"])


def test_a_suggested_command_has_the_params_file_and_overrides_of_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(f"base: {PARAMS}\n")
    assert command(load_params(Path("params.yaml")), "score") == "kindred score"
    Path("my shop.yaml").write_text(f"base: {PARAMS}\nseed: 3\n")
    query = "source.events.query=select *, 'purchase' as event_type from 'my orders.csv'"
    params = load_params(Path("my shop.yaml"), ["history_days=90", query])
    text = command(params, "report", "0123", "--xlsx")
    assert text.startswith("kindred report 0123 --xlsx --params 'my shop.yaml' --set history_days=90 --set ")
    assert params_of_command(text) == params
    later = command(params, "train", overrides={"history_days": "30"})
    assert params_of_command(later).history_days == 30
    assert params.digest() == params.model_copy(update={"called_with": ()}).digest()


def test_no_password_is_shown() -> None:
    params = load_params(PARAMS, ["tracking.uri=postgresql://ann:secret@host/db"])
    assert "--set 'tracking.uri=postgresql://***@host/db'" in command(params, "score")
    assert runs_command(params).endswith("mlflow ui --backend-store-uri 'postgresql://***@host/db'")
    assert "secret" not in repr(params.redacted())
    query = "source.events.query=select * from postgres_scan('host=h password=''se cret''', 'public', 'events')"
    text = command(load_params(PARAMS, [query]), "score")
    assert "cret" not in text
    assert shlex.split(text)[-1] == "source.events.query=select * from postgres_scan('***', '***', '***')"


def test_the_runs_command_opens_the_right_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PARAMS.parent)
    assert runs_command(load_params(PARAMS)) == "make ui"
    assert runs_command(load_params(PARAMS, ["tracking.uri=http://ann:secret@host"])) == "http://***@host"
    monkeypatch.chdir(tmp_path)
    own = load_params(PARAMS, [f"tracking.uri=sqlite:///{tmp_path / 'own.db'}"])
    assert runs_command(own).endswith(f"mlflow ui --backend-store-uri sqlite:///{tmp_path / 'own.db'}")


def test_a_command_in_the_report_names_the_params_file_but_no_folder_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()
    for name in ("params.yaml", "logs/my shop.yaml"):
        Path(name).write_text(f"base: {PARAMS}\n")
    named = [Path("params.yaml"), Path("logs/my shop.yaml"), tmp_path / "logs" / "my shop.yaml"]
    files = [shown_params_file(load_params(path, ["seed=3"])) for path in named]
    assert files == [None, "logs/my shop.yaml", "my shop.yaml"]
    assert audience_command(["keep_vips"], files[0]) == "kindred audience keep_vips"
    text = audience_command(["--segment", "s01"], files[1])
    assert params_of_command(text) == load_params(named[1]) and text.startswith(
        "kindred audience --segment s01 --params"
    )
