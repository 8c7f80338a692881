"""Mistakes users make: each gives a clear message or a sensible result, and leaves no partial files."""

from __future__ import annotations

import gzip
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.commands.check import check
from pipeline.commands.train import train
from pipeline.config.errors import ParamsError, UserError
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.ingest.files.raw_tables import SourceError
from pipeline.ingest.findings.summary import unlisted_text
from pipeline.ingest.source import read_source
from pipeline.stores.database import connect
from tests.conftest import copy_store
from tests.pipeline.conftest import params_in

PARAMS = Path(__file__).parents[2] / "params.yaml"
HEADER = "customer_id,occurred_at,event_type,product_id,category_path,unit_price\n"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Any]:
    """Read a log from text or rows; returns its summary and its accepted events."""

    def read_log(content: str | bytes | None, *more: str, name: str = "log.csv") -> Any:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        settings = (f"source.events.path={path}", "source.products=null", "source.customers=null")
        params = load_params(PARAMS, [*settings, *more])
        with connect(params.engine, folder=tmp_path / "work") as con:
            source = read_source(con, params, rejected_path=tmp_path / "rejected.parquet")
            return source.summary, con.to_pandas(source.events)

    return read_log


def rows(*times: str) -> str:
    return HEADER + "".join(f"c{i},{time},view,p1,Pets > Cats,2.5\n" for i, time in enumerate(times))


LENIENT = tuple(
    f"checks.{rule}.error=1.0"
    for rule in ("unreadable_row", "unreadable_time", "negative_price", "unreadable_number", "broken_encoding")
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-01-01 03:00:00+02:00", "2025-01-01 01:00:00"),
        ("2025-01-01T03:00:00Z", "2025-01-01 03:00:00"),
        ("2025-01-01 03:00:00 UTC", "2025-01-01 03:00:00"),
        ("2025-07-01 03:00:00", "2025-07-01 00:00:00"),  # summer in Kyiv
        ("2025-01-01 03:00:00", "2025-01-01 01:00:00"),  # winter
        ("2025-01-01", "2024-12-31 22:00:00"),
    ],
)
def test_times_are_converted_from_the_declared_time_zone(read: Callable[..., Any], text: str, expected: str) -> None:
    _, events = read(rows(text), "source.events.timezone=Europe/Kyiv")
    assert events.occurred_at.tolist() == [pd.Timestamp(expected)]


@pytest.mark.parametrize(
    ("unit", "value"),
    [("epoch_s", "1735689600"), ("epoch_ms", "1735689600000"), ("epoch_us", "1735689600000000")],
)
def test_epochs(read: Callable[..., Any], unit: str, value: str) -> None:
    _, events = read(rows(value), f"source.events.time_format={unit}")
    assert events.occurred_at.tolist() == [pd.Timestamp("2025-01-01")]


def test_a_declared_format(read: Callable[..., Any]) -> None:
    _, events = read(rows("31.12.2024 23:30"), "source.events.time_format='%d.%m.%Y %H:%M'")
    assert events.occurred_at.tolist() == [pd.Timestamp("2024-12-31 23:30")]


def test_numbers_as_times_need_a_unit(read: Callable[..., Any], tmp_path: Path) -> None:
    times = [1735689600000.0, 1735689600000.5, float("inf")]
    frame = pd.DataFrame({"customer_id": ["a"] * 3, "occurred_at": times, "event_type": ["view"] * 3})
    frame.to_parquet(tmp_path / "log.parquet")
    with pytest.raises(UserError, match="time_format: epoch_ms"):
        read(None, name="log.parquet")


def test_ids_that_look_like_numbers(read: Callable[..., Any], tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"customer_id": [17850.0, 12.0], "occurred_at": ["2025-01-01"] * 2, "event_type": "view", "product_id": [7, 8]}
    )
    frame.to_parquet(tmp_path / "log.parquet")
    _, events = read(None, name="log.parquet")
    assert sorted(events.customer_id) == ["12", "17850"]
    assert sorted(events.product_id) == ["7", "8"]
    _, events = read(HEADER + "007,2025-01-01,view,0815,A,1\n")
    assert events.customer_id.tolist() == ["007"]


