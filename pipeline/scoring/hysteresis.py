"""A customer who only just crosses a border keeps the previous segment, so nobody flips back and forth."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.scorer import facet_column

PREVIOUS_COLUMNS = ("segment_id", "segment", "cluster_id", "is_stable", "evidence")
"""Columns of a facet that are read from the previous scores."""


AS_OF = pa.timestamp("us", tz="UTC")


def columns_to_keep(prefixes: Sequence[str]) -> list[str]:
    """Score columns that `keep_previous_near_borders` reads, for the facets with these column prefixes."""
    return ["customer_id", "as_of", *(facet_column(name, prefix) for prefix in prefixes for name in PREVIOUS_COLUMNS)]


def previous_scores(path: Path, prefixes: Sequence[str], *, model_uri: str, as_of: datetime) -> pd.DataFrame | None:
    """The scores at ``path``, or None unless they are Parquet, from the same model, and no newer than ``as_of``."""
    if path.suffix != ".parquet" or not path.exists():
        return None
    columns = [*columns_to_keep(prefixes), "model_uri"]
    try:
        table = pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError):
        return None
    if table.column_names != columns or not table.num_rows or table.schema.field("as_of").type != AS_OF:
        return None
    frame: pd.DataFrame = table.to_pandas()
    is_usable = frame.model_uri[0] == model_uri and frame.as_of[0] <= pd.Timestamp(as_of)
    return frame if is_usable else None


def keep_previous_near_borders(
    predicted: pd.DataFrame,
    customer_ids: pd.Series,
    previous: pd.DataFrame,
    prefixes: Sequence[str],
    *,
    margin: float,
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Keep customers in their previous segment if it is now the runner-up by less than ``margin``.

    Parameters
    ----------
    predicted : DataFrame, n rows
        The segment columns of the new scores.
    previous : DataFrame
        Result of `previous_scores`.
    prefixes : sequence of str
        Prefix of the segment columns, for each facet.

    Returns
    -------
    DataFrame
        ``predicted``, changed for the customers who are held: the next segment is the one they are nearest to, the
        margin is 0, the strength is 1 minus the new one (an upper bound on the share of resamples that keep them
        there), and ``what_would_move`` is empty.
    array of bool, shape (n,)
        True for customers who were held in at least one facet.
    """
    held = np.zeros(len(predicted), dtype=bool)
    for prefix in prefixes:
        predicted, rows = _hold_facet(predicted.reset_index(drop=True), customer_ids, previous, prefix, margin=margin)
        held[rows] = True
    return predicted, held


def _hold_facet(
    now: pd.DataFrame, customer_ids: pd.Series, previous: pd.DataFrame, prefix: str, *, margin: float
) -> tuple[pd.DataFrame, pd.Index]:
    column = {
        name: facet_column(name, prefix)
        for name in (*PREVIOUS_COLUMNS, "margin", "strength", "is_border", "next_segment_id", "next_segment")
    }
    # Few customers are this near a border, so only they are looked up in the previous scores.
    is_near = (
        (now[column["margin"]] < margin) & now[column["cluster_id"]].notna() & now[column["next_segment_id"]].notna()
    )
    near = np.flatnonzero(is_near)
    ids = customer_ids.iloc[near]
    before = (
        previous[previous.customer_id.isin(ids)].drop_duplicates("customer_id").set_index("customer_id").reindex(ids)
    )
    before.index = pd.Index(near)
    previous_id = before[column["segment_id"]]
    is_from_runner_up = before[column["cluster_id"]].notna() & (
        previous_id == now[column["next_segment_id"]].iloc[near]
    )
    before = before[is_from_runner_up & (previous_id != now[column["segment_id"]].iloc[near])]
    rows = before.index
    result = now.copy()
    result.loc[rows, column["next_segment_id"]] = now.loc[rows, column["segment_id"]].to_numpy()
    result.loc[rows, column["next_segment"]] = now.loc[rows, column["segment"]].to_numpy()
    # The current name of the segment; it may have changed since the previous scores.
    result.loc[rows, column["segment"]] = now.loc[rows, column["next_segment"]].to_numpy()
    for name in ("segment_id", "cluster_id", "is_stable", "evidence"):
        result.loc[rows, column[name]] = before[column[name]].astype(now[column[name]].dtype).to_numpy()
    result.loc[rows, column["strength"]] = 1.0 - now.loc[rows, column["strength"]]
    result.loc[rows, column["margin"]] = 0.0
    result.loc[rows, column["is_border"]] = True
    what_would_move = facet_column("what_would_move", prefix)
    if what_would_move in result:
        result.loc[rows, what_would_move] = None
    return result.astype({name: now[name].dtype for name in now}), rows
