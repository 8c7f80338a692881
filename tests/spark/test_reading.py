"""A log read by tasks of Spark: the rows, counts, warnings and rejected rows of DuckDB, however its files are split."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config.errors import UserError
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.ingest.summaries import read_shop
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.engines.engine import Engine
from pipeline.stores.forgotten import new_list, write_list
from pipeline.stores.workspace import confined_database
from tests.conftest import PARAMS

COLUMNS = ("customer_id", "occurred_at", "event_type", "product_id", "category_path", "quantity", "unit_price")
REPEATED = ("ann", "3/4/2025 09:00:10", "view", "p1", "Cats > Food", "1", "2.5")
PARTS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (REPEATED, ("bo", "4/4/2025 10:00", "purchase", "p2", "Dogs", "2", "1,234.50"), REPEATED),
    (
        ("Ann ", "5/4/2025 23:59:59", "view", "face van", "", "", ""),
        ("", "5/4/2025 10:00", "view", "p1", "Cats", "1", "1"),
        ("eve", "never", "view", "p1", "Cats", "1", "1"),
    ),
    (("bo", "25/4/2025 10:00", "lottery", "p2", "Dogs", "1", "-4"), REPEATED),
    (("guest", "6/4/2025 10:00", "view", "p3", "", "1", "x"), ("zoë", "7/4/2025", "cart", "п4", "Їжа > a", "1", "0.1")),
)
"""Rows of four files: only the third shows that the day comes first, and one row is in three of them."""
LENIENT = tuple(
    f"checks.{rule}={{warn: 0.0, error: 1.0}}"
    for rule in ("unreadable_row", "unreadable_time", "negative_price", "unreadable_number", "broken_encoding",
                 "missing_customer_id", "missing_product_id", "not_a_customer")
)  # fmt: skip
READING = tuple[dict[str, Any], list[str], bytes, list[list[str] | None]]


def csv(rows: Any) -> bytes:
    return "".join(",".join(f'"{value}"' for value in row) + "\n" for row in (COLUMNS, *rows)).encode()


def params_in(folder: Path, *overrides: str) -> Params:
    own = folder / "params.yaml"
    place = "" if any(".table=" in text or ".query=" in text for text in overrides) else f"path: {folder / 'log'}"
    own.write_text(f"base: {PARAMS}\nsource: {{events: {{{place}}}, products: null, customers: null}}\n")
    return load_params(own, [f"outputs.folder={folder / 'out'}", *LENIENT, *overrides])


def write_log(folder: Path, *contents: bytes, suffix: str = "csv") -> None:
    (folder / "log").mkdir(exist_ok=True)
    for number, content in enumerate(contents):
        (folder / "log" / f"{number}.{suffix}").write_bytes(content)


def rows_of(table: Any) -> list[str]:
    return sorted(map(repr, table.to_pyarrow().select(sorted(table.columns)).to_pylist()))


@contextmanager
def opened(params: Params, engine: Engine | None) -> Iterator[tuple[Engine, Params]]:
    """DuckDB, or ``engine`` with a database of its own, which reads in the folders of ``params`` and of the engine."""
    if engine is not None:
        scratch = params.engine.spark.model_copy(update={"scratch": str(engine.scratch)})  # type: ignore[attr-defined]
        params = params.model_copy(update={"engine": params.engine.model_copy(update={"spark": scratch})})
    with confined_database(params) as con:
        yield (DuckDB(con) if engine is None else replace(engine, con=con)), params  # type: ignore[type-var]


def read(folder: Path, params: Params, engine: Engine | None) -> READING:
    """Summary, events, rejected.parquet, and the tables of products and customers; by DuckDB, or by ``engine``."""
    rejected = folder / "out" / "rejected.parquet"
    with opened(params, engine) as (own, own_params):
        source = read_shop(own, own_params, rejected_path=rejected)
        tables = [None if table is None else rows_of(table) for table in (source.products, source.customers)]
        return source.summary.as_dict(), rows_of(source.events), rejected.read_bytes(), tables


def require_same(folder: Path, spark: Engine, *overrides: str) -> tuple[dict[str, Any], list[str]]:
    """Read the log of ``folder`` on both; returns the summary and the events."""
    params = params_in(folder, *overrides)
    by_duckdb, by_spark = read(folder, params, None), read(folder, params, spark)
    assert by_duckdb[0] == by_spark[0]
    assert by_duckdb == by_spark
    return by_spark[0], by_spark[1]


@pytest.mark.parametrize("file_count", [1, 4])
def test_text_files(tmp_path: Path, spark: Engine, file_count: int) -> None:
    """With rows that cannot be split, letters that are not UTF-8, and line breaks in a value."""
    split = PARTS if file_count == 4 else (sum(PARTS, ()),)
    contents = [csv(part) for part in split]
    contents[-1] += (
        b'"x","y"\n"\xff","7/4/2025","view","p1","","1","1"\n"two\nlines","7/4/2025","view","p1","","","-1"\n'
    )
    write_log(tmp_path, *contents)
    summary, events = require_same(tmp_path, spark)
    assert summary["files"] == {"events": file_count}
    assert summary["rejected_by_rule"]["unreadable_row"] == summary["rejected_by_rule"]["unreadable_time"] == 1
    assert summary["duplicate_count"] == 2 and len(events) == summary["accepted_count"]


def test_tasks_write_to_the_scratch_folder_only(tmp_path: Path, spark: Engine) -> None:
    """Workers may lack the outputs folder, or may not write there."""
    write_log(tmp_path, *map(csv, PARTS))
    with opened(params_in(tmp_path), spark) as (own, params):
        (tmp_path / "elsewhere").write_text("no folder")
        outputs = params.outputs.model_copy(update={"folder": str(tmp_path / "elsewhere" / "out")})
        elsewhere = params.model_copy(update={"outputs": outputs})
        assert read_shop(own, elsewhere, rejected_path=None).summary.accepted_count


@pytest.mark.parametrize(("how", "kept"), [("true", 2), ("20", 1), ("event_id", 1)])
def test_repeats_in_several_files(tmp_path: Path, spark: Engine, how: str, kept: int) -> None:
    header = b"customer_id,occurred_at,event_type,product_id,event_id\n"
    rows = (b"ann,2025-04-03 09:00:10,view,p1,1\n", b"ann,2025-04-03 09:00:20,view,p1,1\n")
    write_log(tmp_path, header + rows[0], header + rows[1] + rows[0], header + rows[0])
    summary, events = require_same(tmp_path, spark, f"source.drop_duplicates={how}")
    assert len(events) == kept and summary["duplicate_count"] == 4 - kept
    assert "9, 0, 10)" in events[0]


def test_parquet_files_with_other_columns_and_types(tmp_path: Path, spark: Engine) -> None:
    at = pd.Timestamp("2025-04-03 09:00:00.5", tz="Europe/Kyiv")
    base = {"occurred_at": [at, at, at], "event_type": ["view", "purchase", "view"]}
    (tmp_path / "log").mkdir()
    for number, own in enumerate(
        (
            {"customer_id": [17850, 7, 7], "product_id": ["a", "b", None], "unit_price": [1, 2, 3]},
            {"customer_id": [17850.0, None, 8.0], "product_id": ["a", "b", "c"], "unit_price": [0.1, -2.0, None]},
            {"customer_id": [1, 2, 3], "product_id": ["a", "b", ""], "channel": ["x", None, "y"]},
        )
    ):
        pd.DataFrame(base | own).to_parquet(tmp_path / "log" / f"{number}.parquet")
    summary, _ = require_same(tmp_path, spark)
    assert summary["accepted_count"] == 6 and summary["rejected_by_rule"]["negative_price"] == 1


def test_json_lines_and_archives(tmp_path: Path, spark: Engine) -> None:
    """Files with other keys each, and an archive that counts as several files."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for part in PARTS for row in part]
    lines = [json.dumps(row | {f"extra{number % 2}": 1.0}) for number, row in enumerate(rows)] + ["no object"]
    write_log(tmp_path, "\n".join(lines[:3]).encode(), "\n".join(lines[6:]).encode(), suffix="jsonl")
    with zipfile.ZipFile(tmp_path / "log" / "0a.zip", "w") as archive:
        for number in (1, 2):
            archive.writestr(f"{number}.jsonl", "\n".join(lines[2 + number : 5 + number]))
    summary, _ = require_same(tmp_path, spark)
    assert summary["files"] == {"events": 4} and summary["rejected_by_rule"]["unreadable_row"] == 1


