"""The summary of a run -> Markdown, for the descriptions in the tracker."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.texts.wording import number, shown_name, wording


def as_markdown(summary: Mapping[str, Any]) -> str:
    """A table of segments for each facet, in English but for names; signs of Markdown and HTML are escaped."""
    facets = list(dict.fromkeys(one.get("facet", "") for one in summary["segments"]))
    parts: list[str] = []
    for facet in facets:
        own = [one for one in summary["segments"] if one.get("facet", "") == facet]
        heading = [f"### {_escaped(facet.capitalize())}"] if len(facets) > 1 else []
        names = "; ".join(shown_name(one) for one in own if not one["is_standing"])
        parts += [*heading, _escaped(names), _table(own)]
    return "\n\n".join([*parts, *map(_escaped, summary["quality"]["notes"])])


def _table(segments: Sequence[Mapping[str, Any]]) -> str:
    words = wording("en")
    rows = [
        (shown_name(one), words.whole(one["customer_count"]), number(one["customer_share"], "share"),
         number(one["spend_share"], "share"), f"{number(one['stability'], 'share')} {one['stability_word'] or ''}",
         words.categories(one))
        for one in segments
    ]  # fmt: skip
    head = ("Segment", "Customers", "Share", "Of spend", "Stability", "Interests")
    lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---|--:|--:|--:|--:|---|", *lines[1:]])


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text).replace("<", "&lt;")
