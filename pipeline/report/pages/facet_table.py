"""The crossing of two facets as a table for report, workbook and figures: lifts among the segments it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.facet_crossing import lifts_of_shown

LARGE = 0.05
"""Share of all customers from which on a group by rule has a column."""
TELLING_LIFT = 1.3
"""A map of interests without such a cell says nothing: it is left out."""


@dataclass(frozen=True)
class Cell:
    """Customers in both of two segments; all None where hidden.

    Attributes
    ----------
    lift : float or None
        None, too, where one of the two is a group by rule that says nothing of interests.
    is_sure : bool
        Whether chance does not explain the lift.
    """

    count: int | None = None
    spend_share: float | None = None
    lift: float | None = None
    is_sure: bool = False


@dataclass(frozen=True)
class FacetTable:
    """Segments of the second facet (rows) by those of the first (columns).

    Attributes
    ----------
    left_out : sequence of mapping
        Segments of the first facet without a column.
    """

    rows: Sequence[Mapping[str, Any]]
    columns: Sequence[Mapping[str, Any]]
    cells: Sequence[Sequence[Cell]]
    left_out: Sequence[Mapping[str, Any]]


def facet_table(summary: Mapping[str, Any]) -> FacetTable | None:
    """The crossing of `segmentation.training_summary`, its largest rows first; None where there are no two to show."""
    found = summary.get("crossing")
    if not found:
        return None
    by_id = {one["segment_id"]: one for one in summary["segments"]}
    counts = np.array(found["counts"], dtype=np.float64).T  # NaN where hidden
    places = (
        {one: place for place, one in enumerate(found["rows"])},
        {one: place for place, one in enumerate(found["columns"])},
    )
    rows = [by_id[one] for one in found["columns"] if not by_id[one]["is_small"]]
    rows.sort(key=lambda one: (one["is_standing"], -one["customer_count"], one["segment_id"]))
    known = np.array([places[1][one["segment_id"]] for one in rows if not one["is_standing"]], dtype=np.int64)
    likes = {one: np.nansum(counts[known, place]) > 0 for one, place in places[0].items()}
    first = [one for one in summary["segments"] if one["segment_id"] in places[0]]
    columns = _columns(first, likes)
    if not rows or not columns:
        return None
    at = np.ix_([places[1][one["segment_id"]] for one in rows], [places[0][one["segment_id"]] for one in columns])
    spend = np.array(found["spend_shares"], dtype=np.float64).T[at]
    is_known = np.array([not one["is_standing"] for one in rows], dtype=bool)
    lifts, is_sure = lifts_of_shown(np.where(is_known[:, None], counts[at], np.nan))
    return FacetTable(
        rows=rows,
        columns=columns,
        cells=[
            [
                _cell(counts[at][place], spend[place], lifts[place], is_sure[place], (row, column))
                for place, column in (((i, j), column) for j, column in enumerate(columns))
            ]
            for i, row in enumerate(rows)
        ],
        left_out=[one for one in first if one not in columns],
    )


def _columns(segments: Sequence[Mapping[str, Any]], likes: Mapping[str, bool]) -> list[Mapping[str, Any]]:
    """Those clustered, and large groups by rule whose interests are known; all such groups where none is clustered."""
    is_clustered = any(not one["is_standing"] for one in segments)
    return [
        one
        for one in segments
        if not one["is_small"]
        and (
            not one["is_standing"]
            or (likes[one["segment_id"]] and (one["customer_share"] >= LARGE or not is_clustered))
        )
    ]


def _cell(
    count: float, spend: float, lift: float, is_sure: bool, segments: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> Cell:
    if np.isnan(count):
        return Cell()
    # Where the spend of a segment is hidden, its cells would add up to it.
    has_spend = all(one["spend_share"] is not None for one in segments)
    return Cell(
        count=int(count),
        spend_share=float(spend) if has_spend and not np.isnan(spend) else None,
        lift=None if np.isnan(lift) else float(lift),
        is_sure=bool(is_sure),
    )
