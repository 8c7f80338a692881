"""Ids that are nested JSON: refused with the command that unnests them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config.load import load_params
from pipeline.ingest.source import read_source
from pipeline.ingest.sql import ParsingError
from pipeline.presets.params_file import BASE
from pipeline.stores.database import connect

ITEMS = [{"item_id": "p1", "price": 2.5}]


def read(folder: Path, name: str, rows: list[dict[str, Any]]) -> int:
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), folder / name)
    else:
        (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    overrides = ["source.products=null", "source.customers=null", f"source.events.path={folder / name}"]
    params = load_params(BASE, overrides)
    with connect(params.engine, folder=folder / "work") as con:
        return read_source(con, params, rejected_path=None).summary.accepted_count


def row(product: Any) -> dict[str, Any]:
    return {"customer_id": "c1", "occurred_at": "2025-01-01", "event_type": "view", "product_id": product}


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
def test_lists_of_items_are_no_products(name: str, tmp_path: Path) -> None:
    with pytest.raises(ParsingError, match=r"column 'product_id': expected text or numbers, got .*--from ga4"):
        read(tmp_path, name, [row(ITEMS), row(ITEMS)])


def test_a_few_ids_may_look_like_json(tmp_path: Path) -> None:
    assert read(tmp_path, "log.jsonl", [row("[5]"), row("{p1"), row("p2"), row("p3")]) == 4
