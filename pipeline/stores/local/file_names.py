"""Names of files: paths that may be globs, and paths that only look like one."""

from __future__ import annotations

import os
import re
from pathlib import Path

GLOB_SIGNS = "*?["
PARTS = "part*.parquet"
"""Files of a folder of scores. Files that are being written begin with a dot, which `*` alone would match."""


def matching_files(place: Path) -> list[Path]:
    """Files that a path or a glob names, sorted. A part of it that exists by that name is no glob."""
    if not any(sign in str(place) for sign in GLOB_SIGNS):
        return [place] if os.path.isfile(place) else []  # a text in a query need not be a file name
    base, parts = Path(place.anchor), [*place.parts[1:]]
    while parts and os.path.lexists(base / parts[0]):
        base /= parts.pop(0)
    if not parts:
        return [base] if base.is_file() else []
    return sorted(base.glob(str(Path(*parts))))


def as_glob(path: Path) -> str:
    """The path as a glob that matches only this file: DuckDB takes every name for a glob."""
    return re.sub(r"[*?\[]", r"[\g<0>]", str(path))


def parquet_files(path: Path) -> list[Path]:
    """The file itself, or the Parquet files of a folder that Kindred or Spark wrote, sorted."""
    return sorted(path.glob(PARTS)) if path.is_dir() else [path]


def parquet_glob(path: Path) -> str:
    """A glob for `parquet_files`."""
    return f"{as_glob(path)}/{PARTS}" if path.is_dir() else as_glob(path)


def rejected_file(scores: Path) -> Path:
    """The file next to scores that holds the rejected rows of the log."""
    return scores.with_name(f"{scores.stem}-rejected.parquet")
