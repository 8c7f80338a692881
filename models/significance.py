"""What a segment has more of than the shop: tests, their correction for many tests, and what is too few to be shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

CELL = ["topic", "value", "segment_id"]


def compare_counts(counts: pd.DataFrame, *, known: pd.DataFrame, min_group: int) -> pd.DataFrame:
    """Customers of each segment who carry a value, beside the shop's.

        counts (topic, value, segment_id, customer_count), known (topic, segment_id, known_count)
     -> compared (topic, value, segment_id, customer_count, known_count, shop_count, shop_known_count,
                  figure, shop, lift, p_value, q_value)     one row per value and segment

    The test is the hypergeometric one, exact: of ``shop_known_count`` customers ``shop_count`` carry the value; how
    likely are ``customer_count`` or more of them among ``known_count`` drawn without putting back (Fisher, one-sided)?
    q-values: `with_q_values`, over all rows. Values and segments too small to be shown, whatever is found of them (see
    `shown_counts`), have no row: what the totals alone decide biases no test, and spares the others some correction.
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
    # Above k - 1 is k or more.
    cells["p_value"] = stats.hypergeom.sf(
        cells.customer_count - 1, cells.shop_known_count, cells.shop_count, cells.known_count
    )
    return with_q_values(cells)


def compare_means(sums: pd.DataFrame) -> pd.DataFrame:
    """Mean over the customers of each segment, beside that over the shop's.

        sums (topic, value, segment_id, known_count, total, squares, customer_count)
     -> compared (..., figure, shop, lift, p_value, q_value)     rows of two customers or more, with as many elsewhere

    Welch's t-test, two-sided, of the segment's customers against all others; a customer is one observation, whatever
    the number of visits behind it. Where no figure varies there is nothing to test, and no row.
    """
    of_shop = sums.groupby(["topic", "value"], dropna=False)[["known_count", "total", "squares"]].transform("sum")
    others = of_shop - sums[["known_count", "total", "squares"]]
    is_enough = (sums.known_count >= 2) & (others.known_count >= 2)
    cells, of_shop, others = sums[is_enough].copy(), of_shop[is_enough], others[is_enough]
    mean, variance = _moments(cells)
    mean_of_others, variance_of_others = _moments(others)
    cells["figure"], cells["shop"] = mean, of_shop.total / of_shop.known_count
    cells["lift"] = cells.figure / cells.shop.where(cells.shop != 0)
    varies = (variance > 0) | (variance_of_others > 0)
    error, error_of_others = variance / cells.known_count, variance_of_others / others.known_count
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (mean - mean_of_others) / np.sqrt(error + error_of_others)
        freedom = (error + error_of_others) ** 2 / (
            error**2 / (cells.known_count - 1) + error_of_others**2 / (others.known_count - 1)
        )
    cells["p_value"] = 2.0 * stats.t.sf(np.abs(t), freedom)
    return with_q_values(cells[varies & cells.lift.notna()].reset_index(drop=True))


def _moments(sums: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Mean and sample variance; a variance below what sums of a billionth's grain can tell is 0."""
    mean = sums.total / sums.known_count
    variance = (sums.squares - sums.total * mean) / (sums.known_count - 1)
    return mean, variance.where(variance > 1e-8, 0.0)


def with_q_values(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells with q_value: Benjamini and Hochberg (1995) over all of them."""
    q = stats.false_discovery_control(cells.p_value, method="bh") if len(cells) else []
    return cells.assign(q_value=np.asarray(q, dtype=np.float64))


def shown_counts(cells: pd.DataFrame, *, min_group: int, is_told: pd.Series) -> pd.DataFrame:
    """Of the cells that are told, those that give no small group away.

    A cell is left out when fewer than ``min_group`` customers are in it, in the rest of its segment, in the rest of its
    value, or in neither; and so is the smallest of a row or column of cells as long as what is left of its total after
    taking all shown ones away is fewer.

    Parameters
    ----------
    cells : DataFrame
        As of `compare_counts`.
    is_told : Series of bool, by the index of ``cells``
        Those that are to be shown if nothing speaks against it.
    """
    inside, segment, value = cells.customer_count, cells.known_count, cells.shop_count
    neither = cells.shop_known_count - segment - value + inside
    is_large = np.minimum.reduce([inside, segment - inside, value - inside, neither]) >= min_group
    shown = cells[is_told & is_large].sort_values(CELL)
    while len(shown):
        few = [
            _smallest_where_few(shown, total, by, min_group=min_group)
            for total, by in (("shop_count", ["topic", "value"]), ("known_count", ["topic", "segment_id"]))
        ]
        gone = few[0].union(few[1])
        if gone.empty:
            break
        shown = shown.drop(gone)
    return shown


def _smallest_where_few(shown: pd.DataFrame, total: str, by: list[str], *, min_group: int) -> pd.Index:
    """Of each group whose cells leave fewer than ``min_group`` of its total, the place of its smallest cell."""
    groups = shown.groupby(by)
    left = groups[total].transform("first") - groups.customer_count.transform("sum")
    few = shown[left < min_group].sort_values(["customer_count", *CELL])
    return pd.Index(few.drop_duplicates(by).index)