def test_ids_that_are_joined_excluded_or_forgotten(tmp_path: Path, spark: Engine) -> None:
    """An id that is forgotten in one form is left out in the others, which are in other files."""
    write_log(tmp_path, *map(csv, PARTS))
    pd.DataFrame({"customer_id": ["eve"], "alias_id": ["zoë"]}).to_csv(tmp_path / "ids.csv", index=False)
    pd.DataFrame({"customer_id": ["ann", "eve", "late"], "email": ["a@x.org", "e@y.org", "l@own.org"]}).to_csv(
        tmp_path / "customers.csv", index=False
    )
    pd.DataFrame({"product_id": ["p1", "p2"], "category_path": ["Cats", "Dogs > A"]}).to_csv(
        tmp_path / "products.csv", index=False
    )
    overrides = (
        f"source.identities={{path: {tmp_path / 'ids.csv'}}}",
        f"source.customers={{path: {tmp_path / 'customers.csv'}}}",
        f"source.products={{path: {tmp_path / 'products.csv'}}}",
        "source.ids.normalise=lower",
        "source.exclude.email_domains=[own.org]",
        "source.exclude.where=product_id = 'p2' or customer_id = 'late'",
        "source.events.decimal=.",
        "source.events.thousands=','",
    )
    params = params_in(tmp_path, *overrides)
    write_list(params, new_list(params).with_customers(["Ann "]))
    summary, events = require_same(tmp_path, spark, *overrides)
    assert summary["forgotten_count"] == 4 and summary["left_out"] == {"excluded": 2} and summary["joined_count"] == 1
    assert not any("'ann'" in event.lower() for event in events)


