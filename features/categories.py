"""The category tree: paths, levels, and the roll-up to the columns of a profile.

A category is written as its path from the root, ``Pets > Cats > Food``. A profile has a limited number of interest
columns, so a cut through the tree says which categories are columns (`models.category_cut`); what is below one of them
and in none of its own is ``Pets > other Pets``, and what is below none, or new since training, is OTHER.
A product without a category has none (null): it is no interest of anybody, and not OTHER. Paths that differ in case
alone are one category: as names of columns, a database could not tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from features.events import exact_sum

SEPARATOR = " > "
OTHER = "(other)"
REST = "other "
"""What the name of a column begins with that holds what is left of the category above it."""
MAX_LEVELS = 8
MAX_NODES = 10_000
"""Categories, the largest, among which columns are chosen."""


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
        """Column of what begins so, in lower case, and has no longer beginning here: the cut without OTHER."""
        found = {}
        for column, category in enumerate(self.categories[:-1]):
            path = lowered(category)
            above = path.rpartition(SEPARATOR)[0]
            found[above if above and other_of(above) == path else path] = column
        return found


def lowered(path: str) -> str:
    """``path`` in lower case as the database has it: letter by letter, where Python minds the end of a Greek word.

    Examples
    --------
    >>> lowered("ΣΚΥΛΟΣ"), "ΣΚΥΛΟΣ".lower()
    ('σκυλοσ', 'σκυλος')
    """
    return "".join(letter.lower()[0] for letter in path)


def lowered_parts(path: str) -> tuple[str, ...]:
    """The parts of ``path``, `lowered`: by which the places of categories in the tree are compared."""
    return tuple(lowered(path).split(SEPARATOR))


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


def other_of(path: str) -> str:
    """The column of what is below ``path`` and in no column of its own.

    Examples
    --------
    >>> other_of("Pets > Cats")
    'Pets > Cats > other Cats'
    """
    return f"{path}{SEPARATOR}{REST}{path.rsplit(SEPARATOR, maxsplit=1)[-1]}"


def is_rest(path: str) -> bool:
    """Whether ``path`` is a column of what is left over.

    Examples
    --------
    >>> is_rest("Pets > Cats > other Cats"), is_rest("Pets > Cats"), is_rest("other Cats")
    (True, False, False)
    """
    above = path.rpartition(SEPARATOR)[0]
    return bool(above) and other_of(above) == path


def node_evidence(evidence_by_path: ir.Table) -> ir.Table:
    """Evidence of each category of the tree, with everything below it; of the largest `MAX_NODES`.

       evidence_by_path (category_path, evidence)
    -> nodes (category, evidence)     largest first, ancestors before those below them
    """
    depth = evidence_by_path.category_path.split(SEPARATOR).length()
    levels = [
        roll_up(evidence_by_path.filter(depth >= level), level, count="evidence") for level in range(1, MAX_LEVELS + 1)
    ]
    nodes = ibis.union(*levels)
    return nodes.order_by(ibis.desc("evidence"), nodes.category.lower()).limit(MAX_NODES)


def roll_up(paths: ir.Table, level: int, *, count: str) -> ir.Table:
    """One figure of each path, summed per category at ``level``, largest first.

       paths (category_path, <count>)
    -> categories (category, <count>)     one row per category at that level, in the first of its spellings
    """
    path = at_level(paths.category_path, level)
    rolled = paths.mutate(path=path, folded=path.lower())
    by_category = rolled.group_by("folded").agg(category=rolled.path.min(), **{count: exact_sum(rolled[count])})
    return by_category.drop("folded").order_by(ibis.desc(count), "category")


def category_cut(columns: Sequence[tuple[str, float]], total_evidence: float) -> CategoryCut:
    """The cut of ``columns`` (category, evidence), OTHER holding what remains of the total."""
    rest = max(total_evidence - sum(evidence for _, evidence in columns), 0.0)
    total = total_evidence or 1.0
    return CategoryCut(
        level=max((len(category.split(SEPARATOR)) for category, _ in columns), default=1),
        categories=(*(category for category, _ in columns), OTHER),
        mix=(*(evidence / total for _, evidence in columns), rest / total if columns else 1.0),
    )


def category_columns(paths: ir.Table, cut: CategoryCut) -> ir.Table:
    """Which column each path is rolled up to: that of its longest beginning that has one.

       paths (category_path)     one row per distinct path
    -> columns (category_path, column)     same rows; column counts from 0
    """
    by_level: dict[int, dict[str, int]] = {}
    for top, column in cut.tops.items():
        by_level.setdefault(len(top.split(SEPARATOR)), {})[top] = column
    table = paths.filter(paths.category_path.notnull()).select("category_path").mutate(column=ibis.null("int64"))
    for level, tops in sorted(by_level.items(), reverse=True):
        schema = {f"top_{level}": "string", f"column_{level}": "int64"}
        kept = ibis.memtable(dict(zip(schema, (list(tops), list(tops.values())), strict=True)), schema=schema)
        beginning = table.mutate(beginning=at_level(table.category_path, level).lower())
        joined = beginning.left_join(kept, beginning.beginning == kept[f"top_{level}"])
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
