"""Databases as sources: the same rows as from files, types and times that databases have, and clear refusals."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline.config.errors import ParamsError, UserError
from pipeline.config.load import load_params
from pipeline.config.params import params_from_json, source_fingerprint
from pipeline.ingest.files.raw_tables import source_files
from pipeline.ingest.source import read_source
from pipeline.stores.database import connect
from tests import postgres
from tests.conftest import PARAMS

LOG = [
    ("007", "2025-01-01 03:00:00+02", "view", "p1", None),
    ("007", "2025-01-02 03:00:00+00", "purchase", "p1", "12.50"),
    ("Ünal", "2025-01-03 03:00:00+00", "view", "p2", None),
]
FROM_LOG = "select * from events"
Read = Callable[..., tuple[Any, list[dict[str, Any]]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads events by a SELECT in the database of SHOP_DATABASE."""

    def run(sql: str, *more: str) -> tuple[Any, list[dict[str, Any]]]:
        places = ["source.events.uri=$SHOP_DATABASE", f"source.events.sql={sql}", "source.products=null"]
        params = load_params(PARAMS, [*places, "source.customers=null", "checks.unreadable_time.error=1.0", *more])
        params = params.model_copy(update={"folder": tmp_path})
        with connect(params.engine, folder=tmp_path / "work") as con:
            source = read_source(con, params, rejected_path=tmp_path / "rejected.parquet")
            return source.summary, source.events.order_by("occurred_at").to_pyarrow().to_pylist()

    return run


def fill_postgresql(uri: str) -> None:
    postgres.query(
        uri,
        "create table events (customer_id text, occurred_at timestamptz, event_type varchar(20), product_id text, "
        "unit_price numeric(12, 2))",
    )
    for row in LOG:
        postgres.query(uri, "insert into events values (%s, %s, %s, %s, %s)", row)


def fill_sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as con, con:
        con.execute("create table events (customer_id, occurred_at, event_type, product_id, unit_price)")
        con.executemany("insert into events values (?, ?, ?, ?, cast(? as real))", LOG)


def fill_duckdb(path: Path) -> None:
    with closing(duckdb.connect(path)) as con:
        con.execute(
            "create table events (customer_id varchar, occurred_at timestamptz, event_type varchar, product_id varchar,"
            " unit_price decimal(12, 2))"
        )
        con.executemany("insert into events values (?, ?, ?, ?, ?)", LOG)


