"""Test what is more common in a segment than in the shop, correct for multiple tests, and suppress small cells."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from scipy import stats

from models.disclosure import rounded_count, rounded_mean, rounded_share

CELL = ["topic", "value", "segment_id"]
Q_VALUE_LEVELS = np.array([0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0])
"""A q-value is published as the next of these: exactly, it would tell the counts that it is computed from."""


def compare_counts(counts: pd.DataFrame, *, known: pd.DataFrame, min_group: int) -> pd.DataFrame:
    """Share of each segment's customers with a value, compared with the share in the shop.

        counts (topic, value, segment_id, customer_count), known (topic, segment_id, known_count)
     -> compared (topic, value, segment_id, customer_count, known_count, shop_count, shop_known_count,
                  figure, shop, lift, p_value, q_value)     one row per value and segment

    The test is Fisher's exact test, one-sided. Of ``shop_known_count`` customers, ``shop_count`` have the value. The
    p-value is the hypergeometric probability of ``customer_count`` or more of them among ``known_count`` customers,
    drawn without replacement. q-values (`with_q_values`) cover all rows. Values and segments that are always too small
    to be shown (see `shown_counts`) have no row. This depends only on totals, so it does not bias the tests, and fewer
    tests need less correction.
    """
    values = counts[["topic", "value"]].drop_duplicates()
    cells = values.merge(known, on="topic").merge(counts, on=CELL, how="left")
    cells["customer_count"] = cells.customer_count.fillna(0).astype(np.int64)
    cells["shop_count"] = cells.groupby(["topic", "value"]).customer_count.transform("sum")
    totals = known.groupby("topic").known_count.sum()
    cells["shop_known_count"] = cells.topic.map(totals)
    elsewhere = cells.shop_known_count - cells[["shop_count", "known_count"]].max(axis=1)
    is_large = cells[["shop_count", "known_count"]].min(axis=1) >= 2 * min_group
    cells = cells[is_large & (elsewhere >= min_group)].reset_index(drop=True)
    cells["figure"] = cells.customer_count / cells.known_count
    cells["shop"] = cells.shop_count / cells.shop_known_count
    cells["lift"] = cells.figure / cells.shop
    # sf(k - 1) is the probability of k or more.
    cells["p_value"] = stats.hypergeom.sf(
        cells.customer_count - 1, cells.shop_known_count, cells.shop_count, cells.known_count
    )
    return with_q_values(cells)


def compare_means(sums: pd.DataFrame) -> pd.DataFrame:
    """Mean over the customers of each segment, compared with the mean over the shop.

        sums (topic, value, segment_id, known_count, total, squares, customer_count, ...)
     -> compared (..., shop_known_count, figure, shop, lift, p_value, q_value)
                                                          rows with at least two customers here and elsewhere

    Two-sided Welch's t-test of the segment's customers against all others. Each customer is one observation, regardless
    of the number of visits. There is no row where the figure does not vary.
    """
    shop_sums = sums.groupby(["topic", "value"], dropna=False)[["known_count", "total", "squares"]].transform("sum")
    others = shop_sums - sums[["known_count", "total", "squares"]]
    sums = sums.assign(shop_known_count=shop_sums.known_count)
    is_enough = (sums.known_count >= 2) & (others.known_count >= 2)
    cells, shop_sums, others = sums[is_enough].copy(), shop_sums[is_enough], others[is_enough]
    mean, variance = _moments(cells)
    mean_of_others, variance_of_others = _moments(others)
    cells["figure"], cells["shop"] = mean, shop_sums.total / shop_sums.known_count
    cells["lift"] = cells.figure / cells.shop.where(cells.shop != 0)
    varies = (variance > 0) | (variance_of_others > 0)
    sample = [figures.to_numpy() for figures in (mean, np.sqrt(variance), cells.known_count)]
    rest = [figures.to_numpy() for figures in (mean_of_others, np.sqrt(variance_of_others), others.known_count)]
    cells["p_value"] = stats.ttest_ind_from_stats(*sample, *rest, equal_var=False).pvalue
    return with_q_values(cells[varies & cells.lift.notna()].reset_index(drop=True))


class PublishedFigures(TypedDict):
    """The figures of a line of a card, rounded."""

    figure: float
    shop: float
    lift: float
    q_value: float
    customer_count: int


def published_figures(cell: Mapping[Hashable, Any], min_group: int) -> PublishedFigures:
    """A row of `compare_counts` or `compare_means` as it may be published (`models.disclosure`).

    A row of means also has ``largest`` and ``shop_largest``: the largest absolute value of one customer.
    """
    if "shop_count" in cell:
        figure = rounded_share(cell["customer_count"], cell["known_count"], min_group)
        shop = rounded_share(cell["shop_count"], cell["shop_known_count"], min_group)
    else:
        figure = rounded_mean(cell["figure"], cell["known_count"], min_group, largest=cell["largest"])
        shop = rounded_mean(cell["shop"], cell["shop_known_count"], min_group, largest=cell["shop_largest"])
    return {
        "figure": figure,
        "shop": shop,
        "lift": figure / shop if shop else float(cell["lift"]),
        "q_value": float(Q_VALUE_LEVELS[np.searchsorted(Q_VALUE_LEVELS, cell["q_value"])]),
        "customer_count": rounded_count(cell["customer_count"], min_group),
    }


def _moments(sums: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Mean and sample variance; a variance below the rounding of the sums (about 1e-9) counts as 0."""
    mean = sums.total / sums.known_count
    variance = (sums.squares - sums.total * mean) / (sums.known_count - 1)
    return mean, variance.where(variance > 1e-8, 0.0)


def with_q_values(cells: pd.DataFrame) -> pd.DataFrame:
    """Add q_value, by Benjamini and Hochberg (1995) over all cells."""
    q = stats.false_discovery_control(cells.p_value, method="bh") if len(cells) else []
    return cells.assign(q_value=np.asarray(q, dtype=np.float64))


def shown_counts(cells: pd.DataFrame, *, min_group: int, is_reported: pd.Series) -> pd.DataFrame:
    """The reported cells from which no small group can be derived.

    A cell is hidden if fewer than ``min_group`` customers are in the cell, in the rest of its segment, in the rest of
    its value, or in neither. Further cells are hidden, smallest first, until at least ``min_group`` customers
    remain in every row and column total after subtracting its shown cells.

    Parameters
    ----------
    cells : DataFrame
        Result of `compare_counts`.
    is_reported : Series of bool, by the index of ``cells``
        Cells to show unless they must be hidden.
    """
    inside, segment, value = cells.customer_count, cells.known_count, cells.shop_count
    neither = cells.shop_known_count - segment - value + inside
    is_large = np.minimum.reduce([inside, segment - inside, value - inside, neither]) >= min_group
    shown = cells[is_reported & is_large].sort_values(CELL)
    while len(shown):
        few = [
            _smallest_where_few(shown, total, by, min_group=min_group)
            for total, by in (("shop_count", ["topic", "value"]), ("known_count", ["topic", "segment_id"]))
        ]
        hidden = few[0].union(few[1])
        if hidden.empty:
            break
        shown = shown.drop(hidden)
    return shown


def _smallest_where_few(shown: pd.DataFrame, total: str, by: list[str], *, min_group: int) -> pd.Index:
    """Index of the smallest cell in each group whose total minus its shown cells is below ``min_group``."""
    groups = shown.groupby(by)
    left = groups[total].transform("first") - groups.customer_count.transform("sum")
    few = shown[left < min_group].sort_values(["customer_count", *CELL])
    return pd.Index(few.drop_duplicates(by).index)
