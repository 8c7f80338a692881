"""After a forgetting, the next update gives what a rebuild without the customers gives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.forgetting import state_rows
from pipeline.forgetting.state_rows import delete_leftovers, forget_in_state, read_manifest
from pipeline.forgetting.tables import Forgotten
from pipeline.scoring.state import FOLDER
from pipeline.stores import files
from pipeline.stores.forgotten import new_list, write_list
from pipeline.stores.workspace import workspace
from tests.pipeline.scoring.test_state import START, Night, assert_same, small_params, start

FIRST = START + timedelta(days=30)
GONE = frozenset({"c1", "c2", "c9", "silent1"})


@dataclass(frozen=True)
class Trained:
    """What an opened model gives to a forgetting."""

    shop: Any
    params: Params

    def params_at(self, as_of: Any) -> Params:
        return self.params.model_copy(update={"as_of": as_of})


def state_folder(night: Night) -> Path:
    return night.folder / FOLDER


def ids_in_state(night: Night) -> set[str]:
    tables = [pq.read_table(path) for path in state_folder(night).glob("*.parquet")]
    return {
        each for table in tables if "customer_id" in table.column_names for each in table["customer_id"].to_pylist()
    }


def forget(night: Night, customer_ids: frozenset[str]) -> None:
    write_list(night.params, new_list(night.params).with_customers(customer_ids))
    with workspace(night.at(FIRST)) as session:
        forget_in_state(session, Forgotten(customer_ids))


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    night = start(small_params(tmp_path), 11)
    monkeypatch.setattr(state_rows, "open_model", lambda session, uri: Trained(night.shop, night.trained))
    return night


@pytest.mark.slow
def test_updates_after_a_forgetting_give_what_a_rebuild_gives(night: Night) -> None:
    night.updated(FIRST)
    second = FIRST + timedelta(days=1.4)
    night.write(second)
    night.updated(second)  # a second file of measures and of events
    assert GONE - {"silent1"} <= ids_in_state(night)
    forget(night, GONE)
    manifest = read_manifest(state_folder(night))
    assert manifest is not None and not ids_in_state(night) & GONE
    for entry in manifest.listed():
        assert files.file_digest(state_folder(night) / entry.file) == entry.sha256
    for days in (0.0, 1.0, 2.5):
        as_of = second + timedelta(days=days)
        night.write(as_of)
        assert_same(night.updated(as_of), night.rebuilt(as_of))
    assert not ids_in_state(night) & GONE


@pytest.mark.slow
def test_a_state_whose_model_is_gone_is_deleted(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    night.updated(FIRST)

    def no_model(session: Any, uri: str) -> Any:
        raise UserError("there is no model")

    monkeypatch.setattr(state_rows, "open_model", no_model)
    forget(night, frozenset({"c1"}))
    assert not list(state_folder(night).iterdir())


def test_leftovers_of_the_state_are_deleted(tmp_path: Path) -> None:
    delete_leftovers(tmp_path / "none")
    old, own = tmp_path / "measures-000001.parquet", tmp_path / "notes.txt"
    for path in (old, own):
        pd.DataFrame({"customer_id": ["a"]}).to_parquet(path)
    delete_leftovers(tmp_path)
    assert not old.exists() and own.exists()
