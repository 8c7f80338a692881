"""The figures of each view, without those that would reveal individual customers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from models.disclosure import hidden_cells, rounded_counts
from models.facet_crossing import visible_lifts
from pipeline.audiences.changes import TRACKED_COLUMNS
from pipeline.audiences.selection import Condition
from pipeline.page.audience_form import query_text

MUCH = 2.0
"""Times as many customers as by chance from which a cell of the crossing is coloured strongly."""


@dataclass(frozen=True)
class GroupRow:
    """A segment or rule-based group.

    Attributes
    ----------
    value : str
        In the scores.
    money, money_share, money_per_customer : float or None
        None where they would reveal too few customers, and if the scores have no money.
    query : str
        Of the audience builder, for these customers.
    """

    value: str
    customer_count: int
    share: float
    money: float | None
    money_share: float | None
    money_per_customer: float | None
    query: str


def group_rows(cube: pd.DataFrame, column: str, *, min_group: int, money: str | None) -> list[GroupRow]:
    """Groups by the values of a column, most money first."""
    groups = cube.groupby(column)[["customer_count", *([money] if money else [])]].sum()
    groups = groups.sort_values([*([money] if money else []), "customer_count"], ascending=False, kind="stable")
    counts = groups["customer_count"].to_numpy(np.float64)
    hidden = hidden_cells(counts[None, :], min_group)[0]
    rows = []
    for (value, row), is_hidden in zip(groups.iterrows(), hidden, strict=True):
        amount = None if is_hidden or money is None else float(row[money])
        rows.append(
            GroupRow(
                str(value),
                int(row.customer_count),
                float(row.customer_count / counts.sum()),
                amount,
                None if amount is None or not groups[money].sum() else float(amount / groups[money].sum()),
                None if amount is None else float(amount / row.customer_count),
                query_text({column: [str(value)]}),
            )
        )
    return rows


@dataclass(frozen=True)
class Cell:
    """Customers in a row and a column of the crossing.

    Attributes
    ----------
    customer_count : int or None
        None where it is hidden.
    ratio : float or None
        How many times as many as by chance; None where chance explains the difference.
    """

    customer_count: int | None
    ratio: float | None
    style: str
    query: str


@dataclass(frozen=True)
class Crossing:
    """Two facets crossed: names of rows and columns, most customers first, and the cells of each row."""

    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[Cell]]

    @property
    def has_colours(self) -> bool:
        """Whether a cell differs from chance."""
        return any(cell.ratio is not None for row in self.cells for cell in row)


def crossing(
    cube: pd.DataFrame, row_column: str, column: str, *, min_group: int, left_out: Collection[str] = ()
) -> Crossing:
    """How many customers are in each pair of segments, compared with chance.

    Parameters
    ----------
    left_out : collection of str
        Names of rows and columns that are neither shown nor part of what is expected by chance.
    """
    table = cube.pivot_table("customer_count", row_column, column, aggfunc="sum", fill_value=0)
    table = table.loc[
        table.sum(axis=1).sort_values(ascending=False, kind="stable").index,
        table.sum().sort_values(ascending=False, kind="stable").index,
    ]
    # Hidden before rows are left out, so that their totals in other tables reveal nothing.
    hides = hidden_cells(table.to_numpy(np.float64), min_group)
    is_row, is_column = ~table.index.isin(list(left_out)), ~table.columns.isin(list(left_out))
    table = table.loc[is_row, is_column]
    counts = np.where(hides[np.ix_(is_row, is_column)], np.nan, table.to_numpy(np.float64))
    totals = (rounded_counts(table.sum(axis=axis), min_group) for axis in (1, 0))
    lifts, is_significant = visible_lifts(counts, *totals)
    ratios = np.where(is_significant, lifts, np.nan)
    cells = []
    for i, row in enumerate(table.index):
        where: list[Mapping[str, Condition]] = [{column: [str(name)], row_column: [str(row)]} for name in table.columns]
        cells.append([_cell(counts[i, j], ratios[i, j], where[j]) for j in range(len(table.columns))])
    return Crossing([*map(str, table.index)], [*map(str, table.columns)], cells)


def _cell(count: float, ratio: float, where: Mapping[str, Condition]) -> Cell:
    if np.isnan(count):
        return Cell(None, None, "hidden-cell", "")
    query = query_text(where) if count else ""
    if np.isnan(ratio):
        return Cell(int(count), None, "", query)
    strength = "much" if ratio >= MUCH or ratio <= 1.0 / MUCH else "clearly"
    return Cell(int(count), float(ratio), f"{'more' if ratio > 1.0 else 'less'}-{strength}", query)


@dataclass(frozen=True)
class Option:
    """A value that can be ticked, and how many customers would be listed with it, the other fields as they are."""

    value: str
    customer_count: int | None


@dataclass(frozen=True)
class Selection:
    """What the conditions of the builder select.

    Attributes
    ----------
    money : mapping
        Column -> its sum; empty for few customers.
    money_shares : mapping
        Column -> the same as a share of all customers'.
    options : mapping
        Counted column -> its values, in the order of their size among all customers.
    by : mapping
        Counted column -> groups of the selection.
    """

    customer_count: int
    share: float
    money: Mapping[str, float]
    money_shares: Mapping[str, float]
    options: Mapping[str, Sequence[Option]]
    by: Mapping[str, Sequence[GroupRow]]


def selection(
    everyone: pd.DataFrame,
    cube: pd.DataFrame,
    where: Mapping[str, Condition],
    *,
    counted: Sequence[str],
    money: Sequence[str],
    min_group: int,
) -> Selection:
    """Figures of an audience, from the cube of its conditions on other columns than the counted ones."""
    meets = {
        column: cube[column].isin(list(where[column])) if column in where else pd.Series(True, cube.index)  # type: ignore[arg-type]
        for column in counted
    }
    is_in = np.logical_and.reduce([*meets.values()])
    selected = cube[is_in]
    count = int(selected["customer_count"].sum())
    is_shown = count >= min_group
    totals = {column: float(everyone[column].sum()) for column in money}
    sums = {column: float(selected[column].sum()) for column in money} if is_shown else {}
    options = {}
    for column in counted:
        others = np.logical_and.reduce([mask for name, mask in meets.items() if name != column])
        counts = cube[others].groupby(column)["customer_count"].sum()
        values = everyone.groupby(column)["customer_count"].sum().sort_values(ascending=False, kind="stable").index
        options[column] = [Option(str(value), int(counts.get(value, 0))) for value in values]
    first = money[0] if money else None
    by = {column: group_rows(selected, column, min_group=min_group, money=first) for column in counted}
    shares = {column: value / totals[column] for column, value in sums.items() if totals[column]}
    total = int(everyone["customer_count"].sum())
    return Selection(count, count / total, sums, shares, options, by if is_shown else {})


@dataclass(frozen=True)
class Move:
    """Customers who went from one value to another."""

    before: str | None
    after: str | None
    customer_count: int


def moves(changes: pd.DataFrame, *, min_group: int, max_rows: int) -> dict[str, tuple[list[Move], int]]:
    """Column -> its largest moves, and the number of customers in all others together; audiences come last."""
    shown: dict[str, tuple[list[Move], int]] = {}
    tables = {str(column): table for column, table in changes.groupby("column")}
    for column in sorted(tables, key=_place):
        table = tables[column]
        large = table[table["customer_count"] >= min_group].head(max_rows)
        rest = int(table["customer_count"].sum() - large["customer_count"].sum())
        rows = [
            Move(_text(row["before"]), _text(row["after"]), row["customer_count"]) for row in large.to_dict("records")
        ]
        shown[column] = (rows, rest if rest >= min_group else 0)
    return shown


def _place(column: str) -> tuple[int, str]:
    return (TRACKED_COLUMNS.index(column) if column in TRACKED_COLUMNS else len(TRACKED_COLUMNS), column)


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)