def test_statuses_currencies_and_rates(tmp_path: Path, spark: Engine) -> None:
    header = b"customer_id,occurred_at,event_type,product_id,unit_price,currency,status\n"
    rows = (b"a,2025-04-0%d,purchase,p,10,%s,%s\n" % row for row in ((1, b"EUR", b"paid"), (2, b"usd", b"void")))
    write_log(tmp_path, *(header + row + row.replace(b"void", b"paid") for row in rows))
    (tmp_path / "rates.csv").write_text("currency,date,rate\nUSD,2025-01-01,0.9\n")
    statuses = "source.events.statuses={cancelled: [VOID]}"
    with pytest.raises(UserError, match=r"amounts in one currency.*EUR 66\.7%, USD 33\.3%"):
        require_same(tmp_path, spark, statuses)
    rates = (f"source.rates={{path: {tmp_path / 'rates.csv'}}}", "currency=EUR")
    summary, _ = require_same(tmp_path, spark, statuses, *rates)
    assert summary["left_out"] == {"cancelled": 1}


def test_tables_of_spark(tmp_path: Path, spark: Engine) -> None:
    """They give what their rows give as files; Spark reads their times in its own zone, UTC."""
    frame = pd.DataFrame([dict(zip(COLUMNS, row, strict=True)) for row in PARTS[0]])
    frame["occurred_at"] = pd.to_datetime(frame.occurred_at.str[:8], format="%d/%m/%Y", errors="coerce")
    frame["unit_price"] = [0.5, None, -1.0]
    (tmp_path / "log").mkdir()
    frame.to_parquet(tmp_path / "log" / "events.parquet")
    spark.upload(pa.Table.from_pandas(frame), "shop_events")
    spark.upload(pa.table({"product_id": ["p1"], "category_path": ["Cats"]}), "shop_products")
    _, by_path = require_same(tmp_path, spark)
    summary, by_table, rejected, tables = read(
        tmp_path,
        params_in(tmp_path, "source.events.table=shop_events", "source.products={table: shop_products}"),
        spark,
    )
    assert by_table == by_path and summary["rejected_by_rule"]["negative_price"] == 1
    places = pq.read_table(pa.BufferReader(rejected))["file"].to_pylist()
    assert places and all(place.startswith("shop_events-") for place in places)
    assert tables[0] is not None and len(tables[0]) == summary["product_count"] == 1
    with pytest.raises(UserError, match=r"source\.events\.table: expected a table that Spark knows.*named nothing\."):
        read(tmp_path, params_in(tmp_path, "source.events.table=nothing"), spark)
    with pytest.raises(UserError, match=r"source\.events\.table: expected engine\.kind: spark"):
        read(tmp_path, params_in(tmp_path, "source.events.table=shop_events"), None)


def test_customers_with_types_that_spark_lacks(tmp_path: Path, spark: Engine) -> None:
    write_log(tmp_path, csv(PARTS[0]))
    at = pa.array([datetime(2025, 1, 2, 3, 4, 5, 678)], pa.timestamp("ns"))
    opens = pa.array([time(9, 30)], pa.time64("us"))
    pq.write_table(pa.table({"customer_id": ["ann"], "seen_at": at, "opens": opens}), tmp_path / "customers.parquet")
    overrides = ("source.events.time_format=day_first", f"source.customers={{path: {tmp_path / 'customers.parquet'}}}")
    with opened(params_in(tmp_path, *overrides), spark) as (own, params):
        customers = read_shop(own, params, rejected_path=None).customers
        assert customers is not None
        [row] = customers.to_pyarrow().to_pylist()
    assert row["seen_at"] == datetime(2025, 1, 2, 3, 4, 5, 678) and row["opens"].startswith("09:30:00")


