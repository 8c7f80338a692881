"""What is told to run next is run as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.report.next_steps import command, to_see_runs

PARAMS = Path(__file__).parents[3] / "params.yaml"


def given_again(told: str) -> Params:
    """The parameters of a command as it was told."""
    words = shlex.split(told)
    path = words[words.index("--params") + 1] if "--params" in words else "params.yaml"
    return load_params(Path(path), [words[at + 1] for at, word in enumerate(words) if word == "--set"])


def test_a_command_has_the_file_and_the_overrides_of_the_one_that_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(f"base: {PARAMS}\n")
    assert command(load_params(Path("params.yaml")), "score") == "kindred score"
    Path("my shop.yaml").write_text(f"base: {PARAMS}\nseed: 3\n")
    query = "source.events.query=select *, 'purchase' as event_type from 'my orders.csv'"
    params = load_params(Path("my shop.yaml"), ["history_days=90", query])
    told = command(params, "report", "0123", "--xlsx")
    assert told.startswith("kindred report 0123 --xlsx --params 'my shop.yaml' --set history_days=90 --set ")
    assert given_again(told) == params
    later = command(params, "train", overrides={"history_days": "30"})
    assert given_again(later).history_days == 30
    assert params.digest() == params.model_copy(update={"called_with": ()}).digest()


def test_no_password_is_told() -> None:
    params = load_params(PARAMS, ["tracking.uri=postgresql://ann:secret@host/db"])
    assert "--set 'tracking.uri=postgresql://***@host/db'" in command(params, "score")
    assert to_see_runs(params).endswith("mlflow ui --backend-store-uri 'postgresql://***@host/db'")
    assert "secret" not in repr(params.redacted())
    query = "source.events.query=select * from postgres_scan('host=h password=''se cret''', 'public', 'events')"
    told = command(load_params(PARAMS, [query]), "score")
    assert "cret" not in told
    assert shlex.split(told)[-1] == query.replace("''se cret''", "***")


def test_runs_are_seen_in_the_store_that_holds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PARAMS.parent)
    assert to_see_runs(load_params(PARAMS)) == "make ui"
    assert to_see_runs(load_params(PARAMS, ["tracking.uri=http://ann:secret@host"])) == "http://***@host"
    monkeypatch.chdir(tmp_path)
    own = load_params(PARAMS, [f"tracking.uri=sqlite:///{tmp_path / 'own.db'}"])
    assert to_see_runs(own).endswith(f"mlflow ui --backend-store-uri sqlite:///{tmp_path / 'own.db'}")