def test_counts_add_up_and_reasons_are_kept(read: Callable[..., Any], tmp_path: Path) -> None:
    log = (
        rows("2025-01-01", "2025-01-02")
        + "c3,never,view,p1,A,-4\n,2025-01-01,view,p1,A,x\nc4,2025-01-01,cart,p1,A,1,9,9\n"
    )
    summary, events = read(log, *LENIENT, "checks.missing_customer_id.error=1.0")
    assert (summary.read_count, summary.accepted_count, summary.rejected_count) == (5, 2, 3)
    assert summary.physical_line_count == 6
    rejected = pq.read_table(tmp_path / "rejected.parquet").to_pylist()
    assert [sorted(row["reasons"])[0].partition(":")[0] for row in rejected] == [
        "negative_price",
        "missing_customer_id",
        "unreadable_row",
    ]
    assert rejected[0]["reasons"] == ["unreadable_time", "negative_price"]
    assert stat.S_IMODE((tmp_path / "rejected.parquet").stat().st_mode) == 0o600
    assert len(events) == 2


def test_a_run_over_the_threshold_stops_and_shows_no_values(read: Callable[..., Any]) -> None:
    log = rows("2025-01-01") + "secret@example.org,never,view,p1,A,1\n"
    with pytest.raises(SourceError, match=r"unreadable_time +1 rows +50.00%.*line 3") as caught:
        read(log)
    assert "secret" not in str(caught.value)


def test_rows_with_broken_encoding_are_rejected(read: Callable[..., Any]) -> None:
    log = rows("2025-01-01").encode() + b"c9,2025-01-01,view,p\xff1,A,1\n" + b"c8,2025-01-02,view,p1,A,1\n"
    summary, events = read(log, "source.events.encoding=utf-8", *LENIENT)
    assert summary.rejected_by_rule["broken_encoding"] == 1
    assert sorted(events.customer_id) == ["c0", "c8"]


def test_an_unclosed_quote_is_reported(read: Callable[..., Any]) -> None:
    log = rows("2025-01-01") + 'c1,2025-01-01,view,"p1,A,1\nc2,2025-01-01,view,p1,A,1\nc3,2025-01-01,view,p1,A,1\n'
    try:
        summary, _ = read(log, *LENIENT)
    except SourceError as error:
        assert "quote" in str(error) or "lines" in str(error)
    else:
        assert summary.read_count == summary.accepted_count + summary.rejected_count
        assert summary.rejected_by_rule["unreadable_row"] >= 1


def test_duplicates_are_counted_and_dropped_only_on_demand(read: Callable[..., Any]) -> None:
    log = rows("2025-01-01") + "c0,2025-01-01,view,p1,Pets > Cats,2.5\n"
    summary, events = read(log)
    assert (summary.duplicate_count, len(events)) == (1, 2)
    summary, events = read(log, "source.drop_duplicates=true")
    assert (summary.duplicate_count, len(events)) == (1, 1)


