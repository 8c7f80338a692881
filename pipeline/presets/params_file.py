"""Writes a description as a params file."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from pipeline.presets.description import Description, Setting

BASE = Path(__file__).parents[2] / "params.yaml"
"""The params.yaml that comes with Kindred, which explains every key."""
NOT_YET = "2099-12-31T00:00:00Z"
"""``as_of`` while the last event is not known."""
COMMENT_COLUMN = 34
NOTE_WIDTH = 118


def params_text(described: Description, *, out: Path, as_of: str) -> str:
    """The params file ``out`` as text: what the export needs, over `BASE`.

    Parameters
    ----------
    as_of : str
        ISO 8601, UTC.
    """
    base = BASE.relative_to(out.parent) if BASE.is_relative_to(out.parent) else BASE
    name = "".join(sign if sign.isalnum() else "_" for sign in out.stem)
    comments = described.comments
    lines = [
        f"# {described.title[0].upper()}{described.title[1:]}. Written by `kindred init`.",
        *(line for note in described.notes for line in textwrap.wrap(f"# {note}", NOTE_WIDTH, subsequent_indent="# ")),
        _line("base", str(base), "every other key, with its explanation"),
        f"as_of: {as_of}".ljust(COMMENT_COLUMN) + "# " + _about(as_of),
        *([_line("currency", described.currency, "the only one in the log")] if described.currency else []),
        "source:",
        "  events:",
        *_indented(described.events, "    ", comments),
        *_indented(described.source, "  ", comments),
        _line("tracking", {"model_name": name}, "the name of the model"),
        _line("outputs", {"folder": f"{name}_outputs", "scores": f"{name}_outputs/scores.parquet"}, ""),
    ]
    return "\n".join(lines) + "\n"


def _about(as_of: str) -> str:
    if as_of == NOT_YET:
        return "not known yet: write the moment after the last event"
    return "the midnight after the last event; later events are ignored"


def _indented(settings: Mapping[str, Setting], indent: str, comments: Mapping[str, str]) -> Iterator[str]:
    """A line for each key, or more for a query."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and "query" in value:
            yield _line(f"{indent}{key}", None, comments.get(key, ""), has_value=False)
            yield from _indented(value, f"{indent}  ", {})
        elif key == "query":
            yield _line(f"{indent}query", "|", comments.get(key, ""), is_plain=True)
            yield textwrap.indent(str(value).rstrip("\n"), f"{indent}  ")
        elif value != {}:
            yield _line(f"{indent}{key}", value, comments.get(key, ""))


def _line(key: str, value: Setting, comment: str, *, has_value: bool = True, is_plain: bool = False) -> str:
    """A key with its value in one line, and its comment."""
    shown = "" if not has_value else f" {value}" if is_plain else f" {flow_style(value)}"
    line = f"{key}:{shown}"
    return f"{line.ljust(COMMENT_COLUMN)} # {comment}".rstrip() if comment else line


def flow_style(value: Setting) -> str:
    """A value as YAML in one line.

    Examples
    --------
    >>> flow_style({"customer_id": "Email", "event_types": {"view": ["0", "no"]}})
    "{customer_id: Email, event_types: {view: ['0', 'no']}}"
    """
    if isinstance(value, str) and "\n" in value:
        return json.dumps(value, ensure_ascii=False)
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**6)
    return text.removesuffix("...\n").rstrip("\n")
