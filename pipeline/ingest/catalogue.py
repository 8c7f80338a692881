"""Reads products, with one category path each, and customers, with their attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis.expr.types as ir

from pipeline.config.params import Params
from pipeline.ingest.columns.column_mapping import map_columns
from pipeline.ingest.columns.texts import SEPARATOR, as_category_path, as_text, with_aliases
from pipeline.ingest.columns.times import whole_time_sql
from pipeline.ingest.customers.identities import id_distance, resolved
from pipeline.ingest.files.raw_tables import RawTable, SourceError, read_raw
from pipeline.ingest.findings.findings import Findings
from pipeline.stores.databases.sql import literal, quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

LEVELS = tuple(f"level_{number}" for number in range(1, 9))
SAMPLE_ROWS = 10_000
"""Rows that are enough to see that a column holds numbers and not names."""
DISTANCE = "kindred_distance"
"""Column by which customers are sorted while they are read."""
PRODUCT_COLUMNS = ("product_id", "category_path", "category_id", "brand", *LEVELS)


def read_products(con: Backend, params: Params, findings: Findings) -> ir.Table | None:
    """Table ``products`` (product_id, category_path, brand), one row per product; None if the source has no products.

    The path comes from category_path, from level columns, or from category_id through the categories table.
    """
    source = params.source
    if source.products is None:
        return None
    raw = findings.add("products", read_raw(con, source.products, params, name="raw_products", key="source.products"))
    user_columns = map_columns(
        raw, source.products.columns, list(PRODUCT_COLUMNS), ("product_id",), key="source.products"
    )

    def text(name: str) -> str:
        return as_text(user_columns[name], raw.columns[user_columns[name]])

    for name in ("category_path", *LEVELS):
        if name in user_columns:
            refuse_decimals(con, raw, user_columns[name], key=f"source.products.columns.{name}")
    rows = "raw_products"
    levels = [name for name in LEVELS if name in user_columns]
    if levels:
        path = f"nullif(concat_ws(' > ', {', '.join(_level(text(name)) for name in levels)}), '')"
    elif "category_path" in user_columns:
        path = as_category_path(text("category_path"), source.category_separator)
    elif "category_id" in user_columns and source.categories is not None:
        _category_paths(con, params, findings)
        # Named unlike `category_id`, which is also a column of the raw table.
        path = "tree_path"
        rows = f"raw_products left join category_tree on tree_id = {text('category_id')}"
    else:
        raise SourceError(
            "source.products: expected category_path, level_1 ..., or category_id with source.categories. "
            f"Found: {', '.join(raw.columns)}."
        )
    named = with_aliases("path", source.category_aliases, source.category_separator)
    brand = text("brand") if "brand" in user_columns else "null::varchar"
    con.con.execute(
        f"create or replace table products as select product_id, min({named}) as category_path, "
        f"min(brand) as brand, count(distinct {named}) > 1 as is_ambiguous from "
        f"(select {text('product_id')} as product_id, {path} as path, {brand} as brand from {rows}) "
        "where product_id is not null group by product_id"
    )
    ambiguous = con.con.execute("select count(*) from products where is_ambiguous").fetchone()[0]
    if ambiguous:
        findings.warnings.append(
            f"products: {ambiguous:,} are in several categories; the first in alphabetical order was taken"
        )
    con.con.execute("alter table products drop column is_ambiguous")
    products: ir.Table = con.table("products")
    return products


def refuse_decimals(con: Backend, raw: RawTable, column: str, *, key: str) -> None:
    """Refuse a category column in which most values have decimals, such as a price or a weight.

    Raises
    ------
    SourceError
        Names the column, and the key in params.yaml that maps it.
    """
    number = f"try_cast({quoted(column)} as double)"
    share = con.con.execute(
        f"select avg(coalesce({number} <> floor({number}), false)::int) from (select {quoted(column)} from {raw.name} "
        f"where {quoted(column)} is not null limit {SAMPLE_ROWS})"
    ).fetchone()[0]
    if share and share > 0.5:
        raise SourceError(f"{key}: expected names of categories; column {column!r} holds numbers with decimals.")


def refuse_nested_ids(con: Backend, raw: RawTable, user_columns: dict[str, str]) -> None:
    """Refuse a column of ids in which most values are JSON lists or objects, which text files hold as text.

    Parameters
    ----------
    user_columns : dict of str to str
        Our column -> the user's.

    Raises
    ------
    ParsingError
        Names the column, and what to do.
    """
    found = [user_columns[ours] for ours in ("customer_id", "product_id", "order_id") if ours in user_columns]
    ids = [column for column in found if raw.columns[column] == "VARCHAR"]
    if not (raw.has_lines and ids):
        return
    shares = ", ".join(
        f"avg((case when {name} similar to '[\\[{{].*' and json_valid({name}) then 1 else 0 end)) filter ({name} <> '')"
        for name in map(quoted, ids)
    )
    sample = f"select {', '.join(map(quoted, ids))} from {raw.name} limit {SAMPLE_ROWS}"
    for column, share in zip(ids, con.con.execute(f"select {shares} from ({sample})").fetchone(), strict=True):
        if share and share > 0.5:
            as_text(column, "JSON")  # raises the error for such types


def _level(text: str) -> str:
    """SQL for a level's name; a separator in it is replaced, as it would be read as two levels."""
    return f"nullif(trim(replace({text}, {literal(SEPARATOR)}, ' / ')), '')"