def test_duplicates_of_a_log_too_long_to_sort_at_once(
    read: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.ingest.duplicates.MAX_SORTED_HASHES", 4)
    days = [f"2025-01-{1 + day % 15:02d}" for day in range(20)]
    assert read(rows(*days))[0].duplicate_count == 0
    log = rows(*days) + "".join(f"c{day},2025-01-{1 + day % 15:02d},view,p1,Pets > Cats,2.5\n" for day in range(7))
    assert (
        read(log + "c0,2025-01-01,view,p1,Pets > Cats,2.5\nc99,no time,view,p1,Pets > Cats,2.5\n" * 2, *LENIENT)[
            0
        ].duplicate_count
        == 9
    )


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_json_lines(read: Callable[..., Any], name: str) -> None:
    text = '{"customer_id": 5, "occurred_at": "2025-01-01", "event_type": "view", "product_id": "p"}\n{broken\n'
    summary, events = read(gzip.compress(text.encode()) if name.endswith("gz") else text, *LENIENT, name=name)
    assert events.customer_id.tolist() == ["5"]
    assert summary.rejected_by_rule["unreadable_row"] == 1


def test_unmapped_event_types_are_other(read: Callable[..., Any]) -> None:
    summary, events = read(rows("2025-01-01").replace(",view,", ",wishlist,"))
    assert summary.other_event_types == {"wishlist": 1}
    assert events.event_type.tolist() == ["other"]


def test_unlisted_types_are_all_counted_and_the_first_are_shown(read: Callable[..., Any]) -> None:
    log = HEADER + "".join(f"c{i},2025-01-01,kind {i % 7},p1,Pets,1\n" for i in range(14))
    log += "c9,2025-01-01,view,p1,Pets,1\nc9,2025-01-01,logout,p1,Pets,1\nc9,2025-01-01," + "x" * 90 + ",p1,Pets,1\n"
    summary, _ = read(log, "source.events.event_types.other=[logout]")
    assert summary.unlisted_count == 15
    text = unlisted_text(summary.unlisted_count, summary.other_event_types, summary.accepted_count)
    assert text.startswith("15 of 17 events have types in no list") and "logout" not in text
    assert text.endswith("kind 0 (2), kind 1 (2), kind 2 (2), kind 3 (2), kind 4 (2), others (5)")
    summary, _ = read(log.replace("kind", "x" * 90))
    assert max(map(len, summary.other_event_types)) == 40


def test_values_that_cannot_be_types_are_not_shown(read: Callable[..., Any]) -> None:
    """For example, if the event type column contains ids."""
    log = HEADER + "".join(f"c{i},2025-01-01,anna{i}@example.org,p1,Pets,1\n" for i in range(51))
    summary, _ = read(log)
    assert (summary.unlisted_count, summary.other_event_types) == (51, {})
    assert "more than 50 different types; is event_type the right column?" in summary.warnings[0]
    assert "anna" not in str(summary)


def test_check_warns_about_unlisted_types(tmp_path: Path, shop: Path) -> None:
    params = params_in(tmp_path, shop, "source.events.event_types={view: [view], purchase: [purchase]}")
    assert re.search(r"Warnings\n  - [\d,]+ of [\d,]+ events have types in no list .*cart \([\d,]+\)", checked(params))
    assert "Warning" not in checked(params_in(tmp_path, shop))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["source.events.timezone=UTC"], "2025-06-30 22:30:00 to 2025-10-31 23:15:00 (time zone UTC)"),
        (
            ["source.events.timezone=UTC", "cards.timezone=Europe/Kyiv"],
            "2025-07-01 01:30:00 to 2025-11-01 01:15:00 (time zone Europe/Kyiv)",
        ),
        (
            ["source.events.timezone=Europe/Kyiv"],
            "2025-06-30 22:30:00 to 2025-10-31 23:15:00 (time zone Europe/Kyiv)",
        ),
    ],
)
def test_check_shows_times_in_the_time_zone_of_the_reports(tmp_path: Path, more: list[str], expected: str) -> None:
    log = tmp_path / "log.csv"
    log.write_text(rows("2025-06-30 22:30:00", "2025-10-31 23:15:00"))
    assert f"Period    {expected}" in checked(params_in(tmp_path, tmp_path, *without_tables(log), *more)).splitlines()


def without_tables(log: Path) -> tuple[str, ...]:
    return (f"source.events.path={log}", "source.products=null", "source.customers=null")


def checked(params: Params) -> str:
    return check(params, progress=SILENT)


LOG = "CustomerID,InvoiceDate,StockCode,Quantity,Description\n007,2025-01-01,p1,2,a mug\n"


def test_a_failing_query_does_not_reveal_its_password(tmp_path: Path, shop: Path) -> None:
    query = "select * from read_parquet('nosuch/secret_key=hunter2/x.parquet')"
    params = params_in(tmp_path, shop, "source.events.path=null", f"source.events.query={query}")
    with pytest.raises(SourceError, match="No files found") as caught:
        checked(params)
    assert "hunter2" not in str(caught.value)


def test_a_log_with_only_purchases(read: Callable[..., Any], tmp_path: Path) -> None:
    columns = "source.events.columns={customer_id: CustomerID, occurred_at: InvoiceDate, product_id: StockCode}"
    with pytest.raises(SourceError, match="expected a column 'event_type'") as caught:
        read(LOG, columns)
    message = str(caught.value)
    assert "nearest" not in message
    query = re.search(r'write source.events.path: null and source.events.query: (".*?")\. If', message)
    assert query
    more = (columns, "source.events.path=null", f"source.events.query={query[1]}")
    summary, events = read(LOG, *more)
    assert summary.event_types == {"purchase": 1} and events.customer_id.tolist() == ["007"]
    with pytest.raises(SourceError, match=r"add it in source\.events\.query: select \.\.\., 'purchase' as event_type"):
        read(LOG, columns, "source.events.path=null", "source.events.query=select 1 as CustomerID, 2 as InvoiceDate")


