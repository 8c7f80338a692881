"""Crosstab of two facets: counts, spend, and hidden cells."""

from __future__ import annotations

import numpy as np
import pytest

from models.facet_crossing import cross_facets


def crossed(counts: list[list[int]], min_group: int = 3, is_buyer: np.ndarray | None = None) -> dict[str, object]:
    first = np.array([f"s{i}" for i, row in enumerate(counts) for count in row for _ in range(count)], dtype=object)
    second = np.array([f"i{j}" for row in counts for j, count in enumerate(row) for _ in range(count)], dtype=object)
    spend = np.where(first == "s0", 2.0, 1.0)
    buyers = np.ones(len(first), dtype=bool) if is_buyer is None else is_buyer
    return cross_facets(first, second, spend, buyers, min_group=min_group)


def test_counts_and_spend_by_hand() -> None:
    found = crossed([[6, 4], [4, 6]], min_group=1)
    assert found["counts"] == [[6, 4], [4, 6]]
    assert found["spend_shares"] == [pytest.approx([0.4, 8 / 30]), pytest.approx([4 / 30, 0.2])]


def test_a_small_cell_is_hidden_and_cannot_be_found_by_subtraction() -> None:
    found = crossed([[10, 2, 9], [10, 10, 10], [10, 10, 10]])
    counts = found["counts"]
    assert isinstance(counts, list) and counts[0][1] is None
    for line in (*counts, *zip(*counts, strict=True)):
        assert sum(count is None for count in line) != 1
    spend = found["spend_shares"]
    assert isinstance(spend, list)
    assert [[share is None for share in row] for row in spend] == [[count is None for count in row] for row in counts]


def test_the_spend_of_few_buyers_is_hidden_with_another_cell() -> None:
    is_buyer = np.ones(40, dtype=bool)
    is_buyer[:9] = False  # one buyer among the ten customers of the first cell
    found = crossed([[10, 10], [10, 10]], min_group=5, is_buyer=is_buyer)
    assert found["counts"] == [[10, 10], [10, 10]]
    assert found["spend_shares"] == [[None, None], [None, None]]
