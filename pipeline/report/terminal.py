"""Text tables for the terminal, and the history of segments as one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

MAX_TRAININGS = 6
MAX_CHARS = 48
MAX_CHANGE_CHARS = 80
"""The change of a segment, including its earlier name."""


def align_columns(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), max_chars: int = MAX_CHARS
) -> list[str]:
    """Lines of a table: cells cut to ``max_chars`` and padded, columns in ``right`` aligned to the right."""
    cut = [[text[:max_chars] for text in row] for row in rows]
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
    """What became of each segment in the latest related trainings.

    Parameters
    ----------
    lineage : sequence of mappings
        Rows of `pipeline.segmentation.lineage.SegmentIdentity`, the earliest training first.

    Returns
    -------
    dict
        trainings: their as_of; rows: segment_id, name, names by language, and one cell per training: verdict, is_here,
        akin (related segments), jaccard, and `_earlier_name`; None if there is none. Both are empty until there are two
        trainings.
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
                **{"verdict": row["verdict"], "is_here": row["is_here"]},
                **{"akin": row["related"], "jaccard": row["jaccard"]},
                **_earlier_name(before, before_in_languages, names[segment_id], in_languages[segment_id]),
            }
    order = sorted(cells, key=lambda segment_id: (len(segment_id), segment_id))
    return {
        "trainings": [dates[run] for run in shown],
        "rows": [
            {
                **{"segment_id": segment_id, "name": names[segment_id], "names": in_languages[segment_id]},
                "cells": list(cells[segment_id].values()),
            }
            for segment_id in order
        ],
    }


def _earlier_name(
    before: str, before_in_languages: Mapping[str, str], name: str, in_languages: Mapping[str, str]
) -> dict[str, Any]:
    """was: the earlier name of a segment; was_names: by language. Empty if the name has not changed."""
    # If the earlier training was in another language, its name may be one of the current names.
    was = "" if before in (name, *in_languages.values()) else before
    changed = {
        language: text for language, text in before_in_languages.items() if text != in_languages.get(language, text)
    }
    return {"was": was, "was_names": changed if before_in_languages and in_languages else None}


def lineage_text(lineage: Sequence[Mapping[str, Any]]) -> str:
    """`lineage_table` for the terminal; empty until there are two trainings."""
    table = lineage_table(lineage)
    if not table["rows"]:
        return ""
    rows = [
        [row["segment_id"], row["name"], *(_verdict(cell) if cell else "" for cell in row["cells"])]
        for row in table["rows"]
    ]
    dates = [moment[:10] for moment in table["trainings"]]
    return "\n".join(align_columns([["Segments over trainings", "", *dates], *rows], max_chars=MAX_CHANGE_CHARS))


def _verdict(row: Mapping[str, Any]) -> str:
    related = ", ".join(row["akin"])
    if row["verdict"] == "survived":
        return f"same, {row['jaccard']:.2f}" + (f"; was {row['was']}" if row["was"] else "")
    changes = {
        ("new", True): "new",
        ("split", True): f"part of {related}",
        ("merged", True): f"includes {related}",
        ("gone", False): "gone",
        ("split", False): f"split: {related}",
        ("merged", False): f"merged: {related}",
    }
    return changes[row["verdict"], row["is_here"]]
