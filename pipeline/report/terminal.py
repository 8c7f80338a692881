"""Tables of text for the terminal, and what became of segments as one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

MAX_TRAININGS = 6
MAX_CHARS = 48
MAX_CHARS_OF_CHANGE = 80
"""What became of a segment, with what it was called before."""


def aligned(rows: Sequence[Sequence[str]], *, right: Collection[int] = (), most: int = MAX_CHARS) -> list[str]:
    """Rows of texts, columns below one another, those of ``right`` to the right; cut after ``most`` characters."""
    cut = [[text[:most] for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if place in right else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cut
    ]


def counted(count: float, noun: str) -> str:
    """A count with its noun.

    Examples
    --------
    >>> counted(1, "order"), counted(2000, "visit")
    ('1 order', '2,000 visits')
    """
    return f"{count:,.10g} {noun}{'' if count == 1 else 's'}"


def lineage_table(lineage: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What became of each segment in the last trainings of a line.

    Parameters
    ----------
    lineage : sequence of mappings
        Rows of `pipeline.segmentation.lineage.Identified`, the earliest training first.

    Returns
    -------
    dict
        trainings: moments; rows: segment_id, name, names by language, and per training a cell: verdict, is_here, akin,
        jaccard, and `_earlier_name`; None where there is none. Both empty before there are two trainings.
    """
    runs = dict.fromkeys(str(row["run_id"]) for row in lineage)
    shown = list(runs)[-MAX_TRAININGS:]
    if len(runs) < 2:
        return {"trainings": [], "rows": []}
    dates = {str(row["run_id"]): str(row["as_of"]) for row in lineage}
    names: dict[str, str] = {}
    in_languages: dict[str, dict[str, str]] = {}
    cells: dict[str, dict[str, Any]] = {}
    for row in lineage:
        segment_id = str(row["segment_id"])
        before, before_in_languages = names.get(segment_id, ""), in_languages.get(segment_id, {})
        names[segment_id] = row.get("name") or before
        in_languages[segment_id] = row.get("names") or before_in_languages
        if row["run_id"] in shown:
            cells.setdefault(segment_id, dict.fromkeys(shown))[str(row["run_id"])] = {
                **{key: row[key] for key in ("verdict", "is_here", "akin", "jaccard")},
                **_earlier_name(before, before_in_languages, names[segment_id], in_languages[segment_id]),
            }
    order = sorted(cells, key=lambda one: (len(one), one))
    return {
        "trainings": [dates[run] for run in shown],
        "rows": [
            {"segment_id": one, "name": names[one], "names": in_languages[one], "cells": list(cells[one].values())}
            for one in order
        ],
    }


def _earlier_name(
    before: str, before_in_languages: Mapping[str, str], name: str, in_languages: Mapping[str, str]
) -> dict[str, Any]:
    """was: what a segment was called before; was_names: by language. Empty where that is its name still."""
    # The training before may have been in another language: its name then is one of today's.
    was = "" if before in (name, *in_languages.values()) else before
    changed = {one: text for one, text in before_in_languages.items() if text != in_languages.get(one, text)}
    return {"was": was, "was_names": changed if before_in_languages and in_languages else None}


def lineage_text(lineage: Sequence[Mapping[str, Any]]) -> str:
    """`lineage_table` for the terminal; empty before there are two trainings."""
    table = lineage_table(lineage)
    if not table["rows"]:
        return ""
    rows = [
        [row["segment_id"], row["name"], *(_verdict(cell) if cell else "" for cell in row["cells"])]
        for row in table["rows"]
    ]
    dates = [one[:10] for one in table["trainings"]]
    return "\n".join(aligned([["Segments over trainings", "", *dates], *rows], most=MAX_CHARS_OF_CHANGE))


def _verdict(row: Mapping[str, Any]) -> str:
    akin = ", ".join(row["akin"])
    if row["verdict"] == "survived":
        return f"same, {row['jaccard']:.2f}" + (f"; was {row['was']}" if row["was"] else "")
    how = {
        ("new", True): "new",
        ("split", True): f"part of {akin}",
        ("merged", True): f"holds {akin}",
        ("gone", False): "gone",
        ("split", False): f"split: {akin}",
        ("merged", False): f"merged: {akin}",
    }
    return how[row["verdict"], row["is_here"]]
