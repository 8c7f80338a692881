"""The summary of a run -> Markdown, for the run descriptions in MLflow."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.report.parts.segment import Segment
from pipeline.report.summary import Summary
from pipeline.report.texts.wording import shown_name, wording


def as_markdown(summary: Summary) -> str:
    """A table of segments per facet, in English except for names; Markdown and HTML are escaped."""
    words = wording("en")
    parts: list[str] = []
    for facet in summary.facets:
        segments = summary.of_facet(facet.name)
        heading = [f"### {_escaped(words.facet(facet.name))}"] if len(summary.facets) > 1 else []
        names = "; ".join(_name(segment) for segment in segments if not segment.is_standing)
        parts += [*heading, _escaped(names), _table(segments, has_interests=bool(summary.interests))]
    return "\n\n".join([*parts, *map(_escaped, summary.quality.notes)])


def _name(segment: Segment) -> str:
    return shown_name(segment.name, is_stable=segment.is_stable)


def _table(segments: Sequence[Segment], *, has_interests: bool) -> str:
    words = wording("en")
    rows = [
        (
            *(_name(segment), words.size(segment.customer_count, is_small=segment.is_small)),
            *(words.number(share, "share") for share in (segment.customer_share, segment.spend_share)),
            f"{words.number(segment.stability, 'share')} {segment.stability_word or ''}",
            *([words.categories(segment)] if has_interests else []),
        )
        for segment in segments
    ]
    sizes = (words(f"sizes.{name}") for name in ("customers", "share", "spend"))
    head = (words("segment"), *sizes, "Stability", *([words("sizes.interests")] if has_interests else []))
    lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---|--:|--:|--:|--:|" + "---|" * has_interests, *lines[1:]])


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text).replace("<", "&lt;")
