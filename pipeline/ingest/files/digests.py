"""Digests of input files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from pipeline.ingest.files.formats import FileError

WHOLE_DIGEST_BYTES = 2**30


def files_digest(files: Sequence[Path]) -> str:
    """SHA-256 over sizes and contents, whatever the names; of a file over 1 GiB, only its first and last 64 MiB."""
    return joined_digest(map(file_digest, files))


def joined_digest(digests: Iterable[str]) -> str:
    """The digest of several files, from the `file_digest` of each."""
    # Sorted, because another name may put a file in another place.
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 over size and content of one file; over 1 GiB, only its first and last 64 MiB."""
    contents = hashlib.sha256(f"{path.stat().st_size}\0".encode())
    for chunk in _digest_chunks(path):
        contents.update(chunk)
    return contents.hexdigest()


@contextmanager
def blaming_changes(files: Sequence[Path]) -> Iterator[None]:
    """If files cannot be read because they change meanwhile, say that.

    Raises
    ------
    FileError
        Names the first of them.
    """
    before = [_version(path) for path in files]
    try:
        yield
    except (FileError, duckdb.Error, OSError, EOFError):
        changed = [path.name for path, version in zip(files, before, strict=True) if _version(path) != version]
        if not changed:
            raise
        raise FileError(
            f"{changed[0]} changed while it was read. Wait until it is complete, and run the command again."
        ) from None


def _version(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change; None if there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _digest_chunks(path: Path) -> Iterator[bytes]:
    size, part = path.stat().st_size, 2**26
    with path.open("rb") as handle:
        if size > WHOLE_DIGEST_BYTES:
            yield handle.read(part)
            handle.seek(size - part)
        while chunk := handle.read(2**22):
            yield chunk