@pytest.mark.parametrize(
    ("header", "nearest"),
    [
        ("CustomerID,occurred_at,event_type", "CustomerID"),
        ("user_id,occurred_at,event_type", "user_id"),
        ("custmer_id,occurred_at,event_type", "custmer_id"),
        ("customer_id,occurred_at,Action", "Action"),
        ("customer_id,timestamp,event_type", "timestamp"),
        ("customer_id,occurred_at,event_time", None),
        ("customer_id,occurred_at,Quantity", None),
        ("customer_id,weather,event_type", None),
    ],
)
def test_only_plausible_columns_are_suggested(read: Callable[..., Any], header: str, nearest: str | None) -> None:
    with pytest.raises(SourceError, match="expected a column") as caught:
        read(f"{header}\na,b,c\n")
    found = re.search(r"The nearest is '(\w+)'", str(caught.value))
    assert (found and found[1]) == nearest


def test_several_files_of_purchases(read: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("a", "b/c"):
        (tmp_path / "log" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "log" / f"{name}.csv").write_text("customer_id,occurred_at,product_id\n1,2025-01-01,p\n")
    places = f"source.events.path=[{tmp_path}/log/a.csv, {tmp_path}/log/b/c.csv]"
    with pytest.raises(SourceError) as caught:
        read(None, places)
    query = re.search(r'query: (".*?")\. If', str(caught.value))
    assert query
    assert read(None, "source.events.path=null", f"source.events.query={query[1]}")[0].accepted_count == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found none"),
        ("", "Empty: log.csv"),
        (HEADER, "expected rows, found none"),
        ("customer,occurred_at,event_type\na,2025-01-01,view\n", "nearest is 'customer'"),
        (rows("never"), "none of the 1 rows can be used"),
    ],
)
def test_logs_that_cannot_be_read(read: Callable[..., Any], content: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(content)


def test_a_folder_without_matches(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "empty" / "*.csv"):
        params = load_params(PARAMS, [f"source.events.path={place}"])
        with connect(params.engine, folder=tmp_path) as con, pytest.raises(SourceError, match="found none"):
            read_source(con, params, rejected_path=None)


@pytest.mark.parametrize("query", ["drop table x", "select 1; select 2", "selekt"])
def test_a_query_must_be_a_single_select(tmp_path: Path, query: str) -> None:
    params = load_params(PARAMS, ["source.events.path=null", f"source.events.query='{query}'"])
    with connect(params.engine, folder=tmp_path) as con, pytest.raises(SourceError, match=r"SELECT|SQL"):
        read_source(con, params, rejected_path=None)


NO_MINIMUM = ("minimum.customers=0", "minimum.history_days=0", "minimum.orders=0")


@pytest.fixture
def small_log(tmp_path: Path, mlflow_store: Path) -> Callable[..., Any]:
    """Train on the rows of a frame."""

    def train_small(frame: pd.DataFrame, *more: str) -> Any:
        copy_store(mlflow_store, tmp_path)
        frame.to_parquet(tmp_path / "log.parquet")
        settings = (
            f"source.events.path={tmp_path / 'log.parquet'}",
            *("source.products=null", "source.customers=null", "facets.behaviour.n_segments=4"),
            *("facets.interest.try_n_segments=[4, 8]", "sweep.resamples=2", "clustering.kmeans.n_init=2"),
            *("quality.stability_resamples=1", f"outputs.folder={tmp_path / 'outputs'}"),
            *(f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}", f"tracking.artifacts={tmp_path / 'artifacts'}"),
        )
        return train(load_params(PARAMS, [*settings, *NO_MINIMUM, *more]), sweep=False, progress=SILENT)

    return train_small


def log_of(customers: int, events: int, **columns: Any) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    count = customers * events
    return pd.DataFrame(
        {
            "customer_id": np.repeat([f"c{i:04}" for i in range(customers)], events),
            "occurred_at": pd.Timestamp("2025-10-01")
            + pd.to_timedelta(generator.integers(0, 2_000_000, count), unit="s"),
            "event_type": generator.choice(["view", "cart", "purchase"], count),
            "product_id": "p",
            "category_path": generator.choice(["A > x", "B > y"], count),
            "unit_price": 1.0,
            **columns,
        }
    )


ODD = "Cats \"q\" 'q' <b>x</b> 🐈 " + "x" * 9_900


@pytest.mark.parametrize(
    ("frame", "names"),
    [
        (log_of(1, 9), 1),
        (log_of(30, 9, category_path="only one"), 4),
        (log_of(20, 4, occurred_at=pd.Timestamp("2025-10-01"), event_type="view", category_path="A"), 1),
        (log_of(3, 9), 3),
        (log_of(40, 6, event_type="view"), 4),
        (log_of(40, 6, category_path=np.tile([ODD, "B $x$ > é"], 120)), 4),
        (log_of(60, 5, category_path=[f"leaf {i}" for i in range(300)]), 4),
    ],
    ids=[
        "one customer",
        "one category",
        "all the same",
        "fewer than segments",
        "no purchases",
        "odd texts",
        "flat tree",
    ],
)
def test_small_and_odd_shops_train(small_log: Callable[..., Any], frame: pd.DataFrame, names: int) -> None:
    trained = small_log(frame)
    for facet, own in trained.segments.groupby("facet"):
        assert (~own.is_standing).sum() <= (names if facet == "behaviour" else frame.category_path.nunique() + 1)
        assert abs(own.customer_count.sum() - frame.customer_id.nunique()) <= 10 * len(own)  # rounded
    assert "<b>x</b>" not in trained.report_path.read_text()


def test_no_customer_has_enough_events(small_log: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at least 3 events and evidence of 0, found none among 5"):
        small_log(log_of(5, 2))
    assert not (tmp_path / "outputs" / "report.html").exists()


@pytest.mark.slow
def test_a_hundred_thousand_categories(small_log: Callable[..., Any]) -> None:
    """A million are read in tests of the source."""
    frame = log_of(1_000, 100).assign(category_path=[f"r{i % 7} > s{i % 3000} > leaf {i}" for i in range(100_000)])
    assert not small_log(frame).segments.duplicated(["facet", "name"]).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("clusterin: {}", "not a key that Kindred knows. Did you mean `clustering`"),
        ("seed: 1\nseed: 2", "params.yaml, line 3: expected each key once. `seed` is already in line 2"),
        ("seed: many", "line 2: `seed`: Input should be a valid integer"),
        ("as_of: 2025-01-01T00:00:00", "with an offset"),
        ("seed: [", "expected YAML"),
    ],
)
def test_params_that_cannot_be_used(tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"base: {PARAMS}\n{change}\n")
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert message in str(caught.value) and "a date that exists" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("facets.behaviour.n_segment=8", "Did you mean `n_segments`?"),
        ("n_segments=8", "Did you mean `facets.behaviour.n_segments`?"),
        ("facets.behavior.n_segments=8", "there is no section `facets.behavior`. Did you mean `behaviour`?"),
        ("clusterin.n_segments=8", "there is no section `clusterin`. Did you mean `clustering`?"),
        ("xyz.here=1", "there is no section `xyz`."),
    ],
)
def test_a_misspelt_key_gets_a_suggestion(override: str, message: str) -> None:
    with pytest.raises(ParamsError) as caught:
        load_params(PARAMS, [override])
    assert str(caught.value).endswith(message)


