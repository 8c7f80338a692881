"""Writes all results, each completely or not at all.

Every file is written under a temporary name in the same folder, synced, and renamed over the old one. After a crash, a
reader finds the complete old file or the complete new one. A folder of files is written under a name of its own, and a
link to it replaces the link to the old folder. The old folder is then deleted, as no old copy may outlive a forgetting;
a reader that has listed its files and not yet opened them finds them missing, and has to read again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet

from pipeline.config.errors import UserError
from pipeline.stores.database import is_disk_full
from pipeline.stores.databases.sql import literal
from pipeline.stores.local import locks
from pipeline.stores.local.file_names import parquet_files

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

PRIVATE = 0o600
SECRET_BYTES = 32
SMALL, FAST = "compression zstd", "compression lz4_raw, parquet_version v2"
"""DuckDB's options for writing Parquet."""
TEMPORARY = ".part-"
ELSEWHERE = "files_elsewhere.json"
VERSION_BYTES = 8
"""Random bytes, in hexadecimal, in the name of a folder that a link leads to."""


class OutputError(UserError):
    """A result cannot be written."""


@contextmanager
def replacing(path: Path, *, mode: int | None = None) -> Iterator[Path]:
    """A temporary file next to ``path`` to write to; it replaces ``path`` if all goes well.

    Raises
    ------
    OutputError
        The disk is full or the folder is not writable; the temporary file is deleted.
    """
    require_writable_path(path)
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        with _translated(path, temporary):
            temporary.touch(mode=mode or 0o644)
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, *, mode: int) -> Iterator[Path]:
    """An empty folder to write Parquet files to; if all goes well, ``path`` becomes a link to it.

    The files get names with their digests, so a reader never mixes those of two folders. What killed commands left next
    to ``path`` is deleted.

    Parameters
    ----------
    mode : int
        Permissions of the files; who may read them may enter the folder.

    Raises
    ------
    OutputError
        ``path`` is something else, the disk is full, or the folder of ``path`` is not writable or cannot have links.
    """
    require_replaceable_folder(path)
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    version = path.with_name(f"{path.name}-{secrets.token_hex(VERSION_BYTES)}")
    require_writable_path(version)
    delete_leftovers(path)
    try:
        with _translated(path, temporary):
            temporary.mkdir(mode=0o700)
            yield temporary
            _finish_parts(temporary, mode)
            temporary.rename(version)
            _link(temporary, version.name, path)
            temporary.replace(path)
            _sync(path.parent)
    finally:
        delete_leftovers(path)


