"""The shapes of the report's figures, as the templates draw them: widths in percent, heights in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """A bar of one series, with its value as text."""

    y: int
    width: float
    series: int
    text: str


@dataclass(frozen=True)
class BarRow:
    """The bars of one row, below its label."""

    label: str
    y: int
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Bars:
    """A bar chart; ``series``: the name of each series."""

    title: str
    desc: str
    height: int
    bar_height: int
    rows: Sequence[BarRow]
    series: Sequence[str]


@dataclass(frozen=True)
class Curve:
    """A curve; ``points`` in percent of the plot, ``rows``: its table."""

    title: str
    desc: str
    across: str
    up: str
    points: Sequence[tuple[float, float]]
    ticks: Sequence[tuple[int, str]]
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Cell:
    """A coloured cell with a text; ``bar``: the share of its width that is filled, None for all of it."""

    text: str = ""
    kind: str = "none"
    strength: float = 0.0
    bar: float | None = None


@dataclass(frozen=True)
class PlacedCell:
    """A cell with its position; ``middle`` is that of its text."""

    text: str
    kind: str
    strength: float
    x: float
    middle: float
    width: float


@dataclass(frozen=True)
class GridColumn:
    """The heading of a column, shortened."""

    label: str
    x: float


@dataclass(frozen=True)
class GridRow:
    """A row; ``label`` is its name, shortened."""

    label: str
    name: str
    y: int
    cells: Sequence[PlacedCell]


@dataclass(frozen=True)
class Grid:
    """A table of coloured cells; ``names``: the full names of its columns, ``lines``: what stands out."""

    title: str
    desc: str
    height: int
    head: int
    cell_height: int
    least_width: int
    columns: Sequence[GridColumn]
    rows: Sequence[GridRow]
    names: Sequence[str]
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Node:
    """A segment at one side of a flow diagram."""

    x: float
    y: float
    height: float
    label: str
    label_x: float
    anchor: str


@dataclass(frozen=True)
class Band:
    """The customers who went from one segment to another; kind: same or moved."""

    path: str
    kind: str
    title: str


@dataclass(frozen=True)
class Flow:
    """A Sankey diagram."""

    width: float
    height: float
    nodes: Sequence[Node]
    bands: Sequence[Band]
