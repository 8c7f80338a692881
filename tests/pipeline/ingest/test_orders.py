"""Money and orders: number formats, totals, discounts, refunds, statuses, currencies, and rows that lack a customer."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.value import return_table, returned_items
from pipeline.commands.check import reading_text, totals_lines
from pipeline.config.load import load_params
from pipeline.config.params import ParamsError
from pipeline.ingest.files.raw_tables import SourceError
from pipeline.ingest.findings.totals import Totals, shop_totals
from pipeline.ingest.source import read_source
from pipeline.stores.database import connect

PARAMS = Path(__file__).parents[3] / "params.yaml"
Rows = list[dict[str, Any]]


class Shop:
    """Writes a log of purchases, reads it, and compares with pandas."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.returned, self.totals = pd.DataFrame(), Totals()

    def read(self, rows: Rows | pd.DataFrame, *more: str, suffix: str = "csv", **columns: Any) -> Any:
        """Summary and events; ``columns`` are settings of `source.events`, such as decimal."""
        defaults = {"customer_id": "c1", "occurred_at": "2025-01-01 10:00:00", "event_type": "purchase"}
        frame = pd.DataFrame(rows)
        for name, value in {**defaults, "product_id": "p1"}.items():
            if name not in frame and name not in columns.get("columns", {}):
                frame[name] = value
        path = self.folder / f"log.{suffix}"
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
        settings = [f"source.events.{key}={json.dumps(value)}" for key, value in columns.items()]
        source = ["source.products=null", "source.customers=null", f"source.events.path={path}"]
        params = load_params(PARAMS, [*source, *settings, *more])
        with connect(params.engine, folder=self.folder / "work") as con:
            found = read_source(con, params, rejected_path=self.folder / "rejected.parquet")
            self.totals = shop_totals(found.events, params.as_of)
            self.returned = returned_items(return_table(found.events)).order_by("customer_id").to_pandas()
            events = found.events.order_by("order_id", "product_id", "event_type").to_pandas()
        counts = found.summary
        assert counts.read_count == counts.accepted_count + counts.rejected_count + sum(counts.left_out.values())
        return counts, events

    def price(self, text: str, **columns: Any) -> float | None:
        """A price as it was read, next to a row that can be read; None if it was rejected."""
        counts, events = self.read(
            [{"product_id": "a", "unit_price": text}, {"product_id": "b", "unit_price": ""}],
            "checks.unreadable_number.error=1.0",
            **columns,
        )
        assert counts.accepted_count == len(events)
        return float(events.unit_price[0]) if len(events) == 2 else None


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "value"),
    [
        ("1.234,56", ",", ".", 1234.56),
        ("1,234.56", ".", ",", 1234.56),
        ("1\u00a0234,50 €", ",", " ", 1234.5),
        ("1’234.50", None, "'", 1234.5),
        ("12,34,567.8", None, ",", 1234567.8),  # India
        ("$5", ".", None, 5),
        ("-$5.50", ".", None, None),  # read, but a negative price is another rule's
        ("US$5", ".", None, 5),
        ("5,00 ₴", ",", None, 5),
        ("5.50 руб.", ".", None, 5.5),
        ("500,00 Lekë", ",", None, 500),
        ("EUR 5.10", ".", None, 5.1),
        ("1.250", None, ".", 1250),
        ("1.25", None, ".", None),  # no group of three digits
        ("1,23", None, ",", None),
        ("1e5", ".", None, None),
        ("5kg", ".", None, None),
        ("1e2", None, None, 100),
        ("$5", None, None, None),
    ],
)
def test_numbers_as_people_write_them(
    shop: Shop, text: str, decimal: str | None, thousands: str | None, value: float | None
) -> None:
    more = {"decimal": decimal, "thousands": thousands}
    if text.startswith("-"):
        with pytest.raises(SourceError, match="negative_price"):
            shop.price(text, **more)
    else:
        assert shop.price(text, **more) == value


def test_numbers_of_a_typed_column_are_not_read_again(shop: Shop) -> None:
    frame = pd.DataFrame({"unit_price": [1.25, 1250.5], "product_id": ["a", "b"]})
    counts, events = shop.read(frame, suffix="parquet", decimal=",", thousands=".")
    assert events.unit_price.tolist() == [1.25, 1250.5] and not counts.warnings


