"""Figures of the report as shapes in percent of the width and pixels of the height; the templates draw them as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.report.texts.wording import Wording

CELL_WIDTH, CHAR_WIDTH, HEAD_CHAR_WIDTH = 46, 6.8, 6.4
MANY_COLUMNS, NARROW_WIDTH = 16, 38
"""From so many columns on, cells are narrower, so that a map of all interests fits a screen."""
CELL_HEIGHT, BAR_HEIGHT, LABEL_HEIGHT = 26, 13, 19
MAX_CHARS = 46
FIFTH = 0.2
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
LONGEST_BAR = 82.0
FULL_BAR = 0.94
"""Of a cell: a bar that fills it must not run into the next one."""
DARKEST = 0.55
"""Opacity of the strongest cell: text on it must be readable."""
MOST_NAMED = 3
"""Cells that the text for those who see no figure names: first those with more than expected."""


def label_bars(segments: Sequence[Mapping[str, Any]], words: Wording, *, has_spend: bool) -> dict[str, Any]:
    """Share of customers and of spend by segment; small ones are in the table alone."""
    rows = [
        (words.name(one), [one["customer_share"], *([one["spend_share"]] if has_spend else [])])
        for one in segments
        if not one["is_small"]
    ]
    series = [words("sizes.share"), *([words("sizes.spend")] if has_spend else [])]
    return bars(rows, series, words, title=words("sizes.title" if has_spend else "sizes.title_alone"))


def funnel_bars(funnel: Mapping[str, Any], words: Wording) -> dict[str, Any]:
    """How many of all known customers came to each step."""
    counts, known = funnel["shop"], max(funnel["shop"][0], 1)
    rows = [(words(f"funnel.{step}"), [count / known]) for step, count in zip(funnel["steps"], counts, strict=True)]
    told = "; ".join(f"{name}: {words.number(shares[0], 'share')}" for name, shares in rows)
    drawn = bars(rows, [words("sizes.share")], words, title=words("funnel.title"))
    return {**drawn, "desc": words("funnel.desc", list=told), "counts": [words.whole(count) for count in counts]}


def tier_bars(revenue: Mapping[str, Any], words: Wording) -> dict[str, Any]:
    """Share of buyers and of spend by value tier."""
    rows = [(words(f"group.{one['tier']}"), [one["customer_share"], one["spend_share"]]) for one in revenue["tiers"]]
    return bars(rows, [words("revenue.buyers"), words("sizes.spend")], words, title=words("revenue.tiers"))


def pareto_curve(revenue: Mapping[str, Any], words: Wording) -> dict[str, Any]:
    """Share of spend (up) that the best buyers (across) bring; places in percent of the plot."""
    curve = [(one["customer_share"], one["spend_share"]) for one in revenue["curve"]]
    buyers, spend = min(curve[1:], key=lambda point: abs(point[0] - FIFTH))
    said = words("revenue.best", buyers=words.number(buyers, "share"), spend=words.number(spend, "share"))
    return {
        **{"title": words("revenue.curve"), "desc": said, "across": words("revenue.across"), "up": words("revenue.up")},
        "points": [(round(100 * x, 2), round(100 * (1 - y), 2)) for x, y in curve],
        "ticks": [(round(100 * tick), words.number(tick, "share")) for tick in TICKS],
        "rows": [(words.number(x, "share"), words.number(y, "share")) for x, y in curve[1:]],
    }


def bars(
    rows: Sequence[tuple[str, Sequence[float | None]]], series: Sequence[str], words: Wording, *, title: str
) -> dict[str, Any]:
    """A bar for each value of each row, below the row's name."""
    longest = max((value or 0.0 for _, values in rows for value in values), default=0.0) or 1.0
    high = LABEL_HEIGHT + (BAR_HEIGHT + 3) * len(series) + 8
    drawn = [
        {
            "label": label,
            "y": place * high + LABEL_HEIGHT - 6,
            "bars": [
                {
                    "y": place * high + LABEL_HEIGHT + (BAR_HEIGHT + 3) * index,
                    "width": round(LONGEST_BAR * (value or 0.0) / longest, 2),
                    "series": index,
                    "text": words.number(value, "share"),
                }
                for index, value in enumerate(values)
            ],
        }
        for place, (label, values) in enumerate(rows)
    ]
    told = [f"{label}: {' / '.join(words.number(value, 'share') for value in values)}" for label, values in rows]
    return {
        **{"title": title, "desc": "; ".join(told), "height": high * len(rows), "bar_height": BAR_HEIGHT},
        **{"rows": drawn, "series": list(series)},
    }


