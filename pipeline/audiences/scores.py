"""The scores that audiences are selected from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.audiences.selection import AudienceError
from pipeline.scoring.hysteresis import AS_OF
from pipeline.stores.local.file_names import parquet_glob
from pipeline.stores.writers import column_names, read_table

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

REQUIRED = ("customer_id", "as_of", "segment_id", "segment", "model_uri", "run_id")
LISTS = ("top_categories", "journey_events")
TEXTS = frozenset(
    [
        *("customer_id", "what_would_move", "evidence", "lifecycle_stage", "temperature", "rfm_group", "value_tier"),
        *("model_uri", "run_id", "campaign_response", "next_tier", *LISTS),
    ]
)
TEXT_ENDS = ("segment", "segment_id", "evidence")
"""How the columns of each facet end that hold texts."""


def read_scores(con: Backend, path: Path, *, name: str = "scores") -> ir.Table:
    """The scores at ``path``, one row per customer, as the table or view ``name``.

    Raises
    ------
    AudienceError
        There are none, or the file holds something else.
    """
    if not path.exists():
        raise AudienceError(f"{path}: expected scores, found no file. Run `kindred score` first.")
    try:
        names = column_names(path)
        missing = [column for column in REQUIRED if column not in names]
        if missing:
            raise AudienceError(
                f"{path}: expected scores as `kindred score` writes them; without {', '.join(missing)}. Score again."
            )
        if path.suffix != ".csv":
            scores = con.read_parquet(parquet_glob(path), table_name=name)
            moments = scores.as_of.type()
            if getattr(moments, "timezone", None) is None or not scores.customer_id.type().is_string():
                raise AudienceError(
                    f"{path}: expected texts in customer_id and times with a zone in as_of. Score again."
                )
            return scores
        table = read_table(path, {column: _csv_type(column) for column in names})
    except (pa.ArrowException, OSError):
        raise AudienceError(f"{path}: expected scores as `kindred score` writes them. Score again.") from None
    for column in LISTS:
        if column in names:
            lists = pc.split_pattern(pc.fill_null(table[column], ""), "; ")
            is_empty = pc.fill_null(pc.equal(table[column], ""), True)
            empty = pa.scalar([], pa.list_(pa.string()))
            table = table.set_column(names.index(column), column, pc.if_else(is_empty, empty, lists))
    return con.create_table(name, table, temp=True, overwrite=True)


def _csv_type(column: str) -> pa.DataType:
    if column == "as_of":
        return AS_OF
    if column in TEXTS or column.endswith(TEXT_ENDS):
        return pa.bool_() if column.startswith("is_") else pa.string()
    return pa.bool_() if column.startswith("is_") else pa.float64()
