"""The section of two facets together: their table with texts and shades, and the strongest combinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.pages import drawings
from pipeline.report.pages.facet_table import Cell, FacetTable, facet_table
from pipeline.report.parts.segment import Segment
from pipeline.report.summary import Summary
from pipeline.report.texts.wording import Wording

MAX_COMBINATIONS = 6
"""Listed below the table."""


@dataclass(frozen=True)
class Total:
    """A segment with its customers and its share of revenue; ``spend`` is empty if there is none to show."""

    name: str
    count: str
    spend: str


@dataclass(frozen=True)
class CrossingCell:
    """Customers in both segments, and how their number compares with chance, with the shade of that."""

    text: str
    lift: str
    kind: str
    strength: float
    is_significant: bool


@dataclass(frozen=True)
class CrossingRow:
    """A row of the table."""

    total: Total
    cells: Sequence[CrossingCell]


@dataclass(frozen=True)
class FacetCrossing:
    """The table; ``lines``: the strongest combinations, ``left_out``: segments without a column."""

    columns: Sequence[Total]
    rows: Sequence[CrossingRow]
    has_significant: bool
    lines: Sequence[str]
    left_out: str


def facet_crossing(summary: Summary, words: Wording) -> FacetCrossing | None:
    """The section of two facets; None if there is one facet, or nothing to compare."""
    table = facet_table(summary)
    if table is None or not table.columns or all(row.is_standing for row in table.rows):
        return None
    has_spend = summary.has_spend
    return FacetCrossing(
        columns=[_total(column, words, has_spend=has_spend) for column in table.columns],
        rows=[
            CrossingRow(
                _total(row, words, has_spend=has_spend), [_cell(cell, words, has_spend=has_spend) for cell in cells]
            )
            for row, cells in zip(table.rows, table.cells, strict=True)
        ],
        has_significant=any(cell.is_significant for cells in table.cells for cell in cells),
        lines=_strongest(table, words),
        left_out="; ".join(
            f"{words.name(segment)} ({words.size(segment.customer_count, is_small=segment.is_small)})"
            for segment in table.left_out
        ),
    )


def _total(segment: Segment, words: Wording, *, has_spend: bool) -> Total:
    spend = segment.spend_share if has_spend else None
    return Total(
        name=words.name(segment),
        count=words.size(segment.customer_count, is_small=segment.is_small),
        spend="" if spend is None else words.number(spend, "share"),
    )


def _cell(cell: Cell, words: Wording, *, has_spend: bool) -> CrossingCell:
    if cell.count is None:
        return CrossingCell("–", "", "none", 0.0, is_significant=False)
    texts = [words.whole(cell.count)]
    if has_spend and cell.count and cell.spend_share is not None:
        texts.append(words.number(cell.spend_share, "share"))
    shade = drawings.shade(cell.lift, words)
    lift = f"{shade.text}×" if cell.lift is not None else ""
    return CrossingCell(" · ".join(texts), lift, shade.kind, shade.strength, cell.is_significant)


def _strongest(table: FacetTable, words: Wording) -> list[str]:
    """The significant combinations, highest lift first; if there are none, those with a lift above 1."""
    known = [
        (cell.lift, cell, row, column)
        for row, cells in zip(table.rows, table.cells, strict=True)
        for column, cell in zip(table.columns, cells, strict=True)
        if cell.lift is not None and cell.count is not None
    ]
    listed = [entry for entry in known if entry[1].is_significant] or [entry for entry in known if entry[0] > 1.0]
    listed.sort(key=lambda entry: -entry[0])
    return [
        words(
            "facets.line",
            column=words.name(column),
            row=words.name(row),
            ratio=words.times(lift),
            customers=words("customers", count=cell.count),
        )
        for lift, cell, row, column in listed[:MAX_COMBINATIONS]
    ]
