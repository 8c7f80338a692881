"""The files in the outputs folder, and remaking them from the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.commands.promote import promote
from pipeline.commands.rename import rename
from pipeline.commands.report import report
from pipeline.commands.train import TrainingResult
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.report.publish import MANIFEST, REPORT, SEGMENTS, SEGMENTS_JSON
from pipeline.stores import mlflow_runs
from pipeline.stores.run_log import start_run
from tests.pipeline.conftest import PARAMS


def result_files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (REPORT, SEGMENTS, SEGMENTS_JSON, MANIFEST)}


def test_a_challenger_does_not_replace_the_champions_results_until_promoted(
    params: Callable[..., Params],
    first_training: tuple[Path, TrainingResult],
    champion_and_challenger: tuple[TrainingResult, TrainingResult],
) -> None:
    settings, (first, second) = params(), champion_and_challenger
    folder = settings.path(settings.outputs.folder)
    assert first.report_path == folder / REPORT
    assert "is still the champion's" not in first.as_text()
    champions = result_files(first_training[0] / "outputs")  # before there was a challenger
    assert second.report_path == folder / "challenger" / REPORT
    assert f"{folder / REPORT} is still the champion's." in second.as_text()
    assert f"kindred promote {second.run_id[:12]}" in second.as_text()
    assert result_files(folder) == champions
    for place, run in ((folder, first), (folder / "challenger", second)):
        assert set(pq.read_table(place / SEGMENTS)["run_id"].to_pylist()) == {run.run_id}
        assert {row["run_id"] for row in json.loads((place / SEGMENTS_JSON).read_text())} == {run.run_id}
        assert json.loads((place / MANIFEST).read_text())["run_id"] == run.run_id
        assert run.run_id in (place / REPORT).read_text()
    assert f"{folder / REPORT} and its segments now come from run {second.run_id}" in promote(
        settings, second.run_id, force=True
    )
    assert result_files(folder) == result_files(folder / "challenger")
    promote(settings, first.run_id, force=True)
    assert result_files(folder) == champions


def test_promoting_a_run_without_a_summary_warns(params: Callable[..., Params], champion: TrainingResult) -> None:
    settings, first = params(), champion
    before = result_files(settings.path(settings.outputs.folder))
    forget(settings, first, "segments")
    assert "could not be written, so the outputs folder still has the previous ones" in promote(
        settings, first.run_id, force=True
    )
    assert result_files(settings.path(settings.outputs.folder)) == before


def forget(settings: Params, run: TrainingResult, key: str) -> None:
    """Make the run look like one of an earlier version, whose summary lacks ``key``."""
    client = mlflow_runs.open_store(settings).client
    summary = mlflow_runs.read_run(mlflow_runs.open_store(settings), run.run_id).summary
    client.log_dict(run.run_id, {name: value for name, value in summary.items() if name != key}, "summary.json")


@pytest.fixture(scope="module")
def trained_run(trained: tuple[Params, TrainingResult], tmp_path_factory: Any) -> tuple[Params, TrainingResult, Path]:
    return (*trained, tmp_path_factory.mktemp("reports"))


def test_the_report_can_be_remade(trained_run: tuple[Params, TrainingResult, Path]) -> None:
    params, run, folder = trained_run
    text = report(params, run.run_id[:9], language=None, out=folder / "a.html", xlsx=False)
    assert f"Run      {run.run_id} (the champion)" in text
    assert (folder / "a.html").read_bytes() == run.report_path.read_bytes()
    report(params, None, language="uk", out=None, xlsx=False)
    page = (params.path(params.outputs.folder) / f"report-{run.run_id[:12]}-uk.html").read_text()
    assert all(names["uk"].replace("&", "&amp;") in page for names in run.segments.names)


def test_a_run_that_did_not_finish_is_said(trained_run: tuple[Params, TrainingResult, Path]) -> None:
    params, run, folder = trained_run
    client = mlflow_runs.open_store(params).client
    for status, is_said in (("KILLED", True), ("FINISHED", False)):
        client.set_terminated(run.run_id, status)
        text = report(params, run.run_id, language=None, out=folder / "a.html", xlsx=False)
        assert ("did not finish: it was stopped, it failed" in text) == is_said


def test_the_workbook_matches_the_run(trained_run: tuple[Params, TrainingResult, Path], shop: Path) -> None:
    params, run, folder = trained_run
    for name in ("a.xlsx", "b.xlsx"):
        report(params, None, language=None, out=folder / name, xlsx=True)
    assert (folder / "a.xlsx").read_bytes() == (folder / "b.xlsx").read_bytes()
    book = openpyxl.load_workbook(folder / "a.xlsx")
    rows = list(book["Segments"].iter_rows(min_row=2, values_only=True))
    assert [row[:2] for row in rows] == list(zip(run.segments.segment_id, run.segments.name, strict=True))
    assert [row[5] for row in rows] == run.segments.customer_count.tolist()
    assert book["Interests"].max_row > 10 and book["Lineage"].max_row == 1 + (~run.segments.is_standing).sum()
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    assert "f" not in {cell.data_type for cell in cells}
    customers = set(pq.read_table(shop / "customers.parquet")["customer_id"].to_pylist())
    assert not customers & {str(cell.value) for cell in cells}


def test_the_report_command(
    trained_run: tuple[Params, TrainingResult, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    params, run, folder = trained_run
    values = {
        "tracking.uri": params.tracking.uri,
        "tracking.artifacts": params.tracking.artifacts,
        "outputs.folder": params.outputs.folder,
    }
    options = [
        "--params",
        str(PARAMS),
        *(part for key, value in values.items() for part in ("--set", f"{key}={value}")),
    ]
    out = folder / "c.xlsx"
    assert main(["report", run.run_id[:8], "--xlsx", "--language", "uk", "--out", str(out), *options]) == 0
    assert str(out) in capsys.readouterr().out
    assert openpyxl.load_workbook(out).sheetnames[:2] == ["Зміст", "Сегменти"]
    assert main(["report", "nosuchrun", *options]) == 2


def test_a_manual_name_is_in_the_remade_report(
    params: Callable[..., Params], champion: TrainingResult, tmp_path: Path
) -> None:
    settings = params()
    best = champion.segments["name"][0]
    rename(settings, best, "Our gold")
    report(settings, None, language=None, out=tmp_path / "a.html", xlsx=False)
    page = (tmp_path / "a.html").read_text()
    assert page.count("Our gold") >= 3 and f"comes from {best}" not in page


def test_user_errors(
    params: Callable[..., Params], trained_run: tuple[Params, TrainingResult, Path], tmp_path: Path
) -> None:
    settings = params()
    with pytest.raises(UserError, match="there is no champion yet"):
        report(settings, None, language=None, out=None, xlsx=False)
    with pytest.raises(UserError, match=r"a\.csv: expected a file name ending in \.xlsx with --xlsx"):
        report(settings, None, language=None, out=Path("a.csv"), xlsx=True)
    with pytest.raises(UserError, match=r"params\.yaml: expected a file name ending in .* \.html without it"):
        report(settings, None, language=None, out=Path("params.yaml"), xlsx=False)
    with pytest.raises(UserError, match="expected the id of a run, or its beginning"):
        report(trained_run[0], "nosuchrun", language=None, out=None, xlsx=False)
    store = mlflow_runs.open_store(settings)
    with start_run(store, name="nothing", tags={}) as run:
        pass
    with pytest.raises(UserError, match="expected the summary of a training"):
        report(settings, run.run_id, language=None, out=None, xlsx=False)


def test_a_run_of_an_older_version(params: Callable[..., Params], champion: TrainingResult, tmp_path: Path) -> None:
    settings = params()
    forget(settings, champion, "interests")
    message = "expected a summary of this version of Kindred; it has no 'interests'. Train again"
    for name in ("a.xlsx", "a.html"):
        with pytest.raises(UserError, match=message):
            report(settings, None, language=None, out=tmp_path / name, xlsx=name.endswith("xlsx"))
        assert not (tmp_path / name).exists()