def test_messages_do_not_repeat_themselves(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        load_params(PARAMS, ["source.events.timezone=Kyiv"])
    assert str(caught.value).endswith("expected a time zone such as UTC or Europe/Kyiv. Got 'Kyiv'.")
    with pytest.raises(ParamsError, match=r"none\.yaml: expected a params file, found none; name yours with --params"):
        load_params(tmp_path / "none.yaml")
    (tmp_path / "mine.yaml").write_text("base: none.yaml")
    with pytest.raises(ParamsError, match=r"none\.yaml: expected a params file, found none; `base` of mine\.yaml"):
        load_params(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    "override",
    [
        "facets.behaviour.n_segments=none",
        "nothing.here=1",
        "seed",
        "naming.archetypes.99.id=x",
        "clustering.kmeans.n_inits=4",
    ],
)
def test_overrides_that_cannot_be_used(override: str) -> None:
    with pytest.raises(ParamsError):
        load_params(PARAMS, [override])


def test_set_reaches_every_key() -> None:
    params = load_params(
        PARAMS, ["facets.behaviour.n_segments=9", "naming.archetypes.0.priority=7", "source.categories.path=x.csv"]
    )
    behaviour = params.facets["behaviour"]
    assert behaviour is not None and behaviour.n_segments == 9
    assert params.naming.archetypes[0].priority == 7
    assert params.source.categories is not None


def test_exit_codes_and_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    assert capsys.readouterr().out.startswith("usage: kindred")
    assert main(["train", "--params", str(tmp_path / "none.yaml")]) == 2
    assert re.fullmatch("kindred: .+\n", capsys.readouterr().err)
    missing = ("check", "--set", f"source.events.path={tmp_path}/no.csv", "--set", f"outputs.folder={tmp_path}")
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *missing],
        capture_output=True, text=True, check=False, cwd=PARAMS.parent, timeout=120,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (2, "")
    assert (
        re.search(r"^kindred: source\.events\.path: ", ended.stderr, re.MULTILINE) and "Traceback" not in ended.stderr
    )