def test_equal_separators_are_refused(shop: Shop) -> None:
    with pytest.raises(ParamsError, match="expected different separators"):
        shop.read([{"unit_price": "1"}], decimal=",", thousands=",")


@pytest.mark.parametrize(
    ("prices", "declarations"),
    [
        (["1.234,56", "12"], ['decimal: "," and source.events.thousands: "."']),
        (["1,234.00"], ['decimal: "." and source.events.thousands: ","']),
        (["$5"], ['decimal: "."']),
        (["1,250", "2,500"], ['decimal: ","', 'thousands: ","']),  # 1250 or 1.25: both are named
        (["about five"], []),
    ],
)
def test_unreadable_prices_come_with_the_keys_that_read_them(
    shop: Shop, prices: list[str], declarations: list[str]
) -> None:
    with pytest.raises(SourceError, match="unreadable_number") as caught:
        shop.read([{"unit_price": price} for price in prices])
    assert [text for text in declarations if text in str(caught.value)] == declarations
    assert ("can be read" in str(caught.value)) == bool(declarations)
    assert "about five" not in str(caught.value)


def test_few_unreadable_prices_come_with_the_keys_as_well(shop: Shop) -> None:
    counts, _ = shop.read([{"unit_price": "5.5"}] * 999 + [{"unit_price": "1,250.00"}])
    [warning] = [text for text in counts.warnings if text.startswith("unreadable_number")]
    assert 'source.events.thousands: ","' in warning


@pytest.mark.parametrize(
    ("prices", "count"),
    [
        (["1.250", "2.500", "900"], 2),
        (["650"] * 99 + ["1.250"], 1),
        (["650.54"] * 99 + ["1.250"], 1),
        (["1.250", "0.125"], 0),  # less than one: a decimal point
        (["1.250", "1250.125"], 0),
        (["1.459", "1.5", "1.509"], 0),  # prices by the litre
        (["1.459", "1.4589"], 0),
        (["650.54", "12.5"], 0),
        (["650", "12"], 0),
    ],
)
def test_prices_that_may_be_thousands(shop: Shop, prices: list[str], count: int) -> None:
    counts, _ = shop.read([{"unit_price": price} for price in prices])
    found = [text for text in counts.warnings if "look like 1.250" in text]
    assert len(found) == (count > 0) and all(text.startswith(f"{count:,} values") for text in found)
    declared, _ = shop.read([{"unit_price": price} for price in prices], decimal=".")
    assert not any("look like 1.250" in text for text in declared.warnings)


def test_several_currency_signs_in_one_column_are_refused(shop: Shop) -> None:
    rows = [{"unit_price": "$5"}, {"unit_price": "€6"}, {"unit_price": "$7"}]
    with pytest.raises(SourceError, match=r"several signs: \$ 66\.7%, € 33\.3%"):
        shop.read(rows, decimal=".")
    shop.read([*rows[:1], {"unit_price": "7"}], decimal=".")
    assert shop.totals.spend == 12


def random_orders(*, seed: int, count: int = 400) -> pd.DataFrame:
    """Orders of one to four rows, with prices in cents and a discount on some."""
    rng = np.random.default_rng(seed)
    lines = pd.DataFrame({"order_id": np.repeat(np.arange(count), rng.integers(1, 5, count)).astype(str)})
    lines["customer_id"] = ("c" + (lines.order_id.astype(int) % 97).astype(str)).to_numpy()
    lines["product_id"] = [f"p{number:05}" for number in range(len(lines))]
    lines["quantity"] = rng.integers(1, 9, len(lines)).astype(float)
    lines["price"] = rng.integers(100, 9_999, len(lines)) / 100
    return lines


def spend_of(events: pd.DataFrame) -> pd.Series:
    return events.quantity * events.unit_price - events.discount.fillna(0)


def test_amounts_are_what_was_paid_for_rows(shop: Shop) -> None:
    lines = random_orders(seed=1)
    lines["discount"] = np.where(lines.quantity > 5, 1.0, 0.0)
    lines["line_total"] = lines.quantity * lines.price - lines.discount
    lines.loc[3, "quantity"] = 0.0  # an amount without items counts all the same
    counts, events = shop.read(lines, columns={"amount": "line_total"})
    merged = events.merge(lines, on="product_id")
    np.testing.assert_allclose(spend_of(events), merged.line_total)
    assert shop.totals.spend == pytest.approx(lines.line_total.sum())
    assert shop.totals.average_order == pytest.approx(lines.groupby("order_id").line_total.sum().mean())
    assert shop.totals.largest_order == pytest.approx(lines.groupby("order_id").line_total.sum().max())
    by_customer = lines.groupby("customer_id").line_total.sum()
    assert shop.totals.largest_customer_share == pytest.approx(by_customer.max() / by_customer.sum())
    assert not any("unit_price" in text for text in counts.warnings)


