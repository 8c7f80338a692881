"""The category tree: paths, levels, and the roll-up to the columns of a profile.

A category is written as its path from the root, ``Pets > Cats > Food``. A profile has a limited number of interest
columns, so a cut through the tree decides which categories are columns (`models.category_cut`). The rest of a category
whose children are columns goes to ``Pets > other Pets``. Everything else, including categories new since training,
goes to OTHER. A product without a category stays null and is not counted as OTHER. Paths that differ only in case are
one category, because a database does not distinguish column names by case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from features.events import exact_sum

SEPARATOR = " > "
OTHER = "(other)"
OTHER_PREFIX = "other "
"""Prefix of the column that holds the remainder of its parent category."""
MAX_LEVELS = 8
MAX_NODES = 10_000
"""Columns are chosen among this many of the largest categories."""


@dataclass(frozen=True)
class CategoryCut:
    """The categories that are columns, fixed at training.

    Attributes
    ----------
    level : int, >= 1
        Depth in the tree of the deepest column.
    categories : tuple of str
        Paths in order of their columns; the last is always OTHER.
    mix : tuple of float
        The shop's share of evidence in each, in the same order; they sum to 1.
    """

    level: int
    categories: tuple[str, ...]
    mix: tuple[float, ...]

    @property
    def other_index(self) -> int:
        """Column of OTHER."""
        return len(self.categories) - 1

    @property
    def tops(self) -> dict[str, int]:
        """Lower-case path prefix -> column, without OTHER. The longest matching prefix of a path decides."""
        columns = {}
        for column, category in enumerate(self.categories[:-1]):
            path = lowered(category)
            above = path.rpartition(SEPARATOR)[0]
            columns[above if above and remainder_of(above) == path else path] = column
        return columns


def lowered(path: str) -> str:
    """``path`` in lower case as the database does it: letter by letter. Python has a special final sigma in Greek.

    Examples
    --------
    >>> lowered("ΣΚΥΛΟΣ"), "ΣΚΥΛΟΣ".lower()
    ('σκυλοσ', 'σκυλος')
    """
    return "".join(letter.lower()[0] for letter in path)


def lowered_parts(path: str) -> tuple[str, ...]:
    """The parts of ``path``, `lowered`: the key for comparing categories in the tree."""
    return tuple(lowered(path).split(SEPARATOR))


def at_level(path: ir.StringValue, level: int) -> ir.StringValue:
    """``path`` cut off below ``level``; shorter paths stay as they are."""
    return path.split(SEPARATOR)[:level].join(SEPARATOR)


def with_category_path(events: ir.Table, products: ir.Table | None) -> ir.Table:
    """Events with the category of their product, or with their own where the catalogue has none.

       events (..., product_id, category_path), products (product_id, category_path)
    -> events (..., product_id, category_path)     same rows
    """
    if products is None:
        return events
    catalogue = products.select(catalogue_product_id="product_id", catalogue_path="category_path")
    joined = events.left_join(catalogue, events.product_id == catalogue.catalogue_product_id)
    return joined.mutate(category_path=ibis.coalesce(joined.catalogue_path, joined.category_path)).drop(
        "catalogue_product_id", "catalogue_path"
    )


def remainder_of(path: str) -> str:
    """The column for categories below ``path`` that are not columns themselves.

    Examples
    --------
    >>> remainder_of("Pets > Cats")
    'Pets > Cats > other Cats'
    """
    return f"{path}{SEPARATOR}{OTHER_PREFIX}{path.rsplit(SEPARATOR, maxsplit=1)[-1]}"


def is_remainder(path: str) -> bool:
    """Whether ``path`` is the column for the remainder of its parent.

    Examples
    --------
    >>> is_remainder("Pets > Cats > other Cats"), is_remainder("Pets > Cats"), is_remainder("other Cats")
    (True, False, False)
    """
    above = path.rpartition(SEPARATOR)[0]
    return bool(above) and remainder_of(above) == path


def node_evidence(evidence_by_path: ir.Table) -> ir.Table:
    """Evidence of each category including its descendants; only the largest `MAX_NODES`.

       evidence_by_path (category_path, evidence)
    -> nodes (category, evidence)     largest first, ancestors before descendants
    """
    depth = evidence_by_path.category_path.split(SEPARATOR).length()
    levels = [
        roll_up(evidence_by_path.filter(depth >= level), level, count="evidence") for level in range(1, MAX_LEVELS + 1)
    ]
    nodes = ibis.union(*levels)
    return nodes.order_by(ibis.desc("evidence"), nodes.category.lower()).limit(MAX_NODES)


def roll_up(paths: ir.Table, level: int, *, count: str) -> ir.Table:
    """A figure by path, summed by category at ``level``, largest first.

       paths (category_path, <count>)
    -> categories (category, <count>)     one row per category at that level, in its first spelling
    """
    path = at_level(paths.category_path, level)
    rolled = paths.mutate(path=path, folded=path.lower())
    by_category = rolled.group_by("folded").agg(category=rolled.path.min(), **{count: exact_sum(rolled[count])})
    return by_category.drop("folded").order_by(ibis.desc(count), "category")


def category_cut(columns: Sequence[tuple[str, float]], total_evidence: float) -> CategoryCut:
    """The cut of ``columns`` (category, evidence). OTHER holds the remainder of the total."""
    remainder = max(total_evidence - sum(evidence for _, evidence in columns), 0.0)
    total = total_evidence or 1.0
    return CategoryCut(
        level=max((len(category.split(SEPARATOR)) for category, _ in columns), default=1),
        categories=(*(category for category, _ in columns), OTHER),
        mix=(*(evidence / total for _, evidence in columns), remainder / total if columns else 1.0),
    )


def category_columns(paths: ir.Table, cut: CategoryCut) -> ir.Table:
    """The column each path rolls up to: that of its longest prefix with a column.

       paths (category_path)     one row per distinct path
    -> columns (category_path, column)     same rows; column counts from 0
    """
    by_level: dict[int, dict[str, int]] = {}
    for top, column in cut.tops.items():
        by_level.setdefault(len(top.split(SEPARATOR)), {})[top] = column
    table = paths.filter(paths.category_path.notnull()).select("category_path").mutate(column=ibis.null("int64"))
    for level, tops in sorted(by_level.items(), reverse=True):
        schema = {f"top_{level}": "string", f"column_{level}": "int64"}
        prefixes = ibis.memtable(dict(zip(schema, (list(tops), list(tops.values())), strict=True)), schema=schema)
        prefixed = table.mutate(prefix=at_level(table.category_path, level).lower())
        joined = prefixed.left_join(prefixes, prefixed.prefix == prefixes[f"top_{level}"])
        column = ibis.coalesce(joined.column, joined[f"column_{level}"])
        table = joined.select("category_path", column=column)
    return table.mutate(column=table.column.fill_null(cut.other_index))


def with_column(events: ir.Table, products: ir.Table | None, columns: ir.Table, *, has_own_paths: bool) -> ir.Table:
    """Events with the interest column of their category.

        events (..., product_id, category_path), products (product_id, category_path), columns (category_path, column)
     -> events (..., column)     same rows; null without a category

    Parameters
    ----------
    has_own_paths : bool
        Whether events carry categories themselves; the catalogue takes precedence. False saves a join.
    """
    if products is not None:
        product_columns = products.join(columns, "category_path").select("product_id", product_column="column")
        events = _left_join(events, product_columns, "product_id")
    if has_own_paths:
        events = _left_join(events, columns.rename(own_column="column"), "category_path")
    candidates = [events[name] for name in ("product_column", "own_column") if name in events.columns]
    column = ibis.coalesce(*candidates) if candidates else ibis.null("int64")
    return events.mutate(column=column).drop(*(value.get_name() for value in candidates))


def _left_join(left: ir.Table, right: ir.Table, key: str) -> ir.Table:
    return left.left_join(right, key).drop(f"{key}_right")
