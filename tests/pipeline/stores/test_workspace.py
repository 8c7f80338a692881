"""Where a command works: one at a time, with a database that is deleted, and a store only if it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.stores.files import OutputError
from pipeline.stores.workspace import workspace
from tests.pipeline.conftest import params_in


def test_a_workspace_is_locked_and_leaves_nothing_behind(tmp_path: Path) -> None:
    params = params_in(tmp_path, tmp_path)
    with workspace(params) as session:
        assert session.con.con.execute("select 1").fetchone() == (1,)
        with pytest.raises(OutputError, match="another kindred command"), workspace(params):
            pass
    assert [path.name for path in session.folder.iterdir()] == [".lock"]
    assert not (tmp_path / "mlflow.db").exists() and not (tmp_path / "artifacts").exists()
    with workspace(params):
        pass
