"""Crosstabs of two groupings of customers (cells that deviate from independence), and the purchase funnel."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from models.disclosure import hidden_cells, is_safe_sum, rounded_count, rounded_counts, rounded_extreme, rounded_share

FUNNEL_COUNTS = {"viewed": "view_count", "carted": "cart_count", "ordered": "order_count"}
"""Funnel step -> the count that shows it, in order; a customer who ordered counts as having viewed and carted."""


class Funnel(TypedDict):
    """Customers by funnel step, as in summary.json.

    ``steps`` are those that the log records, ``shop`` the customers by step. ``segments`` has the share of a segment's
    customers by step, by segment_id; None if it would reveal too few customers.
    """

    steps: list[str]
    shop: list[int]
    segments: dict[str, list[float | None]]


class Crosstab(TypedDict):
    """Cells of two segmentations, as in summary.json: names of rows and columns, and a list per row.

    A count is None if it is hidden; a ratio, observed over expected, is None if the cell does not stand out.
    """

    rows: list[str]
    columns: list[str]
    counts: list[list[int | None]]
    ratios: list[list[float | None]]


def crossing(
    first: pd.Series, second: pd.Series, *, min_group: int, max_p: float = 0.01, min_ratio: float = 1.25
) -> Crosstab | None:
    """Cells of two segmentations with more or fewer customers than expected if the two were independent.

    A cell stands out if its adjusted residual (Haberman 1973) has a two-sided p below ``max_p`` after Bonferroni
    correction for all cells, and its count is at least ``min_ratio`` times the expected count or at most its inverse.

    Parameters
    ----------
    first, second : Series of str, n rows
        The group of each customer; a customer missing from either is left out.
    min_group : int
        Smaller cells are hidden, together with enough others that no hidden count can be found by subtraction.

    Returns
    -------
    Crosstab or None
        None if no cell stands out.
    """
    counts = pd.crosstab(first, second)
    if min(counts.shape) < 2:
        return None
    observed = counts.to_numpy(dtype=np.float64)
    total = observed.sum()
    rows, columns = observed.sum(axis=1, keepdims=True) / total, observed.sum(axis=0, keepdims=True) / total
    expected = rows * columns * total
    residual = (observed - expected) / np.sqrt(expected * (1 - rows) * (1 - columns))
    ratio = observed / expected
    shown_ratio = _published_ratio(observed, min_group)
    is_significant = 2 * norm.sf(np.abs(residual)) * observed.size < max_p
    hidden = hidden_cells(observed, min_group)
    is_shown = is_significant & ((ratio >= min_ratio) | (ratio <= 1 / min_ratio)) & ~hidden
    if not is_shown.any():
        return None
    return {
        "rows": [str(name) for name in counts.index],
        "columns": [str(name) for name in counts.columns],
        "counts": [[None if hide else int(count) for count, hide in zip(*pair, strict=True)]
                   for pair in zip(rounded_counts(observed, min_group), hidden, strict=True)],
        "ratios": [[float(value) if show else None for value, show in zip(*pair, strict=True)]
                   for pair in zip(shown_ratio, is_shown, strict=True)],
    }  # fmt: skip


def _published_ratio(observed: NDArray[np.float64], min_group: int) -> NDArray[np.float64]:
    """Observed over expected counts, from rounded counts and totals."""
    rows, columns = (rounded_counts(observed.sum(axis=axis, keepdims=True), min_group) for axis in (1, 0))
    return rounded_counts(observed, min_group) * rounded_count(observed.sum(), min_group) / (rows * columns)


def funnel(profile: pd.DataFrame, segment_ids: NDArray[np.object_], *, min_group: int) -> Funnel:
    """Customers by funnel step: known, viewed, carted, ordered, ordered again; a later step implies all earlier ones.

    Parameters
    ----------
    profile : DataFrame, n rows
        order_count, and view_count and cart_count if the log has such events.
    segment_ids : array of str, shape (n,)

    Segments smaller than ``min_group`` are left out.
    """
    known = {
        step: profile[name] > 0 for step, name in FUNNEL_COUNTS.items() if name in profile and profile[name].sum() > 0
    }
    if "ordered" in known:
        known["ordered_again"] = profile["order_count"] > 1
    reached = pd.DataFrame({"known": np.ones(len(profile), dtype=bool), **known})
    reached = reached.loc[:, ::-1].cummax(axis=1).loc[:, ::-1]
    ids = pd.Series(np.asarray(segment_ids), name="segment_id")
    furthest = pd.crosstab(ids, reached.sum(axis=1).to_numpy()).reindex(
        columns=range(1, reached.shape[1] + 1), fill_value=0
    )
    counts = furthest.to_numpy(dtype=np.float64)
    hidden = hidden_cells(counts, min_group)
    return {
        "steps": list(reached.columns),
        "shop": [rounded_count(count, min_group) for count in reached.sum()],
        "segments": {
            str(segment_id): [_reached(line, marks, step, min_group) for step in range(line.size)]
            for segment_id, line, marks in zip(furthest.index, counts, hidden, strict=True)
            if line.sum() >= min_group
        },
    }


def _reached(counts: NDArray[np.float64], hidden: NDArray[np.bool_], step: int, min_group: int) -> float | None:
    """The share that reached ``step`` or further; None if it would reveal too few customers."""
    if is_safe_sum(hidden, np.arange(counts.size) >= step):
        return rounded_share(counts[step:].sum(), counts.sum(), min_group)
    return rounded_extreme(float(counts[step:].sum() / counts.sum()))