def _category_paths(con: Backend, params: Params, findings: Findings) -> None:
    """Table category_tree (tree_id, tree_path), one row per category, built from the roots down."""
    table = params.source.categories
    assert table is not None
    raw = findings.add("categories", read_raw(con, table, params, name="raw_categories", key="source.categories"))
    needed = ("category_id", "parent_id", "name")
    user_columns = map_columns(raw, table.columns, list(needed), needed, key="source.categories")
    own, parent, name = (as_text(user_columns[column], raw.columns[user_columns[column]]) for column in needed)
    con.con.execute(
        f"create or replace table category_nodes as select distinct on (category_id) * from "
        f"(select {own} as category_id, {parent} as parent_id, coalesce({_level(name)}, {own}) as name "
        "from raw_categories) where category_id is not null order by all"
    )
    con.con.execute(
        "create or replace table category_tree as with recursive tree as ("
        " select category_id as tree_id, name as tree_path from category_nodes n"
        "  where not exists (from category_nodes p where p.category_id = n.parent_id)"
        " union all select n.category_id, t.tree_path || ' > ' || n.name"
        "  from category_nodes n join tree t on n.parent_id = t.tree_id) select * from tree"
    )
    rows, total, reached, orphans = con.con.execute(
        "select (select count(*) from raw_categories), (select count(*) from category_nodes),"
        " (select count(*) from category_tree), (select count(*) from category_nodes n"
        "  where parent_id is not null and not exists (from category_nodes p where p.category_id = n.parent_id))"
    ).fetchone()
    if reached < total:
        raise SourceError(
            f"source.categories: expected a tree; {total - reached:,} of {total:,} categories are in or below a cycle "
            "of parent_id. Fix the table."
        )
    if orphans:
        findings.warnings.append(
            f"categories: {orphans:,} have a parent that is not in the table and were taken as roots"
        )
    if total < rows:
        findings.warnings.append(
            f"categories: {rows - total:,} of {rows:,} rows repeat a category_id or have none; "
            "the first in alphabetical order was taken"
        )


def read_customers(con: Backend, params: Params, findings: Findings) -> ir.Table | None:
    """Table ``customers`` (customer_id, registered_at if known, attributes), one row per customer.

    None if the source has no customers.
    """
    table = params.source.customers
    if table is None:
        return None
    raw = findings.add("customers", read_raw(con, table, params, name="raw_customers", key="source.customers"))
    user_columns = map_columns(raw, table.columns, ["customer_id"], ("customer_id",), key="source.customers")
    at = table.columns.get("registered_at", "registered_at")
    own_id = as_text(user_columns["customer_id"], raw.columns[user_columns["customer_id"]])
    customer_id = resolved(own_id, params)
    selected = [f"{customer_id} as customer_id"]
    if customer_id != own_id:
        selected.append(f"{id_distance(own_id, params)} as {DISTANCE}")
    moment = ""
    if at in raw.columns:
        moment = whole_time_sql(con, raw.name, at, raw.columns[at], table, key="source.customers")
        selected.append(f"{moment} as registered_at")
    attributes = _attribute_names(raw, user_columns, {user_columns["customer_id"], at})
    selected += [f"{quoted(column)} as {quoted(name)}" for column, name in attributes.items()]
    db = con.con
    db.execute(
        f"create or replace table customers as select * from (select {', '.join(selected)} from raw_customers) "
        "where trim(customer_id) <> ''"
    )
    with_id, distinct = db.execute("select count(*), count(distinct customer_id) from customers").fetchone()
    if distinct < with_id:  # otherwise no sorting is needed
        one_each = "select distinct on (customer_id) * from customers order by all"
        db.execute(f"create or replace table customers as {one_each}")
    if customer_id != own_id:
        db.execute(f"alter table customers drop column {DISTANCE}")
    read = db.execute("select count(*) from raw_customers").fetchone()[0]
    if distinct < read:
        findings.warnings.append(
            f"customers: {read - distinct:,} of {read:,} rows repeat a customer or have no customer_id; left out"
        )
    if moment:
        unreadable = con.con.execute(
            f"select count(*) from (select {quoted(at)} as text, {moment} as moment "
            "from raw_customers) where text is not null and trim(text::varchar) <> '' and moment is null"
        ).fetchone()[0]
        if unreadable:
            findings.warnings.append(
                f"customers: {unreadable:,} of {read:,} values of registered_at could not be read and were left empty"
            )
    customers: ir.Table = con.table("customers")
    return customers


def _attribute_names(raw: RawTable, user_columns: dict[str, str], taken: set[str]) -> dict[str, str]:
    """Column of the customers' table -> its name as an attribute, for the columns that are not ``taken``."""
    renamed = {column: ours for ours, column in user_columns.items() if column not in taken}
    names = {column: renamed.get(column, column) for column in raw.columns if column not in taken}
    # A mapped column wins over another column of the table that already has our name.
    return {column: name for column, name in names.items() if name not in ("customer_id", "registered_at")}
