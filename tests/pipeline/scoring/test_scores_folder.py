"""Scores as a folder of Parquet files: the rows of one file, readable by every command, and whole at any moment."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb
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
from pipeline.forgetting.tables import unreached_files
from pipeline.page.scores import Scores
from pipeline.stores import files
from pipeline.stores.files import OutputError, file_digest, replacing_folder
from pipeline.stores.local.file_names import parquet_files, parquet_glob
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
    files.note_elsewhere(settings.path(settings.outputs.folder), settings.scores_path)
    rejected = tmp_path / "scores-rejected.parquet"
    pq.write_table(pa.table({"raw": [f"{gone},view", "another,view"]}), rejected)
    text = forget(settings, [gone], progress=SILENT)
    assert "scores " in text and "Unchanged" not in text
    assert pq.read_table(rejected)["raw"].to_pylist() == ["another,view"]
    assert pq.read_table(tmp_path / "scores")["customer_id"].to_pylist() == others
    manifest = json.loads((tmp_path / "scores-manifest.json").read_text())
    assert manifest["outputs"]["scores"]["sha256"] == file_digest(tmp_path / "scores")
    assert manifest["row_counts"]["scores"] == len(others)


def test_a_forgetting_deletes_what_killed_commands_left(params: Given, tmp_path: Path) -> None:
    """In and next to a folder outside the outputs folder; not what only looks like it."""
    settings = in_folder(params, tmp_path / "scores")
    with replacing_folder(tmp_path / "scores", mode=0o600) as folder:
        pq.write_table(pa.table({"customer_id": ["a", "b"]}), folder / "part.parquet")
    (part,) = parquet_files(tmp_path / "scores")
    left = ["scores-0123456789abcdef", ".part-1-scores"]
    for name in left:
        shutil.copytree(tmp_path / "scores", tmp_path / name)
    left += [f"scores/.part-1-{part.name}", ".part-1-scores-rejected.parquet"]
    others = ["scores-january", ".part-1-other-scores", "scores/.part-of-mine"]
    for name in (*left[2:], *others):
        shutil.copy(part, tmp_path / name)
    assert len(read_ids(tmp_path / "scores")) == 2
    forget(settings, ["a"], progress=SILENT)
    assert read_ids(tmp_path / "scores") == ["b"]
    assert not any((tmp_path / name).exists() for name in left)
    assert all((tmp_path / name).exists() for name in others)


def read_ids(folder: Path) -> list[str]:
    """Read by both means: without files that are being written."""
    ids: list[str] = pa.concat_tables(map(pq.read_table, parquet_files(folder)))["customer_id"].to_pylist()
    assert duckdb.read_parquet(parquet_glob(folder)).fetchall() == [(each,) for each in ids]
    return ids


def test_scores_elsewhere_are_noted_before_they_are_written(
    params: Given, champion: TrainingResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their rejected rows; the usual scores are not."""
    settings, noted = in_folder(params, tmp_path / "scores"), []
    outputs, out = settings.path(settings.outputs.folder), tmp_path / "elsewhere" / "x"

    def stop(*_: object, **__: object) -> None:
        noted.append(files.files_elsewhere(outputs))
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.commands.score.measure_in_full", stop)
    for path in (settings.scores_path, out):
        with pytest.raises(KeyboardInterrupt):
            score(settings, model_uri=champion.model_uri, out=path, progress=SILENT)
    rejected = out.with_name("x-rejected.parquet")
    assert noted == [[], [out, rejected]] and unreached_files(settings) == []
    write_rows(out, 1)
    shutil.copytree(out, leftover := out.with_name(".part-1-x"))
    rejected.touch()
    assert unreached_files(settings) == [leftover, out, rejected]


def write_rows(path: Path, value: int) -> None:
    with replacing_folder(path, mode=0o600) as folder:
        for number in range(3):
            pq.write_table(pa.table({"x": [value]}), folder / f"part-{number}.parquet")
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
        write_rows(path, 3)
        assert not list(tmp_path.glob(".part-*"))
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


@pytest.mark.parametrize("target", ["disk", "unmounted", "disk/scores-0123456789abcdef"])
def test_a_link_of_others_is_refused(target: str, tmp_path: Path) -> None:
    (tmp_path / "disk" / "scores-0123456789abcdef").mkdir(parents=True)
    (tmp_path / "scores").symlink_to(target)
    with pytest.raises(OutputError, match=r"something else\. Name another"):
        write_rows(tmp_path / "scores", 1)
    assert os.readlink(tmp_path / "scores") == target


def test_a_folder_above_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    for value in (1, 2):
        write_rows(tmp_path / "link" / "scores", value)
        assert pq.read_table(tmp_path / "disk" / "scores")["x"].to_pylist() == [value] * 3
    assert len(list((tmp_path / "disk").iterdir())) == 2


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EPERM, r"expected a file system with symbolic links.* Name a \.parquet file instead"),
        (errno.ENOTSUP, r"expected a file system with symbolic links.* Name a \.parquet file instead"),
        (errno.EACCES, r"expected a writable folder"),
    ],
)
def test_a_file_system_without_links(
    number: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "symlink", fail)
    with pytest.raises(OutputError, match=expected):
        write_rows(tmp_path / "scores", 1)
    assert not list(tmp_path.iterdir())


def test_a_reader_never_mixes_two_folders(tmp_path: Path) -> None:
    """Names are those of the contents, so a file of a list made before is missing after, and not another."""
    write_rows(tmp_path / "scores", 1)
    before = {part.name for part in (tmp_path / "scores").iterdir()}
    write_rows(tmp_path / "scores", 2)
    assert not before & {part.name for part in (tmp_path / "scores").iterdir()}
    write_rows(tmp_path / "scores", 1)
    assert before == {part.name for part in (tmp_path / "scores").iterdir()}


def test_a_reader_may_have_to_read_again(tmp_path: Path) -> None:
    """No old copy is kept for it."""
    write_rows(tmp_path / "scores", 1)
    listed = parquet_files(tmp_path / "scores")
    write_rows(tmp_path / "scores", 2)
    with pytest.raises(FileNotFoundError):
        pq.read_table(listed)
    assert pq.read_table(parquet_files(tmp_path / "scores"))["x"].to_pylist() == [2, 2, 2]


@pytest.mark.parametrize("name", ["scores.txt", "scores.d/", "a/.parquetx", "a/.csv", "scores.parquet/", "a/b.c", "/"])
def test_another_suffix_is_refused(name: str, params: Given) -> None:
    expected = f"expected a file name ending in .parquet or .csv, or a folder without a suffix. Got '{name}'."
    with pytest.raises(ParamsError, match=rf"outputs\.scores.*{re.escape(expected)}"):
        params(f"outputs.scores={name}")


@pytest.mark.parametrize("name", ["scores", "a.b/scores/", "../scores", "/a/s.csv", "s.2.parquet"])
def test_files_and_folders_are_accepted(name: str, params: Given) -> None:
    assert params(f"outputs.scores={name}").outputs.scores == name
