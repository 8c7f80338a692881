"""The summary of a run -> Markdown, for the run descriptions in MLflow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.texts.wording import number, shown_name, wording


def as_markdown(summary: Mapping[str, Any]) -> str:
    """A table of segments per facet, in English except for names; Markdown and HTML are escaped."""
    words = wording("en")
    facets = list(dict.fromkeys(segment.get("facet", "") for segment in summary["segments"]))
    parts: list[str] = []
    for facet in facets:
        segments = [segment for segment in summary["segments"] if segment.get("facet", "") == facet]
        title = words(f"facet.{facet}") if f"facet.{facet}" in words.texts else facet
        heading = [f"### {_escaped(title)}"] if len(facets) > 1 else []
        names = "; ".join(shown_name(segment) for segment in segments if not segment["is_standing"])
        parts += [*heading, _escaped(names), _table(segments)]
    return "\n\n".join([*parts, *map(_escaped, summary["quality"]["notes"])])


def _table(segments: Sequence[Mapping[str, Any]]) -> str:
    words = wording("en")
    rows = [
        (
            *(shown_name(segment), words.whole(segment["customer_count"])),
            *(number(segment[share], "share") for share in ("customer_share", "spend_share")),
            f"{number(segment['stability'], 'share')} {segment['stability_word'] or ''}",
            words.categories(segment),
        )
        for segment in segments
    ]
    sizes = (words(f"sizes.{name}") for name in ("customers", "share", "spend"))
    head = (words("segment"), *sizes, "Stability", words("sizes.interests"))
    lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---|--:|--:|--:|--:|---|", *lines[1:]])


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text).replace("<", "&lt;")
