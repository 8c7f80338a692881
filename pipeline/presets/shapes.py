"""The known exports: by which columns each is recognised, and how it is described."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml
from pydantic import Field, JsonValue

from pipeline.config.types import Section
from pipeline.ingest.columns.column_mapping import plain_name

FOLDER = Path(__file__).parent
ORDERS = "orders"
"""Choice of `kindred init --from` for any log of orders or events: no export is recognised, all is guessed."""
READ_ROWS = re.compile(r"\{rows(?:: ([\w, ]+))?\}")
"""In a shape's queries: the rows of the files, with all of its fields or with those listed."""


class Shape(Section):
    """One form of an export.

    Attributes
    ----------
    recognised_by : list of lists of str
        Columns that the files have; of each list, one name suffices.
    columns : dict of str to list of str
        Our column -> its possible names, of which the first that the files have is used.
    fields : dict of str to str
        Of nested files: column -> DuckDB type. Parts that the files lack are null.
    query : str or None
        SQL that unnests the rows of nested files, written as `{rows}`, into our columns.
    identities : str or None
        SQL for ``source.identities``, from the same rows.
    events, source : dict
        Further keys of ``source.events`` and of ``source``.
    fill_by_order : list of str
        Columns that stand on the first row of an order only.
    comments : dict of str to str
        Key -> its comment in the params file.
    notes : list of str
        What the person who runs the command should know.
    advice : str
        How to export again if a column is missing.
    """

    title: str
    recognised_by: list[list[str]]
    columns: dict[str, list[str]] = Field(default_factory=dict)
    fields: dict[str, str] = Field(default_factory=dict)
    query: str | None = None
    identities: str | None = None
    events: dict[str, JsonValue] = Field(default_factory=dict)
    source: dict[str, JsonValue] = Field(default_factory=dict)
    fill_by_order: list[str] = Field(default_factory=list)
    comments: dict[str, str] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    advice: str = ""

    def missing_from(self, names: Collection[str]) -> list[str]:
        """Columns by which the shape is recognised and that ``names`` lack."""
        plain = {plain_name(name) for name in names}
        lacking = [choice for choice in self.recognised_by if not plain.intersection(map(plain_name, choice))]
        return [" or ".join(choice) for choice in lacking]


class _File(Section):
    shapes: list[Shape]


def preset_names() -> list[str]:
    """The choices of `kindred init --from`; names of files, so that ``--help`` reads none."""
    return sorted([*(path.stem for path in FOLDER.glob("*.yaml")), ORDERS])


@cache
def shapes_of(preset: str) -> tuple[Shape, ...]:
    """The shapes of one preset; none for `ORDERS`."""
    path = FOLDER / f"{preset}.yaml"
    text = path.read_text(encoding="utf-8") if preset != ORDERS else "shapes: []"
    return tuple(_File.model_validate(yaml.safe_load(text)).shapes)


def matching_shape(preset: str | None, names: Collection[str]) -> Shape | None:
    """The first shape that fits the columns ``names``; without a ``preset``, of all of them."""
    presets = [preset] if preset else preset_names()
    return next((shape for name in presets for shape in shapes_of(name) if not shape.missing_from(names)), None)


def chosen_columns(choices: Mapping[str, Sequence[str]], names: Collection[str]) -> dict[str, str]:
    """Our column -> the first of its possible names that is among ``names``, each used once."""
    free, chosen = {plain_name(name): name for name in reversed([*names])}, {}
    for ours, possible in choices.items():
        found = next((plain for plain in map(plain_name, possible) if plain in free), None)
        if found is not None:
            chosen[ours] = free.pop(found)
    if "unit_price" in chosen:
        chosen.pop("amount", None)  # one is enough, and the price per unit is exact for any quantity
    return chosen
