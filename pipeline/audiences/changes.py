"""What changed between two scorings: who entered and left which segment, tier and audience."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models.disclosure import rounded_count
from pipeline.audiences.build import audience_members
from pipeline.audiences.scores import read_scores
from pipeline.audiences.selection import AudienceError
from pipeline.audiences.storage import dated_file, dated_files
from pipeline.config.params import Params
from pipeline.report.terminal import counted
from pipeline.stores import files
from pipeline.stores.local.file_names import as_glob
from pipeline.stores.writers import write_table

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

FOLDER, LAST = "changes", "last.parquet"
TRACKED_COLUMNS = ("segment_id", "interest_segment_id", "value_tier", "lifecycle_stage")
"""Columns of the scores whose changes are kept; ids, so that renaming a segment moves nobody."""
AUDIENCE = "audience:"
"""A change of membership in an audience is a change of the column with this prefix, whose only value is its name."""
CHANGE_KEY = ("customer_id", "column", "as_of")
"""Columns of the changes that tell rows apart."""
CHANGE_COLUMNS = ("customer_id", "column", "before", "after", "previous_as_of", "as_of", "entry_count")
SIGNS = {"add": "after", "remove": "before"}
"""What happens to the tag of a value."""


def score_changes(
    con: Backend,
    previous: ir.Table,
    current: ir.Table,
    earlier: ir.Table | None = None,
    *,
    members: Mapping[str, tuple[Collection[str], Collection[str]]] | None = None,
) -> ir.Table:
    """Customers whose value changed in one of the tracked columns; one row per customer and column.

    Parameters
    ----------
    previous, current : Table
        Two scores. A customer in only one of them has null in the other.
    earlier : Table, optional
        Changes before these, as this function returns them, to count entries.
    members : mapping, optional
        Audience -> its customers in the previous and in the current scores.

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
    parts += [_membership_changes(name, *customers) for name, customers in (members or {}).items()]
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


def _membership_changes(name: str, before: Collection[str], after: Collection[str]) -> ir.Table:
    entered, left = sorted(set(after) - set(before)), sorted(set(before) - set(after))
    text = pa.string()
    rows = pa.table(
        {
            "customer_id": pa.array([*entered, *left], text),
            "column": pa.array([f"{AUDIENCE}{name}"] * (len(entered) + len(left)), text),
            "before": pa.array([None] * len(entered) + [name] * len(left), text),
            "after": pa.array([name] * len(entered) + [None] * len(left), text),
        }
    )
    return ibis.memtable(rows)


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


@dataclass(frozen=True)
class ChangeCounts:
    """How many customers a scoring moved.

    Attributes
    ----------
    by_column : dict of str to int
        Column of `CHANGE_COLUMNS` -> customers; audiences count together.
    warnings : tuple of str
        Audiences that could not be compared.
    """

    customer_count: int
    by_column: dict[str, int]
    warnings: tuple[str, ...] = ()

    def published(self, min_group: int) -> ChangeCounts:
        """The counts as they may be published (`models.disclosure`)."""
        by_column = {column: rounded_count(count, min_group) for column, count in self.by_column.items()}
        return replace(self, customer_count=rounded_count(self.customer_count, min_group), by_column=by_column)

    def as_text(self) -> str:
        """The counts in one line."""
        parts = [f"{count:,} {column_label(column)}" for column, count in self.by_column.items()]
        return f"{counted(self.customer_count, 'customer')}{': ' if parts else ''}{', '.join(parts)}"


def column_label(column: str) -> str:
    """A column of `CHANGE_COLUMNS` in words."""
    return "audience" if column.startswith(AUDIENCE) else column.removesuffix("_id").replace("_", " ")


def keep_score_changes(con: Backend, scores: ir.Table, replaced: Path, params: Params) -> ChangeCounts | None:
    """Keep what changes when ``scores`` replace those at ``replaced``; call it before they do.

    Changes are kept first, because a crash in between is made good by scoring again, while scores without their changes
    would hide them for ever. What the last scoring changed is kept by itself. Scores of the same moment as the replaced
    ones also add to the changes that are kept for it; if they change nothing, all that is kept stays as it is.

    Returns
    -------
    ChangeCounts or None
        Of this scoring. None if there are no scores to compare with, or if they are later than the new ones.
    """
    outputs = params.path(params.outputs.folder)
    try:
        previous = read_scores(con, replaced, name="replaced_scores")
    except AudienceError:
        return None
    before = con.execute(previous.as_of.max())
    if pd.isna(before) or before.to_pydatetime() > params.as_of:
        return None
    members, warnings = _members_before_and_now(con, previous, scores, params)
    paths = kept_changes(outputs, until=params.as_of - timedelta(seconds=1))
    earlier = con.read_parquet([as_glob(path) for path in paths]) if paths else None
    changed = con.to_pyarrow(score_changes(con, previous, scores, earlier, members=members))
    of_moment = changed
    if before.to_pydatetime() == params.as_of:
        if not changed.num_rows:
            return count_changes(changed, warnings)
        of_moment = _added_to(changes_of(outputs, params.as_of), changed)
        changed = _without_returns(changed, of_moment)
    keep_changes(outputs, of_moment, params.as_of)
    write_table(outputs / FOLDER / LAST, changed, mode=files.PRIVATE)
    return count_changes(changed, warnings)


