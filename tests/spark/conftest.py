"""One session of Spark for all its tests, and one shop whose events both engines have."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.ingest.source import Source, read_source
from pipeline.simulate import simulate
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.engines.engine import Engine
from tests.conftest import PARAMS

CUSTOMERS = 400
OVERRIDDEN = {
    "spark.sql.session.timeZone": "Asia/Tokyo",
    "spark.sql.parquet.outputTimestampType": "INT96",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "false",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.caseSensitive": "true",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.files.ignoreMissingFiles": "true",
    "spark.sql.files.ignoreCorruptFiles": "true",
}
"""Settings that change results, which all tests ask for and none may get."""
CONF = {"spark.driver.memory": "2g", "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "3", **OVERRIDDEN}
QUERIES = (
    "face van",  # ends and begins with letters that are blanks to some engines
    "  Vase\tof\fvelvet\v ",
    "\u00a0cat food\u00a0",
    "ΟΔΟΣ ΣΚΥΛΟΣ",  # a final sigma
    "İPEK ıstakoz",  # the Turkish i, with and without a dot
    "Собачий м’яч",
    "ﬁsh Straße",
    "कुत्ता 犬 😀",
    "...",
)
CHANNELS = ("WEB", "ΟΔΌΣ", "İstanbul", "Почта", None)
PATHS = ("Κατοικίδια > ΣΚΥΛΟΣ > Λουρί", "ΚΑΤΟΙΚΊΔΙΑ > Σκυλος > Μπαλα", "Hayvan > İPEK", "Тварини > Їжак", "face > van")
PRICES = (0.005, 1 / 3, 98_765_432.1, 19.99, None)


@dataclass(frozen=True)
class Shop:
    """A log that was read once, by DuckDB, and whose tables each engine has.

    Attributes
    ----------
    sources : list of (Engine, Source)
        DuckDB first, then Spark.
    """

    params: Params
    sources: list[tuple[Engine, Source]]


def hard_events() -> list[dict[str, Any]]:
    """Events with what engines read in different ways: words, alphabets, fractions of seconds, and nulls everywhere."""
    start, rows = datetime(2025, 6, 1, 23, 59, 59, 500_000, tzinfo=UTC), []
    for number, name in enumerate(
        ("é", "Z", "a", "10", "9", "😀", "\uffee", "c 1", "Σ", "İ", "only prices", "no prices")
    ):
        for step in range(60):
            at = start + timedelta(minutes=7 * step + 411 * (step // 6), microseconds=number + step % 3)
            kind = ("search", "view", "cart", "purchase", "view", "return", "email_open", "remove_from_cart")[step % 8]
            is_search, price = kind == "search", PRICES[(step + number) % len(PRICES)]
            rows.append(
                {
                    "customer_id": name,
                    "occurred_at": at,
                    "event_type": kind,
                    "product_id": None if is_search or kind == "email_open" else f"hard{(step + number) % len(PATHS)}",
                    "query": QUERIES[(step // 8 + number) % len(QUERIES)] if is_search else None,
                    "quantity": float(1 + step % 3),
                    "unit_price": None if name == "no prices" else price,
                    "discount": 0.1 if step % 16 == 3 and price else None,
                    "order_id": f"{name}-{step // 16}" if kind == "purchase" and number % 2 else None,
                    "session_id": None if number % 3 == 0 else f"{step // 12}",
                    "channel": CHANNELS[(step + number) % len(CHANNELS)],
                }
            )
    return rows


@pytest.fixture(scope="session")
def hard_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated shop with the hard events added."""
    folder = tmp_path_factory.mktemp("shop")
    simulate(folder / "shop", customers=CUSTOMERS, days=395, seed=11)
    events, products = folder / "shop" / "events", folder / "shop" / "products.parquet"
    schema = pq.read_schema(next(events.glob("*.parquet")))
    pq.write_table(pa.Table.from_pylist(hard_events(), schema), events / "hard.parquet")
    known = pq.read_table(products)
    added = [{"product_id": f"hard{number}", "category_path": path} for number, path in enumerate(PATHS)]
    pq.write_table(pa.concat_tables([known, pa.Table.from_pylist(added, known.schema)]), products)
    return folder / "shop"


@pytest.fixture(scope="session")
def params(hard_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Params:
    folder = tmp_path_factory.mktemp("work")
    return load_params(
        PARAMS,
        [
            f"source.events.path={hard_shop / 'events'}",
            f"source.products.path={hard_shop / 'products.parquet'}",
            f"source.customers.path={hard_shop / 'customers.parquet'}",
            f"outputs.folder={folder / 'outputs'}",
            "searches.min_customers=2",
            "interests.fit=off",
            "quality.validity=true",
            "engine.kind=spark",
            "engine.spark.master=local[2,2]",
            f"engine.spark.conf={CONF}",
            f"engine.spark.scratch={folder / 'scratch [of {Spark}]'}",
        ],
    )


@pytest.fixture(scope="session")
def spark(params: Params) -> Iterator[Engine]:
    """An engine on Spark, and a database of its own."""
    pytest.importorskip("pyspark", reason="pyspark of the extra `spark` is not installed")
    if not shutil.which("java") and "JAVA_HOME" not in os.environ:
        pytest.skip("Java 17 or later is not installed, such as by: apt-get install default-jre-headless")
    from pipeline.stores.engines.spark import connect_spark

    folder = params.path(params.outputs.folder)
    with (
        connect(params.engine, folder=folder) as con,
        connect_spark(con, params.engine, folder=folder) as engine,
    ):
        yield engine


@pytest.fixture(scope="session")
def shop(params: Params, spark: Engine) -> Shop:
    source = read_source(spark.con, params, rejected_path=None)

    def uploaded(name: str) -> ir.Table | None:
        table: ir.Table | None = getattr(source, name)
        return None if table is None else spark.upload(table.to_pyarrow(), name)

    copied = {name: uploaded(name) for name in ("events", "products", "customers")}
    return Shop(params, [(DuckDB(spark.con), source), (spark, replace(source, **copied))])