def _link(link: Path, target: str, path: Path) -> None:
    """Make a link, which will be ``path``; some file systems have none."""
    try:
        link.symlink_to(target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        raise OutputError(
            f"{path}: expected a file system with symbolic links, as a folder of scores is one. Name a .parquet file "
            "instead."
        ) from None


def _is_version(name: str, path: Path) -> bool:
    """Whether a folder of that name next to ``path`` is one that `replacing_folder` wrote."""
    return re.fullmatch(rf"{re.escape(path.name)}-[0-9a-f]{{{2 * VERSION_BYTES}}}", name) is not None


def leftovers(path: Path) -> list[Path]:
    """What killed commands left next to ``path``: temporary files and folders, and folders that it does not lead to.

    Names are compared, as a folder above may be a link. The files of a command that writes ``path`` at this moment look
    the same: the lock of the outputs folder keeps it out.
    """
    used = os.path.basename(os.readlink(path)) if path.is_symlink() else None
    is_temporary = re.compile(rf"{re.escape(TEMPORARY)}\d+-{re.escape(path.name)}").fullmatch
    return sorted(
        found
        for found in path.parent.glob("*")
        if is_temporary(found.name) or (_is_version(found.name, path) and found.name != used)
    )


def delete_leftovers(path: Path) -> None:
    """Delete the `leftovers` of a path."""
    for leftover in leftovers(path):
        delete(leftover)


def require_replaceable_folder(path: Path) -> None:
    """Refuse a path that `replacing_folder` cannot replace.

    Raises
    ------
    OutputError
        It is a file, a folder, or a link to something else than a folder that `replacing_folder` wrote next to it.
    """
    if os.path.lexists(path) and not (path.is_symlink() and _is_version(os.readlink(path), path)):
        raise OutputError(
            f"{path}: expected a folder of scores that Kindred wrote, or none; this is something else. Name another."
        )


def _finish_parts(folder: Path, mode: int) -> None:
    """Sync the Parquet files of a folder and give them their names; delete what else a writer left."""
    parts = parquet_files(folder)
    for other in {*folder.iterdir()} - {*parts}:
        delete(other)
    for number, part in enumerate(parts):
        part.chmod(mode)
        _sync(part)
        part.rename(part.with_name(f"part-{number:05}-{file_digest(part)[:12]}.parquet"))
    folder.chmod(mode | (mode & 0o444) >> 2)
    _sync(folder)


def delete(path: Path) -> None:
    """Delete a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _translated(path: Path, temporary: Path) -> Iterator[None]:
    """Say what to do if ``temporary``, which will be ``path``, cannot be written."""
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise OutputError(
                f"{path}: expected space for the result, but the disk is full ({_space(temporary)}). The old file, if "
                "any, is unchanged. Free some space or change `outputs` in params.yaml."
            ) from None
        if isinstance(error, PermissionError):
            raise OutputError(f"{path}: expected a writable folder. Check its permissions.") from None
        raise


def require_not_read(path: Path, read: Iterable[Path]) -> None:
    """Refuse to write over a file that the command reads.

    Raises
    ------
    OutputError
        ``path`` is one of them, even under another name.
    """
    if path.exists() and any(source.exists() and path.samefile(source) for source in read):
        raise OutputError(f"{path}: this file is an input, so the result cannot be written to it. Name another file.")


def require_writable_path(path: Path) -> None:
    """Create the folder of a file to write.

    Raises
    ------
    OutputError
        The folder cannot be created, or the file is a folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: expected a writable folder. {error.strerror}.") from None
    if path.is_dir():
        raise OutputError(f"{path}: expected a file name, but this is a folder.")


def _space(temporary: Path) -> str:
    written = sum(file.stat().st_size for file in [temporary, *temporary.glob("*")] if file.is_file())
    free = shutil.disk_usage(temporary.parent).free
    return f"{temporary.parent} had {(written + free) / 2**20:,.1f} MiB free, which is too little"


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Let only one command at a time write into ``folder``, and delete what a crashed one left there.

    Raises
    ------
    OutputError
        Another command holds the folder.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locks.lock(folder / ".lock", wait=False))
        except locks.LockedError:
            raise OutputError(
                f"{folder}: another kindred command is writing here. Wait until it ends, or change outputs.folder."
            ) from None
        except OSError as error:
            raise OutputError(f"{folder}: expected a writable folder. {error.strerror}.") from None
        for leftover in folder.glob(f"{TEMPORARY}*"):
            delete(leftover)
        yield


def write_text(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write ``text`` as UTF-8."""
    with replacing(path, mode=mode) as temporary:
        temporary.write_text(text, encoding="utf-8")


def secret(path: Path) -> str:
    """The secret in a file that only its owner can read; created as hexadecimal digits if there is none."""
    if not path.exists():
        write_text(path, secrets.token_hex(SECRET_BYTES), mode=PRIVATE)
    return path.read_text(encoding="utf-8").strip()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON with sorted keys."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n")


def note_elsewhere(folder: Path, *paths: Path) -> None:
    """Keep the names of files with customer ids that are not in the outputs ``folder``, for `kindred forget` to say.

    To be called before they are written: a file of a killed command is then known, too.
    """
    known = files_elsewhere(folder)
    if new := [each for each in paths if not each.resolve().is_relative_to(folder.resolve()) and each not in known]:
        write_json(folder / ELSEWHERE, sorted(map(str, [*known, *new])))


def files_elsewhere(folder: Path) -> list[Path]:
    """The files that `note_elsewhere` has kept."""
    kept = folder / ELSEWHERE
    return [Path(text) for text in json.loads(kept.read_text(encoding="utf-8"))] if kept.exists() else []


def copy_query(con: Backend, query: str, path: Path, *, mode: int | None = None, storage: str = SMALL) -> None:
    """Write the result of ``query`` as Parquet, in the order of the query; it need not fit in memory.

    Parameters
    ----------
    storage : str
        `SMALL` for files that are kept; `FAST` for files that are read every night, which are a sixth larger and take a
        fifth less time to read.
    """
    with replacing(path, mode=mode) as temporary:
        count = con.con.execute(
            f"copy ({query}) to {literal(str(temporary))} (format parquet, {storage}, use_tmp_file false)"
        ).fetchone()[0]
        if pyarrow.parquet.read_metadata(temporary).num_rows != count:
            raise OutputError(f"{path}: expected {count:,} rows in the written file. Run the command again.")


def file_digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, over the names of its Parquet files and their digests."""
    if path.is_dir():
        parts = "".join(f"{file_digest(part)}  {part.name}\n" for part in parquet_files(path))
        return hashlib.sha256(parts.encode()).hexdigest()
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
    """Write the inputs, outputs and run of a result. It is written last: without a manifest, a result is incomplete."""
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
