"""Kinds of files by their suffix, and their bytes."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from pipeline.stores.database import is_disk_full

KINDS = {
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), "excel"),
}
COMPRESSIONS = (".gz", ".zst")
READERS = {"parquet": "read_parquet({})", "json": "read_json({})"}
"""How a query reads files of a kind; other files need only their name."""
SIGNATURES = {b"PK\x03\x04": "an Excel workbook or a zip archive", b"\xd0\xcf\x11\xe0": "an Excel workbook"}
"""First bytes of files that are often named as text -> what they are."""


class FileError(ValueError):
    """A file that cannot be read as it is.

    Attributes
    ----------
    setting : str
        The key of the table in params.yaml that the message is about.
    """

    def __init__(self, message: str, *, setting: str = "path") -> None:
        super().__init__(message)
        self.setting = setting


@dataclass(frozen=True)
class TextFile:
    """A CSV or JSON lines file.

    Attributes
    ----------
    name : Path
        For messages; of a file in a zip archive, its place below the archive.
    path : Path
        Where its bytes are.
    """

    name: Path
    path: Path


@contextmanager
def naming_file(name: str) -> Iterator[None]:
    """If the bytes of a file cannot be read, say which file it is.

    Raises
    ------
    FileError
        It is damaged, cut off, gone or not permitted; what it holds is not shown.
    """
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, zlib.error, csv.Error, UnicodeError) as error:
        if is_disk_full(error):
            raise
        reason = getattr(error, "strerror", None) or "It is damaged, or was not copied or downloaded to its end"
        raise FileError(f"{name}: expected a file that can be read to its end. {reason}. Write it again.") from None


def file_kind(path: Path) -> str | None:
    """parquet, csv, json or excel by the suffix, of a zip archive by its files; None for another or several."""
    if is_archive(path):
        kinds = {_kind_by_suffix(Path(member.filename)) for member in archive_members(path)}
        if kinds & {"parquet", "excel"}:
            raise FileError(
                f"{path.name}: expected an archive of text files, found {', '.join(map(str, kinds))}. Unpack it."
            )
        return kinds.pop() if len(kinds) == 1 else None
    return _kind_by_suffix(path)


def _kind_by_suffix(path: Path) -> str | None:
    bare = path.with_suffix("") if path.suffix in COMPRESSIONS else path
    return KINDS.get(bare.suffix.lower())


def is_archive(path: Path) -> bool:
    """Whether a path names a zip archive."""
    return path.suffix.lower() == ".zip"


def archive_members(path: Path) -> list[zipfile.ZipInfo]:
    """Files in a zip archive by name, without those that macOS adds and hidden ones.

    Raises
    ------
    FileError
        It cannot be opened.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except zipfile.BadZipFile:
        raise FileError(f"{path.name}: expected a zip archive. It is damaged, or something else; unpack it.") from None
    shown = [member for member in members if not _is_hidden(Path(member.filename))]
    return sorted(shown, key=lambda member: member.filename)


def _is_hidden(path: Path) -> bool:
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in path.parts)


def open_bytes(path: Path) -> BinaryIO:
    """A file's bytes, decompressed."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zst":
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")