def test_an_amount_with_our_name_is_used_only_without_prices(shop: Shop) -> None:
    row = {"quantity": 2, "amount": 30}
    shop.read([row])
    assert shop.totals.spend == 30
    shop.read([{**row, "unit_price": 5}])
    assert shop.totals.spend == 10
    with pytest.raises(SourceError, match="Leave out all but one"):
        shop.read([{**row, "price": 5}], columns={"amount": "amount", "unit_price": "price"})


@pytest.mark.parametrize("is_repeated", [True, False])
@pytest.mark.parametrize("has_prices", [True, False])
def test_the_total_of_an_order_is_counted_once(shop: Shop, is_repeated: bool, has_prices: bool) -> None:
    lines = random_orders(seed=2)
    gross = (lines.quantity * lines.price).groupby(lines.order_id).transform("sum")
    lines["total"] = (0.9 * gross).round(2)  # after a discount on the order
    expected = lines.total * (
        lines.quantity * lines.price / gross
        if has_prices
        else lines.quantity / lines.groupby("order_id").quantity.transform("sum")
    )
    if not is_repeated:
        lines["total"] = lines.total.where(~lines.duplicated("order_id"))
    columns = {"order_total": "total"} | ({"unit_price": "price"} if has_prices else {})
    _, events = shop.read(lines.drop(columns=[] if has_prices else ["price"]), columns=columns)
    paid = spend_of(events.set_index("product_id")).reindex(lines.product_id)
    np.testing.assert_allclose(paid, expected)
    once = lines.dropna(subset="total").drop_duplicates("order_id").total
    assert (shop.totals.spend, shop.totals.order_count) == (pytest.approx(once.sum()), len(once))


@pytest.mark.parametrize("bad", [{"product_id": ""}, {"quantity": -1}, {"postage": "?"}])
def test_rows_that_are_rejected_take_no_part_of_their_order(shop: Shop, bad: dict[str, Any]) -> None:
    row = {"order_id": "1", "total": 100, "quantity": 1, "postage": 0}
    rows = [{**row, "product_id": "a"}, {**row, "product_id": "b"}, {**row, "product_id": "c", **bad}]
    checks = [f"checks.{name}.error=1.0" for name in ("missing_product_id", "negative_quantity", "unreadable_number")]
    counts, events = shop.read(rows, *checks, columns={"order_total": "total", "shipping": "postage"})
    assert counts.rejected_count == 1
    assert events.unit_price.tolist() == [50, 50]


def test_a_row_total_declared_as_the_total_of_orders_is_refused(shop: Shop) -> None:
    lines = random_orders(seed=3)
    with pytest.raises(SourceError, match=r"order_total is about a whole order, but \d+ of \d+ .* use amount"):
        shop.read(lines, columns={"order_total": "price"})


@pytest.mark.parametrize("is_repeated", [True, False])
def test_a_discount_on_an_order_is_spread_over_its_rows(shop: Shop, is_repeated: bool) -> None:
    lines = random_orders(seed=4)
    gross = lines.quantity * lines.price
    lines["off"] = np.where(lines.order_id.astype(int) % 3 == 0, 5.0, 0.0)
    expected = lines.off * gross / gross.groupby(lines.order_id).transform("sum")
    if not is_repeated:
        lines["off"] = lines.off.where(~lines.duplicated("order_id"))
    counts, events = shop.read(lines, columns={"unit_price": "price", "order_discount": "off"})
    found = events.set_index("product_id").discount.reindex(lines.product_id)
    np.testing.assert_allclose(found, expected)
    once = lines.dropna(subset="off").drop_duplicates("order_id").off
    assert shop.totals.spend == pytest.approx(gross.sum() - once.sum())
    assert counts.noted_by_rule["discount_above_price"] == 0


