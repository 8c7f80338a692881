"""A PostgreSQL server for tests, on a free port and in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PASSWORD = "s3cret-pw"


def find_programs() -> Path | None:
    """The folder of initdb and postgres; None if PostgreSQL is not installed."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "postgres").exists()), None)


@contextmanager
def server(programs: Path) -> Iterator[str]:
    """The address of a running server, whose user is kindred; stopped and deleted at the end."""
    # PostgreSQL refuses to run as root, and another user cannot enter pytest's folders.
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="kindred-postgres-"))
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    options: dict[str, Any] = {"user": user, "group": entry.pw_gid, "extra_groups": []} if user is not None else {}

    def run(*command: str) -> None:
        result = subprocess.run(
            [programs / command[0], *command[1:]], cwd=folder, capture_output=True, check=False, timeout=60, **options
        )
        assert result.returncode == 0, result.stderr

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        run("initdb", "-D", "data", "-U", "kindred", "-A", "scram-sha-256", "--pwfile", "password", "-E", "UTF8",
            "--locale", "C.UTF-8", "--no-sync")  # fmt: skip
        run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", f"-h 127.0.0.1 -p {port} -k '' -c fsync=off", "start")
        yield f"postgresql://kindred:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            run("pg_ctl", "-D", "data", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def query(uri: str, sql: str, values: Sequence[Any] = (), *, autocommit: bool = False) -> list[tuple[Any, ...]]:
    """Rows of a statement by another client than Kindred's, psycopg; it is committed."""
    import psycopg

    with psycopg.connect(uri, autocommit=autocommit) as con:
        cursor = con.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []
