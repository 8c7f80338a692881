"""The only file that writes results: whole or not at all.

Everything is written under a temporary name in the same folder, synced, and renamed over the old result, so that a
reader sees the whole old file or the whole new one at any moment of a crash.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from pipeline.config.errors import UserError
from pipeline.stores.database import is_disk_full

PRIVATE = 0o600
SMALL, FAST = "compression zstd", "compression lz4_raw, parquet_version v2"
"""How Parquet is written by the database."""
TEMPORARY = ".part-"


class OutputError(UserError):
    """A result cannot be written."""


@contextmanager
def replacing(path: Path, *, mode: int | None = None) -> Iterator[Path]:
    """A temporary file beside ``path`` to write to; it takes the place of ``path`` when all went well.

    Raises
    ------
    OutputError
        The disk is full or the folder cannot be written; nothing remains of the attempt.
    """
    _require_place(path)
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        temporary.touch(mode=mode or 0o644)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except Exception as error:
        if is_disk_full(error):
            raise OutputError(
                f"{path}: expected room for the result; the disk is full ({_room(temporary)}). The old file, if any, "
                "is as it was. Free some space or change `outputs` in params.yaml."
            ) from None
        if isinstance(error, PermissionError):
            raise OutputError(f"{path}: expected a folder that can be written to. Check its permissions.") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def require_not_read(path: Path, read: Iterable[Path]) -> None:
    """Refuse to write over a file that the command reads.

    Raises
    ------
    OutputError
        ``path`` is one of them, by whatever name.
    """
    if path.exists() and any(one.exists() and path.samefile(one) for one in read):
        raise OutputError(f"{path}: expected a file of its own for the result; this one is read. Name another.")


def _require_place(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: expected a folder that can be written to. {error.strerror}.") from None
    if path.is_dir():
        raise OutputError(f"{path}: expected the name of a file; this is a folder.")


def _room(temporary: Path) -> str:
    written = temporary.stat().st_size if temporary.exists() else 0
    free = shutil.disk_usage(temporary.parent).free
    return f"{temporary.parent} had {(written + free) / 2**20:,.1f} MiB for it; it needs more"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Only one command at a time writes into ``folder``; leftovers of a crashed one are swept away.

    Raises
    ------
    OutputError
        Another command holds the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("w")
    except OSError as error:
        raise OutputError(f"{folder}: expected a folder that can be written to. {error.strerror}.") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{folder}: another kindred command is writing here. Wait for it, or set outputs.folder to another."
            ) from None
        for leftover in folder.glob(f"{TEMPORARY}*"):
            leftover.unlink(missing_ok=True)
        yield


def write_text(path: Path, text: str) -> None:
    """``text`` as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """``value`` as JSON, keys sorted."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_table(path: Path, table: pd.DataFrame | pa.Table, *, mode: int | None = None) -> None:
    """A table as Parquet or, by the suffix, CSV.

    In CSV, lists are joined by `; ` and a text that a spreadsheet would run as a formula gets a leading apostrophe; a
    number such as +380441234567, which is an id to somebody, does not.
    """
    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata(None)
    with replacing(path, mode=mode) as temporary:
        if path.suffix == ".csv":
            pyarrow.csv.write_csv(_for_spreadsheets(arrow), temporary)
        else:
            pyarrow.parquet.write_table(arrow, temporary, compression="zstd")
            if pyarrow.parquet.read_metadata(temporary).num_rows != arrow.num_rows:
                raise OutputError(f"{path}: expected {arrow.num_rows:,} rows to be written; the file holds others.")


def copy_query(con: Any, query: str, path: Path, *, mode: int | None = None, storage: str = SMALL) -> None:
    """What the database answers to ``query`` as Parquet, row by row: it need not fit in memory.

    Rows stand in the order that ``query`` asks for.

    Parameters
    ----------
    storage : str
        `SMALL`, for files that are kept; `FAST`, for those that are read every night: a sixth larger, and read in a
        fifth less time.
    """
    with replacing(path, mode=mode) as temporary:
        target = str(temporary).replace("'", "''")
        count = con.con.execute(
            f"copy ({query}) to '{target}' (format parquet, {storage}, use_tmp_file false)"
        ).fetchone()[0]
        if pyarrow.parquet.read_metadata(temporary).num_rows != count:
            raise OutputError(f"{path}: expected {count:,} rows to be written; the file holds others.")


FORMULA = r"([=@\t\r]|[+\-](\d*\D|$))"


def from_spreadsheet(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts of a CSV that `write_table` wrote, without the apostrophes before what looks like a formula."""
    return pc.if_else(pc.match_substring_regex(texts, f"^'{FORMULA}"), pc.utf8_slice_codeunits(texts, 1), texts)


def _for_spreadsheets(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        column = table[index]
        if pa.types.is_list(field.type):
            column = pc.binary_join(column, "; ")
        if pa.types.is_large_string(column.type):
            column = column.cast(pa.string())
        if pa.types.is_string(column.type):
            risky = pc.fill_null(pc.match_substring_regex(column, f"^{FORMULA}"), False)
            column = pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)
        table = table.set_column(index, field.name, column)
    return table


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_manifest(
    path: Path,
    *,
    run_id: str,
    params_digest: str,
    inputs: Mapping[str, str],
    outputs: Mapping[str, Path],
    versions: Mapping[str, str],
    row_counts: Mapping[str, int],
) -> None:
    """What a command read and wrote, with which run. Written last: a result without its manifest is not finished."""
    write_json(
        path,
        {
            "run_id": run_id,
            "params_sha256": params_digest,
            "inputs": dict(inputs),
            "outputs": {name: {"file": file.name, "sha256": file_digest(file)} for name, file in outputs.items()},
            "versions": dict(versions),
            "row_counts": dict(row_counts),
        },
    )