def _members_before_and_now(
    con: Backend, previous: ir.Table, current: ir.Table, params: Params
) -> tuple[dict[str, tuple[frozenset[str], frozenset[str]]], list[str]]:
    """Customers of each audience by its conditions; an audience that has none of the two is left out with a warning."""
    members, warnings = {}, []
    for name in params.audiences:
        try:
            before, now = (
                audience_members(con, scores, name, params.audiences, params.source.category_separator)
                for scores in (previous, current)
            )
            members[name] = before, now
        except AudienceError as error:
            warnings.append(f"changes of the audience {name} are not known: {error}")
    return members, warnings


def _added_to(kept: pa.Table | None, changed: pa.Table) -> pa.Table:
    """Changes that are kept for a moment, and further ones, as one step."""
    tables = [*([] if kept is None else [kept.cast(changed.schema)]), changed]
    return to_arrow(net_changes(pa.concat_tables(tables).to_pandas()), changed.schema)


def _without_returns(changed: pa.Table, of_moment: pa.Table) -> pa.Table:
    """The changes of one scoring; a customer who is back where the moment began has not entered the value again."""
    keys = ["customer_id", "column"]
    frame = changed.to_pandas()
    is_moved = pd.MultiIndex.from_frame(frame[keys]).isin(pd.MultiIndex.from_frame(of_moment.select(keys).to_pandas()))
    entry_count = frame["entry_count"].where(is_moved, (frame["entry_count"] - 1).clip(lower=1))
    return to_arrow(frame.assign(entry_count=entry_count), changed.schema)


def to_arrow(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """``frame`` in Arrow; pandas would not hand over times with a zone."""
    columns = []
    for field in schema:
        values = frame[field.name]
        is_moment = pa.types.is_timestamp(field.type)
        plain = values.dt.tz_convert(None) if is_moment else values
        columns.append(pa.array(plain, from_pandas=True).cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def count_changes(changed: pa.Table, warnings: Iterable[str] = ()) -> ChangeCounts:
    """Customers with a change, in all and by column."""
    frame = changed.select(["customer_id", "column"]).to_pandas()
    kind = frame["column"].str.replace(f"^{AUDIENCE}.*", AUDIENCE, regex=True)
    sizes = frame.groupby(kind)["customer_id"].nunique()
    order = [column for column in (*TRACKED_COLUMNS, AUDIENCE) if column in sizes.index]
    by_column = {column: int(sizes[column]) for column in order}
    return ChangeCounts(int(frame["customer_id"].nunique()), by_column, tuple(warnings))


def keep_changes(outputs: Path, changes: pa.Table, as_of: datetime) -> Path:
    """Write the changes up to ``as_of``; only their owner can read them."""
    path = dated_file(outputs / FOLDER, as_of)
    write_table(path, changes, mode=files.PRIVATE)
    return path


def kept_changes(outputs: Path, *, until: datetime | None = None, since: datetime | None = None) -> list[Path]:
    """Files of changes, by date: after ``since`` and up to ``until``."""
    return [
        path
        for path, as_of in dated_files(outputs / FOLDER)
        if (since is None or as_of > since) and (until is None or as_of <= until)
    ]


def changes_of(outputs: Path, as_of: datetime) -> pa.Table | None:
    """All changes that are kept for a moment."""
    paths = kept_changes(outputs, since=as_of - timedelta(seconds=1), until=as_of)
    return pq.read_table(paths[0]) if paths else None


def last_changes(outputs: Path) -> Path | None:
    """The file with what the last scoring changed; None if no changes are kept."""
    path = outputs / FOLDER / LAST
    return path if path.exists() else next(reversed(kept_changes(outputs)), None)


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
    """Tags to add and to remove, one row per customer: customer_id, add, remove; joined by `; `, as names have commas.

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
    return "; ".join(sorted(set(tags.dropna())))
