"""The scores in memory, and the queries of the page on them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import ibis.expr.types as ir
import pandas as pd

from models.identity import RULE_GROUP_PREFIX
from pipeline.audiences.build import Audience, build_audience
from pipeline.audiences.monday import MONEY_COLUMNS, Action, monday_actions
from pipeline.audiences.selection import CATEGORY, LEVEL_END, Condition, category_text, meets_all, names_category
from pipeline.config.errors import UserError
from pipeline.config.sections.audiences import AudienceParams
from pipeline.stores.database import materialise
from pipeline.stores.local.file_names import as_glob, parquet_glob

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

COUNTED_COLUMNS = ("segment", "interest_segment", "lifecycle_stage", "temperature", "value_tier")
"""Columns whose values are counted together in one query; their combinations are few."""
CACHED = ("actions", "categories", "combinations", "everyone", "names", "totals")
"""Computed when the scores are read, so that no request waits for them."""
CLUSTER_COLUMNS = {"": ("strength", "margin"), "interest_": ("interest_strength", "interest_margin")}
"""Columns that mean nothing for customers grouped by rule."""
COMBINATION, CATEGORY_TEXT = "combination", "category_text"
"""Columns added to the scores, by which they are counted faster."""
UNUSED_COLUMNS = ("model_uri", "cluster_id", "interest_cluster_id")


class Scores:
    """The scores of a file or folder, read again when it is replaced. One query runs at a time.

    Attributes
    ----------
    table : Table
        One row per customer, in memory.
    as_of : Timestamp
        The moment of the scores.
    counted, money : tuple of str
        Those of `COUNTED_COLUMNS` and `MONEY_COLUMNS` that the scores have.

    Parameters
    ----------
    path : Path
        Parquet, a file or a folder.
    separator : str
        Between the levels of a category path.
    min_group : int
        Actions for fewer customers are left out.

    Raises
    ------
    UserError
        There are no scores, or they are not Parquet.
    """

    def __init__(self, con: Backend, path: Path, *, separator: str, min_group: int) -> None:
        self.con, self.path, self.separator, self.min_group = con, path, separator, min_group
        self._lock = Lock()
        self._version: tuple[int, int] | None = None
        with self.reading():
            pass

    @contextmanager
    def reading(self) -> Iterator[Scores]:
        """No other request uses the scores in this block, and they are those of the file."""
        with self._lock:
            self._refresh()
            yield self

    def _refresh(self) -> None:
        if self.path.suffix not in ("", ".parquet"):
            raise UserError(
                f"outputs.scores {self.path.name}: expected Parquet scores. Set outputs.scores to a .parquet."
            )
        if not self.path.exists():
            if self._version is not None:
                return
            raise UserError(f"{self.path}: expected scores, but there is no such file. Run `kindred score` first.")
        status = self.path.stat()
        if self._version == (version := (status.st_mtime_ns, status.st_size)):
            return
        read = self.con.read_parquet(parquet_glob(self.path))
        columns = [column for column in read.columns if column not in UNUSED_COLUMNS]
        self.counted = tuple(column for column in COUNTED_COLUMNS if column in columns)
        self.money = tuple(column for column in MONEY_COLUMNS if column in columns)
        added = {
            COMBINATION: _combination([read[column] for column in self.counted]),
            CATEGORY_TEXT: category_text(read.top_categories),
        }
        self.table: ir.Table = materialise(self.con, read.select(columns, **added), "page_scores")
        self._version = version
        self.as_of = pd.Timestamp(self.con.execute(self.table.as_of.max()))
        for figures in CACHED:
            self.__dict__.pop(figures, None)
        for figures in CACHED:
            getattr(self, figures)

    @functools.cached_property
    def totals(self) -> dict[str, float]:
        """customer_count, buyer_count, and the sums of the money columns, of all customers."""
        sums = {column: self.table[column].sum() for column in self.money}
        buyers = self.table.count(where=self.table.order_count > 0)
        row = self.con.to_pandas(self.table.aggregate(customer_count=self.table.count(), buyer_count=buyers, **sums))
        return {str(name): float(value) for name, value in row.iloc[0].items()}

    @functools.cached_property
    def categories(self) -> list[str]:
        """Paths of all top categories, sorted."""
        paths = self.table.select(path=self.table.top_categories.unnest()).distinct()
        return sorted(self.con.to_pandas(paths)["path"].dropna())

    @functools.cached_property
    def combinations(self) -> pd.DataFrame:
        """Values of the counted columns, by `COMBINATION`."""
        return self.con.to_pandas(self.table.select(COMBINATION, *self.counted).distinct()).set_index(COMBINATION)

    @functools.cached_property
    def everyone(self) -> pd.DataFrame:
        """`cube` of all customers."""
        return self._cube({})

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """segment_id -> name, of both facets."""
        pairs = [("segment_id", "segment"), ("interest_segment_id", "interest_segment")]
        return {
            str(segment_id): str(name)
            for columns in pairs
            if set(columns) <= set(self.table.columns)
            for segment_id, name in self.con.to_pandas(self.table.select(*columns).distinct()).to_numpy()
        }

    @property
    def rule_groups(self) -> set[str]:
        """Names of segments that are groups by rule."""
        return {name for segment_id, name in self.names.items() if segment_id.startswith(RULE_GROUP_PREFIX)}

    @functools.cached_property
    def actions(self) -> list[Action]:
        """What to do first."""
        return monday_actions(
            self.con, self.table, separator=self.separator, min_group=self.min_group, is_published=False
        )

    def cube(self, where: Mapping[str, Condition]) -> pd.DataFrame:
        """Customers by combination of the `COUNTED_COLUMNS`.

        Parameters
        ----------
        where : mapping
            As in ``audiences`` of params.yaml, without conditions on the counted columns.

        Returns
        -------
        DataFrame
            The counted columns, customer_count, and the sums of the money columns.
        """
        return self._cube(where) if where else self.everyone

    def _cube(self, where: Mapping[str, Condition]) -> pd.DataFrame:
        others = {column: condition for column, condition in where.items() if column != CATEGORY}
        selected = self.table.filter(meets_all(self.table, others, separator=self.separator))
        if CATEGORY in where:
            # The text was made when the scores were read: a condition on it takes a fifth of the time.
            has_category = names_category(self.table[CATEGORY_TEXT], str(where[CATEGORY]), self.separator)
            selected = selected.filter(has_category.fill_null(False))
        sums = {column: selected[column].sum() for column in self.money}
        grouped = selected.group_by(COMBINATION).aggregate(customer_count=selected.count(), **sums)
        figures = self.con.to_pandas(grouped).set_index(COMBINATION)
        return self.combinations.join(figures, how="inner").sort_index().reset_index(drop=True)

    def audience(self, definition: AudienceParams) -> Audience:
        """The customers of an audience without a control group."""
        return build_audience(self.con, self.table, "page", {"page": definition}, key="", separator=self.separator)

    def customer(self, customer_id: str) -> dict[str, Any] | None:
        """One row of the scores, without what is not known; None if there is no such customer."""
        rows = self.con.to_pandas(self.table.filter(self.table.customer_id == customer_id)).to_dict("records")
        if not rows:
            return None
        known = {str(name): value for name, value in rows[0].items() if _is_known(value)}
        for prefix in ("", "interest_"):
            if str(known.get(f"{prefix}segment_id", "")).startswith(RULE_GROUP_PREFIX):
                known = {name: value for name, value in known.items() if name not in CLUSTER_COLUMNS[prefix]}
        return known

    def changes(self, path: Path) -> pd.DataFrame:
        """column, before, after, customer_count of a file of `pipeline.audiences.changes`; most customers first."""
        moves = self.con.read_parquet(as_glob(path))
        counted = moves.group_by("column", "before", "after").aggregate(customer_count=moves.count())
        return self.con.to_pandas(counted).sort_values(
            ["customer_count", "before", "after"], ascending=[False, True, True]
        )


def _combination(columns: list[ir.StringValue]) -> ir.Value:
    """A number for each combination of texts, by which a million rows are grouped in a fifth of the time."""
    texts = [column.fill_null("") + LEVEL_END for column in columns]
    return functools.reduce(lambda text, part: text + part, texts).hash()


def _is_known(value: Any) -> bool:
    return len(value) > 0 if hasattr(value, "__len__") else bool(pd.notna(value))
