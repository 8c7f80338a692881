"""Describes a known export by its shape."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.presets.description import Description, listed, located
from pipeline.presets.export_files import ExportError, ExportTable
from pipeline.presets.guesses import add_values
from pipeline.presets.shapes import READ_ROWS, Shape, chosen_columns
from pipeline.stores.databases.sql import literal

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


def describe_by_shape(con: Backend, table: ExportTable, shape: Shape, folder: Path) -> Description:
    """The description that a shape gives, with the columns that the files have."""
    place = located(table.files, folder)
    columns = chosen_columns(shape.columns, table.columns)
    described = Description(shape.title, {"path": place}, {**shape.source}, None, {**shape.comments}, [*shape.notes])
    if shape.query is not None:
        described.events = {"query": _with_rows(shape.query, shape, table, place)}
    else:
        for ours in ("customer_id", "occurred_at"):
            if ours not in columns:
                names = " or ".join(shape.columns[ours])
                raise ExportError(f"{table.files[0].name}: expected a column {names}. {shape.advice}".strip())
        if "statuses" in shape.events:
            columns["status"] = columns["event_type"]  # one column is both
        described.events["columns"] = {ours: name for ours, name in columns.items() if ours != name}
    described.events |= shape.events
    if shape.fill_by_order:
        described.events["fill_by_order"] = [ours for ours in shape.fill_by_order if ours in columns]
    if shape.identities is not None:
        query = _with_rows(shape.identities, shape, table, place)
        described.source["identities"] = {"query": query, "rule": "last"}
    if shape.query is None:
        add_values(con, table, columns, described)
    return described


def _with_rows(query: str, shape: Shape, table: ExportTable, place: str | list[str]) -> str:
    """A query of a shape with its `{rows}` replaced by the files, and types for the parts of them that it reads."""
    files = listed(place)

    def rows(names: list[str]) -> str:
        if table.kind == "json":
            types = ",\n    ".join(f"{name}: {literal(shape.fields[name])}" for name in names)
            return f"read_json({files}, columns = {{\n    {types}}})"
        values = [name if name in table.columns else "null" for name in names]
        casts = ",\n    ".join(
            f"{value}::{shape.fields[name]} as {name}" for name, value in zip(names, values, strict=True)
        )
        return f"(\n    select {casts}\n    from read_parquet({files}, union_by_name = true))"

    return READ_ROWS.sub(lambda found: rows(found[1].split(", ") if found[1] else [*shape.fields]), query)
