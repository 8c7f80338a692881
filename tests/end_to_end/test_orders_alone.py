"""A log of orders without lines: customer, date and amount. Nothing is shown about products or categories."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest

from pipeline.commands.check import check
from pipeline.commands.explain import explain
from pipeline.commands.report import report
from pipeline.commands.score import score
from pipeline.commands.train import TrainingResult, train
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.ingest.files.raw_tables import SourceError
from pipeline.report.training_result import facet_text
from tests.conftest import PARAMS, BuildOnce, copy_store
from tests.segments import published_sizes

CASE = Path(__file__).parents[3] / "shared" / "cases" / "10-no-products"
HIDDEN = re.compile(r"product|category|categories|novel|catalog|distinctive|\bvisits per customer", re.IGNORECASE)
PLAYBOOK = "Reliable service, timely replenishment reminders, complementary products."
FAST = ("facets.behaviour.n_segments=5", "quality.stability_resamples=2", "quality.ceiling_customers=200")


def orders(customers: int) -> pd.DataFrame:
    """Half of the customers order once, and the rest up to eleven times."""
    draw = np.random.default_rng(7)
    counts = np.where(np.arange(customers) % 2, 1, draw.integers(2, 12, customers))
    customer = np.repeat(np.arange(customers), counts)
    return pd.DataFrame(
        {
            "customer_id": [f"c{number}" for number in customer],
            "occurred_at": pd.Timestamp("2025-01-01") + pd.to_timedelta(draw.integers(0, 300, len(customer)), unit="D"),
            "event_type": "order",
            "unit_price": np.round(draw.lognormal(3.0 + customer % 3, 0.3), 2),
        }
    ).drop_duplicates(["customer_id", "occurred_at"])


def settings(folder: Path, events: str, *more: str) -> Params:
    places = (
        f"source.events={events}",
        f"outputs.folder={folder / 'outputs'}",
        f"outputs.scores={folder / 'scores.parquet'}",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
        f"tracking.artifacts={folder / 'artifacts'}",
    )
    return load_params(PARAMS, [*places, "source.products=null", "source.customers=null", *more])


def invented(folder: Path, *more: str) -> Params:
    orders(300).to_parquet(folder / "orders.parquet")
    events = f"{{path: {folder / 'orders.parquet'}, event_types: {{purchase: [order]}}}}"
    return settings(folder, events, *FAST, *more)


@pytest.fixture(scope="module")
def trained(build_once: BuildOnce, mlflow_store: Path) -> tuple[Params, TrainingResult]:
    def make(folder: Path) -> tuple[Params, TrainingResult]:
        copy_store(mlflow_store, folder)
        params = invented(folder)
        return params, train(params, sweep=False, progress=SILENT)

    return build_once("orders_alone", make)[1]


def test_all_customers_are_clustered_by_their_orders(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    assert abs(result.segments.customer_count.sum() - 300) <= 5 * len(result.segments)  # rounded
    assert not result.segments.is_standing.any()
    assert "not clustered" not in result.as_text()
    table = score(params, model_uri=result.model_uri, out=params.path(params.outputs.scores), progress=SILENT)
    assert table.summary.low_evidence_count == 0
    scores = pd.read_parquet(params.path(params.outputs.scores))
    log = orders(300).groupby("customer_id").unit_price.agg(["count", "sum"]).loc[scores.customer_id]
    assert scores.order_count.tolist() == log["count"].tolist()
    assert np.allclose(scores.spend, log["sum"])
    assert scores.top_categories.map(len).sum() == 0


def test_nothing_is_shown_about_products(trained: tuple[Params, TrainingResult]) -> None:
    params, result = trained
    assert "The log has orders alone" in result.as_text()
    tables = [facet_text(str(name), rows) for name, rows in result.segments.groupby("facet")]
    shown = [check(params, progress=SILENT), *tables, *result.notes, result.predicted, _report_text(result.report_path)]
    shown.append(explain(params, customer="c0", category=None, model_uri=result.model_uri, progress=SILENT))
    book = openpyxl.load_workbook(_workbook(params, result))
    shown += [str(cell) for sheet in book for row in sheet.iter_rows(values_only=True) for cell in row]
    assert [line for text in shown for line in text.replace(PLAYBOOK, "").splitlines() if HIDDEN.search(line)] == []


def test_the_share_not_clustered_is_shown_with_its_remedy(tmp_path: Path, mlflow_store: Path) -> None:
    copy_store(mlflow_store, tmp_path)
    params = invented(tmp_path, "clustering.min_orders=2", "quality.validity=false")
    few = (orders(300).groupby("customer_id").size() < 2).sum()
    note = (
        f"{few} of 300 customers ({few / 300:.0%}) are not clustered by behaviour, as they have fewer than 2 orders; "
        "they are grouped by lifecycle stage. To cluster more of them, lower clustering.min_orders."
    )
    window = f" in the {params.history_days:g} days before as_of (history_days)"
    assert note.replace("2 orders", f"2 orders{window}") in check(params, progress=SILENT)
    result = train(params, sweep=False, progress=SILENT)
    assert note in result.as_text()
    assert abs(result.segments[result.segments.is_standing.astype(bool)].customer_count.sum() - few) <= 20  # rounded
    text = _report_text(result.report_path)
    assert "those with fewer than 2 orders are not" in text
    assert text.lower().count("fewer than 2 orders") > 1  # also as the rule of a group


def test_a_log_with_products_still_needs_them(tmp_path: Path) -> None:
    pd.DataFrame({"product_id": ["p"], "category_path": ["A"]}).to_parquet(tmp_path / "products.parquet")
    with pytest.raises(SourceError, match="missing_product_id"):
        check(invented(tmp_path, f"source.products={{path: {tmp_path / 'products.parquet'}}}"), progress=SILENT)


@pytest.mark.real
@pytest.mark.skipif(not CASE.is_dir(), reason="expected the public cases in shared/cases next to the project")
def test_the_public_case_trains_and_scores(tmp_path: Path, mlflow_store: Path) -> None:
    copy_store(mlflow_store, tmp_path)
    shutil.copy(CASE / "transactions.csv", tmp_path / "orders.csv")
    query = f"select *, 'purchase' as event_type from '{tmp_path / 'orders.csv'}'"
    events = f'{{query: "{query}", columns: {{occurred_at: order_date, unit_price: amount}}}}'
    params = settings(tmp_path, events, "as_of=2025-07-01T00:00:00Z", *FAST)
    result = train(params, sweep=False, progress=SILENT)
    assert HIDDEN.findall(" ".join(result.notes)) == []
    assert HIDDEN.findall(_report_text(result.report_path).replace(PLAYBOOK, "")) == []
    score(params, model_uri=result.model_uri, out=params.path(params.outputs.scores), progress=SILENT)
    log = pd.read_csv(CASE / "transactions.csv")
    scores = pd.read_parquet(params.path(params.outputs.scores))
    assert len(scores) == log.customer_id.nunique()
    assert published_sizes(scores.segment_id) == result.segments.set_index("segment_id").customer_count.to_dict()
    assert scores.spend.sum() == pytest.approx(log.amount.sum())


def _workbook(params: Params, result: TrainingResult) -> Path:
    path = params.path(params.outputs.folder) / "segments.xlsx"
    report(params, run=result.run_id, language=None, xlsx=True, out=path)
    return path


def _report_text(path: Path) -> str:
    markup = re.sub(r"<style.*?</style>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "\n", markup))
