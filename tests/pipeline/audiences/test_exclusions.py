from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ibis
import pytest

from pipeline.audiences.exclusions import excluded_customers
from pipeline.config.load import load_params
from pipeline.config.sections.audiences import AudienceParams, Exclusions
from tests.conftest import PARAMS


@pytest.mark.parametrize("name", ["ids.txt", "ids.csv"])
def test_listed_ids_are_those_of_the_scores(tmp_path: Path, name: str) -> None:
    (tmp_path / "links.csv").write_text("customer_id,alias_id\nann,d1\n", encoding="utf-8")
    (tmp_path / "ids.txt").write_text("D1 \nBO\n\n", encoding="utf-8")
    (tmp_path / "ids.csv").write_text("name,customer_id\nx,D1\ny,BO\nz,\n", encoding="utf-8")
    settings = (f"source.identities={{path: {tmp_path / 'links.csv'}}}", "source.ids.normalise=lower")
    params = load_params(PARAMS, settings).model_copy(update={"folder": tmp_path})
    con: Any = ibis.duckdb.connect()
    [excluded] = excluded_customers(
        con,
        ibis.memtable({"customer_id": ["ann", "bo"]}),
        AudienceParams(where={}, exclude=Exclusions(ids=name)),
        params,
        name="a",
        as_of=datetime(2025, 1, 1, tzinfo=UTC),
        contacts=lambda: pytest.fail("no consent is asked for"),
    )
    con.disconnect()
    assert excluded.customer_ids == {"ann", "bo"}
