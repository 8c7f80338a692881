"""Customers who have barely crossed a border stay where the last scores had them, so that nobody flickers."""

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

PLACED = ("segment_id", "segment", "cluster_id", "is_stable", "evidence")
"""Columns of a facet that are needed of the last scores."""


def needed(prefixes: Sequence[str]) -> list[str]:
    """Columns of scores that `hold` reads, of facets with these column prefixes."""
    return ["customer_id", "as_of", *(facet_column(name, prefix) for prefix in prefixes for name in PLACED)]


AS_OF = pa.timestamp("us", tz="UTC")


def last_scores(path: Path, prefixes: Sequence[str], *, model_uri: str, as_of: datetime) -> pd.DataFrame | None:
    """The scores at ``path``; None unless they are Parquet, of the same model, and not of a later moment."""
    if path.suffix != ".parquet" or not path.exists():
        return None
    columns = [*needed(prefixes), "model_uri"]
    try:
        table = pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError):
        return None
    if table.column_names != columns or not table.num_rows or table.schema.field("as_of").type != AS_OF:
        return None
    frame: pd.DataFrame = table.to_pandas()
    is_usable = frame.model_uri[0] == model_uri and frame.as_of[0] <= pd.Timestamp(as_of)
    return frame if is_usable else None


def hold(
    predicted: pd.DataFrame,
    customer_ids: pd.Series,
    last: pd.DataFrame,
    prefixes: Sequence[str],
    *,
    margin: float,
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Give customers back to the segment they were in, where it is now the next and ``margin`` is not passed.

    Parameters
    ----------
    predicted : DataFrame, n rows
        The segment columns of scores.
    last : DataFrame
        `last_scores`.
    prefixes : sequence of str
        Of the segment columns of each facet.

    Returns
    -------
    DataFrame
        ``predicted``. Of those held the next segment is the one they are nearest to, the margin 0, the strength what
        is left of it (they stay there on at most so many resamples), and nothing is shown to move them.
    array of bool, shape (n,)
        Customers who were held in a facet.
    """
    held = np.zeros(len(predicted), dtype=bool)
    for prefix in prefixes:
        predicted, rows = _hold_facet(predicted.reset_index(drop=True), customer_ids, last, prefix, margin=margin)
        held[rows] = True
    return predicted, held


def _hold_facet(
    now: pd.DataFrame, customer_ids: pd.Series, last: pd.DataFrame, prefix: str, *, margin: float
) -> tuple[pd.DataFrame, pd.Index]:
    own = {
        name: facet_column(name, prefix)
        for name in (*PLACED, "margin", "strength", "is_border", "next_segment_id", "next_segment")
    }
    # Few are so near a border, and only they are looked for in the last scores.
    is_near = (now[own["margin"]] < margin) & now[own["cluster_id"]].notna() & now[own["next_segment_id"]].notna()
    near = np.flatnonzero(is_near)
    ids = customer_ids.iloc[near]
    before = last[last.customer_id.isin(ids)].drop_duplicates("customer_id").set_index("customer_id").reindex(ids)
    before.index = pd.Index(near)
    was = before[own["segment_id"]]
    is_back = before[own["cluster_id"]].notna() & (was == now[own["next_segment_id"]].iloc[near])
    before = before[is_back & (was != now[own["segment_id"]].iloc[near])]
    rows = before.index
    given = now.copy()
    given.loc[rows, own["next_segment_id"]] = now.loc[rows, own["segment_id"]].to_numpy()
    given.loc[rows, own["next_segment"]] = now.loc[rows, own["segment"]].to_numpy()
    # As it is called now, whatever the last scores called it.
    given.loc[rows, own["segment"]] = now.loc[rows, own["next_segment"]].to_numpy()
    for name in ("segment_id", "cluster_id", "is_stable", "evidence"):
        given.loc[rows, own[name]] = before[own[name]].astype(now[own[name]].dtype).to_numpy()
    given.loc[rows, own["strength"]] = 1.0 - now.loc[rows, own["strength"]]
    given.loc[rows, own["margin"]] = 0.0
    given.loc[rows, own["is_border"]] = True
    moved = facet_column("what_would_move", prefix)
    if moved in given:
        given.loc[rows, moved] = None
    return given.astype({name: now[name].dtype for name in now}), rows
