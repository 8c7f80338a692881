"""Customers who have barely crossed a border stay where the last scores had them, so that nobody flickers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

NEEDED = ["customer_id", "as_of", "segment_id", "segment", "cluster_id", "is_stable", "model_uri"]
AS_OF = pa.timestamp("us", tz="UTC")


def last_scores(path: Path, *, model_uri: str, as_of: datetime) -> pd.DataFrame | None:
    """The scores at ``path``; None unless they are Parquet, of the same model, and not of a later moment."""
    if path.suffix != ".parquet" or not path.exists():
        return None
    try:
        table = pq.read_table(path, columns=NEEDED)
    except (pa.ArrowException, OSError):
        return None
    if table.column_names != NEEDED or not table.num_rows or table.schema.field("as_of").type != AS_OF:
        return None
    frame: pd.DataFrame = table.to_pandas()
    is_usable = frame.model_uri[0] == model_uri and frame.as_of[0] <= pd.Timestamp(as_of)
    return frame if is_usable else None


def hold(predicted: pd.DataFrame, customer_ids: pd.Series, last: pd.DataFrame, *, margin: float) -> pd.DataFrame:
    """Give customers back to the segment they were in, where it is now the next and ``margin`` is not passed.

    Parameters
    ----------
    predicted : DataFrame, n rows
        The segment columns of scores.
    last : DataFrame
        `last_scores`.

    Returns
    -------
    DataFrame
        ``predicted``, and is_held. Of those held the next segment is the one they are nearest to, the margin 0, the
        strength what is left of it (they stay there on at most so many resamples), and nothing is told to move them.
    """
    now = predicted.reset_index(drop=True)
    # Few are so near a border, and only they are looked for in the last scores.
    near = np.flatnonzero((now.margin < margin) & now.cluster_id.notna() & now.next_segment_id.notna())
    ids = customer_ids.iloc[near]
    before = last[last.customer_id.isin(ids)].drop_duplicates("customer_id").set_index("customer_id").reindex(ids)
    before.index = pd.Index(near)
    is_back = before.cluster_id.notna() & (before.segment_id == now.next_segment_id[near])
    before = before[is_back & (before.segment_id != now.segment_id[near])]
    rows = before.index
    given = now.assign(is_held=now.index.isin(rows))
    given.loc[rows, ["next_segment_id", "next_segment"]] = now.loc[rows, ["segment_id", "segment"]].to_numpy()
    given.loc[rows, "segment"] = now.next_segment[rows]  # as it is called now, whatever the last scores called it
    for name in ("segment_id", "cluster_id", "is_stable"):
        given.loc[rows, name] = before[name].astype(now[name].dtype).to_numpy()
    given.loc[rows, "strength"] = 1.0 - now.strength[rows]
    given.loc[rows, "margin"] = 0.0
    given.loc[rows, "is_border"] = True
    given.loc[rows, "what_would_move"] = None
    return given.astype({name: now[name].dtype for name in now})
