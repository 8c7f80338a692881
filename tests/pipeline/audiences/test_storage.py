from __future__ import annotations

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from pipeline.audiences.build import Audience
from pipeline.audiences.selection import condition_text
from pipeline.audiences.storage import control_key, has_other_conditions, recently_contacted, store, stored_audiences
from pipeline.config.sections.audiences import AudienceParams

AS_OF = datetime(2025, 12, 1, tzinfo=UTC)


def audience(name: str, as_of: datetime, send: list[str], held_out: list[str] = []) -> Audience:  # noqa: B006
    table = pd.DataFrame(
        {"customer_id": [*send, *held_out], "group": ["send"] * len(send) + ["held_out"] * len(held_out)}
    )
    return Audience(name, as_of, AudienceParams.model_validate({"where": {"segment": "VIP"}}), table)


def test_kept_files_are_private_and_read_back(tmp_path: Path) -> None:
    kept = store(tmp_path, audience("spring", AS_OF, ["a"], ["b"]), model_uri="models:/shop/1")
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    assert [(one.name, one.as_of) for one in stored_audiences(tmp_path)] == [("spring", AS_OF)]
    assert kept.table().customer_id.tolist() == ["a", "b"]


def test_ids_of_customers_are_in_the_list_alone(tmp_path: Path) -> None:
    where = {"customer_id": ["c-1041", "c-1042"], "segment": "VIP"}
    made = audience("spring", AS_OF, ["c-1041"])
    kept = store(tmp_path, replace(made, definition=AudienceParams.model_validate({"where": where})), model_uri="")
    assert "c-104" not in kept.path.with_suffix(".json").read_text(encoding="utf-8")
    assert condition_text("customer_id", ["c-1041", "c-1042"]) == "customer_id is one of 2"


def test_conditions_are_compared_with_those_of_the_last_audience_of_the_name(tmp_path: Path) -> None:
    made = audience("spring", AS_OF, ["a"])
    other = replace(made, definition=AudienceParams.model_validate({"where": {"segment": "Lapsed"}}))
    assert not has_other_conditions(tmp_path, made)
    store(tmp_path, audience("autumn", AS_OF, ["a"]), model_uri="")
    assert not has_other_conditions(tmp_path, other)  # of another name
    kept = store(tmp_path, made, model_uri="")
    assert not has_other_conditions(tmp_path, made)
    assert has_other_conditions(tmp_path, other)
    kept.path.with_suffix(".json").unlink()
    assert not has_other_conditions(tmp_path, other)


def test_contacted_are_those_sent_to_before_and_not_too_long_ago(tmp_path: Path) -> None:
    for name, days, send, held_out in [
        ("spring", 8, ["too_early"], []),
        ("spring", 7, ["a"], ["held"]),
        ("autumn", 1, ["b"], []),
        ("winter", 0, ["same_moment"], []),
    ]:
        store(tmp_path, audience(name, AS_OF - timedelta(days=days), send, held_out), model_uri="")
    assert recently_contacted(tmp_path, AS_OF, 7).customer_ids == {"a", "b"}


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    key = control_key(tmp_path)
    assert len(key) == 64
    assert control_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / "audiences" / ".key").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["spring", "autumn"])
def test_one_name(tmp_path: Path, name: str) -> None:
    for one in ("spring", "autumn"):
        store(tmp_path, audience(one, AS_OF, ["a"]), model_uri="")
    assert [one.name for one in stored_audiences(tmp_path, name)] == [name]
