"""The simulated shop: the same seed gives the same bytes, and everything planted can be found again."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet
import pytest

from pipeline.config.errors import UserError
from pipeline.config.load import load_params
from pipeline.config.progress import Progress
from pipeline.ingest.files.raw_tables import source_files
from pipeline.simulate import SimulatedShop, shop, simulate
from pipeline.simulate.folders import replacing_folder
from pipeline.simulate.personas import PERSONAS

CUSTOMERS = 6_000
TEXTS = ("customer_id", "event_type", "product_id", "query", "order_id", "session_id", "channel")
NUMBERS = ("quantity", "unit_price", "discount")
COLUMNS = {
    **dict.fromkeys(TEXTS, "VARCHAR"),
    **dict.fromkeys(NUMBERS, "DOUBLE"),
    "occurred_at": "TIMESTAMP WITH TIME ZONE",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedShop:
    return simulate(tmp_path_factory.mktemp("made") / "shop", customers=CUSTOMERS, days=395, seed=7, dirty_share=0.01)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> SimulatedShop:
    return simulate(tmp_path_factory.mktemp("clean") / "shop", customers=CUSTOMERS, days=395, seed=8, dirty_share=0.0)


def open_shop(made: SimulatedShop) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("SET TimeZone='UTC'")
    con.execute(f"create view events as from '{made.folder}/events/*.parquet'")
    for name in ("products", "customers", "truth_customers", "truth_queries"):
        con.execute(f"create view {name} as from '{made.folder}/{name}.parquet'")
    return con


@pytest.fixture(scope="module")
def dirty_log(made: SimulatedShop) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_shop(made) as con:
        yield con


@pytest.fixture(scope="module")
def log(clean: SimulatedShop) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_shop(clean) as con:
        con.execute("""
            create table activity as
            select kind, t.customer_id, count(e.customer_id) as event_count,
                count(*) filter (event_type = 'view') as views, count(*) filter (event_type = 'cart') as carts,
                count(*) filter (event_type = 'purchase') as purchases,
                count(distinct order_id) filter (event_type = 'purchase') as orders,
                count(*) filter (event_type = 'purchase' and discount > 0) as discounted,
                count(*) filter (event_type = 'return') as returns,
                sum(quantity * unit_price) filter (event_type = 'purchase') as spend,
                min(occurred_at) as first_at, max(occurred_at) as last_at
            from truth_customers t left join events e using (customer_id) group by all""")
        yield con


def fetch_one(con: duckdb.DuckDBPyConnection, query: str) -> Any:
    """The only row of a query result: its value if it has one column, else the row."""
    row = con.execute(query).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ── bytes and folders ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, file_format: str) -> None:
    folders = [tmp_path / name / "shop" for name in ("a", "b", "c")]
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        simulate(folder, customers=300, days=90, seed=seed, file_format=file_format)
    first, again, other = (digests(folder) for folder in folders)
    assert first == again
    assert first.keys() == other.keys()
    assert not set(first.values()) & set(other.values())


def test_a_chunk_does_not_depend_on_later_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "CHUNK_CUSTOMERS", 200)
    simulate(tmp_path / "small", customers=200, days=90, seed=1)
    simulate(tmp_path / "large", customers=500, days=90, seed=1)
    small, large = digests(tmp_path / "small"), digests(tmp_path / "large")
    assert small["events/part-00000.parquet"] == large["events/part-00000.parquet"]
    assert [name for name in large if name.startswith("events")] == [f"events/part-0000{n}.parquet" for n in range(3)]
    assert pyarrow.parquet.read_table(tmp_path / "large" / "truth_customers.parquet").num_rows == 500


def test_an_old_shop_is_replaced_but_other_files_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    simulate(folder, customers=50, days=60, seed=1)
    simulate(folder, customers=60, days=60, seed=1)
    assert pyarrow.parquet.read_table(folder / "truth_customers.parquet").num_rows == 60
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "notes.txt").write_text("keep this text")
    with pytest.raises(UserError, match="documents: expected a new folder"):
        simulate(tmp_path / "documents", customers=50, days=60, seed=1)
    with pytest.raises(UserError, match="Got a file"):
        simulate(tmp_path / "documents" / "notes.txt", customers=50, days=60, seed=1)
    assert (tmp_path / "documents" / "notes.txt").read_text() == "keep this text"


def test_a_failure_leaves_the_old_shop_unchanged(tmp_path: Path) -> None:
    simulate(tmp_path / "shop", customers=50, days=60, seed=1)
    before = digests(tmp_path / "shop")

    class Stop(Progress):
        def count(self, step: str, done: int, total: int) -> None:
            raise RuntimeError(step)

    with pytest.raises(RuntimeError, match="customers"):
        simulate(tmp_path / "shop", customers=60, days=60, seed=2, progress=Stop())
    assert digests(tmp_path / "shop") == before
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"customers": 0}, "customers of a simulated shop must be 1 or more. Got 0"),
        ({"days": 59}, "days of a simulated shop must be 60 or more. Got 59"),
        ({"seed": -1}, "seed of a simulated shop must be 0 or more. Got -1"),
        ({"file_format": "xlsx"}, "must be one of parquet, csv. Got 'xlsx'"),
        ({"dirty_share": 0.9}, "dirty_share of a simulated shop must be from 0 to 0.5. Got 0.9"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        simulate(tmp_path / "shop", **{"customers": 10, "days": 60, "seed": 1, **wrong})
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
@pytest.mark.parametrize("customers", [1, 2, 7])
def test_the_smallest_shops(tmp_path: Path, customers: int, file_format: str) -> None:
    for seed in range(4):
        simulate(tmp_path / "shop", customers=customers, days=60, seed=seed, file_format=file_format, dirty_share=0.5)


# ── the log ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_busy_shop_has_the_same_customers_and_about_a_hundred_events_each(tmp_path: Path) -> None:
    usual = simulate(tmp_path / "usual", customers=2_000, days=395, seed=3)
    busy = simulate(tmp_path / "busy", customers=2_000, days=395, seed=3, kind="busy")
    assert busy.kinds == usual.kinds
    assert 80 * busy.customers < busy.event_count < 130 * busy.customers


def test_columns_and_bounds(log: duckdb.DuckDBPyConnection, clean: SimulatedShop) -> None:
    assert {name: kind for name, kind, *_ in log.execute("describe events").fetchall()} == COLUMNS
    count, first, last = fetch_one(log, "select count(*), min(occurred_at), max(occurred_at) from events")
    assert count == clean.event_count
    assert datetime(2024, 11, 1, tzinfo=UTC) <= first < datetime(2024, 11, 3, tzinfo=UTC)
    assert datetime(2025, 11, 29, tzinfo=UTC) < last < datetime(2025, 12, 1, tzinfo=UTC)
    assert (clean.training_as_of, clean.ends_at) == ("2025-11-01T00:00:00Z", "2025-12-01T00:00:00Z")
    times = pyarrow.parquet.read_table(Path(clean.folder, "events/part-00000.parquet"))["occurred_at"].to_numpy()
    assert (times[1:] >= times[:-1]).all()


def test_truth_covers_all_customers(log: duckdb.DuckDBPyConnection) -> None:
    assert fetch_one(log, "select count(*), count(distinct customer_id) from truth_customers") == (CUSTOMERS, CUSTOMERS)
    for table in ("events", "customers"):
        assert fetch_one(log, f"select count(*) from {table} anti join truth_customers using (customer_id)") == 0
    assert fetch_one(log, "select count(*) from events e where query is not null "
                    "and query not in (select query from truth_queries)") == 0  # fmt: skip
    assert fetch_one(log, "select count(*) - count(distinct query) from truth_queries") == 0
    paths = (
        "select category_path from products union select regexp_replace(category_path, ' > [^>]*$', '') from products"
    )
    assert fetch_one(log, f"select count(*) from truth_queries where category_path not in ({paths})") == 0
    assert (
        fetch_one(
            log, f"select count(*) from truth_customers, unnest(interests) as i(path) where path not in ({paths})"
        )
        == 0
    )
    assert fetch_one(log, "select min(len(interests)), max(len(interests)) from truth_customers") == (1, 3)
    unseen = "select count(*) from truth_customers join activity using (customer_id) where first_seen_at <> first_at"
    assert fetch_one(log, unseen) == 0
    new = fetch_one(log, "select count(*) filter (first_seen_at >= '2025-11-01'), count(*) from truth_customers "
                   "where is_new_after_training")  # fmt: skip
    assert new[0] == new[1] > 0.03 * CUSTOMERS


def test_every_return_has_its_purchase(log: duckdb.DuckDBPyConnection) -> None:
    sold = fetch_one(log, """
        select count(*), count(p.order_id), min(r.occurred_at - p.occurred_at), min(r.quantity)
        from events r left join events p on p.event_type = 'purchase' and p.order_id = r.order_id
            and p.product_id = r.product_id and p.customer_id = r.customer_id
        where r.event_type = 'return'""")  # fmt: skip
    assert sold[0] == sold[1] > 0
    assert sold[2].days >= 2
    assert sold[3] >= 1
    assert fetch_one(log, "select min(unit_price * quantity - discount) from events where discount is not null") > 0
    assert fetch_one(log, "select count(*) from events where discount <= 0") == 0
    per_order = "select count(distinct customer_id) + count(distinct occurred_at) from events \
        where event_type = 'purchase' group by order_id"
    assert fetch_one(log, f"select max(columns(*)) from ({per_order})") == 2


def test_sessions_are_visits(log: duckdb.DuckDBPyConnection) -> None:
    sessions = """
        select count(distinct customer_id) as people, max(occurred_at) - min(occurred_at) as length,
            count(distinct split_part(category_path, ' > ', 2)) as seconds, count(distinct channel) as channels
        from events left join products using (product_id) where session_id is not null group by session_id"""
    people, length, seconds, channels = fetch_one(
        log, f"select max(people), max(length), avg((seconds <= 2)::int), max(channels) from ({sessions})"
    )
    assert (people, channels) == (1, 1)
    assert length.total_seconds() < 3 * 3600
    assert seconds > 0.95
    assert fetch_one(log, "select avg((session_id is not null)::int) from events") > 0.9
    gaps = """select occurred_at - lag(occurred_at) over w as gap, session_id = lag(session_id) over w as is_same
        from events where session_id is not null window w as (partition by customer_id order by occurred_at)"""
    assert fetch_one(log, f"select count(*) from ({gaps}) where is_same and gap > interval 30 minute") == 0
    assert fetch_one(log, f"select avg((gap > interval 30 minute)::int) from ({gaps}) where not is_same") > 0.999


def test_seasons_and_hours(log: duckdb.DuckDBPyConnection) -> None:
    garden = "select avg((category_path like 'Garden%')::int) from events join products using (product_id)"
    assert fetch_one(log, f"{garden} where month(occurred_at) = 4") > 2 * fetch_one(
        log, f"{garden} where month(occurred_at) = 12"
    )
    night, evening = fetch_one(log, "select avg((hour(occurred_at) between 2 and 5)::int), "
                              "avg((hour(occurred_at) between 18 and 21)::int) from events")  # fmt: skip
    assert night < 0.05
    assert evening > 0.2


# ── searches ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_searches_in_four_languages_with_typing_errors(log: duckdb.DuckDBPyConnection) -> None:
    searches = "from events join truth_queries using (query)"
    shares = dict(log.execute(f"select language, count(*) / sum(count(*)) over () {searches} group by 1").fetchall())
    assert set(shares) == {"en", "uk", "ru", "sq"}
    assert min(shares.values()) > 0.1
    assert 0.08 < fetch_one(log, f"select avg(is_typo::int) {searches}") < 0.16
    typos = dict(log.execute("select language, count(*) from truth_queries where is_typo group by 1").fetchall())
    assert min(typos.values()) > 50
    assert fetch_one(
        log, "select count(*) from truth_queries where is_typo and language = 'uk' and query similar to '[a-z ;,.]+'"
    )
    assert fetch_one(
        log, "select count(*) from truth_queries where is_typo and language = 'sq' and query = 'ushqim per mace'"
    )
    assert fetch_one(log, "select count(*) from truth_queries where category_path is null and not is_typo") > 10


def test_searches_mostly_lead_to_the_intended_category(log: duckdb.DuckDBPyConnection) -> None:
    outcomes = """
        with steps as (
            select query, lead(product_id) over (partition by session_id order by occurred_at) as product_id
            from events where session_id is not null)
        select avg((product_id is null)::int),
            avg((split_part(p.category_path, ' > ', 2) = split_part(q.category_path, ' > ', 2))::int)
        from steps join truth_queries q using (query) left join products p using (product_id)
        where q.category_path is not null"""
    without_click, intended = fetch_one(log, outcomes)
    assert without_click > 0.03
    assert 0.7 < intended < 0.98


# ── personas ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def of_persona(con: duckdb.DuckDBPyConnection, persona: str, figure: str) -> float:
    return float(fetch_one(con, f"select {figure} from activity where kind = '{persona}'"))


def test_every_persona_has_about_its_planned_share(log: duckdb.DuckDBPyConnection, clean: SimulatedShop) -> None:
    assert sum(persona.share for persona in PERSONAS) == pytest.approx(1.0)
    counts = dict(log.execute("select kind, count(*) from truth_customers group by 1").fetchall())
    assert counts == clean.kinds
    for persona in PERSONAS:
        assert counts[persona.name] / CUSTOMERS == pytest.approx(persona.share, rel=0.35)


def test_most_visitors_have_one_or_two_events(log: duckdb.DuckDBPyConnection) -> None:
    assert fetch_one(log, "select avg((event_count <= 2)::int) from activity where event_count > 0") > 0.5
    assert 15 < fetch_one(log, "select avg(event_count) from activity") < 30
    assert of_persona(log, "passer_by", "avg((event_count <= 2)::int)") > 0.9


def test_personas_behave_as_planted(log: duckdb.DuckDBPyConnection) -> None:
    assert of_persona(log, "browser", "sum(purchases)") == 0
    assert of_persona(log, "browser", "avg(views)") > 15
    assert of_persona(log, "silent", "sum(event_count)") == 0
    assert fetch_one(log, "select count(*) from activity where kind = 'silent' "
                    "and customer_id not in (select customer_id from customers)") == 0  # fmt: skip
    assert of_persona(log, "cart_abandoner", "avg(carts)") > of_persona(log, "regular", "avg(carts)") * 0.7
    assert of_persona(log, "cart_abandoner", "sum(purchases) / sum(carts)") < 0.1
    assert of_persona(log, "bargain_hunter", "sum(discounted) / sum(purchases)") > 0.8
    assert of_persona(log, "regular", "sum(discounted) / sum(purchases)") < 0.5
    assert of_persona(log, "heavy_returner", "sum(returns) / sum(purchases)") > 0.3
    assert of_persona(log, "regular", "sum(returns) / sum(purchases)") < 0.1
    assert of_persona(log, "one_time", "max(orders)") == 1
    assert of_persona(log, "vip", "avg(spend)") > 3 * of_persona(log, "regular", "avg(spend)")
    assert of_persona(log, "vip", "avg(orders)") > 2 * of_persona(log, "regular", "avg(orders)")


def test_activity_dates_match_the_persona(log: duckdb.DuckDBPyConnection) -> None:
    def days(figure: str) -> str:
        return f"date_diff('hour', {figure}, timestamptz '2025-11-01') / 24.0"

    assert of_persona(log, "lost", f"min({days('last_at')})") > 8 * 30.4
    assert of_persona(log, "lapsed", f"min({days('last_at')})") > 4 * 30.4
    assert of_persona(log, "lapsed", f"median({days('last_at')})") < 8 * 30.4
    assert of_persona(log, "new", f"max({days('first_at')})") <= 45
    assert 0.3 < of_persona(log, "new", "avg((first_at >= '2025-11-01')::int)") < 0.9
    for kind in ("vip", "regular", "bargain_hunter"):
        assert of_persona(log, kind, f"median({days('last_at')})") < 30


def test_personas_overlap(log: duckdb.DuckDBPyConnection) -> None:
    """Personas overlap like real customers do, so no segmentation can find them exactly."""
    assert of_persona(log, "vip", "quantile_cont(orders, 0.1)") < of_persona(
        log, "regular", "quantile_cont(orders, 0.95)"
    )
    assert of_persona(log, "browser", "quantile_cont(event_count, 0.95)") > 2.5 * of_persona(
        log, "browser", "median(event_count)"
    )


def test_short_logs_shrink_the_date_ranges(tmp_path: Path) -> None:
    """With thirty days of history instead of a year, eight months become 20 days and four months become 10."""
    made = simulate(tmp_path / "shop", customers=4_000, days=60, seed=3, dirty_share=0.0)
    with open_shop(made) as con:
        last = "select max(occurred_at) from events join truth_customers using (customer_id) where kind = "
        assert fetch_one(con, last + "'lost'") < datetime(2025, 10, 12, tzinfo=UTC)
        assert fetch_one(con, last + "'lapsed'") < datetime(2025, 10, 22, tzinfo=UTC)
        assert fetch_one(con, last + "'vip'") > datetime(2025, 11, 25, tzinfo=UTC)


# ── attributes and flaws ───────────────────────────────────────────────────────────────────────────────────────────────
def test_some_attributes_are_missing(log: duckdb.DuckDBPyConnection, clean: SimulatedShop) -> None:
    absent = ", ".join(f"avg(({name} is null)::int)" for name in ("city", "age_band", "gender", "registered_at"))
    row = fetch_one(log, f"select count(*), {absent} from customers")
    assert row[0] == clean.registered_count
    assert all(0.05 < share < 0.2 for share in row[1:4])
    assert row[4] == 0
    late = "select count(*) from customers join truth_customers using (customer_id) where registered_at > first_seen_at"
    assert fetch_one(log, late) == 0
    assert 0.3 < clean.registered_count / CUSTOMERS < 0.6


def test_reported_flaw_counts_match_the_files(dirty_log: duckdb.DuckDBPyConnection, made: SimulatedShop) -> None:
    rules = {
        "missing_customer_id": "customer_id is null",
        "time_out_of_range": "occurred_at < '1990-01-01' or occurred_at >= '2100-01-01'",
        "far_future_time": "occurred_at >= '2026-01-01' and occurred_at < '2100-01-01'",
        "negative_price": "unit_price < 0",
        "unknown_product": "product_id not in (select product_id from products)",
    }
    counts = {name: fetch_one(dirty_log, f"select count(*) from events where {rule}") for name, rule in rules.items()}
    counts["duplicate"] = fetch_one(
        dirty_log, "select (select count(*) from events) - (select count(*) from (select distinct * from events))"
    )
    assert counts == made.dirty
    assert sum(made.dirty.values()) / made.event_count == pytest.approx(0.01, rel=0.02)


def test_a_shop_without_flaws_is_clean(log: duckdb.DuckDBPyConnection, clean: SimulatedShop) -> None:
    assert set(clean.dirty.values()) == {0}
    assert (
        fetch_one(log, "select (select count(*) from events) - (select count(*) from (select distinct * from events))")
        == 0
    )


def test_the_suggested_command_reads_the_written_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(Path(__file__).parents[3] / "params.yaml", tmp_path / "params.yaml")
    for folder in ("demo/shop", "an other"):
        words = shlex.split(simulate(Path(folder), customers=50, days=100, seed=3).as_text().split("Next")[1])
        assert words[:3] == ["kindred", "train", "--set"]
        params = load_params(Path("params.yaml"), words[3::2])
        assert [path.relative_to(tmp_path / folder) for path in source_files(params)] == [
            *(Path("events/part-00000.parquet"), Path("products.parquet"), Path("customers.parquet"))
        ]


def test_csv_has_text_flaws(tmp_path: Path) -> None:
    made = simulate(tmp_path / "shop", customers=800, days=120, seed=5, file_format="csv", dirty_share=0.05)
    raw = (tmp_path / "shop" / "events" / "part-00000.csv").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        raw.decode("utf-8")
    lines = raw.rstrip(b"\n").split(b"\n")
    assert len(lines) - 1 == made.event_count
    broken = [line for line in lines if "\ufffd" in line.decode("utf-8", errors="replace")]
    assert len(broken) == made.dirty["broken_encoding"] > 5
    with duckdb.connect() as con:
        text = raw.decode("utf-8", errors="replace")
        (tmp_path / "text.csv").write_text(text, encoding="utf-8")
        con.execute(f"create view rows as from read_csv('{tmp_path}/text.csv', all_varchar=true, header=true)")
        for name, rule in {
            "unreadable_time": "try_cast(occurred_at as timestamptz) is null",
            "unreadable_number": "unit_price is not null and try_cast(unit_price as double) is null",
            "missing_customer_id": "customer_id is null",
        }.items():
            assert fetch_one(con, f"select count(*) from rows where {rule}") == made.dirty[name]
        repeated = "select (select count(*) from rows) - (select count(*) from (select distinct * from rows))"
        assert fetch_one(con, repeated) == made.dirty["duplicate"]


def test_what_a_killed_simulation_left_is_deleted_or_put_back(tmp_path: Path) -> None:
    folder, gone = tmp_path / "shop", 2**22 + 1  # above every process id
    for name in (f".part-{gone}-shop", f".old-{gone}-shop", f".part-{os.getppid()}-shop", f".part-{gone}-other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "marker").write_text(name)
    with pytest.raises(RuntimeError), replacing_folder(folder, marker="marker"):
        assert (folder / "marker").read_text() == f".old-{gone}-shop"
        raise RuntimeError
    assert {path.name for path in tmp_path.iterdir()} == {"shop", f".part-{os.getppid()}-shop", f".part-{gone}-other"}