def test_a_refund_noted_on_the_order_is_a_return_without_items(shop: Shop) -> None:
    lines = random_orders(seed=5)
    lines["refund"] = np.where((lines.order_id.astype(int) % 5 == 0) & ~lines.duplicated("order_id"), 1.5, np.nan)
    counts, _ = shop.read(lines, columns={"unit_price": "price", "refunded": "refund"})
    assert counts.accepted_count == len(lines) and counts.event_types["purchase"] == len(lines)
    assert shop.totals.spend == pytest.approx((lines.quantity * lines.price).sum())
    assert shop.totals.refunded == pytest.approx(lines.refund.sum())
    assert shop.totals.return_count == lines.refund.notna().sum()
    by_customer = lines.groupby("customer_id").refund.sum()
    np.testing.assert_allclose(shop.returned.returned_spend, by_customer[by_customer > 0].sort_index())
    assert shop.returned.returned_item_count.sum() == 0
    shop.read([{"unit_price": 9, "refunded": 2}] * 3, columns={"refunded": "refunded"})
    assert (shop.totals.refunded, shop.totals.return_count) == (6, 3)  # rows without an order_id


@pytest.mark.parametrize("is_repeated", [True, False])
def test_shipping_and_tax_are_no_spend(shop: Shop, is_repeated: bool) -> None:
    rows = [{"order_id": "1", "total": 30, "postage": 5, "vat": 4}, {"order_id": "1", "total": 30}]
    if is_repeated:
        rows[1] |= {"postage": 5, "vat": 4}
    shop.read(
        [*rows, {"total": 7, "postage": 2}], columns={"order_total": "total", "shipping": "postage", "tax": "vat"}
    )
    assert shop.totals.spend == pytest.approx(26)
    with pytest.raises(SourceError, match="shipping, tax: they are taken off order_total, which is not declared"):
        shop.read(rows, columns={"unit_price": "total", "shipping": "postage", "tax": "vat"})


def test_negative_rows_are_returns_if_declared(shop: Shop) -> None:
    rows = [
        {"product_id": "a", "quantity": 3, "unit_price": 10},
        {"product_id": "a", "quantity": -1, "unit_price": 10},
        {"product_id": "b", "quantity": 1, "unit_price": -4},
        {"product_id": "", "quantity": 1, "unit_price": -2},
        {"product_id": "c", "quantity": 1, "unit_price": 5},
    ]
    for rule in ("negative_quantity", "negative_price"):
        with pytest.raises(SourceError, match=rf"{rule}[\s\S]*source\.events\.negative_rows: return"):
            shop.read(rows)
    counts, events = shop.read(rows, negative_rows="return")
    assert counts.event_types == {"return": 3, "purchase": 2} and counts.rejected_count == 0
    assert (shop.totals.spend, shop.totals.refunded) == (35, 16)
    assert shop.returned.returned_item_count.tolist() == [2]  # the amount of 2 has no item
    assert (events.quantity >= 0).all()
    amounts = [{"quantity": row["quantity"], "amount": row["quantity"] * row["unit_price"]} for row in rows]
    counts, _ = shop.read(amounts, negative_rows="return")
    assert (shop.totals.spend, shop.totals.refunded) == (35, 16)


@pytest.mark.parametrize("totals", [[10, 10], [10, ""], [0, 0]])
def test_one_total_of_rows_bought_and_returned_is_refused(shop: Shop, totals: list[Any]) -> None:
    rows = [
        {"order_id": "1", "quantity": 1, "unit_price": 30, "total": totals[0]},
        {"order_id": "1", "quantity": -1, "unit_price": 20, "total": totals[1]},
    ]
    with pytest.raises(SourceError, match=r"1 orders have both kinds of rows .* Use amount"):
        shop.read(rows, columns={"order_total": "total"}, negative_rows="return")


def test_returned_rows_with_a_total_of_their_own_are_read(shop: Shop) -> None:
    rows = [
        {"order_id": "1", "quantity": 1, "total": 30},
        {"order_id": "1", "quantity": -1, "total": -20},
        {"order_id": "1", "product_id": "p2", "quantity": -1, "total": ""},
        {"order_id": "2", "quantity": -1, "total": 5},
        {"order_id": "3", "quantity": 1, "total": 7},
    ]
    shop.read([{"product_id": "p1"} | row for row in rows], columns={"order_total": "total"}, negative_rows="return")
    assert (shop.totals.spend, shop.totals.refunded) == (37, 25)


