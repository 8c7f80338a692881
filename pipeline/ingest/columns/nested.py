"""Refuses columns of text files that hold JSON where an id is expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.ingest.columns.texts import NESTED_ADVICE
from pipeline.ingest.files.raw_tables import RawTable
from pipeline.ingest.sql import ParsingError, quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

IDS = ("customer_id", "product_id", "order_id")
SAMPLE_ROWS = 10_000
MAX_SHARE = 0.5


def refuse_nested_ids(con: Backend, raw: RawTable, user_columns: Mapping[str, str]) -> None:
    """Refuse a column of ids in which most values are JSON lists or objects, which text files hold as text.

    Parameters
    ----------
    user_columns : mapping of str to str
        Our column -> the user's.

    Raises
    ------
    ParsingError
        Names the column, and what to do.
    """
    ids = [user_columns[ours] for ours in IDS if ours in user_columns and raw.columns[user_columns[ours]] == "VARCHAR"]
    if not (raw.has_lines and ids):
        return
    shares = ", ".join(
        f"avg((case when {name} similar to '[\\[{{].*' and json_valid({name}) then 1 else 0 end)) filter ({name} <> '')"
        for name in map(quoted, ids)
    )
    sample = f"select {', '.join(map(quoted, ids))} from {raw.name} limit {SAMPLE_ROWS}"
    for column, share in zip(ids, con.con.execute(f"select {shares} from ({sample})").fetchone(), strict=True):
        if share and share > MAX_SHARE:
            raise ParsingError(f"column {column!r}: expected text or numbers, got nested JSON. {NESTED_ADVICE}")
