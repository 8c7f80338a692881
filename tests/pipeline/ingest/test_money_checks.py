"""Totals of rows read as unit prices, and discounts of orders read as of rows, show in the purchases."""

from __future__ import annotations

from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest

from pipeline.ingest.findings.money_checks import check_line_totals, check_repeated_discounts


def purchases(*, count: int = 600, seed: int = 1) -> pd.DataFrame:
    """Orders of one to three rows, of products whose prices change a little."""
    rng = np.random.default_rng(seed)
    product = rng.integers(0, 20, count)
    return pd.DataFrame(
        {
            "customer_id": [f"c{number}" for number in rng.integers(0, 50, count)],
            "order_id": [f"o{number}" for number in rng.integers(0, count // 2, count)],
            "event_type": "purchase",
            "product_id": [f"p{number}" for number in product],
            "quantity": rng.integers(1, 6, count).astype(float),
            "unit_price": (10.0 + product) * rng.uniform(0.95, 1.05, count),
            "discount": 0.0,
        }
    ).assign(customer_id=lambda log: "c" + log.order_id.str[1:].astype(int).mod(50).astype(str))


def table(frame: pd.DataFrame) -> Any:
    return ibis.memtable(frame)


def test_totals_of_rows_read_as_unit_prices() -> None:
    log = purchases()
    assert check_line_totals(table(log)) == []
    totals = log.assign(unit_price=log.unit_price * log.quantity)
    [warning] = check_line_totals(table(totals))
    assert "100% of the purchases of several items" in warning and "as amount in source.events.columns" in warning
    assert check_line_totals(table(totals.head(100))) == []  # too few
    assert check_line_totals(table(totals.assign(event_type="view"))) == []
    assert check_line_totals(table(totals.assign(quantity=1.0))) == []  # then both are the same


@pytest.mark.parametrize(
    ("off", "count"),
    [
        ("order", 1),  # on each row of the order
        ("first", 0),  # on its first row
        ("row", 0),  # of the row
        ("none", 0),
    ],
)
def test_discounts_of_orders_that_are_on_each_row(off: str, count: int) -> None:
    log = purchases()
    number = log.order_id.str[1:].astype(int)
    of_order = np.where(number % 2 == 0, 5.0, 0.0)
    first = np.where(log.duplicated("order_id"), 0.0, of_order)
    values = {"order": of_order, "first": first, "row": log.unit_price / 10, "none": 0.0}
    found = check_repeated_discounts(table(log.assign(discount=values[off])))
    assert len(found) == count and all("as order_discount in source.events.columns" in text for text in found)
    assert check_repeated_discounts(table(log.assign(discount=of_order).head(40))) == []