def test_a_return_may_be_negative_and_needs_no_product(shop: Shop) -> None:
    rows = [
        {"order_id": "1", "event_type": "purchase", "quantity": 2, "unit_price": 10},
        {"order_id": "1", "event_type": "return", "product_id": "", "quantity": "", "unit_price": -3},
        {"order_id": "1", "event_type": "return", "product_id": "", "quantity": 2, "unit_price": 3},
        {"order_id": "1", "event_type": "return", "product_id": "p1", "quantity": -1, "unit_price": 10},
    ]
    counts, _ = shop.read([{"product_id": "p1"} | row for row in rows])
    assert (shop.totals.spend, shop.totals.refunded, counts.rejected_count) == (20, 19, 0)
    assert shop.returned.returned_item_count.tolist() == [1]
    assert counts.noted_by_rule["without_category"] == 2  # those with a product
    with pytest.raises(SourceError, match="missing_product_id"):
        shop.read([{"product_id": "p1"} | row for row in rows[:1]] + [{"event_type": "purchase", "product_id": ""}])


FIRST_ROW_ONLY = [
    {"order_id": "1", "customer_id": "c1", "event_type": "purchase", "unit_price": 1},
    {"order_id": "1", "customer_id": "", "event_type": "", "unit_price": 2},
    {"order_id": "2", "customer_id": "c2", "event_type": "return", "unit_price": 4},
    {"order_id": "2", "customer_id": " ", "event_type": "", "unit_price": 8},
]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_of_the_first_row_fill_the_other_rows(shop: Shop, suffix: str) -> None:
    rows = [{**row, "product_id": f"p{number}"} for number, row in enumerate(FIRST_ROW_ONLY)]
    with pytest.raises(
        SourceError, match=r"2 of 4 rows \(50\.0%\) have no customer_id, .* \[customer_id, event_type\]"
    ):
        shop.read(rows, suffix=suffix)
    counts, events = shop.read(rows, suffix=suffix, fill_by_order=["customer_id", "event_type"])
    assert events.customer_id.tolist() == ["c1", "c1", "c2", "c2"]
    assert events.event_type.tolist() == ["purchase", "purchase", "return", "return"]
    assert (shop.totals.spend, shop.totals.refunded, counts.rejected_count) == (3, 12, 0)


def test_orders_with_several_customers_are_not_filled(shop: Shop) -> None:
    rows = [{"order_id": "1", "customer_id": name, "unit_price": 1} for name in ("c1", "c2", "")]
    counts, _ = shop.read(rows, fill_by_order=["customer_id"])
    assert counts.rejected_by_rule["missing_customer_id"] == 1
    assert any("1 orders have rows with several values of customer_id" in text for text in counts.warnings)


def test_rows_without_a_customer_in_orders_without_one_are_no_reason_to_stop(shop: Shop) -> None:
    rows = [{"order_id": str(number), "customer_id": "c1" if number % 3 else ""} for number in range(9)]
    counts, _ = shop.read(rows)
    assert counts.rejected_by_rule["missing_customer_id"] == 3
    assert not any("fill_by_order" in text for text in counts.warnings)
    many = [{"order_id": str(number), "customer_id": "" if number < 20 else "c1"} for number in range(200)]
    counts, _ = shop.read([*many, {"order_id": "70", "customer_id": ""}])
    assert any("write source.events.fill_by_order: [customer_id]" in text for text in counts.warnings)
    counts, _ = shop.read(FIRST_ROW_ONLY, "checks.missing_event_type.error=1.0", fill_by_order=[])
    assert counts.accepted_count == 2


@pytest.mark.parametrize("names", [["customer_name"], ["order_id"], ["channel"]])
def test_only_columns_of_the_log_are_filled(shop: Shop, names: list[str]) -> None:
    with pytest.raises(SourceError, match=f"source.events.fill_by_order: expected .* Got {names[0]}"):
        shop.read(FIRST_ROW_ONLY, fill_by_order=names)


