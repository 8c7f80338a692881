"""The summary of a run -> Markdown, for the descriptions in the tracker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.report.wording import number, shown_name, wording


def as_markdown(summary: Mapping[str, Any]) -> str:
    """The segments as a table for the tracker, in English but for names; signs of Markdown and HTML are escaped."""
    words = wording("en")
    rows = [
        (shown_name(one), words.whole(one["customer_count"]), number(one["customer_share"], "share"),
         number(one["spend_share"], "share"), f"{number(one['stability'], 'share')} {one['stability_word'] or ''}",
         words.categories(one))
        for one in summary["segments"]
    ]  # fmt: skip
    head = ("Segment", "Customers", "Share", "Of spend", "Stability", "Interests")
    lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in (head, *rows)]
    names = "; ".join(shown_name(one) for one in summary["segments"] if not one["is_standing"])
    table = "\n".join([lines[0], "|---|--:|--:|--:|--:|---|", *lines[1:]])
    return "\n\n".join([_escaped(names), table, *map(_escaped, summary["quality"]["notes"])])


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text).replace("<", "&lt;")
