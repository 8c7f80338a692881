"""Forgotten customers are left out of every reading, and the counts add up."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.config.errors import UserError
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.ingest.customers.forgotten_rows import possible_ids
from pipeline.ingest.source import read_source
from pipeline.stores.database import connect
from pipeline.stores.forgotten import KEY, LIST, forgotten_folder, new_list, read_list, write_list
from tests.conftest import PARAMS

HEADER = "customer_id,occurred_at,event_type,product_id,category_path,unit_price\n"
LOG = (
    HEADER
    + "canary,2025-01-01,view,p1,A > B,1.5\n"
    + "other,2025-01-01,view,p1,A > B,1.5\n"
    + "canary,never,view,p1,A > B,1.5\n"
    + ",2025-01-01,view,p1,A > B,1.5\n"
    + "canary,2025-01-01,view,p1,A > B,1.5,too,many\n"
    + "other,2025-01-01,view,p1,A > B,1.5,too,many\n"
)
LENIENT = tuple(f"checks.{rule}.error=1.0" for rule in ("unreadable_row", "unreadable_time", "missing_customer_id"))


def params_of(folder: Path, log: str, *more: str) -> Params:
    (folder / "log.csv").write_text(log, encoding="utf-8")
    places = (f"source.events.path={folder / 'log.csv'}", "source.products=null", f"outputs.folder={folder / 'out'}")
    return load_params(PARAMS, [*places, "source.customers=null", *LENIENT, *more])


def forget(params: Params, *customer_ids: str) -> None:
    write_list(params, new_list(params).with_customers(customer_ids))


def test_rows_of_forgotten_customers_are_left_out_and_counted(tmp_path: Path) -> None:
    params, rejected = params_of(tmp_path, LOG), tmp_path / "rejected.parquet"
    forget(params, "canary")
    with connect(params.engine, folder=tmp_path) as con:
        source = read_source(con, params, rejected_path=rejected)
        assert source.events.to_pandas().customer_id.tolist() == ["other"]
    counts = source.summary
    assert (counts.read_count, counts.accepted_count, counts.rejected_count, counts.forgotten_count) == (6, 1, 2, 3)
    assert sum(counts.rejected_by_rule.values()) == 2
    assert "canary" not in json.dumps(counts.as_dict())
    assert b"canary" not in rejected.read_bytes()
    assert not any("canary" in raw for raw in pq.read_table(rejected)["raw"].to_pylist())


def test_numbers_as_ids_and_registered_customers(tmp_path: Path) -> None:
    pd.DataFrame({"customer_id": [7.0, 8.0, 9.0]}).to_parquet(tmp_path / "customers.parquet")
    log = HEADER + "7,2025-01-01,view,p1,A,1\n8,2025-01-01,view,p1,A,1\n"
    params = params_of(tmp_path, log, f"source.customers={{path: {tmp_path / 'customers.parquet'}}}")
    forget(params, "7", "9")
    with connect(params.engine, folder=tmp_path) as con:
        source = read_source(con, params, rejected_path=None)
        assert source.events.to_pandas().customer_id.tolist() == ["8"]
        assert source.customers is not None and source.customers.to_pandas().customer_id.tolist() == ["8"]
    assert source.summary.forgotten_count == 1


def test_no_list_leaves_nobody_out(tmp_path: Path) -> None:
    params = params_of(tmp_path, LOG)
    with connect(params.engine, folder=tmp_path) as con:
        summary = read_source(con, params, rejected_path=None).summary
    assert (summary.accepted_count, summary.rejected_count, summary.forgotten_count) == (2, 4, 0)


def test_a_list_without_its_key_stops_the_reading(tmp_path: Path) -> None:
    params = params_of(tmp_path, LOG)
    forget(params, "canary")
    (forgotten_folder(params) / KEY).unlink()
    with connect(params.engine, folder=tmp_path) as con, pytest.raises(UserError, match="expected the key"):
        read_source(con, params, rejected_path=None)


def test_the_list_is_private_keyed_and_names_nobody(tmp_path: Path) -> None:
    params, other = params_of(tmp_path, LOG), params_of(tmp_path, LOG, f"outputs.folder={tmp_path / 'other'}")
    for each in (params, other):
        forget(each, "canary")
    listed, again = read_list(params), read_list(other)
    assert listed is not None and again is not None
    assert listed.holds("canary") and not listed.holds("canar") and listed.hashes != again.hashes
    for name in (KEY, LIST):
        path = forgotten_folder(params) / name
        assert path.stat().st_mode & 0o777 == 0o600 and "canary" not in path.read_text()


@pytest.mark.parametrize(
    "line", ['canary,2025-01-01,"x', '{"customer_id": "canary", "a"', "1;canary;2", "canary\t2", '"canary",1', "canary"]
)
def test_ids_in_unreadable_lines(line: str) -> None:
    assert "canary" in possible_ids(line)


@pytest.mark.parametrize("customer_id", ["a@b.example", "cust:7", "Ann Lee", "{7}", "7-8"])
def test_ids_with_signs(customer_id: str) -> None:
    assert customer_id in possible_ids(f'2025-01-01,{customer_id},"view",x')


def test_rows_that_take_a_forgotten_customer_from_their_order_are_left_out(tmp_path: Path) -> None:
    log = (
        "customer_id,occurred_at,event_type,product_id,order_id,state\n"
        "canary,2025-01-01,purchase,p1,1,paid\n,2025-01-01,purchase,p2,1,paid\ncanary,2025-01-01,purchase,p2,1,failed\n"
        "other,2025-01-01,purchase,p1,2,paid\n,2025-01-01,purchase,p2,2,failed\n"
    )
    declared = ("fill_by_order=[customer_id]", "columns={status: state}", "statuses={ignored: [failed]}")
    params = params_of(tmp_path, log, *(f"source.events.{text}" for text in declared))
    forget(params, "canary")
    with connect(params.engine, folder=tmp_path) as con:
        counts = read_source(con, params, rejected_path=tmp_path / "rejected.parquet").summary
    assert (counts.read_count, counts.accepted_count, counts.forgotten_count) == (5, 1, 3)
    assert (counts.left_out, counts.rejected_count) == ({"ignored": 1}, 0)
