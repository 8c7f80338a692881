"""A customer who only just crosses a border keeps the previous segment, so nobody flips back and forth."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.scorer import facet_column
from pipeline.stores.engines.engine import Engine
from pipeline.stores.local.file_names import parquet_files

PREVIOUS_COLUMNS = ("segment_id", "cluster_id", "is_stable", "evidence")
"""Columns of a facet that are read from the previous scores."""


AS_OF = pa.timestamp("us", tz="UTC")


def columns_to_keep(prefixes: Sequence[str]) -> list[str]:
    """Score columns that `keep_previous_near_borders` reads, for the facets with these column prefixes."""
    return [facet_column(name, prefix) for prefix in prefixes for name in PREVIOUS_COLUMNS]


def previous_scores(
    engine: Engine, path: Path, prefixes: Sequence[str], *, model_uri: str, as_of: datetime
) -> ir.Table | None:
    """The scores at ``path``, or None unless they are Parquet, from the same model, and no newer than ``as_of``.

    ``path`` is a file or a folder.

    Returns
    -------
    Table or None
        customer_id, each once, as_of, and `columns_to_keep`.
    """
    columns = ["customer_id", "as_of", *columns_to_keep(prefixes)]
    parts = parquet_files(path)
    if path.suffix == ".csv" or not all(_is_usable(part, columns, model_uri=model_uri, as_of=as_of) for part in parts):
        return None
    scores = engine.read_parquet(path, "previous_scores").select(columns)
    is_unique = scores.customer_id.nunique() == scores.count()
    return scores if is_unique.to_pyarrow().as_py() else None


def _is_usable(path: Path, columns: Sequence[str], *, model_uri: str, as_of: datetime) -> bool:
    """Whether the columns can be read to their end, and are of the model and not too new."""
    try:
        with pq.ParquetFile(path) as file:
            known = file.schema_arrow
            if not {*columns, "model_uri"} <= {*known.names} or known.field("as_of").type != AS_OF:
                return False
            if known.field("customer_id").type not in (pa.string(), pa.large_string()):
                return False
            first = next(file.iter_batches(1, columns=["model_uri", "as_of"]), None)
            for _ in file.iter_batches(columns=columns):
                pass
    except (pa.ArrowException, OSError):
        return False
    return first is not None and first["model_uri"][0].as_py() == model_uri and first["as_of"][0].as_py() <= as_of


def rows_of(customer_ids: pd.Series, previous: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``previous`` (customer_id, ...) that belong to the customers, in their order; nulls for new ones."""
    return previous.set_index("customer_id").reindex(customer_ids).reset_index(drop=True)


def keep_previous_near_borders(
    predicted: pd.DataFrame, previous: pd.DataFrame, prefixes: Sequence[str], *, margin: float
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Keep customers in their previous segment if it is now the runner-up by less than ``margin``.

    Parameters
    ----------
    predicted : DataFrame, n rows
        The segment columns of the new scores.
    previous : DataFrame, n rows
        `columns_to_keep` of the same customers in the previous scores; null for new customers.
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
    predicted, previous = predicted.reset_index(drop=True), previous.reset_index(drop=True)
    held = np.zeros(len(predicted), dtype=bool)
    for prefix in prefixes:
        predicted, rows = _hold_facet(predicted, previous, prefix, margin=margin)
        held[rows] = True
    return predicted, held


def _hold_facet(
    now: pd.DataFrame, before: pd.DataFrame, prefix: str, *, margin: float
) -> tuple[pd.DataFrame, NDArray[np.intp]]:
    column = {
        name: facet_column(name, prefix)
        for name in (*PREVIOUS_COLUMNS, "segment", "margin", "strength", "is_border", "next_segment_id", "next_segment")
    }
    previous_id, runner_up = before[column["segment_id"]].astype("str"), now[column["next_segment_id"]].astype("str")
    is_held = (
        (now[column["margin"]] < margin)
        & now[column["cluster_id"]].notna()
        & before[column["cluster_id"]].notna()
        & (previous_id == runner_up)
        & (previous_id != now[column["segment_id"]])
    )
    rows = np.flatnonzero(is_held)
    result = now.copy()
    result.loc[rows, column["next_segment_id"]] = now.loc[rows, column["segment_id"]].to_numpy()
    result.loc[rows, column["next_segment"]] = now.loc[rows, column["segment"]].to_numpy()
    # The current name of the segment; it may have changed since the previous scores.
    result.loc[rows, column["segment"]] = now.loc[rows, column["next_segment"]].to_numpy()
    for name in PREVIOUS_COLUMNS:
        result.loc[rows, column[name]] = before.loc[rows, column[name]].astype(now[column[name]].dtype).to_numpy()
    result.loc[rows, column["strength"]] = 1.0 - now.loc[rows, column["strength"]]
    result.loc[rows, column["margin"]] = 0.0
    result.loc[rows, column["is_border"]] = True
    what_would_move = facet_column("what_would_move", prefix)
    if what_would_move in result:
        result.loc[rows, what_would_move] = None
    return result.astype({name: now[name].dtype for name in now}), rows