def test_summaries_in_place_of_a_log(tmp_path: Path, spark: Engine) -> None:
    frame = pd.DataFrame({"customer_id": ["a", "b"], "recency_days": [1, 2], "order_count": [1, 0], "spend": [9.5, 0]})
    frame.to_csv(tmp_path / "customers.csv", index=False)
    params = params_in(tmp_path, f"source.summaries={{path: {tmp_path / 'customers.csv'}}}")
    found = []
    for engine in (None, spark):
        with opened(params, engine) as (own, own_params):
            source = read_shop(own, own_params, rejected_path=None)
            assert source.summaries is not None and source.customers is not None
            found.append((source.summary, rows_of(source.summaries), rows_of(source.customers), rows_of(source.events)))
    assert found[0] == found[1] and found[0][1]


def test_thresholds_are_those_of_all_files(tmp_path: Path, spark: Engine) -> None:
    """A file of which most rows are wrong is no error if few rows of the log are; the error names lines of any file."""
    good, bad = csv(PARTS[0] * 10), csv([("eve", "never", "view", "p1", "Cats", "1", "1")] * 3)
    write_log(tmp_path, good, bad)
    require_same(tmp_path, spark, "source.events.time_format=day_first", "checks.unreadable_time.error=0.1")
    messages = []
    for engine in (None, spark):
        with pytest.raises(UserError, match=r"1\.csv line 2, .*1\.csv line 4") as error:
            read(
                tmp_path,
                params_in(tmp_path, "source.events.time_format=day_first", "checks.unreadable_time.error=0.05"),
                engine,
            )
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "source.events.query=select 1 as customer_id",
            r"source\.events\.query: expected files .*engine\.kind: duckdb",
        ),
        (
            "source.events.fill_by_order=[customer_id]",
            r"source\.events\.fill_by_order: expected .*engine\.kind: duckdb",
        ),
        (
            "source.events.columns={order_total: unit_price}",
            r"Got order_total, of the whole order.*engine\.kind: duckdb",
        ),
        ("source.events.columns={customer_id: nobody}", r"expected a column 'nobody'"),
        ("source.events.time_format=%Q", r"time_format: expected auto"),
    ],
)
def test_errors(tmp_path: Path, spark: Engine, override: str, expected: str) -> None:
    """What needs the whole log on one machine is refused; what a task finds wrong is said as by DuckDB."""
    write_log(tmp_path, *map(csv, PARTS))
    with pytest.raises(UserError, match=expected):
        read(tmp_path, params_in(tmp_path, override), spark)


def test_text_files_have_the_columns_of_the_first(tmp_path: Path, spark: Engine) -> None:
    write_log(tmp_path, csv(PARTS[0]), csv(PARTS[1]).replace(b'"quantity"', b'"weight"'))
    with pytest.raises(UserError, match=r"expected the columns of 0\.csv in all files\. 1\.csv also has weight"):
        read(tmp_path, params_in(tmp_path), spark)


def test_keys_that_differ_by_case_are_named(tmp_path: Path, spark: Engine) -> None:
    rows = (json.dumps(dict(zip(COLUMNS, REPEATED, strict=True))),)
    write_log(tmp_path, rows[0].encode(), rows[0].replace("customer_id", "Customer_ID").encode(), suffix="jsonl")
    with pytest.raises(UserError, match=r"customer_id and Customer_ID, which differ only by case"):
        read(tmp_path, params_in(tmp_path), spark)


def test_an_attempt_that_failed_leaves_nothing_double(
    tmp_path: Path, spark: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.ingest.cluster import source, tasks

    def check_twice(setting: tasks.CheckSetting, file: tasks.LoadedFile) -> tasks.CheckedFile:
        from pyspark import TaskContext

        checked = tasks.check_file(setting, file)
        if TaskContext.get().attemptNumber() == 0:
            raise OSError("the worker is lost after it has written")
        return checked

    write_log(tmp_path, *map(csv, PARTS))
    monkeypatch.setattr(source, "check_file", check_twice)
    require_same(tmp_path, spark)
    attempts = [path for path in spark.scratch.rglob("accepted-*.parquet")]  # type: ignore[attr-defined]
    assert len(attempts) >= 8
