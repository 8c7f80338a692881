"""Digests of input files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

WHOLE_DIGEST_BYTES = 2**30


def files_digest(files: Sequence[Path]) -> str:
    """SHA-256 over sizes and contents, whatever the names; of a file over 1 GiB, only its first and last 64 MiB."""
    digests = []
    for path in files:
        contents = hashlib.sha256(f"{path.stat().st_size}\0".encode())
        for chunk in _digest_chunks(path):
            contents.update(chunk)
        digests.append(contents.hexdigest())
    # Sorted, because another name may put a file in another place.
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _digest_chunks(path: Path) -> Iterator[bytes]:
    size, part = path.stat().st_size, 2**26
    with path.open("rb") as handle:
        if size > WHOLE_DIGEST_BYTES:
            yield handle.read(part)
            handle.seek(size - part)
        while chunk := handle.read(2**22):
            yield chunk
