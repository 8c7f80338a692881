"""Who moved, how long people stay and where the lost come from -> one plain dict for the page, and a short text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from models.migration_tables import NO_ORDER, ORDERS, UNSEEN
from pipeline.report.comparison import flow_figure
from pipeline.report.terminal import aligned
from pipeline.report.texts.wording import Wording

COUNTS = ("stayed", "moved", "up", "down", "new", "hidden")
MOST_MOVES = 8
"""In the terminal; the page has all."""


def page(
    groups: Mapping[str, Mapping[str, str]],
    tables: Mapping[str, pd.DataFrame],
    words: Wording,
    *,
    beware: Sequence[str],
    min_group: int,
) -> dict[str, Any]:
    """The page as texts in the language of ``words``; segments are called as they are in the scores.

    Parameters
    ----------
    groups : mapping
        Segmentation -> group -> what it is called, in order.
    tables : mapping
        moves, steps, stays, lost: `models.migration_tables.Migration`.
    min_group : int
        Customers below which a cell was hidden.

    Returns
    -------
    dict
        start, end: dates; n_dates; step: the longest time from one to the next; fewest: customers of a cell that is
        shown; counts: what the figures are called; beware; sections: key, title, figures (of the first date to the
        last), has_order, moves, unseen, matrix, flow, steps, stays, lost.
    """
    dates = sorted({*tables["steps"].from_as_of, *tables["steps"].to_as_of})
    of = {name: {key: rows for key, rows in table.groupby("segmentation")} for name, table in tables.items()}
    # Where all customers are in one group at all dates, nobody can move.
    told = {key: _called(key, names, words) for key, names in groups.items() if len(names) > 2}
    sections = [
        _section(key, names, words, {name: of[name].get(key, table.iloc[:0]) for name, table in tables.items()}, dates)
        for key, names in told.items()
    ]
    return {
        **{"start": _day(dates[0], words), "end": _day(dates[-1], words), "n_dates": len(dates)},
        "step": words("days", count=max((later - earlier).days for earlier, later in pairwise(dates))),
        "fewest": words("customers", count=min_group),
        "counts": [words(f"moves.counts.{name}") for name in COUNTS],
        **{"beware": list(beware), "sections": sections},
    }


def as_text(told: Mapping[str, Any]) -> str:
    """A page in English for the terminal."""
    head = [f"{told['start']} to {told['end']}", *told["counts"]]
    rows = [[one["title"], *one["figures"]] for one in told["sections"]]
    parts = [aligned([head, *rows], right=range(1, 7))]
    # Where all are in one segment, there is no section of segments.
    nothing: dict[str, Any] = {"moves": [], "stays": [], "lost": [], "unseen": ""}
    segments = next((one for one in told["sections"] if one["key"] == "segment"), nothing)
    moves = [row for row in segments["moves"] if row[0] not in (row[1], segments["unseen"])][:MOST_MOVES]
    blocks = [
        (["Largest moves between segments", "to", "Customers"], moves, {2}),
        (["How long people stay", "Half leave within", "Mean, days", "Stays seen"], segments["stays"], {1, 2, 3}),
        (["Where lost buyers come from", "Just before", "When all was well"], segments["lost"], {1, 2}),
    ]
    parts += [aligned([title, *rows], right=right) for title, rows, right in blocks if rows]
    parts.append([f"Beware          {one}" for one in told["beware"]])
    return "\n\n".join("\n".join(part) for part in parts if part)


def _called(key: str, names: Mapping[str, str], words: Wording) -> dict[str, str]:
    """Group -> what it is called in the language of ``words``."""
    given = {group: words.group(group) for group in names} if key in ORDERS else names
    ours = {NO_ORDER: words("moves.no_order"), UNSEEN: words("moves.unknown")}
    return {**given, **{group: name for group, name in ours.items() if group in names}}


def _day(moment: pd.Timestamp, words: Wording) -> str:
    return words.moment(f"{moment:%Y-%m-%d %H:%M}", "medium")


def _title(segmentation: str, words: Wording) -> str:
    """What a way to group customers is called; a facet of another name bears its own."""
    key = f"moves.ways.{segmentation}"
    return words(key) if key in words.texts else segmentation.removesuffix("_segment").replace("_", " ").capitalize()


def _section(
    key: str, names: Mapping[str, str], words: Wording, tables: Mapping[str, pd.DataFrame], dates: Sequence[Any]
) -> dict[str, Any]:
    ends = dates[0], dates[-1]
    is_whole = {
        name: (tables[name].from_as_of == ends[0]) & (tables[name].to_as_of == ends[1]) for name in ("moves", "steps")
    }
    moves = tables["moves"][is_whole["moves"]].dropna(subset="from_group")
    whole = tables["steps"][is_whole["steps"]].iloc[0]
    steps = tables["steps"] if len(dates) == 2 else tables["steps"][~is_whole["steps"]]
    flows = [
        {"origin": one["from_group"], "destination": one["to_group"], "customer_count": int(one["customer_count"])}
        for one in moves.to_dict("records")
    ]
    flows.sort(key=lambda one: -one["customer_count"])
    return {
        **{"key": key, "title": _title(key, words), "figures": _counts(whole, words)},
        "has_order": pd.notna(whole.up_count),
        "moves": [
            [names[one["origin"]], names[one["destination"]], words.whole(one["customer_count"])] for one in flows
        ],
        "unseen": names[UNSEEN],
        "matrix": _matrix(names, moves, words),
        "flow": flow_figure([one for one in flows if one["origin"] != UNSEEN], [names, names], words),
        "steps": [[_day(one["to_as_of"], words), *_counts(one, words)] for one in steps.to_dict("records")],
        "stays": [_stay(one, names, words) for one in tables["stays"].to_dict("records")],
        "lost": _lost(tables["lost"], names, words),
    }


def _counts(row: Any, words: Wording) -> list[str]:
    counts = [row[f"{name}_count"] for name in COUNTS]
    return ["–" if pd.isna(count) else words.whole(int(count)) for count in counts]


def _matrix(names: Mapping[str, str], moves: pd.DataFrame, words: Wording) -> dict[str, Any]:
    """Customers from row to column, with the sums of what is shown."""
    counts = {(one["from_group"], one["to_group"]): int(one["customer_count"]) for one in moves.to_dict("records")}
    rows = [one for one in names if one in set(moves.from_group)]
    columns = [one for one in names if one in set(moves.to_group)]

    def text(count: int) -> str:
        return words.whole(count) if count else "·"

    return {
        "columns": [names[one] for one in columns],
        "rows": [
            {
                "name": names[row],
                "cells": [{"text": text(counts.get((row, one), 0)), "is_same": row == one} for one in columns],
                "total": text(sum(counts.get((row, one), 0) for one in columns)),
            }
            for row in rows
        ],
        "totals": [text(sum(counts.get((row, one), 0) for row in rows)) for one in columns],
        "total": text(sum(counts.values())),
    }


def _stay(row: Any, names: Mapping[str, str], words: Wording) -> list[str]:
    median, longest, mean = (row[f"{name}_days"] for name in ("median", "longest", "mean"))
    half = words("moves.over", days=words.whole(round(longest))) if pd.isna(median) else words.whole(round(median))
    return [names[row["group"]], half, words.whole(round(mean)), words.whole(row["stay_count"])]


def _lost(table: pd.DataFrame, names: Mapping[str, str], words: Wording) -> list[list[str]]:
    totals = [table[name].sum() for name in ("before_count", "standing_count")]

    def cell(count: int, total: float) -> str:
        return f"{words.whole(count)} ({words.number(count / total, 'share')})" if count else "·"

    called = {**names, UNSEEN: words("moves.never_well")}
    return [
        [called.get(group, words("moves.too_few")), cell(before, totals[0]), cell(standing, totals[1])]
        for group, before, standing in zip(table.group, table.before_count, table.standing_count, strict=True)
    ]
