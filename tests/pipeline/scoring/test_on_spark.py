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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commands.score import score
from pipeline.commands.train import TrainingResult, train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.simulate import simulate
from pipeline.stores.mlflow_runs import open_store, read_run
from tests.benchmarks.compare_scores import compare
from tests.conftest import PARAMS
from tests.pipeline.conftest import params_in, settings_in

SPARK = (
    "engine.kind=spark",
    "engine.spark.master=local[2]",
    "engine.spark.conf={spark.driver.memory: 2g, spark.ui.enabled: 'false', spark.sql.shuffle.partitions: '3'}",
)
EARLIER, LATER = ("as_of=2025-11-01T00:00:00Z",), ("as_of=2025-11-20T00:00:00Z", "score.hysteresis=0.3")
MOMENTS = (("searches", 0.0), ("scoring", 1.0), ("writing", 0.0))
"""Steps of a scoring, and seconds after each begins, at which it is killed."""


def on_spark(folder: Path, shop: Path, command: str, *settings: str, force: bool = False) -> subprocess.Popen[str]:
    """A command in a process of its own, as the session of Spark ends with it."""
    if not shutil.which("java") and "JAVA_HOME" not in os.environ:
        pytest.skip("Java 17 or later is not installed, such as by: apt-get install default-jre-headless")
    pytest.importorskip("pyspark", reason="pyspark of the extra `spark` is not installed")
    options = [word for text in (*settings_in(folder, shop), *SPARK, *settings) for word in ("--set", text)]
    return subprocess.Popen(
        [
            *(sys.executable, "-W", "ignore", "-m", "pipeline.cli", command),
            *("--params", str(PARAMS), *options, *(["--force"] if force else [])),
        ],
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
    """Of scores in a folder of Parquet files."""
    out = tmp_path / "outputs" / "scores"
    score(params(*EARLIER), model_uri=champion.model_uri, out=out, progress=SILENT)
    old = pq.read_table(out)
    score(params(LATER[0]), model_uri=champion.model_uri, out=tmp_path / "new.parquet", progress=SILENT)
    new, settings = pq.read_table(tmp_path / "new.parquet"), (LATER[0], f"outputs.scores={out}")
    for step, seconds in MOMENTS:
        kill_at(on_spark(tmp_path, shop, "score", *settings), step, seconds)
        found = pq.read_table(out)
        assert found.equals(old) or compare(found, new).row_count == 0, (step, seconds)
    finish(on_spark(tmp_path, shop, "score", *settings))
    assert compare(pq.read_table(out), new).row_count == 0
    left = [path.name for path in out.parent.iterdir() if path.name.startswith((".kindred-", ".part-"))]
    assert left == [] and [path for path in out.parent.glob("scores-*") if path.is_dir()] == [out.resolve()]


@pytest.fixture
def skewed_shop(tmp_path: Path) -> Path:
    """A shop of 300 customers, a program with 20,000 events, and a product that nine tenths of all events are about."""
    simulate(tmp_path / "shop", customers=300, days=395, seed=7)
    files = sorted((tmp_path / "shop" / "events").glob("*.parquet"))
    first = pq.read_table(files[0])
    names = [name for name in first["customer_id"].unique().to_pylist() if name][:100]
    start, product = datetime(2025, 3, 1, tzinfo=UTC), first["product_id"].drop_null()[0].as_py()
    rows = [
        {"customer_id": name, "occurred_at": start + timedelta(minutes=11 * step), "event_type": "view"}
        | {"product_id": product, "session_id": f"{name}-{step // 40}"}
        for name, count in (("a program", 20_000), *((name, 450) for name in names))
        for step in range(count)
    ]
    pq.write_table(pa.Table.from_pylist(rows, first.schema), files[0].with_name("views.parquet"))
    return tmp_path / "shop"


@pytest.mark.spark
def test_a_program_and_a_hot_category_in_a_folder_of_scores(
    params: Callable[..., Params], champion: TrainingResult, skewed_shop: Path, tmp_path: Path
) -> None:
    """Tasks write what DuckDB writes, and read the folder that these scores replace."""
    params()  # the store
    places = {name: f"outputs.scores={tmp_path / name}" for name in ("one", "again")}
    for as_of, place in ((EARLIER, "one"), (EARLIER, "again"), (LATER, "one")):
        settings = params_in(tmp_path, skewed_shop, *as_of, places[place])
        score(settings, model_uri=champion.model_uri, out=settings.scores_path, progress=SILENT, force=True)
    text = finish(on_spark(tmp_path, skewed_shop, "score", *LATER, places["again"], force=True))
    one, again = (pq.read_table(tmp_path / name) for name in places)
    assert one.num_rows > 250 and compare(one, again).row_count == 0
    assert again["customer_id"].to_pylist() == one["customer_id"].to_pylist() and "kept their previous segment" in text
    types, expected = ([plain(field.type) for field in table.schema] for table in (again, one))
    assert types == expected


def plain(type_: pa.DataType) -> str:
    """A type in words, whatever the width of its offsets."""
    return "list" if pa.types.is_list(type_) else str(type_).removeprefix("large_")


@pytest.mark.spark
def test_training_on_a_sample_gives_the_same_model(params: Callable[..., Params], shop: Path, tmp_path: Path) -> None:
    sample = ("sample_customers=2000",)
    result = train(params(*sample), sweep=False, progress=SILENT)
    assert any(re.match("Trained on about 2,000 of [23],", note) for note in result.notes), result.notes
    expected = summary_of_run(params(), result.run_id)
    finish(on_spark(tmp_path, shop, "train", *sample, "tracking.model_name=again"))
    again = json.loads((tmp_path / "outputs" / "segments.json").read_text(encoding="utf-8"))
    assert summary_of_run(params(), again[0]["run_id"]) == expected
    models = [model_files(folder) for folder in (tmp_path / "artifacts" / "models").iterdir()]
    assert len(models) == 2 and models[0] == models[1] and "segmentation/behaviour/arrays.npz" in models[0]


def model_files(folder: Path) -> dict[str, bytes]:
    """What a model scores with: all that training learned. Its params name the model."""
    learned = folder / "artifacts" / "artifacts"
    files = (path for path in learned.rglob("*") if path.is_file() and path.name != "params.json")
    return {str(path.relative_to(learned)): path.read_bytes() for path in files}


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
