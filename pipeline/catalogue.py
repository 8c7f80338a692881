"""Products with one category path each, and customers with their attributes."""

from __future__ import annotations

from typing import Any

import ibis.expr.types as ir

from pipeline.files import FILE, ROW, RawTable, SourceError, map_columns, read_raw
from pipeline.params import Params, TimedTable
from pipeline.parsing import as_text, as_time, literal, quoted

LEVELS = tuple(f"level_{number}" for number in range(1, 9))
KNOWN_PRODUCT = ("product_id", "category_path", "category_id", *LEVELS)


def read_products(con: Any, params: Params, warnings: list[str]) -> ir.Table | None:
    """Table ``products`` (product_id, category_path), one row per product; None where the source names none.

    The path comes from category_path, from level columns, or from category_id through the categories table.
    """
    source = params.source
    if source.products is None:
        return None
    raw = read_raw(con, source.products, params, name="raw_products", key="source.products")
    theirs = map_columns(raw, source.products.columns, list(KNOWN_PRODUCT), ("product_id",), key="source.products")

    def text(name: str) -> str:
        return as_text(theirs[name], raw.columns[theirs[name]])

    levels = [name for name in LEVELS if name in theirs]
    if levels:
        path = f"nullif(concat_ws(' > ', {', '.join(_level(text(name)) for name in levels)}), '')"
    elif "category_path" in theirs:
        path = f"replace({text('category_path')}, {literal(source.category_separator)}, ' > ')"
    elif "category_id" in theirs and source.categories is not None:
        _category_paths(con, params)
        path = f"(select any_value(path) from category_tree where category_id = {text('category_id')})"
    else:
        raise SourceError(
            "source.products: expected category_path, level_1 ..., or category_id with source.categories. "
            f"Found: {', '.join(raw.columns)}."
        )
    con.con.execute(
        f"create or replace table products as select product_id, min(category_path) as category_path, "
        f"count(distinct category_path) > 1 as is_ambiguous from "
        f"(select {text('product_id')} as product_id, {path} as category_path from raw_products) "
        "where product_id is not null group by product_id"
    )
    ambiguous = con.con.execute("select count(*) from products where is_ambiguous").fetchone()[0]
    if ambiguous:
        warnings.append(
            f"products: {ambiguous:,} stand in several categories; the first in alphabetical order was taken"
        )
    con.con.execute("alter table products drop column is_ambiguous")
    products: ir.Table = con.table("products")
    return products


def _level(text: str) -> str:
    """A level's name, in which the separator would be read as two levels."""
    return f"replace({text}, ' > ', ' / ')"


def _category_paths(con: Any, params: Params) -> None:
    """Table category_tree (category_id, path), walked up from each category to its root."""
    table = params.source.categories
    assert table is not None
    raw = read_raw(con, table, params, name="raw_categories", key="source.categories")
    needed = ("category_id", "parent_id", "name")
    theirs = map_columns(raw, table.columns, list(needed), needed, key="source.categories")
    own, parent, name = (as_text(theirs[column], raw.columns[theirs[column]]) for column in needed)
    con.con.execute(
        f"create or replace table category_nodes as select {own} as category_id, {parent} as parent_id, "
        f"{_level(name)} as name from raw_categories"
    )
    con.con.execute(
        "create or replace table category_tree as with recursive tree as ("
        " select category_id, name as path, 1 as depth from category_nodes"
        "  where parent_id is null or parent_id not in (select category_id from category_nodes)"
        " union all select n.category_id, t.path || ' > ' || n.name, t.depth + 1"
        "  from category_nodes n join tree t on n.parent_id = t.category_id where t.depth < 64)"
        " select * from tree"
    )
    total, reached = con.con.execute(
        "select (select count(distinct category_id) from category_nodes),"
        " (select count(distinct category_id) from category_tree)"
    ).fetchone()
    if reached < total:
        raise SourceError(
            f"source.categories: expected a tree; {total - reached:,} of {total:,} categories are their own ancestors "
            "(a cycle of parent_id). Mend the table."
        )


def read_customers(con: Any, params: Params, warnings: list[str]) -> ir.Table | None:
    """Table ``customers`` (customer_id, registered_at if there, attributes), one row per customer; None without."""
    table = params.source.customers
    if table is None:
        return None
    raw = read_raw(con, table, params, name="raw_customers", key="source.customers")
    theirs = map_columns(raw, table.columns, ["customer_id"], ("customer_id",), key="source.customers")
    at = table.columns.get("registered_at", "registered_at")
    picked = [f"{as_text(theirs['customer_id'], raw.columns[theirs['customer_id']])} as customer_id"]
    if at in raw.columns:
        picked.append(f"{_moment(raw, table, at)} as registered_at")
    used = {theirs["customer_id"], at, FILE, ROW}
    picked += [quoted(column) for column in raw.columns if column not in used]
    con.con.execute(
        f"create or replace table customers as select distinct on (customer_id) * from "
        f"(select {', '.join(picked)} from raw_customers) where customer_id is not null order by all"
    )
    read, kept = con.con.execute(
        "select (select count(*) from raw_customers), (select count(*) from customers)"
    ).fetchone()
    if kept < read:
        warnings.append(f"customers: {read - kept:,} of {read:,} rows repeat a customer or name none; left out")
    customers: ir.Table = con.table("customers")
    return customers


def _moment(raw: RawTable, table: TimedTable, column: str) -> str:
    return as_time(column, raw.columns[column], time_format=table.time_format, timezone=table.timezone, largest=None)
