"""Folders for what a command needs only while it runs: deleted at its end, or by a later command if it was killed."""

from __future__ import annotations

import os
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
    unlocked = Path(tempfile.mkdtemp(prefix=f"{NEW_PREFIX}{os.getpid()}-", dir=place))
    delete_leftovers(place)
    work = unlocked.with_name(unlocked.name.replace(NEW_PREFIX, PREFIX))
    with lock(unlocked / LOCK, wait=True):
        try:
            unlocked.rename(work)  # other commands match only the new name, so they never see it unlocked
            yield work
        finally:
            delete_folder(work if work.exists() else unlocked)


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


def delete_folder(folder: Path) -> None:
    """Delete a folder and what is in it, also if a signal comes meanwhile."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:  # an interrupted command ignores further signals
        shutil.rmtree(folder, ignore_errors=True)


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
