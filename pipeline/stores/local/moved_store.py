"""A local MLflow store that was moved or copied: its database holds the absolute folder of its artifacts.

Without a correction, a copied database would go on writing into the artifacts of the original.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
"""Columns of MLflow's database with locations of artifacts."""


def folder_of(location: str) -> Path | None:
    """The local folder of a location, which is a ``file:`` address or a path; None for one elsewhere."""
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def missing_folders(database: Path, old: str, new: str) -> list[Path]:
    """Folders that a store needs below ``new``: of all its models, and of the runs that have one below ``old``."""
    with closing(sqlite3.connect(database)) as con:
        models = _below(con, "select artifact_location from logged_models where lifecycle_stage = 'active'", old)
        runs = _below(con, "select artifact_uri from runs where lifecycle_stage = 'active'", old)
    needed = [*models, *(location for location in runs if _is_folder(location))]
    moved = [folder_of(location.replace(old, new, 1)) for location in needed]
    return [folder for folder in moved if folder is not None and not folder.is_dir()]


def _below(con: sqlite3.Connection, query: str, folder: str) -> list[str]:
    return [location for (location,) in con.execute(query) if location.startswith(f"{folder}/")]


def _is_folder(location: str) -> bool:
    folder = folder_of(location)
    return folder is not None and folder.is_dir()


def move_artifacts(database: Path, old: str, new: str) -> None:
    """Change the location of all artifacts from ``old`` to ``new``, in one transaction."""
    with closing(sqlite3.connect(database, timeout=60)) as con, con:
        for table, column in LOCATIONS:
            con.execute(
                f"update {table} set {column} = ? || substr({column}, ?)"
                f" where {column} = ? or substr({column}, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )
