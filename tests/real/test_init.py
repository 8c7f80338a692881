"""`kindred init` without a preset, on the real logs in ../shared/data: what it guesses is what their params files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands.init import init
from pipeline.config.errors import UserError
from pipeline.config.load import load_params
from pipeline.config.progress import SILENT
from pipeline.ingest.findings.summary import ReadingSummary
from pipeline.ingest.source import read_source
from pipeline.presets.describe import describe
from pipeline.presets.export_files import find_files, load_tables
from pipeline.presets.params_file import BASE
from pipeline.stores.database import connect

HERE = Path(__file__).parent
DATA = (HERE.parents[2] / "shared" / "data").resolve()
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"expected the real logs in shared/{DATA.name}/ next to the project"),
]


def summary_of(params_file: Path, folder: Path) -> ReadingSummary:
    params = load_params(params_file, ["as_of=2100-01-01T00:00:00Z"])
    with connect(params.engine, folder=folder) as con:
        return read_source(con, params, rejected_path=None).summary


@pytest.mark.parametrize(
    ("log", "as_of"), [("rees46", "2019-10-02T00:00:00+00:00"), ("online_retail", "2011-12-10T00:00:00+00:00")]
)
def test_a_log_is_guessed(log: str, as_of: str, tmp_path: Path) -> None:
    out = tmp_path / "shop.yaml"
    init([DATA / log], preset=None, out=out, overwrite=False, progress=SILENT)
    assert load_params(out).as_of.isoformat() == as_of
    found, expected = summary_of(out, tmp_path), summary_of(HERE / f"{log}.yaml", tmp_path)
    assert found.event_types == expected.event_types
    assert found.customer_count == expected.customer_count
    assert found.rejected_by_rule == expected.rejected_by_rule
    assert found.noted_by_rule == expected.noted_by_rule


def test_a_folder_of_several_tables(tmp_path: Path) -> None:
    base, files = load_params(BASE), find_files([DATA / "complete_journey"])
    with connect(base.engine, folder=tmp_path) as con:
        found = describe(con, load_tables(con, base, files), None, folder=tmp_path)
    assert found.events["columns"] == {
        "customer_id": "household_id",
        "occurred_at": "transaction_timestamp",
        "amount": "sales_value",
        "order_id": "basket_id",
    }
    products = {"level_1": "department", "level_2": "product_category", "level_3": "product_type"}
    tables = DATA / "complete_journey"
    assert found.source["products"] == {"path": str(tables / "products.parquet"), "columns": products}
    customers = {"path": str(tables / "demographics.parquet"), "columns": {"customer_id": "household_id"}}
    assert found.source["customers"] == customers
    assert "campaigns.parquet, coupon_redemptions.parquet, campaign_descriptions.parquet" in found.notes[-1]


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("tmall2014", "expected times in column 'visit_datetime'.*A date needs its year"),
        ("hillstrom", "expected a table of events or orders"),
        ("jdsearch", "expected a table of events or orders"),
    ],
)
def test_what_cannot_be_guessed_is_said(log: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        init([DATA / log], preset=None, out=tmp_path / "shop.yaml", overwrite=False, progress=SILENT)
    assert not (tmp_path / "shop.yaml").exists()
