"""Folders for what a command needs only while it runs: deleted at its end, or by a later command if it was killed."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline.config.errors import UserError
from pipeline.stores.local.locks import LockedError, is_running, lock

NEW_PREFIX, PREFIX, LOCK = ".new-kindred-", ".kindred-", "lock"
"""A folder has the first name for an instant, with the id of its process; then the second one."""


@contextmanager
def work_folder(place: Path) -> Iterator[Path]:
    """A new folder in ``place`` that only its owner can read. It is locked while its command runs.

    An unlocked one was left by a killed command and is deleted.

    Raises
    ------
    OSError
        The folder cannot be created.
    """
    place.mkdir(parents=True, exist_ok=True)
    name = f"{os.getpid()}-{secrets.token_hex(8)}"
    unlocked, work = place / f"{NEW_PREFIX}{name}", place / f"{PREFIX}{name}"
    try:
        unlocked.mkdir(mode=0o700)
        delete_leftovers(place)
        with lock(unlocked / LOCK, wait=True):
            unlocked.rename(work)  # other commands match only the new name, so they never see it unlocked
            yield work
    finally:
        delete_folder(unlocked, work)


def temporary_folder() -> AbstractContextManager[Path]:
    """A `work_folder` where the system has temporary files."""
    return work_folder(Path(tempfile.gettempdir()))


@contextmanager
def own_temporary_files() -> Iterator[None]:
    """Let libraries write their temporary files to a `work_folder`, as MLflow leaves its own if it is killed.

    Raises
    ------
    UserError
        There is no folder for temporary files.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder())
        except OSError as error:
            raise UserError(
                f"expected a writable folder for temporary files. {error.strerror}. Free some space, or name another "
                "folder in the environment variable TMPDIR."
            ) from None
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before


def delete_folder(*names: Path) -> None:
    """Delete a folder, which may have any of the names, and what is in it, also if a signal comes meanwhile."""
    try:
        for name in names:
            shutil.rmtree(name, ignore_errors=True)
    finally:  # an interrupted command ignores further signals
        for name in names:
            shutil.rmtree(name, ignore_errors=True)


def delete_leftovers(place: Path) -> None:
    """Delete the work folders in ``place`` whose commands were killed."""
    for leftover in place.glob(f"{PREFIX}*"):
        with suppress(LockedError, OSError):
            if _is_own(leftover):
                with lock(leftover / LOCK, wait=False):
                    shutil.rmtree(leftover, ignore_errors=True)
    for leftover in place.glob(f"{NEW_PREFIX}*"):
        with suppress(OSError):
            process = leftover.name.removeprefix(NEW_PREFIX).partition("-")[0]
            if _is_own(leftover) and process.isdecimal() and not is_running(int(process)):
                shutil.rmtree(leftover, ignore_errors=True)


def _is_own(path: Path) -> bool:
    """Whether this is a folder of this user: in a shared folder, others could lay links where we write."""
    return not path.is_symlink() and path.is_dir() and path.stat().st_uid == os.getuid()
