"""Scores as a folder of Parquet files: the rows of one file, readable by every command, and whole at any moment."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.audiences.scores import read_scores
from pipeline.commands.actions.forget import forget
from pipeline.commands.migration import migration
from pipeline.commands.score import ScoringResult, score
from pipeline.commands.train import TrainingResult
from pipeline.config.errors import ParamsError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.page.scores import Scores
from pipeline.stores import files
from pipeline.stores.files import OutputError, file_digest, replacing_folder
from pipeline.stores.workspace import confined_database
from tests.chaos.server import CHANGES

EARLIER, LATER = "as_of=2025-11-01T00:00:00Z", "as_of=2025-11-20T00:00:00Z"
Given = Callable[..., Params]


def in_folder(make: Given, folder: Path, *more: str) -> Params:
    return make(f"outputs.scores={folder}", "score.hysteresis=0.3", *more)


def score_to(params: Params, model_uri: str) -> ScoringResult:
    return score(params, model_uri=model_uri, out=params.scores_path, progress=SILENT)


def test_the_rows_of_one_file(params: Given, champion: TrainingResult, tmp_path: Path) -> None:
    """Also of customers who keep their previous segment, and with the same changes."""
    results = []
    for out in (tmp_path / "scores", tmp_path / "one.parquet"):
        earlier, later = (in_folder(params, out, as_of) for as_of in (EARLIER, LATER))
        score_to(earlier, champion.model_uri)
        results.append(score_to(later, champion.model_uri))
        for kept in (tmp_path / "outputs" / "changes").iterdir():
            kept.unlink()
    folder, file = results
    assert pq.read_table(folder.path).equals(pq.read_table(file.path))
    assert folder.summary == file.summary and folder.summary.held is not None
    assert folder.summary.held.customer_count > 0
    assert folder.changes == file.changes and folder.changes is not None and folder.changes.customer_count > 0
    manifest = json.loads((tmp_path / "scores-manifest.json").read_text())
    assert manifest["outputs"]["scores"] == {"file": "scores", "sha256": file_digest(tmp_path / "scores")}
    versions = [path for path in tmp_path.iterdir() if path.is_dir() and path.name.startswith("scores")]
    assert {path.resolve() for path in versions} == {(tmp_path / "scores").resolve()}
    assert all(part.stat().st_mode & 0o777 == 0o600 for part in (tmp_path / "scores").glob("*"))
    assert (tmp_path / "scores").stat().st_mode & 0o777 == 0o700


def test_all_commands_read_a_folder(params: Given, champion: TrainingResult, tmp_path: Path) -> None:
    settings = in_folder(params, tmp_path / "scores", EARLIER)
    score_to(settings, champion.model_uri)
    count = sum(part.num_rows for part in map(pq.read_metadata, (tmp_path / "scores").glob("*.parquet")))
    with confined_database(settings) as con:
        assert read_scores(con, tmp_path / "scores").count().to_pyarrow().as_py() == count
        page = Scores(con, settings.scores_path, separator=" > ", min_group=5)
        assert page.totals["customer_count"] == count
        score_to(in_folder(params, tmp_path / "scores", LATER), champion.model_uri)
        with page.reading():
            assert page.as_of - settings.as_of == timedelta(days=19)
    earlier = tmp_path / "earlier.parquet"
    score(settings, model_uri=champion.model_uri, out=earlier, progress=SILENT)
    assert "20 Nov 2025" in migration(settings, earlier, tmp_path / "scores", out=tmp_path / "moves.csv")


def test_forgotten_customers_are_removed(params: Given, champion: TrainingResult, tmp_path: Path) -> None:
    settings = in_folder(params, tmp_path / "scores", EARLIER)
    score_to(settings, champion.model_uri)
    gone, *others = pq.read_table(tmp_path / "scores")["customer_id"].to_pylist()
    assert "scores " in forget(settings, [gone], progress=SILENT)
    assert pq.read_table(tmp_path / "scores")["customer_id"].to_pylist() == others
    manifest = json.loads((tmp_path / "scores-manifest.json").read_text())
    assert manifest["outputs"]["scores"]["sha256"] == file_digest(tmp_path / "scores")
    assert manifest["row_counts"]["scores"] == len(others)


def write_rows(path: Path, value: int) -> None:
    with replacing_folder(path, mode=0o600) as folder:
        for number in range(3):
            pq.write_table(pa.table({"x": [value]}), folder / f"{number}.parquet")
        (folder / "_SUCCESS").touch()


def write_until(step: int, path: Path) -> None:
    """Write, and kill this process at a step after which the disk may look different."""
    left = [step]

    def audit(name: str, arguments: tuple[object, ...]) -> None:
        is_writing = name == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if name in CHANGES or is_writing:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    write_rows(path, 2)


def killed_at(step: int, path: Path) -> bool:
    """Write in a process that is killed at a step; False if it ended first."""
    process = multiprocessing.get_context("fork").Process(target=write_until, args=(step, path))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize("is_first", [True, False])
def test_a_killed_command_leaves_the_old_folder_or_the_new_one(is_first: bool, tmp_path: Path) -> None:
    path, found, step = tmp_path / "scores", [], 0
    is_killed = True
    while is_killed:
        step += 1
        for each in tmp_path.iterdir():
            files.delete(each)
        if not is_first:
            write_rows(path, 1)
        is_killed = killed_at(step, path)
        values = pq.read_table(path)["x"].to_pylist() if path.exists() else []
        assert values in ([1, 1, 1] if not is_first else [], [2, 2, 2]), step
        found.append(bool(values) and values[0] == 2)
        with files.lock(tmp_path):
            assert not list(tmp_path.glob(".part-*"))
        write_rows(path, 3)
        assert len([each for each in tmp_path.iterdir() if each.name.startswith("scores-")]) == 1
    assert found == sorted(found) and step > 10 and found.count(True) > (1 if not is_first else 0)


def test_another_folder_of_that_name_is_refused(params: Given, tmp_path: Path) -> None:
    """Before any work."""
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "mine.parquet").touch()
    with pytest.raises(OutputError, match=r"something else\. Name another"):
        write_rows(tmp_path / "scores", 1)
    with pytest.raises(OutputError, match=r"something else\. Name another"):
        score_to(in_folder(params, tmp_path / "scores"), "models:/none/1")
    assert (tmp_path / "scores" / "mine.parquet").exists()


def test_a_reader_never_mixes_two_folders(tmp_path: Path) -> None:
    """Names are those of the contents, so a file of a list made before is missing after, and not another."""
    write_rows(tmp_path / "scores", 1)
    before = {part.name for part in (tmp_path / "scores").iterdir()}
    write_rows(tmp_path / "scores", 2)
    assert not before & {part.name for part in (tmp_path / "scores").iterdir()}
    write_rows(tmp_path / "scores", 1)
    assert before == {part.name for part in (tmp_path / "scores").iterdir()}


@pytest.mark.parametrize("name", ["scores.txt", "scores.d/", "a/.parquetx"])
def test_another_suffix_is_refused(name: str, params: Given) -> None:
    with pytest.raises(ParamsError, match=r"outputs\.scores"):
        params(f"outputs.scores={name}")
