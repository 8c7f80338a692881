"""Work folders are deleted at the end or by a later command; those of others and other folders stay."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.stores.local.work_folders import LOCK, MAX_NEW_SECONDS, NEW_PREFIX, PREFIX, work_folder

DIE = (
    "import os, sys; from pathlib import Path; from pipeline.stores.local.work_folders import work_folder\n"
    "with work_folder(Path(sys.argv[1])) as work: (work / 'rows').write_text('x'); os._exit(9)"
)


def test_a_folder_is_private_and_deleted_at_the_end(tmp_path: Path) -> None:
    with work_folder(tmp_path / "place") as work:
        assert stat.S_IMODE(work.stat().st_mode) == 0o700
    with pytest.raises(RuntimeError), work_folder(tmp_path / "place"):
        raise RuntimeError
    assert not list((tmp_path / "place").iterdir())


def test_folders_of_killed_commands_are_deleted_by_the_next(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", DIE, str(tmp_path)], check=False, cwd=Path(__file__).parents[4])
    assert died.returncode == 9 and len(list(tmp_path.iterdir())) == 1
    old, new = tmp_path / f"{NEW_PREFIX}old", tmp_path / f"{NEW_PREFIX}new"
    for folder, age in ((old, MAX_NEW_SECONDS + 60), (new, 0)):
        folder.mkdir()
        os.utime(folder, (folder.stat().st_mtime - age,) * 2)
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
