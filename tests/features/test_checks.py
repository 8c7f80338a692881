"""Row rules: hand-made rows that each break certain rules."""

from __future__ import annotations

from typing import Any

import ibis
import pytest

from features import checks
from features.events import EVENT_SCHEMA, WITHOUT_PRODUCT
from pipeline.config.sections.source import ChecksParams

RULES = checks.rules(max_text_chars=10)


def test_a_log_without_products_needs_none() -> None:
    names = [rule.name for rule in checks.rules(max_text_chars=10, has_products=False)]
    assert names == [rule.name for rule in RULES if rule.name != "missing_product_id"]


# Checked while files are read, or against other tables.
CHECKED_ELSEWHERE = {
    "unreadable_row",
    "broken_encoding",
    "unknown_product",
    "without_category",
    "discount_above_price",
    "after_as_of",
}
GOOD = {"customer_id": "c", "occurred_at": "2025-01-01", "event_type": "view", "product_id": "p", "quantity": 1.0}


def parsed(*rows: dict[str, Any], places: dict[str, str] | None = None) -> Any:
    schema = {name: kind.copy(nullable=True) for name, kind in EVENT_SCHEMA.items()}
    conditions = ("is_not_a_customer", "has_unreadable_number", "has_long_text")
    flags = {"source_event_type": "string", **dict.fromkeys(conditions, "boolean")}
    blank = dict.fromkeys([*schema, *flags, *(places or {})]) | dict.fromkeys(conditions, False)
    filled = [{**blank, "source_event_type": "v", **GOOD, **row} for row in rows]
    for row in filled:
        row["occurred_at"] = row["occurred_at"] and ibis.timestamp(row["occurred_at"]).op().value
    return ibis.memtable(filled, schema=ibis.schema({**schema, **flags, **(places or {})}))


def broken(con: Any, *rows: dict[str, Any]) -> list[list[str]]:
    numbers = [{"order_id": str(number), **row} for number, row in enumerate(rows)]
    checked = con.to_pyarrow(checks.with_reasons(parsed(*numbers), RULES).order_by("order_id")).to_pylist()
    return [[rule.name for bit, rule in enumerate(RULES) if row[checks.REASONS] >> bit & 1] for row in checked]


def test_rules_and_thresholds_match() -> None:
    assert {rule.name for rule in RULES} | CHECKED_ELSEWHERE == set(ChecksParams.model_fields)


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        ({}, []),
        ({"customer_id": None}, ["missing_customer_id"]),
        ({"customer_id": ""}, ["missing_customer_id"]),
        ({"customer_id": " \t\n"}, ["missing_customer_id"]),
        ({"customer_id": "\t\u00a0"}, []),  # a no-break space is a character
        ({"customer_id": " c"}, []),
        ({"customer_id": "!"}, []),
        ({"is_not_a_customer": True}, ["not_a_customer"]),
        ({"source_event_type": " "}, ["missing_event_type"]),
        ({"occurred_at": None}, ["unreadable_time"]),
        ({"occurred_at": "1989-12-31 23:59:59"}, ["time_out_of_range"]),
        ({"occurred_at": "1990-01-01"}, []),
        ({"occurred_at": "2100-01-01"}, ["time_out_of_range"]),
        ({"product_id": None}, ["missing_product_id"]),
        ({"product_id": None, "category_path": "A"}, []),
        *(({"product_id": None, "event_type": str(kind)}, []) for kind in WITHOUT_PRODUCT),
        ({"product_id": " ", "event_type": "purchase"}, ["missing_product_id"]),
        ({"has_unreadable_number": True}, ["unreadable_number"]),
        ({"unit_price": 1e13}, ["unreadable_number"]),
        ({"quantity": float("inf")}, ["unreadable_number"]),
        ({"discount": 1e12}, []),
        ({"unit_price": -0.01}, ["negative_price"]),
        ({"discount": -1.0}, ["negative_price"]),
        ({"unit_price": 0.0, "quantity": 0.0}, []),
        ({"quantity": -1.0}, ["negative_quantity"]),
        ({"has_long_text": True}, ["text_too_long"]),
        ({"customer_id": None, "occurred_at": None, "quantity": -1.0}, ["missing_customer_id", "unreadable_time", "negative_quantity"]),
    ],
)  # fmt: skip
def test_each_row_breaks_the_expected_rules(con: Any, row: dict[str, Any], reasons: list[str]) -> None:
    assert broken(con, row) == [reasons]


def test_every_row_is_either_accepted_or_rejected(con: Any) -> None:
    rows: list[dict[str, Any]] = [{}, {"quantity": -1.0}, {"customer_id": None}, {}]
    places: list[dict[str, Any]] = [{"row": 1}, {"row": 2}, {"file": 0, "row": 1}, {"file": 0, "row": 2}]
    located = [row | place for row, place in zip(rows, places, strict=True)]
    table = checks.with_reasons(parsed(*located, places={"file": "int64", "row": "int64"}), RULES)
    broken_rows = checks.rejected(table)
    accepted = checks.accepted(table, broken_rows, place=("file", "row"))
    assert con.to_pyarrow(broken_rows.select("file", "row").order_by("row")).to_pylist() == [
        {"file": 0, "row": 1},
        {"file": None, "row": 2},
    ]
    assert sorted(con.to_pyarrow(accepted.row).to_pylist()) == [1, 2]


def test_reasons_do_not_depend_on_the_order_of_rows(con: Any) -> None:
    rows: list[dict[str, Any]] = [{}, {"quantity": -1.0}, {"customer_id": None}]
    assert broken(con, *rows) == broken(con, *rows[::-1])[::-1]
