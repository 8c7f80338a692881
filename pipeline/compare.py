"""`kindred compare`: runs side by side, what differs in their settings and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline import tracking
from pipeline.params import Params
from pipeline.report.summarise import shown_name

HIGHER_IS_BETTER = {
    "silhouette": True,
    "calinski_harabasz": True,
    "davies_bouldin": False,
    "density_validity": True,
    "stability_mean": True,
    "stability_min": True,
    "noise_share": False,
    "rules_fidelity": True,
    "segments_unstable": False,
}


def compare(params: Params, runs: Sequence[str]) -> str:
    """A table of the parameters that differ, of all figures, and of the segments of two or more runs.

    Raises
    ------
    TrackingError
        A run does not exist, or there are fewer than two.
    """
    if len(runs) < 2:
        raise tracking.TrackingError("kindred compare: expected two runs or more. See their ids in `make ui`.")
    mlflow = tracking.open_store(params)
    read = [tracking.read_run(mlflow, run) for run in runs]
    settings, figures, summaries = (list(part) for part in zip(*read, strict=True))
    names = [run[:12] for run in runs]
    different = [key for key in _keys(settings) if len({one.get(key) for one in settings}) > 1]
    blocks = [
        ("What differs", [[key, *(one.get(key, "-") for one in settings)] for key in different]),
        ("Figures (* best)", [[key, *_marked(key, figures)] for key in _keys(figures)]),
        ("Segments by spend", _segments(summaries)),
    ]
    return "\n\n".join(_block(title, names, rows) for title, rows in blocks if rows)


def _keys(dicts: Sequence[dict[str, Any]]) -> list[str]:
    return sorted({key for one in dicts for key in one})


def _marked(key: str, figures: Sequence[dict[str, float]]) -> list[str]:
    known = [one[key] for one in figures if key in one]
    best = None
    if key in HIGHER_IS_BETTER and len(set(known)) > 1:
        best = max(known) if HIGHER_IS_BETTER[key] else min(known)
    return [f"{one[key]:,.4g}{'*' if one[key] == best else ''}" if key in one else "-" for one in figures]


def _segments(summaries: Sequence[dict[str, Any]]) -> list[list[str]]:
    told = [
        [f"{shown_name(one)} ({one['customer_share']:.0%})" for one in summary.get("segments", [])]
        for summary in summaries
    ]
    return [
        [str(place + 1), *(one[place] if place < len(one) else "" for one in told)]
        for place in range(max(map(len, told), default=0))
    ]


def _block(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[title, *names], *rows]
    widths = [min(max(len(str(line[column])) for line in lines), 48) for column in range(len(names) + 1)]
    return "\n".join(
        "  ".join(str(text)[:48].ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
