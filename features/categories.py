"""The category tree: paths, levels, and the roll-up to the columns of a profile.

A category is written as its path from the root, ``Pets > Cats > Food``. A profile has a limited number of interest
columns, so paths are rolled up to the deepest level that fits; what is rare, or new since training, is OTHER.
A product without a category has none (null): it is no interest of anybody, and not OTHER. Paths that differ in case
alone are one category: as names of columns, a database could not tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from features.events import exact_sum

SEPARATOR = " > "
OTHER = "(other)"
MAX_LEVELS = 8


@dataclass(frozen=True)
class CategoryCut:
    """The categories that are columns, fixed at training.

    Attributes
    ----------
    level : int, >= 1
        Depth in the tree to which paths are rolled up.
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


def at_level(path: ir.StringValue, level: int) -> ir.StringValue:
    """``path`` cut off below ``level``; a path that ends above it stays as it is."""
    return path.split(SEPARATOR)[:level].join(SEPARATOR)


def with_category_path(events: ir.Table, products: ir.Table | None) -> ir.Table:
    """Events with the category of their product; where the catalogue has none, with their own.

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


def category_counts(evidence_by_path: ir.Table) -> ir.Table:
    """How many categories each level has.

       evidence_by_path (category_path, evidence)
    -> levels (level, category_count)     one row per level
    """
    depth = evidence_by_path.category_path.split(SEPARATOR).length()
    counts = [
        evidence_by_path.aggregate(
            category_count=at_level(evidence_by_path.category_path, level).lower().nunique(),
            is_reached=(depth >= level).any(),
        ).mutate(level=ibis.literal(level))
        for level in range(1, MAX_LEVELS + 1)
    ]
    levels = ibis.union(*counts)
    return levels.filter(levels.is_reached).select("level", "category_count")


def roll_up(paths: ir.Table, level: int, *, count: str) -> ir.Table:
    """One figure of each path, summed per category at ``level``, largest first.

       paths (category_path, <count>)
    -> categories (category, <count>)     one row per category at that level, in the first of its spellings
    """
    path = at_level(paths.category_path, level)
    rolled = paths.mutate(path=path, folded=path.lower())
    by_category = rolled.group_by("folded").agg(category=rolled.path.min(), **{count: exact_sum(rolled[count])})
    return by_category.drop("folded").order_by(ibis.desc(count), "category")


def choose_level(category_counts: dict[int, int], max_categories: int) -> int:
    """Deepest level with at most ``max_categories - 1`` categories (one column is OTHER's); 1 if none has so few.

    Examples
    --------
    >>> choose_level({1: 4, 2: 30, 3: 900}, max_categories=40)
    2
    """
    fitting = [level for level, count in category_counts.items() if count <= max_categories - 1]
    return max(fitting, default=1)


def category_cut(largest: list[tuple[str, float]], total_evidence: float, level: int) -> CategoryCut:
    """The cut whose columns are ``largest`` (category, evidence), OTHER holding what remains of the total.

    A category of theirs that is called as OTHER is part of it.
    """
    kept = [(category, evidence) for category, evidence in largest if evidence > 0 and category.lower() != OTHER]
    rest = max(total_evidence - sum(evidence for _, evidence in kept), 0.0)
    total = total_evidence or 1.0
    return CategoryCut(
        level=level,
        categories=(*(category for category, _ in kept), OTHER),
        mix=(*(evidence / total for _, evidence in kept), rest / total if kept else 1.0),
    )


def category_columns(paths: ir.Table, cut: CategoryCut) -> ir.Table:
    """Which column each path is rolled up to.

       paths (category_path)     one row per distinct path
    -> columns (category_path, column)     same rows; column counts from 0
    """
    kept = ibis.memtable(
        {"category": list(cut.categories), "kept_column": list(range(len(cut.categories)))},
        schema={"category": "string", "kept_column": "int64"},
    )
    rolled = paths.filter(paths.category_path.notnull()).mutate(path=at_level(paths.category_path, cut.level))
    joined = rolled.left_join(kept, rolled.path.lower() == kept.category.lower())
    return joined.select("category_path", column=joined.kept_column.fill_null(cut.other_index))


def with_column(events: ir.Table, products: ir.Table | None, columns: ir.Table, *, has_own_paths: bool) -> ir.Table:
    """Events with the interest column of their category.

        events (..., product_id, category_path), products (product_id, category_path), columns (category_path, column)
     -> events (..., column)     same rows; null without a category

    Parameters
    ----------
    has_own_paths : bool
        Events carry categories themselves; the catalogue's come first. False saves a join.
    """
    if products is not None:
        of_product = products.join(columns, "category_path").select("product_id", product_column="column")
        events = _left_join(events, of_product, "product_id")
    if has_own_paths:
        events = _left_join(events, columns.rename(own_column="column"), "category_path")
    found = [events[name] for name in ("product_column", "own_column") if name in events.columns]
    column = ibis.coalesce(*found) if found else ibis.null("int64")
    return events.mutate(column=column).drop(*(value.get_name() for value in found))


def _left_join(left: ir.Table, right: ir.Table, key: str) -> ir.Table:
    return left.left_join(right, key).drop(f"{key}_right")
