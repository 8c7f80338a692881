"""One lock for what only one process may do: it refuses or waits, and a killed process loses it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.stores.files import OutputError
from pipeline.stores.files import lock as lock_folder
from pipeline.stores.local import locks
from pipeline.stores.local.locks import LockedError, lock

HOLD = """
import sys, time
from pathlib import Path
from pipeline.stores.local.locks import lock
with lock(Path(sys.argv[1]), wait=True):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(path: Path, seconds: float) -> subprocess.Popen[str]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(path), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4])
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


def test_a_held_lock_refuses_and_a_killed_process_loses_it(tmp_path: Path) -> None:
    with holder(tmp_path / ".lock", 60) as process:
        with pytest.raises(LockedError), lock(tmp_path / ".lock", wait=False):
            pass
        message = r"another kindred command is writing here.*outputs\.folder"
        with pytest.raises(OutputError, match=message), lock_folder(tmp_path):
            pass
        process.kill()
        process.wait()
        with lock(tmp_path / ".lock", wait=False):
            assert (tmp_path / ".lock").exists()


def test_waiting_ends_when_the_other_process_does(tmp_path: Path) -> None:
    started = time.monotonic()
    with holder(tmp_path / ".lock", 1.0), lock(tmp_path / ".lock", wait=True):
        assert time.monotonic() - started >= 1.0


def test_a_lock_that_is_not_given_back_is_refused_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.2)
    with holder(tmp_path / ".lock", 60) as process:
        with pytest.raises(LockedError), lock(tmp_path / ".lock", wait=True):
            pass
        process.kill()
    assert f"another program uses {tmp_path / '.lock'}" in caplog.text


def test_one_process_cannot_lock_twice(tmp_path: Path) -> None:
    with lock(tmp_path / ".lock", wait=False), pytest.raises(LockedError), lock(tmp_path / ".lock", wait=False):
        pass
    with lock(tmp_path / ".lock", wait=False), pytest.raises(RuntimeError):
        raise RuntimeError
    with lock(tmp_path / ".lock", wait=False):
        pass


def test_a_folder_that_cannot_be_made_is_refused_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    message = r"expected a writable folder\. (File exists|Not a directory)"
    with pytest.raises(OutputError, match=message), lock_folder(tmp_path / "file"):
        pass
