"""What changed between two scorings: who entered and left which segment, tier and audience."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa

from pipeline.audiences.storage import STAMP
from pipeline.stores import files
from pipeline.stores.writers import write_table

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

FOLDER = "changes"
TRACKED_COLUMNS = ("segment_id", "interest_segment_id", "value_tier", "lifecycle_stage")
"""Columns of the scores whose changes are kept; ids, so that renaming a segment moves nobody."""
CHANGE_COLUMNS = ("customer_id", "column", "before", "after", "previous_as_of", "as_of", "entry_count")
SIGNS = {"add": "after", "remove": "before"}
"""What happens to the tag of a value."""


def score_changes(con: Backend, previous: ir.Table, current: ir.Table, earlier: ir.Table | None = None) -> ir.Table:
    """Customers whose value changed in one of the tracked columns; one row per customer and column.

    Parameters
    ----------
    previous, current : Table
        Two scores. A customer in only one of them has null in the other.
    earlier : Table, optional
        Changes before these, as this function returns them, to count entries.

    Returns
    -------
    Table
        `CHANGE_COLUMNS`: ``before`` and ``after`` are values, null for a customer that the scores do not have or for
        whom the value is not known; ``entry_count`` is how often the customer has entered ``after``, this time
        included, null when ``after`` is.
    """
    tracked = [column for column in TRACKED_COLUMNS if column in previous.columns and column in current.columns]
    moments = {
        "previous_as_of": con.execute(previous.as_of.max()),
        "as_of": con.execute(current.as_of.max()),
    }
    parts = [_column_changes(previous, current, column) for column in tracked]
    changed = ibis.union(*parts) if len(parts) > 1 else parts[0]
    changed = changed.mutate(**{name: ibis.timestamp(moment) for name, moment in moments.items()})
    return _with_entry_count(changed, earlier).select(*CHANGE_COLUMNS)


def _column_changes(previous: ir.Table, current: ir.Table, column: str) -> ir.Table:
    before = previous.select("customer_id", before=previous[column].cast("string"))
    after = current.select("customer_id", after=current[column].cast("string"))
    joined = before.outer_join(after, "customer_id")
    joined = joined.select(
        customer_id=ibis.coalesce(joined.customer_id, joined.customer_id_right),
        column=ibis.literal(column),
        before=joined.before,
        after=joined.after,
    )
    return joined.filter(~joined.before.identical_to(joined.after))


def _with_entry_count(changed: ir.Table, earlier: ir.Table | None) -> ir.Table:
    """How often each customer has entered the new value, this time included.

    Being somewhere at the first scoring counts as an entry: it is the ``before`` of the customer's first change.
    """
    if earlier is None:
        return changed.mutate(entry_count=changed.after.notnull().ifelse(1, ibis.null("int64")).cast("int64"))
    first = earlier.filter(earlier.as_of == earlier.as_of.min().over(ibis.window(group_by=["customer_id", "column"])))
    entries = ibis.union(
        earlier.select("customer_id", "column", value=earlier.after),
        first.select("customer_id", "column", value=first.before),
    )
    counts = entries.group_by(["customer_id", "column", "value"]).agg(entered=entries.count())
    joined = changed.left_join(counts, ["customer_id", "column", changed.after == counts.value])
    known = joined.after.notnull()
    return joined.mutate(entry_count=known.ifelse(joined.entered.fill_null(0) + 1, ibis.null("int64")).cast("int64"))


def keep_changes(outputs: Path, changes: pa.Table, as_of: datetime) -> Path:
    """Write the changes up to ``as_of``; only their owner can read them."""
    path = outputs / FOLDER / f"{as_of.astimezone(UTC).strftime(STAMP)}.parquet"
    write_table(path, changes, mode=files.PRIVATE)
    return path


def kept_changes(outputs: Path, *, until: datetime | None = None, since: datetime | None = None) -> list[Path]:
    """Files of changes, by date: after ``since`` and up to ``until``."""
    found = []
    for path in sorted((outputs / FOLDER).glob("*.parquet")):
        if re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}", path.stem):
            as_of = datetime.strptime(path.stem, STAMP).replace(tzinfo=UTC)
            if (since is None or as_of > since) and (until is None or as_of <= until):
                found.append(path)
    return found


def net_changes(changes: pd.DataFrame) -> pd.DataFrame:
    """Several scorings as one: a customer's first ``before`` and last ``after``; returns cancel out."""
    ordered = changes.sort_values(["customer_id", "column", "as_of"])
    net = ordered.groupby(["customer_id", "column"], as_index=False).agg(
        before=("before", _first),
        after=("after", _last),
        previous_as_of=("previous_as_of", "min"),
        as_of=("as_of", "max"),
        entry_count=("entry_count", _last),
    )
    is_same = (net["before"] == net["after"]) | (net["before"].isna() & net["after"].isna())
    return net.loc[~is_same, list(CHANGE_COLUMNS)].reset_index(drop=True)


def _first(values: pd.Series) -> object:
    return values.iloc[0]


def _last(values: pd.Series) -> object:
    return values.iloc[-1]


def tag_changes(changes: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Tags to add and to remove, one row per customer: customer_id, add, remove (texts joined by `, `).

    Parameters
    ----------
    names : mapping
        segment_id -> name; other values are their own tag.
    """
    tagged = changes.assign(
        **{sign: changes[column].map(names).fillna(changes[column]) for sign, column in SIGNS.items()}
    )
    return tagged.groupby("customer_id")[[*SIGNS]].agg(_joined).reset_index()


def _joined(tags: pd.Series) -> str:
    return ", ".join(sorted(set(tags.dropna())))
