"""The crosstab of two facets for report, workbook and plots, with lifts among the segments it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.facet_crossing import visible_lifts
from pipeline.report.parts.segment import Segment
from pipeline.report.summary import Summary

MIN_COLUMN_SHARE = 0.05
"""A rule-based group has a column from this share of all customers."""
MIN_MAP_LIFT = 1.3
"""A map of interests without a cell of at least this lift shows nothing and is left out."""


@dataclass(frozen=True)
class Cell:
    """Customers in both of two segments; all None if the cell is hidden.

    Attributes
    ----------
    lift : float or None
        Also None if one of the two is a rule-based group whose interests are unknown.
    is_significant : bool
        Whether the lift is statistically significant.
    """

    count: int | None = None
    spend_share: float | None = None
    lift: float | None = None
    is_significant: bool = False


@dataclass(frozen=True)
class FacetTable:
    """Segments of the second facet (rows) by those of the first (columns).

    Attributes
    ----------
    left_out : sequence of Segment
        Segments of the first facet without a column.
    """

    rows: Sequence[Segment]
    columns: Sequence[Segment]
    cells: Sequence[Sequence[Cell]]
    left_out: Sequence[Segment]


def facet_table(summary: Summary) -> FacetTable | None:
    """The crosstab of two facets, largest rows first; None if there are not two facets to show."""
    crosstab = summary.crossing
    if crosstab is None:
        return None
    by_id = {segment.segment_id: segment for segment in summary.segments}
    counts = np.array(crosstab.counts, dtype=np.float64).T  # NaN where hidden
    places = (
        {segment_id: place for place, segment_id in enumerate(crosstab.rows)},
        {segment_id: place for place, segment_id in enumerate(crosstab.columns)},
    )
    rows = [by_id[segment_id] for segment_id in crosstab.columns if not by_id[segment_id].is_small]
    rows.sort(key=lambda row: (row.is_standing, -row.customer_count, row.segment_id))
    known = np.array([places[1][row.segment_id] for row in rows if not row.is_standing], dtype=np.int64)
    has_interests = {segment_id: np.nansum(counts[known, place]) > 0 for segment_id, place in places[0].items()}
    first = [segment for segment in summary.segments if segment.segment_id in places[0]]
    columns = _columns(first, has_interests)
    if not rows or not columns:
        return None
    at = np.ix_([places[1][row.segment_id] for row in rows], [places[0][column.segment_id] for column in columns])
    spend = np.array(crosstab.spend_shares, dtype=np.float64).T[at]
    is_clustered = np.array([not row.is_standing for row in rows], dtype=bool)
    lifts, is_significant = visible_lifts(
        np.where(is_clustered[:, None], counts[at], np.nan), *_totals(rows, columns, counts[at], is_clustered)
    )
    return FacetTable(
        rows=rows,
        columns=columns,
        cells=[
            [
                _cell(counts[at][place], spend[place], lifts[place], is_significant[place], (row, column))
                for place, column in (((i, j), column) for j, column in enumerate(columns))
            ]
            for i, row in enumerate(rows)
        ],
        left_out=[segment for segment in first if segment not in columns],
    )


def _totals(
    rows: Sequence[Segment], columns: Sequence[Segment], counts: NDArray[np.float64], is_clustered: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Customers with known interests in each row and each column; 0 in a row by rule."""
    row_totals = np.where(is_clustered, [row.customer_count for row in rows], 0.0)
    by_rule = counts[~is_clustered].sum(axis=0)  # NaN if hidden: then the visible cells are all that is known
    known = np.array([column.customer_count for column in columns]) - by_rule
    return row_totals, np.fmax(known, np.nansum(counts[is_clustered], axis=0))


def _columns(segments: Sequence[Segment], has_interests: Mapping[str, bool]) -> list[Segment]:
    """Clustered segments, and large rule-based groups with known interests; all of these if nothing is clustered."""
    is_clustered = any(not segment.is_standing for segment in segments)
    return [
        segment
        for segment in segments
        if not segment.is_small
        and (
            not segment.is_standing
            or (has_interests[segment.segment_id] and (segment.customer_share >= MIN_COLUMN_SHARE or not is_clustered))
        )
    ]


def _cell(count: float, spend: float, lift: float, is_significant: bool, segments: tuple[Segment, Segment]) -> Cell:
    if np.isnan(count):
        return Cell()
    # If the revenue of a segment is hidden, the sum of its cells would reveal it.
    has_spend = all(segment.spend_share is not None for segment in segments)
    return Cell(
        count=int(count),
        spend_share=float(spend) if has_spend and not np.isnan(spend) else None,
        lift=None if np.isnan(lift) else float(lift),
        is_significant=bool(is_significant),
    )
