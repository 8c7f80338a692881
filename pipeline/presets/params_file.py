"""Writes a description as a params file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from pipeline.presets.description import Description, Setting

PACKAGED = Path(__file__).parents[1] / "config" / "params.yaml"
BASE = PACKAGED if PACKAGED.exists() else Path(__file__).parents[2] / "params.yaml"
"""The params.yaml that comes with Kindred and explains every key: in an installed package, or at the top of a clone."""
NOT_YET = "2099-12-31T00:00:00Z"
"""``as_of`` while the last event is not known."""
COMMENT_COLUMN, WIDTH = 34, 118


def params_text(described: Description, *, out: Path, as_of: str, files: Sequence[Path] = ()) -> str:
    """The params file ``out`` as text: what the export needs, over `BASE`.

    Parameters
    ----------
    files : sequence of Path
        Those of the export. If a query reads them and they lie elsewhere, their folders are allowed.
    as_of : str
        ISO 8601, UTC.
    """
    base = str(BASE.relative_to(out.parent) if BASE.is_relative_to(out.parent) else BASE)
    name = _plain_stem(out)
    about = "not known yet: write the moment after the last event"
    if as_of != NOT_YET:
        about = "the midnight after the last event, UTC; later events are ignored"
    notes = [wrapped for note in described.notes for wrapped in textwrap.wrap(note, WIDTH - 2)]
    lines = [
        *(f"# {note}" for note in [f"{described.heading} Written by `kindred init`.", *notes]),
        *_setting("base", base, "every other key, with its explanation"),
        _with_comment(f"as_of: {as_of}", about),
        *(_setting("currency", described.currency, "the only one in the log") if described.currency else ()),
        "source:",
        "  events:",
        *_settings(described.events, described.comments, indent="    "),
        *_settings(described.source, described.comments, indent="  "),
        *_allowed_folders(described, out, files),
        *_setting("tracking", {"model_name": name}, "otherwise training continues from the demo's model"),
        *_setting("outputs", {"folder": f"{name}_outputs", "scores": f"{name}_outputs/scores.parquet"}),
    ]
    return "\n".join(lines) + "\n"


def _allowed_folders(described: Description, out: Path, files: Sequence[Path]) -> Iterator[str]:
    folders = {str(file.resolve().parent) for file in files if not file.resolve().is_relative_to(out.parent.resolve())}
    tables = [described.events, *described.source.values()]
    if folders and any(isinstance(table, Mapping) and "query" in table for table in tables):
        yield from _setting("engine", {"allowed_folders": sorted(folders)}, "where the queries find the export")


def own_folders(out: Path) -> tuple[Path, ...]:
    """Folders that later commands write next to the params file ``out``: they are no part of an export."""
    return out.parent / f"{_plain_stem(out)}_outputs", out.parent / "mlartifacts"


def _plain_stem(out: Path) -> str:
    return "".join(sign if sign.isalnum() else "_" for sign in out.stem)


def _settings(settings: Mapping[str, Setting], comments: Mapping[str, str], *, indent: str) -> Iterator[str]:
    """The lines of several keys: one for most, more for a query."""
    for key, value in settings.items():
        comment = comments.get(key, "")
        if isinstance(value, Mapping) and "query" in value and key != "columns":
            yield _with_comment(f"{indent}{key}:", comment)
            yield from _settings(value, {}, indent=f"{indent}  ")
        elif key == "query":
            yield _with_comment(f"{indent}query: |", comment)
            yield textwrap.indent(str(value).rstrip("\n"), f"{indent}  ")
        elif value != {}:
            yield from _setting(f"{indent}{key}", value, comment)


def _setting(key: str, value: Setting, comment: str = "") -> Iterator[str]:
    """A key with its value: with the comment in one line, or if that is too long, in several below the comment."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**6)
    line = f"{key}: {text.removesuffix('...' + chr(10)).rstrip()}"
    if len(_with_comment(line, comment)) <= WIDTH:
        yield _with_comment(line, comment)
        return
    indent = key[: len(key) - len(key.lstrip())]
    if comment:
        yield f"{indent}# {comment}"
    yield from _broken_at_commas(line, indent=f"{indent}  ")


def _broken_at_commas(line: str, *, indent: str) -> Iterator[str]:
    """The line in several; YAML reads the end of a line as a blank, also within quotes."""
    first, *others = line.split(", ")
    for part in others:
        if len(f"{first}, {part},") > WIDTH:
            yield f"{first},"
            first = f"{indent}{part}"
        else:
            first = f"{first}, {part}"
    yield first


def _with_comment(line: str, comment: str) -> str:
    return f"{line.ljust(COMMENT_COLUMN)} # {comment}" if comment else line