def test_rows_of_some_statuses_are_left_out(shop: Shop) -> None:
    states = ["paid", "Cancelled", "failed", "paid", "", "voided", "removed"]
    rows = [{"order_id": "1", "state": state, "total": 12.0} for state in states]
    statuses = {"cancelled": ["cancelled", "voided"], "ignored": ["failed", "removed"]}
    columns = {"status": "state", "order_total": "total"}
    counts, events = shop.read(rows, columns=columns, statuses=statuses)
    assert counts.left_out == {"cancelled": 2, "ignored": 2}
    # The rows that are left out take no part of their order's total.
    assert (shop.totals.spend, len(events)) == (pytest.approx(12), 3)
    assert "Cancelled" in reading_text(counts, "UTC")
    with pytest.raises(SourceError, match="expected a column `status`"):
        shop.read(rows, statuses=statuses)
    counts, _ = shop.read([{**row, "status": row["state"]} for row in rows], statuses=statuses)
    assert counts.left_out == {"cancelled": 2, "ignored": 2}


def currency_log() -> pd.DataFrame:
    lines = random_orders(seed=6)
    lines["currency"] = np.array(["eur ", "USD", "GBP"])[lines.order_id.astype(int) % 3]
    day = pd.Timestamp("2025-01-10") + pd.to_timedelta(lines.order_id.astype(int) % 50, "D")
    lines["occurred_at"] = day + pd.Timedelta(hours=10)
    lines["discount"] = 0.5
    return lines


def test_amounts_are_converted_by_the_latest_rate(shop: Shop) -> None:
    lines = currency_log()
    days = pd.date_range("2025-01-01", "2025-03-01", freq="7D")
    rates = pd.concat(
        pd.DataFrame({"currency": name, "date": days, "rate": start + 0.01 * np.arange(len(days))})
        for name, start in (("USD", 0.9), ("GBP", 1.2))
    )
    rates.to_csv(shop.folder / "rates.csv", index=False)
    clean = lines.assign(currency=lines.currency.str.strip().str.upper()).sort_values("occurred_at")
    clean = pd.merge_asof(
        clean, rates.sort_values("date"), left_on="occurred_at", right_on="date", by="currency"
    ).fillna({"rate": 1.0})
    expected = clean.set_index("product_id").eval("(quantity * price - discount) * rate")
    declared = (f"source.rates={{path: {shop.folder / 'rates.csv'}}}", "currency=EUR")
    counts, events = shop.read(lines, *declared, columns={"unit_price": "price"})
    np.testing.assert_allclose(spend_of(events.set_index("product_id")).reindex(expected.index), expected)
    assert shop.totals.spend == pytest.approx(expected.sum())
    assert f"{expected.sum():,.2f} EUR in 400 orders" in totals_lines(shop.totals, "EUR")[0]
    other, _ = shop.read(lines, *declared[:1], "currency=EUR", columns={"unit_price": "price"})
    rates.assign(rate=2.0).to_csv(shop.folder / "rates.csv", index=False)
    changed, _ = shop.read(lines, *declared, columns={"unit_price": "price"})
    assert other.digest == counts.digest != changed.digest  # rates belong to the input
    with pytest.raises(SourceError, match=r"source\.rates: expected the currency to convert to"):
        shop.read(lines, declared[0], columns={"unit_price": "price"})


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ("currency,date,rate\nUSD,2025-01-01,0.9\n", r"Without one: GBP \(\d+ rows\)"),
        ("currency,date,rate\nUSD,2025-01-01,0.9\nGBP,2025-02-01,1.2\n", r"Without one: GBP \(\d+ rows\)"),
        ("currency,date,rate\nUSD,2025-01-01,0\n", "Found 1 rows without them"),
        ("currency,date,rate\nUSD,2025-01-01,0.9\nUSD,2025-01-01,0.8\n", "and 1 dates with several rates"),
        ("currency,date\nUSD,2025-01-01\n", "expected a column 'rate'"),
    ],
)
def test_rates_that_cannot_convert_are_refused(shop: Shop, rates: str, message: str) -> None:
    (shop.folder / "rates.csv").write_text(rates)
    with pytest.raises(SourceError, match=message):
        shop.read(
            currency_log(),
            f"source.rates={{path: {shop.folder / 'rates.csv'}}}",
            "currency=EUR",
            columns={"unit_price": "price"},
        )


def test_several_currencies_are_never_added_up(shop: Shop) -> None:
    lines = currency_log()
    with pytest.raises(SourceError, match=r"have: \w{3} \d\d\.\d%, \w{3} \d\d\.\d%, \w{3} \d\d\.\d%\. Name a table"):
        shop.read(lines, columns={"unit_price": "price"})
    lines["currency"] = "EUR"
    assert shop.read(lines, "currency=EUR", columns={"unit_price": "price"})[0].warnings == []
    [warning] = shop.read(lines, "currency=USD", columns={"unit_price": "price"})[0].warnings
    assert warning.startswith("amounts are in EUR, but `currency` is USD")
    # Views may have no price, and another column may be called currency.
    views = lines.assign(event_type="view", currency="USD", price=np.nan)
    assert not shop.read(
        pd.concat([lines.assign(event_type="purchase"), views]), "currency=EUR", columns={"unit_price": "price"}
    )[0].warnings


