from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.crosstabs import crossing, funnel
from models.disclosure import hidden_cells


def groups(counts: list[list[int]]) -> tuple[pd.Series, pd.Series]:
    rows = [(f"s{i}", f"g{j}") for i, row in enumerate(counts) for j, count in enumerate(row) for _ in range(count)]
    frame = pd.DataFrame(rows, columns=["first", "second"])
    return frame["first"], frame["second"]


def test_cells_compared_with_independence_by_hand() -> None:
    """Rows of 100 and 100, columns of 100 and 100: 50 would be expected in each cell."""
    found = crossing(*groups([[80, 20], [20, 80]]), min_group=10)
    assert found is not None
    assert (found["rows"], found["columns"]) == (["s0", "s1"], ["g0", "g1"])
    assert found["counts"] == [[80, 20], [20, 80]]
    assert found["ratios"] == [[1.6, 0.4], [0.4, 1.6]]


def test_no_result_for_independent_groups_or_chance_differences() -> None:
    assert crossing(*groups([[50, 50], [50, 50]]), min_group=10) is None
    assert crossing(*groups([[12, 10], [10, 12]]), min_group=5) is None
    assert crossing(*groups([[30, 30]]), min_group=5) is None


def test_customers_without_a_group_are_left_out() -> None:
    first, second = groups([[80, 20], [20, 80]])
    ungrouped = pd.Series(["s0"] * 50), pd.Series([None] * 50, dtype=object)
    joined = pd.concat([first, ungrouped[0]], ignore_index=True), pd.concat([second, ungrouped[1]], ignore_index=True)
    assert crossing(*joined, min_group=10) == crossing(first, second, min_group=10)


def test_a_small_cell_is_hidden_and_cannot_be_computed() -> None:
    hidden = hidden_cells(np.array([[90.0, 3.0, 30.0], [60.0, 40.0, 20.0], [0.0, 50.0, 70.0]]), 10)
    assert hidden.tolist() == [[False, True, True], [False, True, True], [False, False, False]]


@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=4), min_size=3, max_size=5))
def test_each_line_hides_at_least_one_full_group(rows: list[list[int]]) -> None:
    counts = np.array([[*row, 0][:4] for row in rows], dtype=float)
    hidden, small = hidden_cells(counts, 10), (counts > 0) & (counts < 10)
    assert hidden[small].all()
    for lines, marks, is_small in ((counts, hidden, small), (counts.T, hidden.T, small.T)):
        for line, mark, few in zip(lines, marks, is_small, strict=True):
            assert not few.any() or line.sum() < 10 or (mark.sum() > 1 and line[mark].sum() >= 10)


def test_a_later_step_implies_all_earlier_steps() -> None:
    profile = pd.DataFrame({
        "view_count": [0.0, 3.0, 1.0, 0.0, 2.0],
        "cart_count": [0.0, 0.0, 1.0, 0.0, 0.0],
        "order_count": [0.0, 0.0, 0.0, 1.0, 2.0],
    })  # fmt: skip
    found = funnel(profile, np.array(["a", "a", "a", "b", "b"], dtype=object), min_group=1)
    assert found["steps"] == ["known", "viewed", "carted", "ordered", "ordered_again"]
    assert found["shop"] == [5, 4, 3, 2, 1]
    assert found["segments"]["b"] == [1.0, 1.0, 1.0, 1.0, 0.5]
    assert found["segments"]["a"] == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0, 0.0])
    few = funnel(profile, np.array(["a", "a", "a", "b", "b"], dtype=object), min_group=3)
    assert few["segments"] == {"a": [1.0, None, None, 0.0, 0.0]}


def test_a_log_with_orders_only_has_no_earlier_steps() -> None:
    profile = pd.DataFrame({"view_count": [0.0, 0.0], "cart_count": [0.0, 0.0], "order_count": [1.0, 2.0]})
    assert funnel(profile, np.array(["a", "a"]), min_group=1)["steps"] == ["known", "ordered", "ordered_again"]
