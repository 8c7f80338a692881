"""A table of ready summaries in place of a log: it trains and scores; what is not in it is absent, not zero."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.commands.backtest import backtest
from pipeline.commands.check import check
from pipeline.commands.score import score
from pipeline.commands.train import TrainingResult, train
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.ingest.files.raw_tables import SourceError, source_files
from pipeline.ingest.findings.summary import ReadingSummary
from pipeline.ingest.summaries import read_summaries
from pipeline.stores.database import connect
from pipeline.stores.forgotten import new_list, write_list
from tests.conftest import PARAMS, BuildOnce, copy_store
from tests.segments import published_sizes

COUNT = 300
UNKNOWN = ("temperature", "activity", "usual_interval_days", "returned_spend", "buy_probability", "expected_spend")


def summaries() -> pd.DataFrame:
    draw = np.random.default_rng(3)
    orders = np.where(np.arange(COUNT) % 2, 1, draw.integers(2, 20, COUNT))
    return pd.DataFrame(
        {
            "id": [f"c{number}" for number in range(COUNT)],
            "days": draw.integers(1, 300, COUNT),
            "orders": orders,
            "money": np.round(orders * draw.lognormal(3.0, 0.5, COUNT), 2),
        }
    )


def settings(folder: Path, table: pd.DataFrame, *more: str) -> Params:
    table.to_csv(folder / "summaries.csv", index=False)
    columns = "{customer_id: id, recency_days: days, order_count: orders, spend: money}"
    places = (
        f"source.summaries={{path: {folder / 'summaries.csv'}, columns: {columns}}}",
        f"outputs.folder={folder / 'outputs'}",
        f"outputs.scores={folder / 'scores.parquet'}",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
        f"tracking.artifacts={folder / 'artifacts'}",
        "facets.behaviour.n_segments=5",
        "quality.stability_resamples=2",
    )
    return load_params(PARAMS, [*places, *more])


@pytest.fixture(scope="module")
def trained(build_once: BuildOnce, mlflow_store: Path) -> tuple[Params, TrainingResult]:
    def make(folder: Path) -> tuple[Params, TrainingResult]:
        copy_store(mlflow_store, folder)
        params = settings(folder, summaries())
        return params, train(params, sweep=False, progress=SILENT)

    return build_once("summaries", make)[1]


def test_all_customers_are_clustered_and_scored(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    assert not result.segments.is_standing.any()
    score(params, model_uri=result.model_uri, out=params.path(params.outputs.scores), progress=SILENT)
    scores = pd.read_parquet(params.path(params.outputs.scores)).set_index("customer_id")
    table = summaries().set_index("id").loc[scores.index]
    assert (scores.days_since_last_purchase == table.days).all()
    assert (scores.order_count == table.orders).all()
    assert np.allclose(scores.spend, table.money)
    assert published_sizes(scores.segment_id) == result.segments.set_index("segment_id").customer_count.to_dict()
    richest = table.money > table.money.quantile(params.value.vip_quantile)
    assert ((scores.value_tier == "vip") == richest).all()
    for column in ("segment", "rfm_group", "lifecycle_stage", "recency_score"):
        assert scores[column].notna().all()


def test_what_summaries_do_not_hold_is_absent(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    score(params, model_uri=result.model_uri, out=params.path(params.outputs.scores), progress=SILENT)
    scores = pd.read_parquet(params.path(params.outputs.scores))
    assert {name for name in UNKNOWN if scores[name].notna().any()} == set()
    figures = {name for row in result.segments.figures for name in row}
    assert "orders_per_customer" in figures
    assert not figures & {"visits_per_customer", "events_per_customer", "views_per_customer", "return_rate"}
    assert any("source.summaries has one row per customer" in note for note in result.notes)
    assert result.predicted == ""


def test_check_counts_the_rows(tmp_path: Path) -> None:
    text = check(settings(tmp_path, summaries()), progress=SILENT)
    assert f"Customers   {COUNT}" in text
    assert "Events" not in text
    assert "Warnings" not in text


def test_commands_that_need_events_refuse(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    out = params.path(params.outputs.scores)
    with pytest.raises(SourceError, match=r"needs single events.*source\.summaries: null"):
        backtest(params, progress=SILENT)
    with pytest.raises(SourceError, match=r"score without --update"):
        score(params, model_uri=result.model_uri, out=out, progress=SILENT, update=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "missing_customer_id: 200 of 300 rows"),
        ({"money": "a lot"}, "unreadable_number: 200 of 300 rows"),
        ({"days": None}, "unreadable_number: 200 of 300 rows"),
        ({"money": -1}, "negative_price: 200 of 300 rows"),
        ({"days": -1}, "negative_quantity: 200 of 300 rows"),
        ({"days": 999_999}, "time_out_of_range: 200 of 300 rows"),
        ({"id": "c299"}, "one row per customer; 200 rows repeat one"),
        ({"orders": 0, "days": None, "money": 0}, ""),
        ({"orders": 0, "days": 999_999, "money": 0}, ""),
    ],
)
def test_rows_that_cannot_be_used_are_counted(tmp_path: Path, change: dict[str, object], message: str) -> None:
    table = summaries().astype(object)
    table.loc[:199, list(change)] = list(change.values())
    params = settings(tmp_path, table)
    if message:
        with pytest.raises(SourceError, match=message) as raised:
            check(params, progress=SILENT)
        assert "c299" not in str(raised.value)
    else:
        assert "200 of 300 customers (67%) have no order: they are grouped by lifecycle stage." in check(
            params, progress=SILENT
        )


def test_a_few_rows_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = summaries().astype(object)
    table.loc[:1, "money"] = "?"
    text = check(settings(tmp_path, table), progress=SILENT)
    assert re.search(rf"Accepted +{COUNT - 2}\nRejected +2\n  unreadable_number +2\n", text)
    assert re.search(rf"Customers +{COUNT - 2}\n", text)
    assert "unreadable_number: 2 of 300 rows of the summaries (0.67%), left out" in caplog.text


def test_a_table_without_any_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"expected customers with orders, found none"):
        check(settings(tmp_path, summaries().assign(orders=0)), progress=SILENT)


@pytest.mark.parametrize(("days", "year"), [(9999, "1998"), (300, "2025")])
def test_dates_are_those_of_customers_with_orders(tmp_path: Path, days: int, year: str) -> None:
    table = summaries()
    table.loc[:9, ["days", "orders"]] = [[days, 0]] * 9 + [[days, 1]]
    table.loc[10, ["days", "orders"]] = [0, 0]
    params = settings(tmp_path, table)
    with connect(params.engine, folder=tmp_path / "work") as con:
        summary = read_summaries(con, params).summary
    assert summary.first_event_at.startswith(year)
    assert summary.last_event_at < f"{params.as_of:%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize(("count", "message"), [(4, "unreadable_row: 4 of 304 rows"), (3, "")])
def test_lines_that_cannot_be_split_count(
    tmp_path: Path, count: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    params = settings(tmp_path, summaries())
    with (tmp_path / "summaries.csv").open("a") as file:
        file.write("z,1,2,3,4,5\n" * count)
    if message:
        with pytest.raises(SourceError, match=message):
            check(params, progress=SILENT)
    else:
        assert re.search(
            r"Read +303 .*\nAccepted +300\nRejected +3\n  unreadable_row +3\n", check(params, progress=SILENT)
        )
        assert caplog.text.count("3 of 303 rows of the summaries") == 1
        assert "could not be read" not in caplog.text


def test_links_of_ids_are_part_of_what_was_read(tmp_path: Path) -> None:
    def read(links: str) -> ReadingSummary:
        (tmp_path / "links.csv").write_text(f"alias_id,customer_id\n{links}\n")
        params = settings(tmp_path, summaries(), f"source.identities={{path: {tmp_path / 'links.csv'}}}")
        assert tmp_path / "links.csv" in source_files(params)
        with connect(params.engine, folder=tmp_path / "work") as con:
            return read_summaries(con, params).summary

    first, other = read("c1,d1"), read("c1,d2")
    assert first.files == {"summaries": 1, "identities": 1}
    assert first.joined_count == 1
    assert first.digest != other.digest


def test_forgotten_customers_are_left_out(tmp_path: Path) -> None:
    params = settings(tmp_path, summaries())
    write_list(params, new_list(params).with_customers(["c7"]))
    text = check(params, progress=SILENT)
    assert re.search(rf"Accepted +{COUNT - 1}\nRejected +0\nForgotten +1\n", text)
    assert re.search(rf"Customers +{COUNT - 1}\n", text)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"source\.summaries: expected a column 'money'"):
        check(settings(tmp_path, summaries().drop(columns="money")), progress=SILENT)