def test_rows_without_a_currency_next_to_foreign_ones_are_refused(shop: Shop) -> None:
    (shop.folder / "rates.csv").write_text("currency,date,rate\nUSD,2025-01-01,0.9\n")
    declared = (f"source.rates={{path: {shop.folder / 'rates.csv'}}}", "currency=EUR")
    rows = [{"order_id": "1", "currency": name, "unit_price": 10} for name in ("USD", "")]
    with pytest.raises(SourceError, match=r"none given 50\.0%.*fill_by_order: \[currency\]"):
        shop.read(rows, *declared)
    shop.read(rows, *declared, fill_by_order=["currency"])
    assert shop.totals.spend == pytest.approx(18)


def test_totals_count_what_happened_before_as_of(shop: Shop) -> None:
    rows = [{"unit_price": 10, "occurred_at": f"2025-01-0{day}"} for day in (1, 2, 3)]
    counts, _ = shop.read(rows, "as_of=2025-01-03T00:00:00Z")
    assert (shop.totals.spend, shop.totals.order_count) == (20, 2)
    [line] = totals_lines(shop.totals, "UAH")
    assert line == "Spend     20.00 UAH in 2 orders; 10.00 UAH on average, 10.00 UAH at most; 100.0% by one customer"
    assert line in reading_text(counts, "UTC", [line])
    shop.read([{"unit_price": 10, "event_type": "return"}])
    assert totals_lines(shop.totals, None) == ["Refunds   10.00 in 1 return"]
    shop.read([{"event_type": "view"}])
    assert totals_lines(shop.totals, None) == []


def test_an_update_fills_orders_from_rows_before_its_period(shop: Shop, tmp_path: Path) -> None:
    rows = [
        {"order_id": "1", "customer_id": "c1", "occurred_at": "2025-01-01 23:59:00", "unit_price": 1},
        {"order_id": "1", "customer_id": "", "occurred_at": "2025-01-02 00:00:00", "unit_price": 2},
    ]
    for suffix in ("csv", "parquet"):
        shop.read(rows, suffix=suffix, fill_by_order=["customer_id"])
        log = [f"source.events.path={tmp_path / f'log.{suffix}'}", "source.events.fill_by_order=[customer_id]"]
        params = load_params(PARAMS, ["source.products=null", "source.customers=null", *log])
        with connect(params.engine, folder=tmp_path / "update") as con:
            source = read_source(con, params, rejected_path=None, since=datetime(2025, 1, 2))
            assert source.events.to_pandas().customer_id.tolist() == ["c1"]
            assert source.summary.read_count == 1


@pytest.mark.parametrize(
    ("earlier", "new", "is_refused"),
    [
        ("EUR", "USD", True),
        ("EUR", " eur", False),
        ("EUR", "", False),
        ("", "USD", False),
    ],
)
def test_an_update_refuses_another_currency_than_before(shop: Shop, earlier: str, new: str, is_refused: bool) -> None:
    days = [(1, "purchase", earlier), (1, "view", "GBP"), (2, "purchase", new), (2, "view", "GBP")]
    rows = [
        {"occurred_at": f"2025-01-0{day}", "event_type": kind, "currency": currency, "unit_price": 5}
        for day, kind, currency in days
    ]
    pd.DataFrame(rows).assign(customer_id="c1", product_id="p1").to_csv(shop.folder / "log.csv", index=False)
    log = f"source.events.path={shop.folder / 'log.csv'}"
    params = load_params(PARAMS, ["source.products=null", "source.customers=null", log])
    with connect(params.engine, folder=shop.folder / "update") as con:
        if is_refused:
            with pytest.raises(SourceError, match=r"Earlier purchases and returns have EUR, and the new ones have USD"):
                read_source(con, params, rejected_path=None, since=datetime(2025, 1, 2))
        else:
            assert len(read_source(con, params, rejected_path=None, since=datetime(2025, 1, 2)).events.to_pandas()) == 2
