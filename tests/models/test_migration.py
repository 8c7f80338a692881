"""Moves between groups, with results computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.migration import before_lost, directions, hide_small, move_counts, stay_length, stays

MOMENTS = np.array([0.0, 30.0, 61.0, 91.0])


def test_moves_are_counted() -> None:
    counts = move_counts(np.array([0, 0, 1, -1, 1, -1]), np.array([0, 1, 1, 0, -1, -1]), 2)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 1], [1, 0, 0]]


def test_small_cells_are_hidden_together_with_others() -> None:
    shown, hidden = hide_small(np.array([[50, 4, 30], [20, 30, 40], [60, 50, 50]]), 10)
    # Sizes of groups are known, so the total of its row or column would reveal a single hidden cell of four.
    assert (shown.tolist(), hidden) == ([[0, 0, 30], [0, 0, 40], [60, 50, 50]], 100)
    assert hide_small(np.array([10, 0, 12]), 10) == (pytest.approx(np.array([10, 0, 10])), 0)
    assert hide_small(np.array([3, 0]), 10)[0].tolist() == [0, 0]
    assert hide_small(np.array([3, 10, 11, 40]), 10)[0].tolist() == [0, 0, 10, 40]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 15))
def test_shown_and_hidden_add_up(cells: list[int], min_group: int) -> None:
    counts = np.array(cells)
    shown, hidden = hide_small(counts, min_group)
    # Each count is rounded by at most a step, which is less than twice min_group.
    assert abs(shown.sum() + hidden - counts.sum()) <= 2 * min_group * (len(cells) + 1)
    assert not ((shown > 0) & (shown < min_group)).any()
    assert hidden == 0 or hidden >= min_group or not shown.any()


def test_up_and_down() -> None:
    counts = np.array([[5, 2, 7, 0], [3, 4, 0, 0], [0, 9, 1, 0], [11, 0, 0, 0]])
    assert directions(counts, [2, 1, None]) == (3, 2)


def test_stays_by_hand() -> None:
    codes = np.array(
        [
            [0, 1, 1, 0],  # 61 days in 1 (from 30 to 91), then 0 on the last date: a stay not yet observed
            [0, 0, 0, 0],  # the start is unknown
            [-1, 1, 1, 1],  # 61 days in 1, not over yet
            [1, 0, 1, -1],  # 31 days in 0, 30 in 1
        ]
    )
    found = stays(codes, MOMENTS)
    rows = sorted(zip(found.group.tolist(), found.days.tolist(), found.is_over.tolist(), strict=True))
    assert rows == [(0, 31.0, True), (1, 30.0, True), (1, 61.0, False), (1, 61.0, True)]


def test_length_of_stay_by_hand() -> None:
    # Of 4 stays, one ends at 30 and one is censored then; of the other 2, one ends at 60 and one is censored at 90.
    median, mean, longest = stay_length(np.array([30.0, 30.0, 60.0, 90.0]), np.array([True, False, True, False]))
    assert (median, longest) == (60.0, 90.0)  # 0.75, then 0.375
    assert mean == pytest.approx(30 + 0.75 * 30 + 0.375 * 30)
    assert stay_length(np.array([30.0, 60.0]), np.array([False, False])) == (None, 60.0, 60.0)


def test_without_censoring_the_result_is_the_plain_median_and_mean() -> None:
    days = np.array([30.0, 31.0, 61.0, 61.0, 92.0])
    assert stay_length(days, np.ones(5, bool)) == (61.0, pytest.approx(days.mean()), 92.0)


def test_groups_before_customers_were_lost() -> None:
    # Groups: 0 good, 1 slipping, 2 lost; customers lost at the first date, or when first seen, do not count.
    codes = np.array([[0, 1, 2, 2], [1, 1, 2, 0], [0, 2, 0, 2], [2, 2, 2, 2], [-1, 2, 2, 2]])
    before, last_stable = before_lost(codes, is_lost=codes == 2, is_leaving=codes >= 1, n_groups=3)
    assert before.tolist() == [2, 2, 0, 0]
    assert last_stable.tolist() == [3, 0, 0, 1]
