"""Write files and folders of the simulated shop atomically."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from pipeline.config.errors import UserError
from pipeline.stores.local.locks import is_running
from pipeline.stores.local.work_folders import delete_folder


@contextmanager
def growing(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Write a Parquet file one table at a time; yields the function that appends a table."""
    writer: pyarrow.parquet.ParquetWriter | None = None

    def add(table: pa.Table) -> None:
        nonlocal writer
        if writer is None:
            writer = pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd", store_schema=False)
        writer.write_table(table)

    try:
        yield add
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def replacing_folder(folder: Path, *, marker: str) -> Iterator[Path]:
    """Yield a temporary folder next to ``folder``, which replaces ``folder`` if everything succeeds.

    Raises
    ------
    UserError
        ``folder`` has files but no ``marker``, the disk is full, or the folder is not writable.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: expected a folder or a new path. Got a file; choose another path with --out.")
    if folder.exists() and any(folder.iterdir()) and not (folder / marker).is_file():
        raise UserError(
            f"{folder}: expected a new folder, an empty one, or one with a simulated shop ({marker}). Got other files, "
            "which were not changed; choose another folder with --out."
        )
    _clean_up(folder)
    work, old = (folder.with_name(f".{what}-{os.getpid()}-{folder.name}") for what in ("part", "old"))
    try:
        work.mkdir(parents=True)
        yield work
        if folder.exists():
            folder.rename(old)
        work.rename(folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"{folder}: expected enough disk space for the shop. The disk is full; use fewer --customers."
            ) from None
        if isinstance(error, PermissionError):
            raise UserError(
                f"{folder}: expected a writable folder. Got permission denied; check its permissions."
            ) from None
        raise
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        try:
            delete_folder(work)
        finally:
            delete_folder(old)


def _clean_up(folder: Path) -> None:
    """Delete what killed commands left next to ``folder``, and put back the old folder if one had taken it away."""
    for left in folder.parent.glob(".*"):
        found = re.fullmatch(r"\.(part|old)-(\d+)-(.+)", left.name)
        if found is None or found[3] != folder.name or is_running(int(found[2])):
            continue
        if found[1] == "old" and not folder.exists():
            left.rename(folder)
        else:
            delete_folder(left)
