"""The comparison of two score files that `make demo-spark` prints."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tests.benchmarks.compare_scores import compare

SCORES = pa.table({"customer_id": ["a", "b", "c"], "margin": [0.1, None, 0.3], "top_categories": [["Cats"], [], None]})


def test_the_same_scores_in_another_order_do_not_differ() -> None:
    found = compare(SCORES, SCORES.take([2, 0, 1]))
    assert (found.customer_count, found.only_one_count, found.row_count) == (3, 0, 0)
    assert found.as_text().splitlines() == [
        "Compared  3 columns of 3 customers; 0 customers are in one file only",
        "Differing 0 rows",
    ]


def test_each_difference_is_counted() -> None:
    other = pa.table(
        {"customer_id": ["a", "b", "d"], "margin": [0.1 + 1e-16, 0.2, 0.3], "top_categories": [["Dogs"], [], None]}
    )
    found = compare(SCORES, other)
    assert (found.customer_count, found.only_one_count, found.row_count) == (2, 2, 2)
    assert found.differing == {"customer_id": 0, "margin": 2, "top_categories": 1}


def test_other_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        compare(SCORES, SCORES.drop_columns("margin"))
