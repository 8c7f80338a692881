"""No hidden count can be computed from the shown ones and the totals of rows and columns, over random tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from models.disclosure import hidden_cells, hidden_line
from models.migration import hide_small

MIN_GROUP = 10


def tables(largest: int, most_lines: int, smallest: int = 0) -> st.SearchStrategy[NDArray[np.float64]]:
    """Random counts, without rows and columns so small that their total alone would reveal a customer."""

    def of_shape(shape: tuple[int, int]) -> st.SearchStrategy[list[list[int]]]:
        row = st.lists(st.integers(smallest, largest), min_size=shape[1], max_size=shape[1])
        return st.lists(row, min_size=shape[0], max_size=shape[0])

    lines = st.integers(2, most_lines)
    counts = st.tuples(lines, lines).flatmap(of_shape).map(lambda rows: np.array(rows, dtype=np.float64))
    return counts.filter(lambda table: min(table.sum(axis=0).min(), table.sum(axis=1).min()) >= MIN_GROUP)


def feasible(counts: NDArray[np.float64], hidden: NDArray[np.bool_], cell: tuple[int, int]) -> tuple[float, float]:
    """The least and the most that a hidden cell can hold for all that the shown ones and all totals say."""
    rows, columns = np.nonzero(hidden)
    equations = np.zeros((sum(counts.shape), len(rows)))
    equations[rows, np.arange(len(rows))] = equations[counts.shape[0] + columns, np.arange(len(rows))] = 1.0
    left = np.where(hidden, counts, 0.0)
    totals = np.concatenate([left.sum(axis=1), left.sum(axis=0)])
    target = ((rows == cell[0]) & (columns == cell[1])).astype(float)
    least, most = (linprog(sign * target, A_eq=equations, b_eq=totals).x @ target for sign in (1.0, -1.0))
    return float(least), float(most)


def revealed(counts: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Small cells of which linear programming tells more than that they hold 0 to MIN_GROUP customers."""
    hidden, found = hidden_cells(counts, MIN_GROUP), []
    for row, column in np.argwhere((counts > 0) & (counts < MIN_GROUP)):
        elsewhere = np.delete(np.delete(counts, row, axis=0), column, axis=1).sum()
        low, high = feasible(counts, hidden, (row, column))
        # What the totals alone tell cannot be hidden: customers of other rows and columns must make up for the cell.
        if low > max(0.0, counts[row, column] - elsewhere) + 1e-6 or high < MIN_GROUP - 1e-6:
            found.append((int(row), int(column)))
    return found


def test_feasible_counts_by_hand() -> None:
    counts = np.array([[5.0, 20.0], [30.0, 4.0]])
    assert feasible(counts, np.ones((2, 2), bool), (0, 0)) == pytest.approx((1.0, 25.0))
    assert feasible(counts, np.array([[True, True], [False, True]]), (0, 0)) == pytest.approx((5.0, 5.0))


@settings(deadline=None)
@given(tables(60, 5))
def test_no_table_reveals_a_small_group(counts: NDArray[np.float64]) -> None:
    assert revealed(counts) == []


@pytest.mark.parametrize(
    "rows",
    [
        [[20, 20, 0, 0], [0, 9, 26, 33], [39, 17, 0, 0]],  # 26 is the total of its column, and then 9 is a remainder
        [[5, 4, 4, 31], [29, 33, 28, 14], [38, 38, 6, 37], [11, 10, 18, 33]],  # two blocks with one cell between them
    ],
)
def test_tables_with_empty_cells_or_four_lines_reveal_no_small_group(rows: list[list[int]]) -> None:
    assert revealed(np.array(rows, dtype=np.float64)) == []


def test_a_table_as_large_as_a_crossing_of_facets_reveals_no_small_group() -> None:
    counts = np.random.default_rng(0).gamma(0.5, 60.0, (12, 20)).round()
    assert revealed(counts) == []


@given(tables(60, 6, smallest=1))
def test_every_small_cell_is_hidden_and_no_table_without_one(counts: NDArray[np.float64]) -> None:
    hidden, small = hidden_cells(counts, MIN_GROUP), counts < MIN_GROUP
    assert hidden[small].all()
    assert small.any() or not hidden.any()


def test_empty_cells_are_hidden_only_where_no_others_protect() -> None:
    protected = np.array([[9.0, 20.0, 0.0], [30.0, 40.0, 50.0], [0.0, 0.0, 60.0]])
    assert not hidden_cells(protected, MIN_GROUP)[protected == 0].any()
    alone = np.array([[20.0, 20.0, 0.0], [0.0, 9.0, 26.0], [39.0, 17.0, 0.0]])
    assert hidden_cells(alone, MIN_GROUP)[alone == 0].any()


@given(st.lists(st.integers(0, 40), min_size=2, max_size=12))
def test_the_remainder_of_a_list_of_moves_is_no_small_group(cells: list[int]) -> None:
    counts = np.array(cells)
    shown, remainder = hide_small(counts, MIN_GROUP)
    assert remainder == 0 or remainder >= MIN_GROUP or not shown.any()
    assert (shown[counts < MIN_GROUP] == 0).all()


@given(st.lists(st.integers(0, 60), min_size=2, max_size=8))
def test_what_is_hidden_of_a_line_is_of_a_large_group(counts: list[int]) -> None:
    buyers = np.array(counts, dtype=np.float64)
    hidden = hidden_line(buyers, MIN_GROUP)
    assert hidden[(buyers > 0) & (buyers < MIN_GROUP)].all()
    assert not hidden.any() or buyers[hidden].sum() >= MIN_GROUP or hidden[buyers > 0].all()
