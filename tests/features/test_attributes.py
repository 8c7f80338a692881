from __future__ import annotations

from decimal import Decimal
from typing import Any

import ibis
import pandas as pd
import pytest

from features.attributes import column_kinds, quantiles, spread, value_counts

CUSTOMERS = pd.DataFrame(
    {
        "customer_id": ["c1", "c2", "c3", "c4", "c5"],
        "registered_at": pd.Timestamp("2025-01-01"),
        "city": ["Lviv", " Lviv ", "Kyiv", "", None],
        "income": [10.0, 30.0, 30.0, float("nan"), 70.5],
        "born_on": pd.Timestamp("1990-01-01"),
    }
)
SEGMENTS = pd.DataFrame(
    {"customer_id": ["c1", "c2", "c3", "c4", "c5", "c9"], "segment_id": ["a", "b", "a", "a", "b", "b"]}
)


def test_kinds_of_columns() -> None:
    table = ibis.memtable(CUSTOMERS)
    assert column_kinds(table) == {"city": "text", "income": "number", "born_on": "other"}


def test_counts_by_hand(con: Any) -> None:
    table = ibis.memtable(CUSTOMERS)
    counts = con.to_pyarrow(value_counts(table, ibis.memtable(SEGMENTS), ["city", "income"], {"income": [20.0, 50.0]}))
    counts_by_value = {
        (row["topic"], row["value"], row["segment_id"]): row["customer_count"] for row in counts.to_pylist()
    }
    # c4 has no values, c9 is not a customer; a band includes its lower bound.
    assert counts_by_value == {
        ("city", "Lviv", "a"): 1, ("city", "Lviv", "b"): 1, ("city", "Kyiv", "a"): 1,
        ("income", "< 20", "a"): 1, ("income", "20–50", "a"): 1, ("income", "20–50", "b"): 1, ("income", "≥ 50", "b"): 1,
    }  # fmt: skip


def test_counts_of_shared_values(con: Any) -> None:
    table = ibis.memtable(CUSTOMERS)
    cities = con.to_pyarrow(spread(table, "city", min_group=2)).to_pylist()[0]
    assert cities == {"known_count": 3, "value_count": 2, "shared_count": 2, "is_whole": True}
    incomes = con.to_pyarrow(spread(table, "income", min_group=2)).to_pylist()[0]
    assert incomes == {"known_count": 4, "value_count": 3, "shared_count": 2, "is_whole": False}


def test_quantiles_ignore_nan_and_infinity(con: Any) -> None:
    assert con.to_pyarrow(quantiles(ibis.memtable(CUSTOMERS), "income", bands=2)).to_pylist() == [{"q1": 30.0}]


@pytest.mark.parametrize("largest", [float("inf"), 1e19])
def test_numbers_of_any_size_can_be_read(con: Any, largest: float) -> None:
    table = ibis.memtable(pd.DataFrame({"income": [1.0, 2.5, 2.5, largest]}))
    incomes = con.to_pyarrow(spread(table, "income", min_group=2)).to_pylist()[0]
    is_finite = largest < float("inf")
    assert incomes == {"known_count": 3 + is_finite, "value_count": 2 + is_finite, "shared_count": 2, "is_whole": False}


def test_decimals_can_be_whole_numbers(con: Any) -> None:
    for numbers, is_whole in ((["1.00", "7.00"], True), (["1.00", "7.25"], False)):
        table = ibis.memtable({"price": [Decimal(number) for number in numbers]}, schema={"price": "decimal(6, 2)"})
        assert con.to_pyarrow(spread(table, "price", min_group=1)).to_pylist()[0]["is_whole"] == is_whole
