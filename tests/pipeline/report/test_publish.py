"""What lies in the outputs folder, and that it can be made again from the run."""

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
from pipeline.commands.train import Trained, train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.report.publish import MANIFEST, REPORT, SEGMENTS, SEGMENTS_JSON
from pipeline.stores import mlflow_runs
from tests.pipeline.conftest import PARAMS


def quiet(step: str) -> None:
    """No progress."""


def lying_in(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (REPORT, SEGMENTS, SEGMENTS_JSON, MANIFEST)}


def test_a_challenger_leaves_the_champions_results_until_it_is_promoted(
    params: Callable[..., Params], champion: Trained
) -> None:
    given, first = params(), champion
    folder = given.path(given.outputs.folder)
    assert first.report_path == folder / REPORT
    assert "stays the champion's" not in first.as_text()
    champions = lying_in(folder)
    second = train(given.model_copy(update={"seed": 3}), sweep=False, progress=quiet)
    assert second.report_path == folder / "challenger" / REPORT
    assert f"{folder / REPORT} stays the champion's until: kindred promote {second.run_id[:12]}" in second.as_text()
    assert lying_in(folder) == champions
    for place, run in ((folder, first), (folder / "challenger", second)):
        assert set(pq.read_table(place / SEGMENTS)["run_id"].to_pylist()) == {run.run_id}
        assert {one["run_id"] for one in json.loads((place / SEGMENTS_JSON).read_text())} == {run.run_id}
        assert json.loads((place / MANIFEST).read_text())["run_id"] == run.run_id
        assert run.run_id in (place / REPORT).read_text()
    assert f"{folder / REPORT} and the segments beside it are now those of run {second.run_id}" in promote(
        given, second.run_id, force=True
    )
    assert lying_in(folder) == lying_in(folder / "challenger")
    promote(given, first.run_id, force=True)
    assert lying_in(folder) == champions


def test_a_run_without_a_summary_is_promoted_and_says_so(params: Callable[..., Params], champion: Trained) -> None:
    given, first = params(), champion
    before = lying_in(given.path(given.outputs.folder))
    forget(given, first, "segments")
    assert "could not be put in the outputs folder, which holds the last ones" in promote(
        given, first.run_id, force=True
    )
    assert lying_in(given.path(given.outputs.folder)) == before


def forget(given: Params, run: Trained, key: str) -> None:
    """The run as a version of Kindred logged it that did not know ``key``."""
    client = mlflow_runs.open_store(given).MlflowClient()
    summary = mlflow_runs.read_run(mlflow_runs.open_store(given), run.run_id)[2]
    client.log_dict(run.run_id, {name: value for name, value in summary.items() if name != key}, "summary.json")


@pytest.fixture(scope="module")
def told(trained: tuple[Params, Trained], tmp_path_factory: Any) -> tuple[Params, Trained, Path]:
    return (*trained, tmp_path_factory.mktemp("told"))


def test_the_report_is_made_again(told: tuple[Params, Trained, Path]) -> None:
    params, run, folder = told
    text = report(params, run.run_id[:9], language=None, out=folder / "a.html", xlsx=False)
    assert f"of run   {run.run_id} (the champion)" in text
    assert (folder / "a.html").read_bytes() == run.report_path.read_bytes()
    report(params, None, language="uk", out=None, xlsx=False)
    page = (params.path(params.outputs.folder) / f"report-{run.run_id[:12]}-uk.html").read_text()
    assert all(names["uk"].replace("&", "&amp;") in page for names in run.segments.names)


def test_the_workbook_holds_the_run(told: tuple[Params, Trained, Path], shop: Path) -> None:
    params, run, folder = told
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


def test_the_command(told: tuple[Params, Trained, Path], capsys: pytest.CaptureFixture[str]) -> None:
    params, run, folder = told
    values = {
        "tracking.uri": params.tracking.uri,
        "tracking.artifacts": params.tracking.artifacts,
        "outputs.folder": params.outputs.folder,
    }
    given = ["--params", str(PARAMS), *(part for key, value in values.items() for part in ("--set", f"{key}={value}"))]
    out = folder / "c.xlsx"
    assert main(["report", run.run_id[:8], "--xlsx", "--language", "uk", "--out", str(out), *given]) == 0
    assert str(out) in capsys.readouterr().out
    assert openpyxl.load_workbook(out).sheetnames[:2] == ["Зміст", "Сегменти"]
    assert main(["report", "nosuchrun", *given]) == 2


def test_a_name_given_by_hand_is_in_the_report_made_again(
    params: Callable[..., Params], champion: Trained, tmp_path: Path
) -> None:
    given = params()
    best = champion.segments["name"][0]
    rename(given, best, "Our gold")
    report(given, None, language=None, out=tmp_path / "a.html", xlsx=False)
    page = (tmp_path / "a.html").read_text()
    assert page.count("Our gold") >= 3 and f"comes from {best}" not in page


def test_mistakes(params: Callable[..., Params], told: tuple[Params, Trained, Path], tmp_path: Path) -> None:
    given = params()
    with pytest.raises(UserError, match=r"there is none yet\. Run `kindred train` first"):
        report(given, None, language=None, out=None, xlsx=False)
    with pytest.raises(UserError, match=r"a\.csv: expected a name ending in \.xlsx with --xlsx"):
        report(given, None, language=None, out=Path("a.csv"), xlsx=True)
    with pytest.raises(UserError, match=r"params\.yaml: expected a name ending in .* \.html without it"):
        report(given, None, language=None, out=Path("params.yaml"), xlsx=False)
    with pytest.raises(UserError, match="expected the id of a run, or its beginning"):
        report(told[0], "nosuchrun", language=None, out=None, xlsx=False)
    mlflow = mlflow_runs.open_store(given)
    with mlflow_runs.run(mlflow, name="nothing", tags={}) as run_id:
        pass
    with pytest.raises(UserError, match="expected the summary of a training"):
        report(given, run_id, language=None, out=None, xlsx=False)


def test_a_run_of_an_older_version(params: Callable[..., Params], champion: Trained, tmp_path: Path) -> None:
    given = params()
    forget(given, champion, "interests")
    with pytest.raises(UserError, match="expected a summary of this version of Kindred; it has no 'interests'"):
        report(given, None, language=None, out=tmp_path / "a.xlsx", xlsx=True)
    assert not (tmp_path / "a.xlsx").exists()
    report(given, None, language=None, out=tmp_path / "a.html", xlsx=False)
