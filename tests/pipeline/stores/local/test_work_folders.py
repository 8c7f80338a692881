"""Work folders are deleted at the end or by a later command; those of others and other folders stay."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.config.errors import UserError
from pipeline.stores.local.work_folders import (
    LOCK,
    NEW_PREFIX,
    PREFIX,
    delete_folder,
    own_temporary_files,
    work_folder,
)

DIE = (
    "import os, sys; from pathlib import Path; from pipeline.stores.local.work_folders import work_folder\n"
    "with work_folder(Path(sys.argv[1])) as work: (work / 'rows').write_text('x'); os._exit(9)"
)

INTERRUPTED = """
import sys
from pathlib import Path
from pipeline.stores.local.work_folders import work_folder

moments = []

def audit(name, arguments):
    if name == sys.argv[2] and str(arguments[0]).startswith(sys.argv[1]) and not moments:
        moments.append(name)
        raise KeyboardInterrupt

sys.addaudithook(audit)
try:
    with work_folder(Path(sys.argv[1])):
        pass
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_folder_is_private_and_deleted_at_the_end(tmp_path: Path) -> None:
    with work_folder(tmp_path / "place") as work:
        assert stat.S_IMODE(work.stat().st_mode) == 0o700
    with pytest.raises(RuntimeError), work_folder(tmp_path / "place"):
        raise RuntimeError
    assert not list((tmp_path / "place").iterdir())


def test_folders_of_killed_commands_are_deleted_by_the_next(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", DIE, str(tmp_path)], check=False, cwd=Path(__file__).parents[4])
    assert died.returncode == 9 and len(list(tmp_path.iterdir())) == 1
    old, new = tmp_path / f"{NEW_PREFIX}{2**22 + 1}-x", tmp_path / f"{NEW_PREFIX}{os.getppid()}-x"
    for folder in (old, new):
        folder.mkdir()
    with work_folder(tmp_path) as first, work_folder(tmp_path) as second:
        assert {*tmp_path.iterdir()} == {first, second, new}
    assert [*tmp_path.iterdir()] == [new]


def test_a_link_of_somebody_else_is_not_followed(tmp_path: Path) -> None:
    precious, place = tmp_path / "precious", tmp_path / "place"
    precious.mkdir()
    place.mkdir()
    (precious / "file").write_text("kept")
    (place / f"{PREFIX}trap").symlink_to(precious)
    with work_folder(place):
        pass
    assert (precious / "file").read_text() == "kept" and not (precious / LOCK).exists()


def test_temporary_files_of_libraries_are_deleted_with_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with own_temporary_files():
        left = Path(tempfile.mkdtemp())
        assert left.is_relative_to(tmp_path) and left.parent != tmp_path
    assert tempfile.gettempdir() == str(tmp_path) and not list(tmp_path.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file" / "none"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="environment variable TMPDIR"), own_temporary_files():
        pass


@pytest.mark.parametrize("moment", ["os.mkdir", "os.scandir", "open", "os.rename"])
def test_a_signal_while_a_folder_is_made_leaves_nothing(tmp_path: Path, moment: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path), moment]
    ended = subprocess.run(command, check=False, cwd=Path(__file__).parents[4], capture_output=True, text=True)
    assert ended.stdout == "interrupted\n"
    assert not list(tmp_path.iterdir())


def test_a_signal_while_a_folder_is_deleted_does_not_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, delete, calls = tmp_path / "folder", shutil.rmtree, []

    def interrupted(path: Path, *, ignore_errors: bool) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        delete(path, ignore_errors=ignore_errors)

    folder.mkdir()
    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        delete_folder(folder)
    assert not folder.exists()