def heat_map(found: Mapping[str, Any], names: Mapping[str, str], words: Wording) -> dict[str, Any]:
    """Categories by segments: times the interest of all; by name those in which no segment is sure to differ."""
    columns = [names[one] for one in found["segment_ids"]]
    table = dict(zip(found["categories"], zip(*found["lifts"], strict=True), strict=bool(found["lifts"])))
    sure = {label: row for label, row in table.items() if any(value is not None for value in row)}
    rows = [words.category(label) for label in sure]
    drawn = matrix(rows, columns, list(sure.values()), words, title=words("heat.title"), part="heat")
    return {**drawn, "plain": [words.category(label) for label in table if label not in sure]}


def crossing(found: Mapping[str, Any], names: Mapping[str, str], words: Wording) -> dict[str, Any]:
    """Segments by groups: how many times as many as independence would give; and the counts."""
    rows, columns = [names[one] for one in found["rows"]], [words.group(one) for one in found["columns"]]
    title = words(f"by.{found['by']}")
    drawn = matrix(rows, columns, found["ratios"], words, title=title, part="crossings")
    counts = [["–" if count is None else words.whole(count) for count in row] for row in found["counts"]]
    return {**drawn, "counts": list(zip(rows, counts, strict=True)), "column_names": columns}


def matrix(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    words: Wording,
    *,
    title: str,
    part: str,
) -> dict[str, Any]:
    """Cells on a scale of doublings; those without a value are empty. ``part`` has the texts ``desc`` and ``line``."""
    known = [
        (abs(float(np.log2(max(value, 0.05)))), place, index, value)
        for place, row in enumerate(values)
        for index, value in enumerate(row)
        if value is not None
    ]
    furthest = sorted(known, key=lambda one: (one[3] < 1, -one[0], one[1], one[2]))[:MOST_NAMED]
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
    """A multiple with its colour, full at four times and at a quarter; empty where there is none."""
    if value is None:
        return {"text": "", "kind": "none", "strength": 0.0, "bar": None}
    strength = min(abs(float(np.log2(max(value, 0.05)))) / 2.0, 1.0)
    return {
        **{"text": words.times(value), "kind": "more" if value >= 1 else "less"},
        **{"strength": round(DARKEST * strength, 2), "bar": None},
    }


def funnel_matrix(funnel: Mapping[str, Any], names: Mapping[str, str], words: Wording) -> dict[str, Any]:
    """Segments by steps, but the first that all took: a bar for the share that came there."""
    found = {one: funnel["segments"][one] for one in names if one in funnel["segments"]}
    cells = [
        [
            {"text": words.number(value, "share"), "kind": "bar", "strength": 0.3, "bar": value or 0.0}
            for value in row[1:]
        ]
        for row in found.values()
    ]
    steps = [words(f"funnel.{step}") for step in funnel["steps"][1:]]
    best = max(found, key=lambda one: found[one][-1] or 0.0, default=None)
    desc = words("funnel.segments_desc", name=names[best] if best else words("nobody"))
    return {**grid([names[one] for one in found], steps, cells), "title": words("funnel.segments"), "desc": desc}


def grid(rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Places of cells: names of rows take the width of the longest, those of columns stand upright above them."""
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
