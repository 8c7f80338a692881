"""Whole commands on Spark: the same scores, changes and models as on DuckDB, and whole files whenever they are killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.commands.score import score
from pipeline.commands.train import TrainingResult, train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.stores.mlflow_runs import open_store, read_run
from tests.conftest import PARAMS
from tests.pipeline.conftest import settings_in

SPARK = (
    "engine.kind=spark",
    "engine.spark.master=local[2]",
    "engine.spark.conf={spark.driver.memory: 2g, spark.ui.enabled: 'false', spark.sql.shuffle.partitions: '3'}",
)
EARLIER, LATER = ("as_of=2025-11-01T00:00:00Z",), ("as_of=2025-11-20T00:00:00Z", "score.hysteresis=0.3")
MOMENTS = (("searches", 0.0), ("scoring", 1.0), ("writing", 0.0))
"""Steps of a scoring, and seconds after each begins, at which it is killed."""


def on_spark(folder: Path, shop: Path, command: str, *settings: str) -> subprocess.Popen[str]:
    """A command in a process of its own, as the session of Spark ends with it."""
    if not shutil.which("java") and "JAVA_HOME" not in os.environ:
        pytest.skip("Java 17 or later is not installed, such as by: apt-get install default-jre-headless")
    pytest.importorskip("pyspark", reason="pyspark of the extra `spark` is not installed")
    options = [word for text in (*settings_in(folder, shop), *SPARK, *settings) for word in ("--set", text)]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "pipeline.cli", command, "--params", str(PARAMS), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output


def contents(folder: Path) -> dict[str, bytes]:
    """The scores and the changes."""
    paths = [folder / "scores.parquet", *sorted((folder / "outputs" / "changes").glob("*.parquet"))]
    return {path.name: path.read_bytes() for path in paths}


def kill_at(process: subprocess.Popen[str], step: str, seconds: float) -> None:
    """Kill a command some seconds after it began a step."""
    assert process.stderr is not None
    for line in process.stderr:
        if step in line:
            time.sleep(seconds)
            break
    process.kill()
    process.communicate()


@pytest.mark.spark
def test_scores_and_changes_are_the_same_bytes(
    params: Callable[..., Params], champion: TrainingResult, shop: Path, tmp_path: Path
) -> None:
    """With customers who keep their previous segment, names given by hand, and rows of changes in any order."""
    out = params().path(params().outputs.scores)
    score(params(*EARLIER), model_uri=champion.model_uri, out=out, progress=SILENT)
    earlier = out.read_bytes()
    result = score(params(*LATER), model_uri=champion.model_uri, out=out, progress=SILENT)
    assert result.summary.held is not None and result.summary.held.customer_count > 0
    assert result.changes is not None and result.changes.customer_count > 0
    expected, changes = out.read_bytes(), pq.read_table(tmp_path / "outputs" / "changes" / "last.parquet")
    shutil.rmtree(tmp_path / "outputs" / "changes")
    out.write_bytes(earlier)
    text = finish(on_spark(tmp_path, shop, "score", *LATER))
    assert out.read_bytes() == expected
    order = [(name, "ascending") for name in ("customer_id", "column")]
    again = pq.read_table(tmp_path / "outputs" / "changes" / "last.parquet")
    assert again.sort_by(order).equals(changes.sort_by(order))
    of_engine = ("Next ", "Scores ")
    lines, expected_lines = (
        [line for line in shown.splitlines() if not line.startswith(of_engine)] for shown in (text, result.as_text())
    )
    assert lines == expected_lines


@pytest.mark.spark
def test_a_killed_scoring_leaves_the_old_scores_or_the_new_ones(
    params: Callable[..., Params], champion: TrainingResult, shop: Path, tmp_path: Path
) -> None:
    out = params().path(params().outputs.scores)
    score(params(*EARLIER), model_uri=champion.model_uri, out=out, progress=SILENT)
    old = out.read_bytes()
    score(params(*LATER), model_uri=champion.model_uri, out=tmp_path / "new.parquet", progress=SILENT)
    for step, seconds in MOMENTS:
        kill_at(on_spark(tmp_path, shop, "score", LATER[0]), step, seconds)
        assert out.read_bytes() in (old, (tmp_path / "new.parquet").read_bytes()), (step, seconds)
    finish(on_spark(tmp_path, shop, "score", LATER[0]))
    assert out.read_bytes() == (tmp_path / "new.parquet").read_bytes()
    left = [path.name for path in (tmp_path / "outputs").iterdir() if path.name.startswith((".kindred-", ".part-"))]
    assert left == []


@pytest.mark.spark
def test_training_on_a_sample_gives_the_same_model(params: Callable[..., Params], shop: Path, tmp_path: Path) -> None:
    sample = ("sample_customers=2000",)
    result = train(params(*sample), sweep=False, progress=SILENT)
    assert any(re.match("Trained on about 2,000 of [23],", note) for note in result.notes), result.notes
    expected = summary_of_run(params(), result.run_id)
    finish(on_spark(tmp_path, shop, "train", *sample, "tracking.model_name=again"))
    again = json.loads((tmp_path / "outputs" / "segments.json").read_text(encoding="utf-8"))
    assert summary_of_run(params(), again[0]["run_id"]) == expected


def summary_of_run(settings: Params, run_id: str) -> dict[str, Any]:
    """All that the report shows of a training: segments, figures, rules, moves."""
    summary = dict(read_run(open_store(settings), run_id).summary)
    assert summary.pop("run_id") == run_id
    return summary


def test_an_update_is_refused(params: Callable[..., Params], tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    with pytest.raises(UserError, match=r"^--update: expected engine.kind: duckdb, .* Leave out --update"):
        score(params("engine.kind=spark"), model_uri="models:/kindred/1", out=out, progress=SILENT, update=True)
    assert not out.exists()
