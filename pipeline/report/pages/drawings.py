"""Figures of the report as shapes, which the templates draw as SVG: widths in percent, heights in pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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


def label_bars(segments: Sequence[Mapping[str, Any]], words: Wording, *, has_spend: bool) -> dict[str, Any]:
    """Share of customers and of revenue by segment; small segments are only in the table."""
    rows = [
        (words.name(segment), [segment["customer_share"], *([segment["spend_share"]] if has_spend else [])])
        for segment in segments
        if not segment["is_small"]
    ]
    series = [words("sizes.share"), *([words("sizes.spend")] if has_spend else [])]
    return bars(rows, series, words, title=words("sizes.title" if has_spend else "sizes.title_alone"))


def funnel_bars(funnel: Mapping[str, Any], words: Wording) -> dict[str, Any]:
    """The share of all known customers who reached each step."""
    counts, known = funnel["shop"], max(funnel["shop"][0], 1)
    rows = [(words(f"funnel.{step}"), [count / known]) for step, count in zip(funnel["steps"], counts, strict=True)]
    shares = "; ".join(f"{name}: {words.number(values[0], 'share')}" for name, values in rows)
    figure = bars(rows, [words("sizes.share")], words, title=words("funnel.title"))
    return {**figure, "desc": words("funnel.desc", list=shares), "counts": [words.whole(count) for count in counts]}


def tier_bars(revenue: Mapping[str, Any], words: Wording) -> dict[str, Any]:
    """Share of buyers and of revenue by value tier."""
    rows = [
        (words(f"group.{tier['tier']}"), [tier["customer_share"], tier["spend_share"]]) for tier in revenue["tiers"]
    ]
    return bars(rows, [words("revenue.buyers"), words("sizes.spend")], words, title=words("revenue.tiers"))


def pareto_curve(revenue: Mapping[str, Any], words: Wording) -> dict[str, Any]:
    """Share of revenue (up) from the top buyers (across); positions in percent of the plot."""
    curve = [(point["customer_share"], point["spend_share"]) for point in revenue["curve"]]
    buyers, spend = min(curve[1:], key=lambda point: abs(point[0] - FIFTH))
    description = words("revenue.best", buyers=words.number(buyers, "share"), spend=words.number(spend, "share"))
    return {
        **{
            "title": words("revenue.curve"),
            "desc": description,
            "across": words("revenue.across"),
            "up": words("revenue.up"),
        },
        "points": [(round(100 * x, 2), round(100 * (1 - y), 2)) for x, y in curve],
        "ticks": [(round(100 * tick), words.number(tick, "share")) for tick in TICKS],
        "rows": [(words.number(x, "share"), words.number(y, "share")) for x, y in curve[1:]],
    }


def bars(
    rows: Sequence[tuple[str, Sequence[float | None]]], series: Sequence[str], words: Wording, *, title: str
) -> dict[str, Any]:
    """One bar per value of each row, below the name of the row."""
    longest = max((value or 0.0 for _, values in rows for value in values), default=0.0) or 1.0
    row_height = LABEL_HEIGHT + (BAR_HEIGHT + 3) * len(series) + 8
    drawn = [
        {
            "label": label,
            "y": place * row_height + LABEL_HEIGHT - 6,
            "bars": [
                {
                    "y": place * row_height + LABEL_HEIGHT + (BAR_HEIGHT + 3) * index,
                    "width": round(LONGEST_BAR * (value or 0.0) / longest, 2),
                    "series": index,
                    "text": words.number(value, "share"),
                }
                for index, value in enumerate(values)
            ],
        }
        for place, (label, values) in enumerate(rows)
    ]
    descriptions = [
        f"{label}: {' / '.join(words.number(value, 'share') for value in values)}" for label, values in rows
    ]
    return {
        **{"title": title, "desc": "; ".join(descriptions), "height": row_height * len(rows), "bar_height": BAR_HEIGHT},
        **{"rows": drawn, "series": list(series)},
    }


def interest_map(lifts: Mapping[str, Any], names: Mapping[str, str], words: Wording) -> dict[str, Any]:
    """Categories by segments, as multiples of the average; categories without a reliable difference by name only."""
    columns = [names[segment_id] for segment_id in lifts["segment_ids"]]
    table = dict(zip(lifts["categories"], zip(*lifts["lifts"], strict=True), strict=bool(lifts["lifts"])))
    reliable = {label: row for label, row in table.items() if any(value is not None for value in row)}
    rows = [words.category(label) for label in reliable]
    title = words("interest_map.title")
    figure = matrix(rows, columns, list(reliable.values()), words, title=title, part="interest_map")
    return {**figure, "no_difference": [words.category(label) for label in table if label not in reliable]}


def crossing(crosstab: Mapping[str, Any], names: Mapping[str, str], words: Wording) -> dict[str, Any]:
    """Segments by groups: counts, and their ratios to the counts expected by chance."""
    rows = [names[segment_id] for segment_id in crosstab["rows"]]
    columns = [words.group(group) for group in crosstab["columns"]]
    title = words(f"by.{crosstab['by']}")
    figure = matrix(rows, columns, crosstab["ratios"], words, title=title, part="crossings")
    counts = [["–" if count is None else words.whole(count) for count in row] for row in crosstab["counts"]]
    return {**figure, "counts": list(zip(rows, counts, strict=True)), "column_names": columns}


def matrix(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    words: Wording,
    *,
    title: str,
    part: str,
) -> dict[str, Any]:
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
    return {
        **grid(rows, columns, cells),
        "title": title,
        "desc": words(f"{part}.desc", list=words.listed(lines)),
        "lines": lines,
    }


def shade(value: float | None, words: Wording) -> dict[str, Any]:
    """A multiple with its colour, strongest at 4 and at 1/4; empty if there is no value."""
    if value is None:
        return {"text": "", "kind": "none", "strength": 0.0, "bar": None}
    strength = min(abs(float(np.log2(max(value, 0.05)))) / 2.0, 1.0)
    return {
        **{"text": words.times(value), "kind": "more" if value >= 1 else "less"},
        **{"strength": round(MAX_OPACITY * strength, 2), "bar": None},
    }


def funnel_matrix(funnel: Mapping[str, Any], names: Mapping[str, str], words: Wording) -> dict[str, Any]:
    """Segments by steps, without the first, which everyone reached: a bar for the share who reached each."""
    shares = {segment_id: funnel["segments"][segment_id] for segment_id in names if segment_id in funnel["segments"]}
    cells = [
        [
            {"text": words.number(value, "share"), "kind": "bar", "strength": 0.3, "bar": value or 0.0}
            for value in row[1:]
        ]
        for row in shares.values()
    ]
    steps = [words(f"funnel.{step}") for step in funnel["steps"][1:]]
    best = max(shares, key=lambda segment_id: shares[segment_id][-1] or 0.0, default=None)
    desc = words("funnel.segments_desc", name=names[best] if best else words("none"))
    rows = [names[segment_id] for segment_id in shares]
    return {**grid(rows, steps, cells), "title": words("funnel.segments"), "desc": desc}


def grid(rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Positions of cells: row names are as wide as the longest, column names are rotated above the cells."""
    label = 12 + CHAR_WIDTH * max((len(_short(name)) for name in rows), default=0)
    least = label + (CELL_WIDTH if len(columns) < MANY_COLUMNS else NARROW_WIDTH) * len(columns)
    start = 100.0 * label / least
    width = (100.0 - start) / max(len(columns), 1)
    head = round(16 + HEAD_CHAR_WIDTH * min(max(map(len, columns), default=0), MAX_CHARS))
    return {
        "height": head + CELL_HEIGHT * len(rows),
        "head": head,
        "cell_height": CELL_HEIGHT,
        "least_width": round(least),
        "columns": [
            {"label": _short(name), "x": round(start + width * (index + 0.5), 2)} for index, name in enumerate(columns)
        ],
        "rows": [
            {
                "label": _short(name),
                "name": name,
                "y": head + CELL_HEIGHT * place,
                "cells": [
                    {
                        **cell,
                        "x": round(start + width * index, 2),
                        "middle": round(start + width * (index + 0.5), 2),
                        "width": round(width * (1.0 if cell["bar"] is None else FULL_BAR * cell["bar"]), 2),
                    }
                    for index, cell in enumerate(cells[place])
                ],
            }
            for place, name in enumerate(rows)
        ],
        "names": list(columns),
    }


def _short(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"
