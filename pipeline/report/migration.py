"""Who moved, how long people stay and whence the lost come -> one plain dict for the page, and a short text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from pipeline.report.comparison import flow_figure
from pipeline.report.tables import aligned
from pipeline.report.wording import number

TITLES = {
    "segment": "Segments",
    "lifecycle_stage": "Lifecycle",
    "temperature": "Temperature",
    "rfm_group": "RFM",
    "value_tier": "Value tier",
}
UNSEEN = "(unknown)"
MOST_MOVES = 8
"""In the terminal; the page has all."""


def page(
    groups: Mapping[str, Mapping[str, str]],
    tables: Mapping[str, pd.DataFrame],
    *,
    beware: Sequence[str],
    min_group: int,
) -> dict[str, Any]:
    """The page as texts.

    Parameters
    ----------
    groups : mapping
        Segmentation -> group -> what it is called, in order.
    tables : mapping
        moves, steps, stays, lost: `pipeline.whereabouts.Migration`.
    min_group : int
        Customers below which a cell was hidden.

    Returns
    -------
    dict
        start, end: dates; n_dates; step_days: the longest time from one to the next; min_group; beware; sections: key,
        title, figures (of the first date to the last), has_order, moves, unseen, matrix, flow, steps, stays, lost.
    """
    dates = sorted({*tables["steps"].from_as_of, *tables["steps"].to_as_of})
    of = {name: {key: rows for key, rows in table.groupby("segmentation")} for name, table in tables.items()}
    # Where all customers are in one group at all dates, nobody can move.
    told = {key: names for key, names in groups.items() if len(names) > 2}
    sections = [
        _section(key, names, {name: of[name].get(key, table.iloc[:0]) for name, table in tables.items()}, dates)
        for key, names in told.items()
    ]
    return {
        **{"start": f"{dates[0]:%Y-%m-%d}", "end": f"{dates[-1]:%Y-%m-%d}", "n_dates": len(dates)},
        "step_days": max((later - earlier).days for earlier, later in pairwise(dates)),
        **{"min_group": min_group, "beware": list(beware), "sections": sections},
    }


def as_text(told: Mapping[str, Any]) -> str:
    """A page for the terminal."""
    head = [f"From {told['start']} to {told['end']}", "Stayed", "Moved", "Up", "Down", "New", "Not shown"]
    rows = [[one["title"], *one["figures"]] for one in told["sections"]]
    parts = [aligned([head, *rows], right=range(1, 7))]
    # Where all are in one segment, there is no section of segments.
    nothing: dict[str, Any] = {"moves": [], "stays": [], "lost": [], "unseen": ""}
    segments = next((one for one in told["sections"] if one["key"] == "segment"), nothing)
    moves = [row for row in segments["moves"] if row[0] not in (row[1], segments["unseen"])][:MOST_MOVES]
    blocks = [
        (["Largest moves between segments", "to", "Customers"], moves, {2}),
        (["How long people stay", "Half leave within", "Mean, days", "Stays seen"], segments["stays"], {1, 2, 3}),
        (["Whence lost buyers come", "Just before", "When all was well"], segments["lost"], {1, 2}),
    ]
    parts += [aligned([title, *rows], right=right) for title, rows, right in blocks if rows]
    parts.append([f"Beware          {one}" for one in told["beware"]])
    return "\n\n".join("\n".join(part) for part in parts if part)


def _section(
    key: str, names: Mapping[str, str], tables: Mapping[str, pd.DataFrame], dates: Sequence[Any]
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
        **{"key": key, "title": TITLES[key], "figures": _counts(whole), "has_order": pd.notna(whole.up_count)},
        "moves": [[names[one["origin"]], names[one["destination"]], f"{one['customer_count']:,}"] for one in flows],
        "unseen": names[UNSEEN],
        "matrix": _matrix(names, moves),
        "flow": {
            "labels": [f"{date:%Y-%m-%d}" for date in ends],
            "figure": flow_figure([one for one in flows if one["origin"] != UNSEEN], [names, names]),
        },
        "steps": [[f"{one['to_as_of']:%Y-%m-%d}", *_counts(one)] for one in steps.to_dict("records")],
        "stays": [_stay(one) for one in tables["stays"].to_dict("records")],
        "lost": _lost(tables["lost"]),
    }


def _counts(row: Any) -> list[str]:
    names = ("stayed_count", "moved_count", "up_count", "down_count", "new_count", "hidden_count")
    return ["–" if pd.isna(row[name]) else f"{int(row[name]):,}" for name in names]


def _matrix(names: Mapping[str, str], moves: pd.DataFrame) -> dict[str, Any]:
    """Customers from row to column, with the sums of what is shown."""
    counts = {(one["from_group"], one["to_group"]): int(one["customer_count"]) for one in moves.to_dict("records")}
    rows = [one for one in names if one in set(moves.from_group)]
    columns = [one for one in names if one in set(moves.to_group)]

    def text(count: int) -> str:
        return f"{count:,}" if count else "·"

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


def _stay(row: Any) -> list[str]:
    median = f"over {row['longest_days']:,.0f}" if pd.isna(row["median_days"]) else f"{row['median_days']:,.0f}"
    return [row["name"], median, f"{row['mean_days']:,.0f}", f"{row['stay_count']:,}"]


def _lost(table: pd.DataFrame) -> list[list[str]]:
    totals = [table[name].sum() for name in ("before_count", "standing_count")]

    def cell(count: int, total: float) -> str:
        return f"{count:,} ({number(count / total, 'share')})" if count else "·"

    labels = (
        table["name"].where(table.group != UNSEEN, "slipping or worse at every date").fillna("in groups of too few")
    )
    return [
        [label, cell(before, totals[0]), cell(standing, totals[1])]
        for label, before, standing in zip(
            labels.fillna("in groups of too few"), table.before_count, table.standing_count, strict=True
        )
    ]
