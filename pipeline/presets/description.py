"""What a params file says about an export."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from pipeline.stores.databases.sql import literal

Setting: TypeAlias = "str | int | float | bool | Sequence[Setting] | Mapping[str, Setting] | None"
"""A value in a params file."""


@dataclass
class Description:
    """What the params file says about an export.

    Attributes
    ----------
    events, source : dict
        Keys of ``source.events`` and other keys of ``source``.
    currency : str or None
        The only one in the log, if it names one.
    comments : dict of str to str
        Key -> its comment.
    notes : list of str
        Choices that could be others, and what is left out.
    """

    title: str
    events: dict[str, Setting]
    source: dict[str, Setting] = field(default_factory=dict)
    currency: str | None = None
    comments: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def heading(self) -> str:
        """The title as a sentence."""
        return f"{self.title[0].upper()}{self.title[1:]}."


def located(files: Sequence[Path], folder: Path) -> str | list[str]:
    """The files as ``path`` in a params file in ``folder``: one, a pattern if it matches these only, or a list."""
    names = [str(path.relative_to(folder) if path.is_relative_to(folder) else path) for path in files]
    if len(files) == 1:
        return names[0]
    parents = {path.parent for path in files}
    suffixes = {"".join(path.suffixes[-2:] if len(path.suffixes) > 1 else path.suffixes) for path in files}
    if len(parents) == len(suffixes) == 1:
        pattern = f"*{suffixes.pop()}"
        if sorted(files[0].parent.glob(pattern)) == sorted(files):
            return os.path.join(os.path.dirname(names[0]), pattern)
    return names


def listed(place: str | list[str]) -> str:
    """Files as SQL: a text, or a list of texts."""
    return literal(place) if isinstance(place, str) else f"[{', '.join(map(literal, place))}]"
