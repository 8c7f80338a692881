"""The lock on everything that only one process on this machine may do at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class LockedError(Exception):
    """Another process holds the lock."""


@contextmanager
def lock(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock on ``path``, a file that stays; the system releases it when its process ends, even if killed.

    Parameters
    ----------
    wait : bool
        Wait for another process that holds the lock, however long.

    Raises
    ------
    LockedError
        Another process holds the lock, and ``wait`` is false.
    OSError
        The file cannot be created.
    """
    held = FileLock(path, timeout=-1 if wait else 0)
    try:
        held.acquire()
    except Timeout:
        raise LockedError from None
    try:
        yield
    finally:
        held.release()
