"""Files and folders of the simulated shop: whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from pipeline.config.errors import UserError


@contextmanager
def growing(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """A Parquet file that grows by a table at a time."""
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
    """A folder beside ``folder`` to write into; it takes that one's place when all went well.

    Raises
    ------
    UserError
        ``folder`` holds files but no ``marker``, the disk is full, or the folder cannot be written.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: expected a folder, or none. Got a file; name another with --out.")
    if folder.exists() and any(folder.iterdir()) and not (folder / marker).is_file():
        raise UserError(
            f"{folder}: expected no folder, an empty one, or one with a simulated shop ({marker}). It holds other "
            "files, which stay as they are; name another folder with --out."
        )
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
                f"{folder}: expected room for the shop; the disk is full. Fewer --customers need less."
            ) from None
        if isinstance(error, PermissionError):
            raise UserError(f"{folder}: expected a folder that can be written to. Check its permissions.") from None
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
