"""Describes an export: a known one by its shape, another by guesses, and its tables of products and customers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.ingest.columns.column_mapping import plain_name
from pipeline.presets.description import Description, located
from pipeline.presets.export_files import ExportError, ExportTable
from pipeline.presets.guesses import columns_by_name, describe_by_guess
from pipeline.presets.known_exports import describe_by_shape
from pipeline.presets.shapes import Shape, matching_shape, shapes_of
from pipeline.stores.databases.sql import quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

LEVELS = ("department", "maincategory", "category", "productcategory", "subcategory", "producttype")
"""Names of the levels of a category, from the top down."""


def describe(con: Backend, tables: Sequence[ExportTable], preset: str | None, *, folder: Path) -> Description:
    """How the files in ``tables`` are described in a params file that is in ``folder``.

    Raises
    ------
    ExportError
        The files are not of the chosen ``preset``, or have no customers or times.
    """
    by_size = sorted(tables, key=lambda table: -table.row_count(con))
    table, shape = _recognised(by_size, preset)
    described = describe_by_shape(con, table, shape, folder) if shape else describe_by_guess(con, table, folder)
    described.events |= table.encoding
    tables_left = [other for other in by_size if other is not table]
    found = _other_tables(con, tables_left)
    for key in ("products", "customers"):
        described.source[key] = None
        if key in found:
            columns = _catalogue_columns(key, found[key])
            path = {"path": located(found[key].files, folder), **found[key].encoding}
            described.source[key] = {**path, "columns": columns} if columns else path
            tables_left.remove(found[key])
    described.notes += _notes_on_unused(tables_left, used=[table, *found.values()])
    return described


def _notes_on_unused(tables: Sequence[ExportTable], *, used: Sequence[ExportTable]) -> list[str]:
    """Notes on tables that are not part of the description: the same ones in another kind of file, and others."""
    twice: list[str] = []
    others: list[str] = []
    for table in tables:
        is_same = any(sorted(table.columns) == sorted(one.columns) for one in used)
        (twice if is_same else others).extend(path.name for path in table.files[:3])
    notes = {
        "Not used, as files of another kind have the same columns (if the rows differ, save all in one kind)": twice,
        "Not used, as they are tables of something else": others,
    }
    return [f"{text}: {', '.join(names)}." for text, names in notes.items() if names]


def _recognised(tables: Sequence[ExportTable], preset: str | None) -> tuple[ExportTable, Shape | None]:
    """The table of events and its shape; without a known shape, the largest table with customers and times."""
    for table in tables:
        shape = matching_shape(preset, table.columns)
        if shape is not None:
            return table, shape
    if preset and shapes_of(preset):
        shape, largest = shapes_of(preset)[0], tables[0]
        raise ExportError(
            f"expected the {shape.title} with the columns {', '.join(' or '.join(c) for c in shape.recognised_by)}. "
            f"{largest.files[0].name} lacks {', '.join(shape.missing_from(largest.columns))}. {shape.advice}".strip()
        )
    logs = [table for table in tables if {"customer_id", "occurred_at"} <= columns_by_name(table).keys()]
    if logs and not logs[0].is_nested:
        return logs[0], None
    found = "; ".join(f"{table.files[0].name}: {', '.join(table.columns)}" for table in tables[:3])
    raise ExportError(
        "expected a table of events or orders, with a column for the customer and one for the time, or an export that "
        f"`kindred init --from` knows. Found {found}. Rename the columns, or describe the log as README.md shows."
    )


def _other_tables(con: Backend, tables: Sequence[ExportTable]) -> dict[str, ExportTable]:
    """Tables of products (an id and a category, no customer) and of customers (one row for each)."""
    found: dict[str, ExportTable] = {}
    for table in tables:
        columns = columns_by_name(table)
        if table.is_nested:
            continue
        if "product_id" in columns and "customer_id" not in columns and _level_columns(table):
            found.setdefault("products", table)
        elif "customer_id" in columns and "product_id" not in columns:
            name = quoted(columns["customer_id"])
            counts = con.con.execute(f"select count(*), count(distinct {name}) from {table.name}").fetchone()
            if counts[0] == counts[1]:
                found.setdefault("customers", table)
    return found


def _level_columns(table: ExportTable) -> list[str]:
    """Columns with a category path, or with the levels of one from the top down."""
    plain = {plain_name(name): name for name in table.columns}
    path = [plain[name] for name in ("categorypath",) if name in plain]
    return path or [plain[name] for name in LEVELS if name in plain]


def _catalogue_columns(key: str, table: ExportTable) -> dict[str, str]:
    """`columns` of a table of products or of customers."""
    if key == "customers":
        mapped = {"customer_id": columns_by_name(table)["customer_id"]}
    else:
        levels = _level_columns(table)
        names = ["category_path"] if len(levels) == 1 else [f"level_{at}" for at in range(1, len(levels) + 1)]
        mapped = {"product_id": columns_by_name(table)["product_id"], **dict(zip(names, levels, strict=True))}
    return {ours: name for ours, name in mapped.items() if ours != name}
