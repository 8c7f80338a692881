"""Guesses from names and values of columns, without a preset."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from pipeline.config.load import load_params
from pipeline.presets.describe import describe
from pipeline.presets.description import Description, located
from pipeline.presets.export_files import ExportError, find_files, load_tables
from pipeline.presets.params_file import BASE
from pipeline.stores.database import connect

ORDERS = {
    "order_id": ["1", "1", "2"],
    "customer": ["a", "a", "b"],
    "ordered_at": ["2025-01-01 10:00", "2025-01-01 10:00", "2025-01-02 11:00"],
    "sku": ["p1", "p2", "p1"],
    "price": ["1.5", "20", "1.5"],
}


def described(folder: Path, preset: str | None = None, **files: dict[str, Any]) -> Description:
    for name, columns in files.items():
        pd.DataFrame(columns).to_csv(folder / f"{name}.csv", index=False)
    base = load_params(BASE)
    with connect(base.engine, folder=folder / "work") as con:
        return describe(con, load_tables(con, base, find_files([folder])), preset, folder=folder)


def test_orders_without_a_type_are_purchases(tmp_path: Path) -> None:
    found = described(tmp_path, orders=ORDERS)
    assert found.title == "orders: every row is a purchase"
    assert found.events == {
        "query": "select *,\n  'purchase' as event_type\nfrom 'orders.csv'\n",
        "columns": {"customer_id": "customer", "occurred_at": "ordered_at", "product_id": "sku", "unit_price": "price"},
    }
    assert found.source == {"products": None, "customers": None}
    assert not found.notes


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"qty": ["1", "-2", "1"]}, "case when \"qty\"::varchar like '-%' then 'return' else 'purchase' end"),
        ({"order_id": ["1", "1", "C2"]}, "case when \"order_id\"::varchar like 'C%' then 'return' else 'purchase' end"),
        ({"order_id": ["A1", "A1", "C2"]}, "'purchase'"),
    ],
)
def test_returns_among_orders(change: dict[str, Any], expected: str, tmp_path: Path) -> None:
    query = str(described(tmp_path, orders=ORDERS | change).events["query"])
    assert f"  {expected} as event_type\n" in query
    assert ("ltrim" in query) == ("qty" in change)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["view", "cart", "purchase"], None),
        (["view_item", "Add To Cart", "order_paid"], {"view": ["view_item"], "cart": ["Add To Cart"], "purchase": ["order_paid"]}),
        (["pv", "buy", "hover"], {"view": ["pv"], "purchase": ["buy"], "other": ["hover"]}),
    ],
)  # fmt: skip
def test_event_types(values: list[str], expected: dict[str, list[str]] | None, tmp_path: Path) -> None:
    found = described(tmp_path, log=ORDERS | {"action": values})
    assert found.title == "events"
    assert found.events["path"] == "log.csv"
    assert found.events.get("event_types") == expected
    assert ("event_types" in found.comments and bool(found.comments["event_types"])) == ("hover" in values)


def test_types_without_a_known_meaning_are_no_event_types(tmp_path: Path) -> None:
    found = described(tmp_path, log=ORDERS | {"type": ["retail", "retail", "web"]})
    assert "'purchase' as event_type" in str(found.events["query"])


def test_the_status_of_an_order(tmp_path: Path) -> None:
    found = described(tmp_path, orders=ORDERS | {"status": ["completed", "completed", "refunded"]})
    assert found.events["event_types"] == {"purchase": ["completed"], "other": ["refunded"]}


@pytest.mark.parametrize(
    ("times", "expected", "is_ambiguous"),
    [
        (["2025-01-01", "2025-01-13T10:00:00Z", "2025-01-02 10:00:00 +0200"], None, False),
        (["01.02.2025", "13.02.2025", "02.02.2025"], "%d.%m.%Y", False),
        (["01/02/2025 10:00", "02/13/2025 09:30", "02/02/2025 11:00"], "%m/%d/%Y %H:%M", False),
        (["01/02/2025", "02/03/2025", "03/03/2025"], "%d/%m/%Y", True),
        (["1735725600", "1735812000", "1735725601"], "epoch_s", False),
        (["1735725600000", "1735812000000", "1735725601000"], "epoch_ms", False),
        (["1735725600.5", "1735812000.25", "nan"], "epoch_s", False),
        (["20250101", "20250131", "20250102"], "%Y%m%d", False),
    ],
)
def test_forms_of_times(times: list[str], expected: str | None, is_ambiguous: bool, tmp_path: Path) -> None:
    found = described(tmp_path, orders=ORDERS | {"ordered_at": times})
    assert found.events.get("time_format") == expected
    assert any("days or months" in note for note in found.notes) == is_ambiguous
    assert ("time_format" in found.comments) == is_ambiguous


def test_times_without_a_year_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"expected times in column 'ordered_at', found none .* needs its year"):
        described(tmp_path, orders=ORDERS | {"ordered_at": ["6-4", "6-5", "7-12"]})


@pytest.mark.parametrize(
    ("prices", "decimal", "thousands"),
    [
        (["1.5", "1200.25", "3"], None, None),
        (["$1.50", "1,200.25", "3"], None, ","),
        (["1,50 €", "1.200,25 €", "3"], ",", "."),
        (["1,50", "1200,25", "3,00"], ",", "."),
        (["1,50", "1 200,25", "3"], ",", " "),
        (["2.303", "2.030", "1.250"], None, None),
    ],
)
def test_forms_of_numbers(prices: list[str], decimal: str | None, thousands: str | None, tmp_path: Path) -> None:
    found = described(tmp_path, orders=ORDERS | {"price": prices})
    assert (found.events.get("decimal"), found.events.get("thousands")) == (decimal, thousands)


def test_a_total_is_an_amount_unless_there_is_a_price(tmp_path: Path) -> None:
    with_total = ORDERS | {"total": ["1.5", "20", "1.5"]}
    assert "amount" not in dict(described(tmp_path, orders=with_total).events["columns"])
    del with_total["price"]
    found = described(tmp_path, orders=with_total)
    assert dict(found.events["columns"])["amount"] == "total"
    assert any("total is taken as the total of a row" in note for note in found.notes)


def test_addresses_as_ids_and_the_currency(tmp_path: Path) -> None:
    log = ORDERS | {"customer": ["a@x.com", "A@x.com", "b@x.com"], "currency": ["EUR", "EUR", "EUR"]}
    found = described(tmp_path, orders=log)
    assert found.source["ids"] == {"normalise": "email"}
    assert found.currency == "EUR"
    found = described(tmp_path, orders=log | {"currency": ["EUR", "USD", "EUR"], "customer": ["a", "b", "c"]})
    assert found.currency is None
    assert "ids" not in found.source


@pytest.mark.parametrize(("value", "currency"), [("eur", "EUR"), ("€", None), ("euro", None)])
def test_a_currency_is_a_code(value: str, currency: str | None, tmp_path: Path) -> None:
    assert described(tmp_path, orders=ORDERS | {"currency": [value] * 3}).currency == currency


def test_an_encoding_that_is_not_declared_is_written(tmp_path: Path) -> None:
    latin = {"sku": ["p1", "p2"], "category": ["Café crème", "Thé à la menthe"]}
    pd.DataFrame(latin).to_csv(tmp_path / "products.csv", index=False, encoding="cp1252")
    found = described(tmp_path, orders=ORDERS)
    assert found.source["products"] == {
        "path": "products.csv",
        "encoding": "cp1252",
        "columns": {"product_id": "sku", "category_path": "category"},
    }
    assert "encoding" not in found.events
    (tmp_path / "products.csv").unlink()
    log = pd.DataFrame(ORDERS | {"shop": ["Café crème", "Thé à la menthe", "Pâté"]})
    log.to_csv(tmp_path / "orders.csv", index=False, encoding="cp1252")
    base = load_params(BASE)
    with connect(base.engine, folder=tmp_path / "work") as con:
        tables = load_tables(con, base, [tmp_path / "orders.csv"])
        assert describe(con, tables, None, folder=tmp_path).events["encoding"] == "cp1252"


def test_the_same_columns_in_another_kind_of_file(tmp_path: Path) -> None:
    pd.DataFrame(ORDERS).to_excel(tmp_path / "orders.xlsx", index=False)
    [note] = described(tmp_path, orders=ORDERS).notes
    assert note.startswith("Not used, as files of another kind have the same columns")
    assert note.endswith(": orders.xlsx.")


def test_tables_of_products_and_customers(tmp_path: Path) -> None:
    products = {"sku": ["p1", "p2"], "department": ["Pets", "Tea"], "category": ["Cats", "Green"]}
    customers = {"customer": ["a", "b"], "city": ["Kyiv", "Lviv"]}
    stock = {"warehouse": ["w"], "sku": ["p1"], "pieces": [3]}
    found = described(tmp_path, orders=ORDERS, products=products, people=customers, stock=stock)
    levels = {"product_id": "sku", "level_1": "department", "level_2": "category"}
    assert found.source["products"] == {"path": "products.csv", "columns": levels}
    assert found.source["customers"] == {"path": "people.csv", "columns": {"customer_id": "customer"}}
    assert found.notes == ["Not used, as they are tables of something else: stock.csv."]


def test_a_table_with_several_rows_for_a_customer_is_not_of_customers(tmp_path: Path) -> None:
    sent = {"customer": ["a", "a", "b"], "campaign": ["1", "2", "1"]}
    found = described(tmp_path, orders=ORDERS, sent=sent)
    assert found.source["customers"] is None
    assert found.notes == ["Not used, as they are tables of something else: sent.csv."]


def test_files_with_the_same_columns_are_one_log(tmp_path: Path) -> None:
    found = described(tmp_path, day_1=ORDERS, day_2=ORDERS)
    assert "from '*.csv'" in str(found.events["query"])


def test_files_that_no_pattern_names_are_listed(tmp_path: Path) -> None:
    found = described(tmp_path, day_1=ORDERS, day_2=ORDERS, products={"sku": ["p1"], "category": ["Tea"]})
    query = str(found.events["query"])
    assert "from (from 'day_1.csv' union all by name from 'day_2.csv')" in query
    with contextlib.chdir(tmp_path):
        assert len(duckdb.sql(query)) == 2 * 3


def test_how_files_are_named(tmp_path: Path) -> None:
    for name in ("logs/a.csv.gz", "logs/b.csv.gz", "logs/other.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    first, second, other = sorted((tmp_path / "logs").iterdir())
    assert located([first], tmp_path) == "logs/a.csv.gz"
    assert located([first, second], tmp_path) == "logs/*.csv.gz"
    assert located([first, other], tmp_path) == ["logs/a.csv.gz", "logs/other.csv"]
    assert located([first], tmp_path / "elsewhere") == str(first)


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"column for the customer and one for the time.*prices.csv: sku, price"):
        described(tmp_path, prices={"sku": ["a"], "price": ["1"]})


def test_files_of_another_preset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"expected the orders export of Shopify .*orders.csv lacks Name, Financial St"
    ):
        described(tmp_path, "shopify", orders=ORDERS)


@pytest.mark.parametrize("place", ["missing.csv", "empty"])
def test_places_without_files(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no table")
    with pytest.raises(ExportError, match=f"{place}: expected files such as CSV"):
        find_files([tmp_path / place])


@pytest.mark.parametrize(
    ("place", "hint"), [("my_exprt/", " Did you mean {}/my_export?"), ("zzz", ""), ("none/my_exprt", "")]
)
def test_a_missing_place_suggests_the_closest_name_next_to_it(place: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "my_export").mkdir()
    with pytest.raises(ExportError) as refused:
        find_files([tmp_path / place])
    assert str(refused.value).endswith(f", but nothing is there.{hint.format(tmp_path)}")
    (tmp_path / "my_exprt").mkdir()  # one that is there without files is not mistaken for another
    with pytest.raises(ExportError, match=r"or a folder of them\.$"):
        find_files([tmp_path / "my_exprt"])


def test_files_below_a_folder_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.csv", "2025/a.csv", ".git/c.csv", "2025/.d.csv", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_files([tmp_path, tmp_path / "b.csv"])] == ["a.csv", "b.csv"]
