"""Logs with troubles of money that shops reported, in ../shared/cases next to the project; skipped if it is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from features.events import ObservationWindow
from features.value import order_table, return_table, value_measures
from pipeline.config.load import load_params
from pipeline.ingest.files.raw_tables import SourceError
from pipeline.ingest.findings.totals import Totals, shop_totals
from pipeline.ingest.source import read_source
from pipeline.stores.database import connect

ROOT = Path(__file__).parents[3]
CASES = ROOT.parent / "shared" / "cases"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not CASES.is_dir(), reason=f"expected the logs in shared/{CASES.name}/ next to the project"),
]
SHOPIFY, FORMATS, REFUNDS = "01-shopify-blank-lines", "06-money-formats", "11-refunds"


class Case:
    """Reads a log as it was tried, or with more settings of `source.events`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.totals = folder, Totals()

    def __call__(self, place: str, name: str, **settings: Any) -> Any:
        """Summary, and the value of each customer."""
        described = yaml.safe_load((CASES / place / f"{name}.yaml").read_text(encoding="utf-8"))
        events = described["source"]["events"]
        if events.get("path"):
            events["path"] = str(CASES / place / events["path"])
        else:
            events["query"] = re.sub(r"'(\w+\.csv)'", rf"'{CASES / place}/\1'", events["query"])
        (self.folder / "case.yaml").write_text(yaml.safe_dump({"base": str(ROOT / "params.yaml"), **described}))
        declared = [f"source.events.{key}={json.dumps(value)}" for key, value in settings.items()]
        params = load_params(self.folder / "case.yaml", declared)
        with connect(params.engine, folder=self.folder / "work") as con:
            found = read_source(con, params, rejected_path=self.folder / "rejected.parquet")
            self.totals = shop_totals(found.events, params.as_of)
            window = ObservationWindow(params.as_of, 10_000)
            value = value_measures(order_table(found.events), return_table(found.events), window=window)
            return found.summary, value.to_pandas().set_index("customer_id")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def texts(place: str, name: str, **more: Any) -> pd.DataFrame:
    return pd.read_csv(CASES / place / name, dtype=str, keep_default_na=False, **more)


@pytest.mark.parametrize(
    ("name", "missing", "columns"), [("a", "event_type", ["event_type"]), ("b", "customer_id", ["customer_id"])]
)
def test_rows_that_lack_what_their_order_has_are_an_error(
    case: Case, name: str, missing: str, columns: list[str]
) -> None:
    message = rf"1,304 of 2,896 rows \(45\.0%\) have no {missing}.*source\.events\.fill_by_order: \[{columns[0]}\]"
    with pytest.raises(SourceError, match=message):
        case(SHOPIFY, name)
    summary, _ = case(SHOPIFY, name, fill_by_order=columns)
    assert (summary.read_count, summary.accepted_count, summary.rejected_count) == (2896, 2896, 0)


def test_filled_orders_have_the_money_of_the_whole_export(case: Case) -> None:
    lines = texts(SHOPIFY, "orders_first_line_only.csv")
    status = lines["Financial Status"].mask(lines["Financial Status"] == "").groupby(lines.Name).transform("first")
    customer = lines.Email.mask(lines.Email == "").groupby(lines.Name).transform("first")
    money = lines[["Lineitem quantity", "Lineitem price", "Discount Amount"]].replace("", "0").astype(float)
    paid = money["Lineitem quantity"] * money["Lineitem price"] - money["Discount Amount"]
    bought = status.isin(["paid", "partially_refunded"])
    events = {"columns": {**columns_of(SHOPIFY, "b0"), "event_type": "Financial Status"}}
    _, value = case(SHOPIFY, "b0", fill_by_order=["customer_id", "event_type"], **events)
    assert case.totals.spend == pytest.approx(paid[bought].sum()) == pytest.approx(280_988.25)
    assert case.totals.order_count == lines.Name[bought].nunique()
    pd.testing.assert_series_equal(value.spend.sort_index(), paid[bought].groupby(customer).sum(), check_names=False)
    filled = case.totals
    case(SHOPIFY, "filled")
    assert case.totals == filled
    # With the refunds as Shopify notes them, and orders that were voided left out.
    mapped = {key: text for key, text in events["columns"].items() if key != "discount"}
    order_facts = {"order_discount": "Discount Amount", "refunded": "Refunded Amount", "status": "Financial Status"}
    whole, _ = case(
        SHOPIFY,
        "b0",
        columns={**mapped, **order_facts, "currency": "Currency"},
        event_types={"purchase": ["paid", "partially_refunded", "refunded"]},
        fill_by_order=["customer_id", "event_type", "currency"],
        statuses={"cancelled": ["voided"]},
    )
    refunded = lines["Refunded Amount"].replace("", "0").astype(float).sum()
    assert case.totals.spend == pytest.approx(paid[status != "voided"].sum())
    assert case.totals.refunded == pytest.approx(refunded)
    assert whole.left_out == {"cancelled": int((status == "voided").sum())}


