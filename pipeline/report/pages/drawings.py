"""Figures of the report as shapes, which the templates draw as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.report.pages.shapes import Bar, BarRow, Bars, Cell, Curve, Grid, GridColumn, GridRow, PlacedCell
from pipeline.report.summary import Crosstab, Funnel, HeatMap, Revenue
from pipeline.report.texts.wording import Wording

CELL_WIDTH, CHAR_WIDTH, HEAD_CHAR_WIDTH = 46, 6.8, 6.4
MANY_COLUMNS, NARROW_WIDTH = 16, 38
"""From this number of columns, cells are narrower, so that a map of all interests fits a screen."""
CELL_HEIGHT, BAR_HEIGHT, LABEL_HEIGHT = 26, 13, 19
MAX_CHARS = 46
FIFTH = 0.2
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
LONGEST_BAR = 82.0
FULL_BAR = 0.94
"""Width of a 100% bar as a part of its cell, so that it does not touch the next cell."""
MAX_OPACITY = 0.55
"""Opacity of the strongest cell; the text on it must stay readable."""
MAX_DESCRIBED = 3
"""Cells in the description for screen readers."""


def funnel_bars(funnel: Funnel, words: Wording) -> Bars:
    """The share of all known customers who reached each step."""
    known = max(funnel.shop[0], 1)
    rows = [(words(f"funnel.{step}"), [count / known]) for step, count in zip(funnel.steps, funnel.shop, strict=True)]
    shares = "; ".join(f"{name}: {words.number(values[0], 'share')}" for name, values in rows)
    desc = words("funnel.desc", list=shares)
    return bars(rows, [words("sizes.share")], words, title=words("funnel.title"), desc=desc)


def tier_bars(revenue: Revenue, words: Wording) -> Bars:
    """Share of buyers and of revenue by value tier."""
    rows = [(words(f"group.{tier.tier}"), [tier.customer_share, tier.spend_share]) for tier in revenue.tiers]
    return bars(rows, [words("revenue.buyers"), words("sizes.spend")], words, title=words("revenue.tiers"))


def pareto_curve(revenue: Revenue, words: Wording) -> Curve:
    """Share of revenue (up) from the top buyers (across); positions in percent of the plot."""
    curve = [(point.customer_share, point.spend_share) for point in revenue.curve]
    buyers, spend = min(curve[1:], key=lambda point: abs(point[0] - FIFTH))
    return Curve(
        title=words("revenue.curve"),
        desc=words("revenue.best", buyers=words.number(buyers, "share"), spend=words.number(spend, "share")),
        across=words("revenue.across"),
        up=words("revenue.up"),
        points=[(round(100 * x, 2), round(100 * (1 - y), 2)) for x, y in curve],
        ticks=[(round(100 * tick), words.number(tick, "share")) for tick in TICKS],
        rows=[(words.number(x, "share"), words.number(y, "share")) for x, y in curve[1:]],
    )


def bars(
    rows: Sequence[tuple[str, Sequence[float | None]]],
    series: Sequence[str],
    words: Wording,
    *,
    title: str,
    desc: str | None = None,
) -> Bars:
    """One bar per value of each row, below the name of the row."""
    longest = max((value or 0.0 for _, values in rows for value in values), default=0.0) or 1.0
    row_height = LABEL_HEIGHT + (BAR_HEIGHT + 3) * len(series) + 8
    drawn = [
        BarRow(
            label=label,
            y=place * row_height + LABEL_HEIGHT - 6,
            bars=[
                Bar(
                    y=place * row_height + LABEL_HEIGHT + (BAR_HEIGHT + 3) * index,
                    width=round(LONGEST_BAR * (value or 0.0) / longest, 2),
                    series=index,
                    text=words.number(value, "share"),
                )
                for index, value in enumerate(values)
            ],
        )
        for place, (label, values) in enumerate(rows)
    ]
    descriptions = [
        f"{label}: {' / '.join(words.number(value, 'share') for value in values)}" for label, values in rows
    ]
    return Bars(title, desc or "; ".join(descriptions), row_height * len(rows), BAR_HEIGHT, drawn, list(series))


def interest_map(lifts: HeatMap, names: Mapping[str, str], words: Wording, *, title: str) -> Grid:
    """Categories by segments, as multiples of the average; without the categories of `no_difference`."""
    columns = [names[segment_id] for segment_id in lifts.segment_ids]
    reliable = {label: row for label, row in _by_category(lifts).items() if _is_reliable(row)}
    rows = [words.category(label) for label in reliable]
    return matrix(rows, columns, list(reliable.values()), words, title=title, part="interest_map")


def no_difference(lifts: HeatMap, words: Wording) -> list[str]:
    """Categories in which no segment differs reliably."""
    return [words.category(label) for label, row in _by_category(lifts).items() if not _is_reliable(row)]


def _by_category(lifts: HeatMap) -> dict[str, tuple[float | None, ...]]:
    return dict(zip(lifts.categories, zip(*lifts.lifts, strict=True), strict=bool(lifts.lifts)))


def _is_reliable(row: Sequence[float | None]) -> bool:
    return any(value is not None for value in row)


def crossing(crosstab: Crosstab, names: Mapping[str, str], words: Wording) -> Grid:
    """Segments by groups: the ratios of counts to those expected by chance."""
    rows = [names[segment_id] for segment_id in crosstab.rows]
    columns = [words.group(group) for group in crosstab.columns]
    return matrix(rows, columns, crosstab.ratios, words, title=words(f"by.{crosstab.by}"), part="crossings")


def matrix(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    words: Wording,
    *,
    title: str,
    part: str,
) -> Grid:
    """Cells on a log scale; those without a value are empty. ``part`` has the texts ``desc`` and ``line``."""
    known = [
        (abs(float(np.log2(max(value, 0.05)))), place, index, value)
        for place, row in enumerate(values)
        for index, value in enumerate(row)
        if value is not None
    ]
    furthest = sorted(known, key=lambda cell: (cell[3] < 1, -cell[0], cell[1], cell[2]))[:MAX_DESCRIBED]
    lines = [
        words(f"{part}.line", row=rows[place], column=columns[index], ratio=words.times(value))
        for _, place, index, value in furthest
    ]
    cells = [[shade(value, words) for value in row] for row in values]
    return grid(rows, columns, cells, title=title, desc=words(f"{part}.desc", list=words.listed(lines)), lines=lines)


def shade(value: float | None, words: Wording) -> Cell:
    """A multiple with its colour, strongest at 4 and at 1/4; empty if there is no value."""
    if value is None:
        return Cell()
    strength = min(abs(float(np.log2(max(value, 0.05)))) / 2.0, 1.0)
    return Cell(words.times(value), "more" if value >= 1 else "less", round(MAX_OPACITY * strength, 2))


def funnel_matrix(funnel: Funnel, names: Mapping[str, str], words: Wording) -> Grid:
    """Segments by steps, without the first, which everyone reached: a bar for the share who reached each."""
    shares = {segment_id: funnel.segments[segment_id] for segment_id in names if segment_id in funnel.segments}
    cells = [
        [Cell(words.number(value, "share"), "bar", 0.3, value or 0.0) for value in row[1:]] for row in shares.values()
    ]
    steps = [words(f"funnel.{step}") for step in funnel.steps[1:]]
    best = max(shares, key=lambda segment_id: shares[segment_id][-1] or 0.0, default=None)
    desc = words("funnel.segments_desc", name=names[best] if best else words("none"))
    rows = [names[segment_id] for segment_id in shares]
    return grid(rows, steps, cells, title=words("funnel.segments"), desc=desc)


def grid(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[Cell]],
    *,
    title: str,
    desc: str,
    lines: Sequence[str] = (),
) -> Grid:
    """Positions of cells: row names are as wide as the longest, column names are rotated above the cells."""
    label = 12 + CHAR_WIDTH * max((len(_short(name)) for name in rows), default=0)
    least = label + (CELL_WIDTH if len(columns) < MANY_COLUMNS else NARROW_WIDTH) * len(columns)
    start = 100.0 * label / least
    width = (100.0 - start) / max(len(columns), 1)
    head = round(16 + HEAD_CHAR_WIDTH * min(max(map(len, columns), default=0), MAX_CHARS))
    middles = [round(start + width * (index + 0.5), 2) for index in range(len(columns))]

    def placed(cell: Cell, index: int) -> PlacedCell:
        filled = 1.0 if cell.bar is None else FULL_BAR * cell.bar
        x = round(start + width * index, 2)
        return PlacedCell(cell.text, cell.kind, cell.strength, x, middles[index], round(width * filled, 2))

    return Grid(
        title=title,
        desc=desc,
        height=head + CELL_HEIGHT * len(rows),
        head=head,
        cell_height=CELL_HEIGHT,
        least_width=round(least),
        columns=[GridColumn(_short(name), x) for name, x in zip(columns, middles, strict=True)],
        rows=[
            GridRow(
                label=_short(name),
                name=name,
                y=head + CELL_HEIGHT * place,
                cells=[placed(cell, index) for index, cell in enumerate(cells[place])],
            )
            for place, name in enumerate(rows)
        ],
        names=list(columns),
        lines=lines,
    )


def _short(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"