@pytest.fixture(params=["postgresql", "sqlite", "duckdb"])
def log(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same log in each kind of database; the scheme of its address."""
    scheme = str(request.param)
    if scheme == "postgresql":
        fill_postgresql(request.getfixturevalue("database"))
    else:
        {"sqlite": fill_sqlite, "duckdb": fill_duckdb}[scheme](tmp_path / "shop.db")
        monkeypatch.setenv("SHOP_DATABASE", f"{scheme}:///shop.db")
    return scheme


def test_events_are_read_alike_from_every_database(log: str, read: Read) -> None:
    summary, events = read(FROM_LOG)
    assert [
        (row["customer_id"], row["occurred_at"], row["event_type"], row["product_id"], row["unit_price"])
        for row in events
    ] == [
        ("007", datetime(2025, 1, 1, 1), "view", "p1", None),
        ("007", datetime(2025, 1, 2, 3), "purchase", "p1", 12.5),
        ("Ünal", datetime(2025, 1, 3, 3), "view", "p2", None),
    ]
    assert summary.read_count == 3 and not summary.rejected_count


def test_rules_reject_rows_of_a_database_as_those_of_files(log: str, read: Read, tmp_path: Path) -> None:
    named = "case when product_id = 'p1' then customer_id end as customer_id"
    summary, events = read(f"select {named}, occurred_at, event_type, product_id from events")
    assert summary.rejected_by_rule["missing_customer_id"] == 1 and len(events) == 2
    [row] = pq.read_table(tmp_path / "rejected.parquet").to_pylist()
    assert "p2" in row["raw"]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select * from nothing_there", r"source\.events\.sql: expected SQL .*nothing_there"),
        ("select nothing_there from events", r"source\.events\.sql: expected SQL .*nothing_there"),
        ("selec", r"source\.events\.sql: expected SQL"),
        (
            "select customer_id, customer_id from events",
            r"source\.events\.sql: expected a name of its own .*customer_id",
        ),
        ("select 1; select 2", r"source\.events\.sql: expected .*(one SELECT|SQL that)"),
        ("delete from events", r"source\.events\.sql: expected .*one SELECT"),
    ],
)
def test_sql_that_cannot_be_used(log: str, read: Read, sql: str, message: str) -> None:
    if "customer_id, customer_id" in sql and log == "duckdb":
        pytest.skip("DuckDB renames repeated columns itself")
    with pytest.raises(UserError, match=message) as error:
        read(sql)
    assert postgres.PASSWORD not in str(error.value) and "\n" not in str(error.value)
    assert read(FROM_LOG)[0].read_count == 3  # nothing was deleted


@pytest.mark.parametrize(
    ("scheme", "sql"),
    [
        ("sqlite", "vacuum into '{}'"),
        ("sqlite", "attach '{}' as other"),
        ("sqlite", "pragma journal_mode = wal"),
        ("sqlite", "create temp table mine (x)"),
        ("sqlite", "select load_extension('{}')"),
        ("duckdb", "select content as customer_id from read_text('{}')"),
        ("duckdb", "select * from '{}.csv'"),
        ("duckdb", "select * from glob('{}*')"),
    ],
)
def test_sql_reaches_the_tables_of_its_file_only(
    scheme: str, sql: str, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    {"sqlite": fill_sqlite, "duckdb": fill_duckdb}[scheme](tmp_path / "shop.db")
    monkeypatch.setenv("SHOP_DATABASE", f"{scheme}:///shop.db")
    other = tmp_path / "other"
    if scheme == "duckdb":
        other.write_text("hush-hush")
        other.with_suffix(".csv").write_text("customer_id\nhush-hush\n")
    with pytest.raises(
        UserError, match=r"source\.events\.sql: expected (a|one) SELECT from tables of the file"
    ) as error:
        read(sql.format(other))
    assert "hush" not in str(error.value) and other.exists() == (scheme == "duckdb")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select 'hush from events", "expected SQL that SQLite can run"),
        ("select hush(1)", "expected SQL that SQLite can run. no such function"),
        ("select ? from events", "expected one SELECT from tables of the file, without parameters"),
        ("select abs(-9223372036854775808) as customer_id", "it failed on a value"),
        ("select zeroblob(2000000000) as customer_id", "it failed on a value"),
    ],
)
def test_sql_of_sqlite_that_fails_is_not_blamed_on_the_file(
    sql: str, message: str, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_sqlite(tmp_path / "shop.db")
    monkeypatch.setenv("SHOP_DATABASE", "sqlite:///shop.db")
    with pytest.raises(UserError, match=rf"source\.events\.sql: .*{re.escape(message)}"):
        read(sql)


def test_a_damaged_file_of_sqlite_is_not_blamed_on_the_sql(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.db").write_bytes(b"no database" * 100)
    monkeypatch.setenv("SHOP_DATABASE", "sqlite:///shop.db")
    with pytest.raises(UserError, match=r"source\.events\.uri: expected a SQLite file that can be read"):
        read(FROM_LOG)


def test_functions_of_sqlite_that_are_tables_can_be_used(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_sqlite(tmp_path / "shop.db")
    monkeypatch.setenv("SHOP_DATABASE", "sqlite:///shop.db")
    numbers = "with recursive days(day) as (select 1 union all select day + 1 from days where day < 2)"
    items = 'customer_id, occurred_at, event_type, value as product_id from events, json_each(\'["p1", "p2"]\')'
    assert read(f"{numbers} select {items}, days")[0].read_count == 3 * 2 * 2
    with closing(sqlite3.connect(tmp_path / "shop.db")) as con, con:
        con.execute("create virtual table words using fts5 (customer_id, occurred_at, event_type, product_id)")
        con.execute("insert into words select customer_id, occurred_at, event_type, product_id from events")
    assert read("select * from words where words match 'view'")[0].read_count == 2


def test_a_table_without_rows_is_reported(log: str, read: Read) -> None:
    with pytest.raises(UserError, match=r"source\.events: expected rows, found none"):
        read("select * from events where 1 = 0")


def test_all_tables_can_be_in_databases(log: str, read: Read) -> None:
    more = "select distinct product_id, 'Pets > Cats' as category_path from events"
    people = "select distinct customer_id, 'Kyiv' as city from events"
    summary, _ = read(
        FROM_LOG,
        "source.products.uri=$SHOP_DATABASE", f"source.products.sql={more}",
        "source.customers.uri=$SHOP_DATABASE", f"source.customers.sql={people}",
    )  # fmt: skip
    assert summary.read_count == 3 and not summary.warnings


def test_types_of_postgresql(database: str, read: Read) -> None:
    postgres.query(
        database,
        "create table events as select * from (values "
        "(gen_random_uuid(), timestamp '2025-03-01 12:00', 1::smallint, 19.90::numeric, '{}'::jsonb, 1.5::real, inet '::1'), "
        "(gen_random_uuid(), timestamp '2025-03-02 12:00', 2::smallint, 'NaN'::numeric, '{}'::jsonb, 1.5::real, inet '::1'), "
        "(gen_random_uuid(), timestamp '2025-03-03 12:00', 3::smallint, 1e12::numeric, '{}'::jsonb, 1.5::real, inet '::1')"
        ") as t (customer_id, occurred_at, product_id, unit_price, extra, discount, address)",
    )
    summary, events = read(
        "select *, 'purchase' as event_type from events",
        "source.events.timezone=Europe/Kyiv", "checks.unreadable_number.error=1.0",
    )  # fmt: skip
    assert [(row["occurred_at"], row["product_id"], row["unit_price"]) for row in events] == [
        (datetime(2025, 3, 1, 10), "1", 19.9),
        (datetime(2025, 3, 3, 10), "3", 1e12),
    ]
    assert summary.rejected_by_rule["unreadable_number"] == 1  # NaN
    assert all(len(row["customer_id"]) == 36 for row in events)


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_infinite_times_are_empty_and_reported(kind: str, database: str, read: Read) -> None:
    postgres.query(
        database,
        f"create table events as select 'a' as customer_id, 'view' as event_type, 'p' as product_id, x::{kind} as "
        "occurred_at from (values ('infinity'), ('-infinity'), ('2025-01-01 00:00+00')) as t (x)",
    )
    summary, events = read(FROM_LOG)
    assert [row["occurred_at"] for row in events] == [datetime(2025, 1, 1)]
    assert summary.rejected_by_rule["unreadable_time"] == 2
    assert any("2 times in column 'occurred_at' are infinite" in text for text in summary.warnings)
    summary, _ = read(f"{FROM_LOG} where isfinite(occurred_at)")
    assert not any("infinite" in text for text in summary.warnings)


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_times_that_no_calendar_has_are_empty_and_reported(
    kind: str, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = ["infinity", "-infinity", "10000-01-01", "0044-03-15 (BC)", "2025-01-01"]
    days += ["5881580-07-10"] if kind == "date" else []
    with closing(duckdb.connect(tmp_path / "shop.db")) as con:
        con.execute("set TimeZone = 'UTC'")
        con.execute(
            f"create table events as select 'a' as customer_id, 'view' as event_type, 'p' as product_id, "
            f"day::{kind} as occurred_at from (select unnest({days}) as day)"
        )
    monkeypatch.setenv("SHOP_DATABASE", "duckdb:///shop.db")
    summary, events = read(FROM_LOG)
    assert [row["occurred_at"] for row in events] == [datetime(2025, 1, 1)]
    assert any(f"{len(days) - 1} times in column 'occurred_at' are infinite" in text for text in summary.warnings)


def test_the_last_days_of_the_calendar_are_kept(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(duckdb.connect(tmp_path / "shop.db")) as con:
        con.execute(
            "create table events as select 'a' as customer_id, 'view' as event_type, 'p' as product_id, day::date as "
            "occurred_at from (select unnest(['9999-12-31', '0001-01-01', '2025-01-01']) as day)"
        )
    monkeypatch.setenv("SHOP_DATABASE", "duckdb:///shop.db")
    summary, _ = read(FROM_LOG, "checks.time_out_of_range.error=1.0")
    assert not any("infinite" in text for text in summary.warnings)


def test_money_of_postgresql_is_refused(database: str, read: Read) -> None:
    fill_postgresql(database)
    with pytest.raises(UserError, match=r"found the type money.* Write unit_price::numeric"):
        read("select customer_id, occurred_at, event_type, product_id, unit_price::money from events")


def test_a_column_of_sqlite_may_hold_values_of_any_type(tmp_path: Path, read: Read, monkeypatch: Any) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as con, con:
        con.execute("create table events (customer_id, occurred_at, event_type, product_id, unit_price)")
        rows = [
            (17850.0, "2025-01-01", "view", 7, "1.5"),
            ("0017", "2025-01-02", "view", "x", 2),
            (b"\x0a", "2025-01-03", "view", 7, 0.1),
        ]
        con.executemany("insert into events values (?, ?, ?, ?, ?)", rows)
    monkeypatch.setenv("SHOP_DATABASE", f"sqlite:///{tmp_path / 'shop.db'}")
    _, events = read(FROM_LOG)
    assert [(row["customer_id"], row["product_id"], row["unit_price"]) for row in events] == [
        ("17850", "7", 1.5),
        ("0017", "x", 2.0),
        ("0a", "7", 0.1),
    ]


def test_an_address_is_never_in_a_params_file(tmp_path: Path) -> None:
    address = "postgresql://ann:hush-hush@host/db?password=hush-hush"
    path = tmp_path / "params.yaml"
    path.write_text(f"base: {PARAMS}\nsource:\n  events: {{uri: '{address}', sql: select 1}}\n")
    with pytest.raises(ParamsError, match=r"line 3.*environment variable, such as \$SHOP_DATABASE") as error:
        load_params(path)
    assert "hush-hush" not in str(error.value)
    with pytest.raises(ParamsError, match=r"environment variable, such as \$SHOP_DATABASE") as error:
        load_params(PARAMS, [f"source.events.uri={address}", "source.events.sql=select 1"])
    assert "hush-hush" not in str(error.value)


def test_sql_and_address_come_together_and_alone(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"expected `sql` .* and `uri` .* together"):
        load_params(PARAMS, ["source.events.sql=select 1"])
    with pytest.raises(ParamsError, match=r"expected `sql` .* and `uri` .* together"):
        load_params(PARAMS, ["source.events.uri=$SHOP_DATABASE"])
    path = tmp_path / "shop.yaml"
    path.write_text(f"base: {PARAMS}\nsource:\n  events: {{uri: $SHOP_DATABASE, sql: select 1}}\n")
    moved = load_params(path).source.events
    assert (moved.path, moved.query, moved.uri, moved.sql) == (None, None, "$SHOP_DATABASE", "select 1")
    back = tmp_path / "back.yaml"
    back.write_text("base: shop.yaml\nsource:\n  events: {path: log.csv}\n")
    assert (load_params(back).source.events.path, load_params(back).source.events.uri) == ("log.csv", None)
    assert load_params(path, ["source.events.path=log.csv"]).source.events.sql is None
    other = tmp_path / "other.yaml"
    other.write_text("base: shop.yaml\nsource:\n  events: {sql: select 2}\n")
    assert load_params(other).source.events.uri == "$SHOP_DATABASE"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (None, r"source\.events\.uri: expected the address .* variable SHOP_DATABASE, .* It is not set"),
        ("host=h password=hush-hush", r"variable SHOP_DATABASE, .* It holds something else"),
        ("mysql://ann:hush-hush@host/db", r"begins with postgresql://, sqlite:/// or duckdb:///"),
        ("sqlite:///nothing.db", r"of a file that exists"),
        ("sqlite://ann:hush-hush@nothing.db", r"of a file that exists"),
    ],
)
def test_addresses_that_cannot_be_used(
    address: str | None, message: str, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOP_DATABASE", raising=False)
    if address is not None:
        monkeypatch.setenv("SHOP_DATABASE", address)
    with pytest.raises(UserError, match=message) as error:
        read(FROM_LOG)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((postgres.PASSWORD, "hush-hush"), "whose user, password and encryption the database accepts; it refused them"),
        (("kindred:", "nobody_here:"), "whose user, password and encryption the database accepts; it refused them"),
        ((re.compile(r"/shop_\w+$"), "/hush-hush"), "of a database that exists; the server has no such"),
        ((re.compile(r":\d+/"), ":1/"), "nothing answers there. Check the host and the port"),
        (("127.0.0.1", "no-such-host.invalid"), "nothing answers there. Check the host and the port"),
        ((re.compile(r"$"), "?hush=hush-hush"), "such as postgresql://user:password@host/database, found another form"),
    ],
)
def test_connections_that_fail(
    change: tuple[Any, str], message: str, database: str, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATABASE", re.sub(change[0], change[1], database))
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read(FROM_LOG)
    text = str(error.value)
    assert text.startswith("source.events.uri: ") and "\n" not in text and text.count("$SHOP_DATABASE")
    assert not any(secret in text for secret in (postgres.PASSWORD, "hush-hush", "127.0.0.1", "kindred"))


def test_a_connection_that_is_lost_while_rows_are_read(database: str, read: Read) -> None:
    def end_the_query() -> None:
        active = "select pg_terminate_backend(pid) from pg_stat_activity where query like 'COPY%' and state = 'active'"
        for _ in range(100):
            time.sleep(0.05)
            if postgres.query(database, active):
                return

    thread = threading.Thread(target=end_the_query)
    thread.start()
    slow = "select n::text as customer_id, pg_sleep(0.001)::text as x from generate_series(1, 20000) as t (n)"
    with pytest.raises(UserError, match=r"source\.events\.uri: .* the connection was lost"):
        read(slow)
    thread.join()


def test_a_value_that_cannot_be_converted_is_not_shown(log: str, read: Read) -> None:
    if log == "sqlite":
        pytest.skip("SQLite converts every text to a number")
    with pytest.raises(
        UserError, match=r"source\.events\.sql: .*(one cannot be, and is not shown|failed on a value)"
    ) as error:
        read("select customer_id::integer as customer_id from events")
    assert "nal" not in str(error.value) and "\n" not in str(error.value)


def test_rejected_rows_and_advice_name_the_sql(log: str, read: Read) -> None:
    with pytest.raises(UserError, match=r"sql row 1, sql row 2, sql row 3"):
        read("select null as customer_id, occurred_at, event_type, product_id from events")
    with pytest.raises(UserError, match=r"add it in source\.events\.sql: select"):
        read("select customer_id, occurred_at, product_id from events")


def test_rights_that_are_missing(database: str, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_postgresql(database)
    postgres.query(database, f"create role reader_{database[-8:]} login password 'hush-hush'")
    monkeypatch.setenv(
        "SHOP_DATABASE", database.replace(f"kindred:{postgres.PASSWORD}", f"reader_{database[-8:]}:hush-hush")
    )
    with pytest.raises(UserError, match=r"expected rights that suffice\. permission denied for table events"):
        read(FROM_LOG)


def test_a_driver_that_is_not_installed(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "adbc_driver_postgresql", None)
    monkeypatch.setenv("SHOP_DATABASE", "postgresql://ann:hush-hush@host/db")
    with pytest.raises(UserError, match=r"not installed.*pip install -e '\.\[databases\]'") as error:
        read(FROM_LOG)
    assert "hush" not in str(error.value)


def test_a_file_of_a_database_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = ["source.events.uri=$SHOP_DATABASE", "source.events.sql=select 1", "source.products=null"]
    params = load_params(PARAMS, [*places, "source.customers=null"])
    monkeypatch.setenv("SHOP_DATABASE", f"sqlite:///{tmp_path / 'shop.db'}")
    assert source_files(params) == [tmp_path / "shop.db"]
    monkeypatch.setenv("SHOP_DATABASE", "postgresql://host/db")
    assert source_files(params) == []
    monkeypatch.delenv("SHOP_DATABASE")
    assert source_files(params) == []


def test_tables_of_files_keep_their_digests_and_fingerprints() -> None:
    events = load_params(PARAMS).source.model_dump()["events"]
    assert "path" in events and not events.keys() & {"uri", "sql"}
    params = load_params(PARAMS, ["source.events.uri=$SHOP_DATABASE", "source.events.sql=select 1"])
    assert params.redacted().source.events == params.source.events
    assert params_from_json(params.model_dump_json(), PARAMS.parent).source == params.source
    elsewhere = load_params(PARAMS, ["source.events.uri=$COPY_OF_SHOP", "source.events.sql=select 1"])
    assert source_fingerprint(elsewhere) == source_fingerprint(params) != source_fingerprint(load_params(PARAMS))


def test_the_digest_is_of_the_rows(log: str, read: Read) -> None:
    first, _ = read(FROM_LOG)
    same, _ = read(f"{FROM_LOG} order by product_id desc")
    fewer, _ = read(f"{FROM_LOG} where product_id = 'p1'")
    assert first.digest == same.digest != fewer.digest