def columns_of(place: str, name: str) -> dict[str, str]:
    described = yaml.safe_load((CASES / place / f"{name}.yaml").read_text(encoding="utf-8"))
    return described["source"]["events"]["columns"]


@pytest.mark.parametrize(
    ("name", "settings", "separator"),
    [
        ("a_decimal_comma", {"decimal": ",", "thousands": "."}, ";"),
        ("c_comma_thousands", {"decimal": ".", "thousands": ","}, ","),
        ("d_currency_sign", {"decimal": "."}, ","),
    ],
)
def test_money_formats_are_read_if_declared_and_named_if_not(
    case: Case, name: str, settings: dict[str, str], separator: str
) -> None:
    keys = " and ".join(f'source.events.{key}: "{sign}"' for key, sign in settings.items())
    with pytest.raises(SourceError, match=re.escape(f"Numbers of column 'price' can be read with {keys} for")):
        case(FORMATS, name)
    lines = texts(FORMATS, f"{name}.csv", sep=separator)
    price = lines.price.str.replace(settings.get("thousands", "$"), "").str.replace(settings["decimal"], ".")
    paid = price.str.replace("$", "").astype(float) * lines.quantity.astype(float)
    summary, value = case(FORMATS, name, **settings)
    assert case.totals.spend == pytest.approx(paid.sum())
    assert (summary.rejected_count, summary.warnings) == (0, [])
    pd.testing.assert_series_equal(value.spend.sort_index(), paid.groupby(lines.customer).sum(), check_names=False)


def test_points_that_separate_thousands_are_suspected(case: Case) -> None:
    summary, _ = case(FORMATS, "b_dot_thousands")
    [warning] = summary.warnings
    assert warning.startswith("2,766 values of column 'price' look like 1.250")
    declared, _ = case(FORMATS, "b_dot_thousands", thousands=".")
    lines = texts(FORMATS, "b_dot_thousands.csv")
    paid = lines.price.str.replace(".", "").astype(float) * lines.quantity.astype(float)
    assert case.totals.spend == paid.sum() == 15_491_403
    assert declared.warnings == []


def test_prices_with_two_decimals_are_not_suspected(case: Case) -> None:
    """In the file as it is, no price is above a thousand; `test_orders.py` has logs in which few are."""
    lines = texts(FORMATS, "e_few_thousands.csv")
    summary, _ = case(FORMATS, "e_few_thousands")
    assert case.totals.spend == pytest.approx((lines.price.astype(float) * lines.quantity.astype(float)).sum())
    assert lines.price.astype(float).max() < 1000 and summary.warnings == []


def test_refunds_of_an_amount_count_for_the_customer(case: Case) -> None:
    [by_query] = [path.stem for path in (CASES / REFUNDS).glob("*ed.yaml")]
    for name, file, settings in (
        ("few", "orders_few.csv", {}),
        ("params", "orders.csv", {"negative_rows": "return"}),
        (by_query, "orders.csv", {}),
    ):
        lines = texts(REFUNDS, file)
        money = lines.price.astype(float) * lines.quantity.replace("", "1").astype(float).abs()
        given_back = (lines.kind == "refund") | lines.quantity.str.startswith("-")
        spend = money[~given_back].groupby(lines.customer).sum()
        refunds = money[given_back].groupby(lines.customer).sum().reindex(spend.index).fillna(0)
        summary, value = case(REFUNDS, name, **settings)
        assert (summary.rejected_count, case.totals.return_count) == (0, given_back.sum())
        assert case.totals.refunded == pytest.approx(money[given_back].sum())
        net = (spend - refunds).clip(lower=0)
        pd.testing.assert_series_equal(value.net_spend.sort_index(), net, check_names=False)
        assert net.sum() < spend.sum()


def test_undeclared_negative_rows_are_an_error_that_names_the_key(case: Case) -> None:
    with pytest.raises(SourceError, match=r"negative_quantity +79 rows[\s\S]*source\.events\.negative_rows: return"):
        case(REFUNDS, "params")
