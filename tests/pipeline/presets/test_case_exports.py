"""`kindred init` on the logs of ../shared/cases: columns as in their params files, and the nested export of case 12."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pipeline.commands.check import check
from pipeline.commands.init import init
from pipeline.config.load import load_params
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.ingest.sql import ParsingError
from pipeline.presets.describe import describe
from pipeline.presets.description import Description
from pipeline.presets.export_files import find_files, load_tables
from pipeline.presets.params_file import BASE
from pipeline.stores.database import connect

CASES = Path(__file__).parents[4] / "shared" / "cases"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not CASES.is_dir(), reason=f"expected the logs in shared/{CASES.name}/ next to the project"),
]


def described(places: list[Path], folder: Path) -> Description:
    base = load_params(BASE)
    with connect(base.engine, folder=folder) as con:
        return describe(con, load_tables(con, base, find_files(places)), None, folder=folder)


def columns_in(case: str, part: str) -> dict[str, str]:
    return dict(yaml.safe_load((CASES / case / f"{part}.yaml").read_text())["source"]["events"]["columns"])


PRESET_COLUMNS = {"discount"}
"""Columns that a preset names otherwise than the params file as it was tried."""


@pytest.mark.parametrize(
    ("case", "part", "files", "others"),
    [
        ("01-shopify-blank-lines", "a", ["orders_export.csv"], {"order_discount": "Discount Amount"}),
        ("01-shopify-blank-lines", "b", ["orders_first_line_only.csv"], {"event_type": "Financial Status"}),
        ("02-guest-zero", "params", ["orders.csv"], {"customer_id": "billing_email"}),
        ("02b-nan-as-text", "params", ["orders.csv"], {"customer_id": "billing_email"}),
        ("03-email-case", "params", ["orders.csv"], {}),
        ("04-leading-zeros", "fixed", ["orders.csv", "products.csv"], {"quantity": "quantity"}),
        ("06-money-formats", "a_decimal_comma", ["a_decimal_comma.csv"], {}),
        ("06-money-formats", "c_comma_thousands", ["c_comma_thousands.csv"], {}),
        ("06-money-formats", "d_currency_sign", ["d_currency_sign.csv"], {}),
        ("08-encodings", "b_bom", ["b_bom.csv"], {}),
        ("08-encodings", "a_latin1", ["a_latin1.csv"], {}),
        ("08-encodings", "c_sep_line", ["c_sep_line.csv"], {}),
        ("08-encodings", "d_utf16", ["d_utf16.csv"], {}),
        ("08-encodings", "f", ["f.xlsx"], {}),
        ("11-refunds", "params", ["orders.csv"], {}),
        ("17-rfm-ties", "params", ["orders.csv"], {}),
    ],
)
def test_columns_of_the_cases(case: str, part: str, files: list[str], others: dict[str, str], tmp_path: Path) -> None:
    found = described([CASES / case / name for name in files], tmp_path)
    columns: dict[str, Any] = dict(found.events["columns"])
    expected = columns_in(case, part) | others
    is_computed = {"event_type"} if "query" in found.events else set()
    for ours in expected.keys() - PRESET_COLUMNS - is_computed:
        assert columns.get(ours, ours) == expected[ours]
    if "products.csv" in files:
        assert found.source["products"] is not None


def test_forms_of_money(tmp_path: Path) -> None:
    for name, decimal, thousands in (
        ("a_decimal_comma", ",", "."),
        ("b_dot_thousands", None, None),  # could be either; the checks of prices point it out
        ("c_comma_thousands", None, ","),
        ("d_currency_sign", None, None),
    ):
        events = described([CASES / "06-money-formats" / f"{name}.csv"], tmp_path).events
        assert (events.get("decimal"), events.get("thousands")) == (decimal, thousands), name


def test_refunds_are_returns(tmp_path: Path) -> None:
    found = described([CASES / "11-refunds" / "orders.csv"], tmp_path)
    assert found.events["event_types"] == {"return": ["return", "refund"], "purchase": ["purchase"]}
    assert "then 'return' else" in str(found.events["query"])


@pytest.fixture
def analytics(tmp_path: Path) -> Path:
    path = tmp_path / "events_2025.jsonl"
    path.write_bytes(gzip.decompress((CASES / "12-ga4-export" / "events_2025.jsonl.gz").read_bytes()))
    return path


def test_a_nested_column_as_product_is_an_error(analytics: Path) -> None:
    part = yaml.safe_load((CASES / "12-ga4-export" / "plain.yaml").read_text())
    params_file = analytics.parent / "plain.yaml"
    params_file.write_text(yaml.safe_dump({"base": str(BASE), **part}))
    with pytest.raises(ParsingError, match=r"column 'items': expected text or numbers, got JSON.*--from ga4"):
        check(load_params(params_file), progress=SILENT)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_the_nested_export(analytics: Path, kind: str) -> None:
    """393 accounts, and 68 of the 790 devices that never signed in, so that no identity joins them."""
    rows = pd.read_json(analytics, lines=True, dtype={"user_id": str, "event_timestamp": "int64"})
    if kind == "parquet":
        rows.to_parquet(analytics.with_suffix(".parquet"))
        analytics.unlink()
    signed_in = dict(rows.dropna(subset=["user_id"])[["user_pseudo_id", "user_id"]].itertuples(index=False))
    people = {signed_in.get(device, device) for device in rows["user_pseudo_id"]} | {*signed_in.values()}
    out = analytics.parent / "shop.yaml"
    init([analytics.parent], preset="ga4", out=out, overwrite=False, progress=SILENT)
    params = load_params(out)
    with connect(params.engine, folder=analytics.parent / "work") as con:
        source = read_source(con, params, rejected_path=None)
        spend = source.events.filter(source.events.event_type == "purchase")
        total = (spend.quantity * spend.unit_price).sum().execute()
    items = rows[rows["event_name"] == "purchase"]["items"].explode()
    assert total == pytest.approx(sum(item["price"] * item["quantity"] for item in items))
    assert source.summary.customer_count == len(people) == 393 + 68
    assert source.summary.read_count == rows["items"].map(lambda each: max(len(each), 1)).sum()
