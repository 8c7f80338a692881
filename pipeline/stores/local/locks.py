"""The lock on everything that only one process on this machine may do at a time."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

WAIT_SECONDS = 60.0
"""How long a command waits for another one, which holds such a lock for a few seconds."""
SLOW_SECONDS = 10.0
log = logging.getLogger("kindred")


class LockedError(Exception):
    """Another process holds the lock."""


@contextmanager
def lock(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock on ``path``, a file that stays; the system releases it when its process ends, even if killed.

    Parameters
    ----------
    wait : bool
        Wait for another process that holds the lock, at most WAIT_SECONDS, and say so.

    Raises
    ------
    LockedError
        Another process holds the lock.
    OSError
        The file cannot be created.
    """
    held = FileLock(path)
    try:
        try:
            held.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise
            say_waiting(path)
            held.acquire(timeout=WAIT_SECONDS)
    except Timeout:
        raise LockedError from None
    try:
        yield
    finally:
        held.release()


def say_waiting(path: Path) -> None:
    """Tell the user at once why nothing happens."""
    log.warning("Waiting up to %d seconds: another program uses %s.", WAIT_SECONDS, path)


@contextmanager
def said_if_slow(what: str) -> Iterator[None]:
    """Tell the user after `SLOW_SECONDS` what does not answer: libraries try for a minute or two without a word."""
    timer = threading.Timer(SLOW_SECONDS, log.warning, ("Waiting for %s, which does not answer.", what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def is_running(process: int) -> bool:
    """Whether there is a process with this id on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is of another user
        pass
    return True
