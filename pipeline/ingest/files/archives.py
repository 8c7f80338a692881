"""Unpacks zip archives of text files into a private folder."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from pipeline.ingest.files.formats import COMPRESSIONS, FileError, TextFile, archive_members, is_archive

MAX_RATIO, SMALL_BYTES = 200, 2**28
"""If an archive becomes more than SMALL_BYTES, it may become at most MAX_RATIO times as large. Logs become 5 to 50."""


def text_files(files: Sequence[Path], folder: Path) -> list[TextFile]:
    """The text files themselves, and in place of a zip archive its files, unpacked into ``folder``.

    Raises
    ------
    FileError
        An archive is damaged, has a password, or is too large for the disk or for what it holds.
    """
    found: list[TextFile] = []
    for path in files:
        found += _unpack(path, folder) if is_archive(path) else [TextFile(path, path)]
    return found


def _unpack(path: Path, folder: Path) -> list[TextFile]:
    members = archive_members(path)
    _refuse_too_large(path, members, folder)
    target = folder / str(len(list(folder.iterdir())))
    target.mkdir()
    found: list[TextFile] = []
    with zipfile.ZipFile(path) as archive:
        for number, member in enumerate(members):
            # Never by its own name, which may lead out of the folder.
            suffix = Path(member.filename).suffix
            copy = target / f"{number}{suffix if suffix in COMPRESSIONS else ''}"
            try:
                with archive.open(member) as packed, copy.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, 2**20)
            except (RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
                problem = "a password" if "password" in str(error) else "damage, or a method of packing that is unknown"
                raise FileError(f"{path.name}: expected an archive that can be unpacked. Found {problem}.") from None
            if copy.stat().st_size:
                found.append(TextFile(path / member.filename, copy))
    if not found:
        raise FileError(f"{path.name}: expected an archive of files with rows. Found none.")
    return found


def _refuse_too_large(path: Path, members: Sequence[zipfile.ZipInfo], folder: Path) -> None:
    """Refuse an archive by the sizes that it declares: more bytes than declared are never unpacked."""
    size, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if size > max(SMALL_BYTES, MAX_RATIO * path.stat().st_size):
        raise FileError(
            f"{path.name}: expected an archive that becomes at most {MAX_RATIO} times as large. It becomes "
            f"{size / path.stat().st_size:,.0f} times as large, {size / 2**30:,.1f} GiB; if that is right, unpack it."
        )
    if size > free:
        raise FileError(
            f"{path.name}: expected {size / 2**30:,.1f} GiB of free disk space to unpack it, found "
            f"{free / 2**30:,.1f} GiB. Free some space, or name a larger disk in engine.temp_directory."
        )
