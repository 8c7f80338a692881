"""Moves between groups, lengths of stay and origins of lost buyers -> one plain dict for the page, and a short text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from models.migration_tables import GROUP_ORDER, NO_ORDER, UNKNOWN_GROUP
from pipeline.report.pages.flow_figure import flow_figure
from pipeline.report.terminal import align_columns, paragraphs
from pipeline.report.texts.wording import Wording

COUNTS = ("stayed", "moved", "up", "down", "new", "hidden")
MAX_MOVES = 8
"""Shown in the terminal; the page has all moves."""


def page(
    groups: Mapping[str, Mapping[str, str]],
    tables: Mapping[str, pd.DataFrame],
    words: Wording,
    *,
    warnings: Sequence[str],
    min_group: int,
) -> dict[str, Any]:
    """The page as texts in the language of ``words``.

    Parameters
    ----------
    groups : mapping
        Segmentation -> group -> its name, in order.
    tables : mapping
        moves, steps, stays, lost: `models.migration_tables.Migration`.
    min_group : int
        Cells with fewer customers were hidden.

    Returns
    -------
    dict
        start, end: dates; n_dates; step: the longest time between two dates; fewest: customers in the smallest
        cell that may be shown; counts: labels of the figures; warnings; sections: key, title, figures (from the
        first date to the last), has_order, moves, unseen, matrix, flow, steps, stays, lost.
    """
    dates = sorted({*tables["steps"].from_as_of, *tables["steps"].to_as_of})
    by_segmentation = {
        name: {key: rows for key, rows in table.groupby("segmentation")} for name, table in tables.items()
    }
    # With a single group next to the unknown one, nobody can move.
    shown = {key: _group_names(key, names, words) for key, names in groups.items() if len(names) > 2}
    sections = [
        _section(
            key,
            names,
            words,
            {name: by_segmentation[name].get(key, table.iloc[:0]) for name, table in tables.items()},
            dates,
        )
        for key, names in shown.items()
    ]
    return {
        **{"start": _day(dates[0], words), "end": _day(dates[-1], words), "n_dates": len(dates)},
        "step": words("days", count=max((later - earlier).days for earlier, later in pairwise(dates))),
        "fewest": words("customers", count=min_group),
        "counts": [words(f"moves.counts.{name}") for name in COUNTS],
        **{"warnings": list(warnings), "sections": sections},
    }


def as_text(contents: Mapping[str, Any]) -> str:
    """A page in English for the terminal."""
    head = [f"{contents['start']} to {contents['end']}", *contents["counts"]]
    rows = [[section["title"], *section["figures"]] for section in contents["sections"]]
    parts = [align_columns([head, *rows], right=range(1, 7))]
    # If all customers are in one segment, there is no section of segments.
    empty: dict[str, Any] = {"moves": [], "stays": [], "lost": [], "unseen": ""}
    segments = next((section for section in contents["sections"] if section["key"] == "segment"), empty)
    moves = [row for row in segments["moves"] if row[0] not in (row[1], segments["unseen"])][:MAX_MOVES]
    blocks = [
        (["Largest moves between segments", "to", "Customers"], moves, {2}),
        (
            ["How long customers stay", "Half leave within, days", "Mean, days", "Stays observed"],
            segments["stays"],
            {1, 2, 3},
        ),
        (["Where lost buyers come from", "Just before", "Before slipping away"], segments["lost"], {1, 2}),
    ]
    parts += [align_columns([title, *rows], right=right) for title, rows, right in blocks if rows]
    parts.append(paragraphs("Warnings", contents["warnings"]))
    return "\n\n".join("\n".join(part) for part in parts if part)


def _group_names(key: str, names: Mapping[str, str], words: Wording) -> dict[str, str]:
    """Group -> its name in the language of ``words``."""
    labels = {group: words.group(group) for group in names} if key in GROUP_ORDER else names
    special = {NO_ORDER: words("moves.no_order"), UNKNOWN_GROUP: words("moves.unknown")}
    return {**labels, **{group: name for group, name in special.items() if group in names}}


def _day(moment: pd.Timestamp, words: Wording) -> str:
    return words.moment(f"{moment:%Y-%m-%d %H:%M}", "medium")


def _title(segmentation: str, words: Wording) -> str:
    """The label of a segmentation; a facet without a text keeps its own name."""
    key = f"moves.ways.{segmentation}"
    return words(key) if key in words.texts else segmentation.removesuffix("_segment").replace("_", " ").capitalize()


def _section(
    key: str, names: Mapping[str, str], words: Wording, tables: Mapping[str, pd.DataFrame], dates: Sequence[Any]
) -> dict[str, Any]:
    ends = dates[0], dates[-1]
    is_whole_period = {
        name: (tables[name].from_as_of == ends[0]) & (tables[name].to_as_of == ends[1]) for name in ("moves", "steps")
    }
    moves = tables["moves"][is_whole_period["moves"]].dropna(subset="from_group")
    whole_period = tables["steps"][is_whole_period["steps"]].iloc[0]
    steps = tables["steps"] if len(dates) == 2 else tables["steps"][~is_whole_period["steps"]]
    flows = [
        {"origin": row["from_group"], "destination": row["to_group"], "customer_count": int(row["customer_count"])}
        for row in moves.to_dict("records")
    ]
    flows.sort(key=lambda flow: -flow["customer_count"])
    return {
        **{"key": key, "title": _title(key, words), "figures": _counts(whole_period, words)},
        "has_order": pd.notna(whole_period.up_count),
        "moves": [
            [names[flow["origin"]], names[flow["destination"]], words.whole(flow["customer_count"])] for flow in flows
        ],
        "unseen": names[UNKNOWN_GROUP],
        "matrix": _matrix(names, moves, words),
        "flow": flow_figure([flow for flow in flows if flow["origin"] != UNKNOWN_GROUP], [names, names], words),
        "steps": [[_day(step["to_as_of"], words), *_counts(step, words)] for step in steps.to_dict("records")],
        "stays": [_stay(row, names, words) for row in tables["stays"].to_dict("records")],
        "lost": _lost(tables["lost"], names, words),
    }


def _counts(row: Any, words: Wording) -> list[str]:
    counts = [row[f"{name}_count"] for name in COUNTS]
    return ["–" if pd.isna(count) else words.whole(int(count)) for count in counts]


def _matrix(names: Mapping[str, str], moves: pd.DataFrame, words: Wording) -> dict[str, Any]:
    """Customers who moved from the row to the column, with totals of the cells shown."""
    counts = {(row["from_group"], row["to_group"]): int(row["customer_count"]) for row in moves.to_dict("records")}
    rows = [group for group in names if group in set(moves.from_group)]
    columns = [group for group in names if group in set(moves.to_group)]

    def text(count: int) -> str:
        return words.whole(count) if count else "·"

    return {
        "columns": [names[column] for column in columns],
        "rows": [
            {
                "name": names[row],
                "cells": [{"text": text(counts.get((row, column), 0)), "is_same": row == column} for column in columns],
                "total": text(sum(counts.get((row, column), 0) for column in columns)),
            }
            for row in rows
        ],
        "totals": [text(sum(counts.get((row, column), 0) for row in rows)) for column in columns],
        "total": text(sum(counts.values())),
    }


def _stay(row: Any, names: Mapping[str, str], words: Wording) -> list[str]:
    median, longest, mean = (row[f"{name}_days"] for name in ("median", "longest", "mean"))
    half = words("moves.over", days=words.whole(round(longest))) if pd.isna(median) else words.whole(round(median))
    return [names[row["group"]], half, words.whole(round(mean)), words.whole(row["stay_count"])]


def _lost(table: pd.DataFrame, names: Mapping[str, str], words: Wording) -> list[list[str]]:
    totals = [table[name].sum() for name in ("before_count", "last_stable_count")]

    def cell(count: int, total: float) -> str:
        return f"{words.whole(count)} ({words.number(count / total, 'share')})" if count else "·"

    labels = {**names, UNKNOWN_GROUP: words("moves.always_declining")}
    return [
        [labels.get(group, words("moves.too_few")), cell(before, totals[0]), cell(last_stable, totals[1])]
        for group, before, last_stable in zip(table.group, table.before_count, table.last_stable_count, strict=True)
    ]
