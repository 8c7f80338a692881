"""Results as tables of PostgreSQL and Delta Lake: whole old or whole new, and only what differs is written."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.config.errors import ParamsError, UserError
from pipeline.config.load import load_params
from pipeline.stores.databases.delta import DeltaTables
from pipeline.stores.databases.postgresql import PostgresTables
from pipeline.stores.databases.tables import target_tables
from pipeline.stores.databases.target_table import TargetTable, WrittenRows
from tests import postgres
from tests.conftest import PARAMS

TARGET = PostgresTables("$SHOP_DATABASE", "kindred")
MOMENT = pa.timestamp("us", tz="UTC")


def scores(segments: dict[str, str], **more: Any) -> TargetTable:
    """Scores with some types of columns, and ``more`` columns."""
    count = len(segments)
    columns = {
        "customer_id": pa.array([*segments], pa.large_string()),
        "as_of": pa.array([datetime(2025, 1, 1, tzinfo=UTC)] * count, MOMENT),
        "segment": pa.array([*segments.values()]),
        "strength": pa.array([0.1 + place for place in range(count)]),
        "cluster_id": pa.array(range(count), pa.int64()),
        "is_border": pa.array([None, *[True] * (count - 1)], pa.bool_()),
        "top_categories": pa.array([["Pets > Cats", 'a "b", {c}'], *[[]] * (count - 1)], pa.list_(pa.string())),
    }
    return TargetTable("scores", pa.table({**columns, **more}))


def changes(moment: datetime, *customer_ids: str) -> TargetTable:
    rows = {"customer_id": [*customer_ids], "column": ["segment_id"] * len(customer_ids)}
    moments = pa.array([moment] * len(customer_ids), MOMENT)
    return TargetTable("changes", pa.table({**rows, "as_of": moments}), ("customer_id", "column", "as_of"), moment)


def write(*tables: TargetTable) -> list[int]:
    """Write to PostgreSQL; how many rows of each were written."""
    return [written.changed_count for written in TARGET.write(tables)]


def segments(uri: str) -> dict[str, str]:
    return dict(postgres.query(uri, "select customer_id, segment from kindred.scores"))


def test_another_client_reads_what_was_written(database: str) -> None:
    write(scores({"007": "VIP", "Ünal": "Lapsed"}))
    rows = postgres.query(database, "select * from kindred.scores order by customer_id")
    assert rows == [
        ("007", datetime(2025, 1, 1, tzinfo=UTC), "VIP", 0.1, 0, None, ["Pets > Cats", 'a "b", {c}']),
        ("Ünal", datetime(2025, 1, 1, tzinfo=UTC), "Lapsed", 1.1, 1, True, []),
    ]
    # What a BI tool asks for, and a query of its own.
    described = "select column_name, data_type from information_schema.columns where table_schema = 'kindred'"
    assert dict(postgres.query(database, described)) == {
        "customer_id": "text",
        "as_of": "timestamp with time zone",
        "segment": "text",
        "strength": "double precision",
        "cluster_id": "bigint",
        "is_border": "boolean",
        "top_categories": "ARRAY",
    }
    per_category = "select category, count(*) from kindred.scores, unnest(top_categories) category group by category"
    assert dict(postgres.query(database, per_category)) == {"Pets > Cats": 1, 'a "b", {c}': 1}


def test_psql_reads_what_was_written(database: str) -> None:
    write(scores({"007": "VIP"}))
    programs = postgres.find_programs()
    assert programs is not None
    answer = subprocess.run(
        [programs / "psql", database, "-At", "-c", "select customer_id, segment from kindred.scores"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert answer.stdout == "007|VIP\n"


def test_only_rows_that_differ_are_written(database: str) -> None:
    assert write(scores({"a": "VIP", "b": "VIP", "c": "VIP"})) == [3]
    assert write(scores({"a": "VIP", "b": "VIP", "c": "VIP"})) == [0]
    place = "select customer_id, xmin::text, ctid::text from kindred.scores where customer_id <> 'b' order by 1"
    before = postgres.query(database, place)
    assert write(scores({"a": "VIP", "b": "Lapsed", "c": "VIP"})) == [1]
    assert postgres.query(database, place) == before
    assert write(scores({"a": "VIP", "b": "Lapsed"})) == [0]  # c is gone
    assert segments(database) == {"a": "VIP", "b": "Lapsed"}
    assert write(scores({"a": "VIP", "b": "Lapsed", "d": "New"})) == [1]


def test_a_value_that_becomes_null_or_known_is_written(database: str) -> None:
    write(scores({"a": "VIP", "b": "VIP"}, tier=["x", "y"]))
    assert write(scores({"a": "VIP", "b": "VIP"}, tier=["x", None])) == [1]
    assert write(scores({"a": "VIP", "b": "VIP"}, tier=pa.nulls(2))) == [1]
    assert postgres.query(database, "select distinct tier from kindred.scores") == [(None,)]
    assert write(scores({"a": "VIP", "b": "VIP"}, tier=["x", "y"])) == [2]


def test_views_and_grants_stay(database: str) -> None:
    write(scores({"a": "VIP"}))
    role = f"analyst_{database[-8:]}"
    postgres.query(database, f"create role {role}")
    postgres.query(database, f"grant select on kindred.scores to {role}")
    postgres.query(database, "create view vips as select customer_id from kindred.scores where segment = 'VIP'")
    write(scores({"a": "Lapsed", "b": "VIP"}, new_column=[1, 2]))
    assert postgres.query(database, "select * from vips") == [("b",)]
    assert postgres.query(database, f"select has_table_privilege('{role}', 'kindred.scores', 'select')") == [(True,)]


def test_a_table_is_widened_and_keeps_columns_of_others(database: str) -> None:
    write(scores({"a": "VIP", "b": "VIP"}))
    postgres.query(database, "alter table kindred.scores add column note text")
    postgres.query(database, "update kindred.scores set note = 'call'")
    assert write(scores({"a": "VIP", "b": "Lapsed"})) == [1]
    assert postgres.query(database, "select customer_id, note from kindred.scores order by 1") == [
        ("a", "call"),
        ("b", None),
    ]
    assert write(scores({"a": "VIP", "b": "Lapsed"}, tier=["x", "y"])) == [2]
    assert postgres.query(database, "select tier from kindred.scores order by 1") == [("x",), ("y",)]
    assert write(scores({"a": "VIP", "b": "Lapsed"})) == [0]  # a column that the scores no longer have


@pytest.mark.parametrize(
    ("kind", "is_lossless"),
    [("numeric", True), ("integer", False), ("smallint", False), ("text", False), ("double precision", False)],
)
def test_a_type_that_loses_values_is_refused(database: str, kind: str, is_lossless: bool) -> None:
    write(scores({"a": "VIP"}))
    postgres.query(database, f"alter table kindred.scores alter column cluster_id type {kind}")
    if is_lossless:
        assert write(scores({"a": "Lapsed"})) == [1]
        return
    message = rf"outputs\.tables: expected column cluster_id of kindred\.scores to have the type bigint, found {kind}"
    with pytest.raises(UserError, match=message):
        write(changes(datetime(2025, 1, 1, tzinfo=UTC), "a"), scores({"a": "Lapsed"}))
    assert segments(database) == {"a": "VIP"}
    assert postgres.query(database, "select to_regclass('kindred.changes')") == [(None,)]  # one transaction


def test_a_view_is_not_written_to(database: str) -> None:
    postgres.query(database, "create schema kindred")
    postgres.query(database, "create view kindred.scores as select 'a' as customer_id")
    with pytest.raises(UserError, match=r"expected kindred\.scores to be a table"):
        write(scores({"a": "VIP"}))


def test_changes_of_other_moments_stay(database: str) -> None:
    first, second = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC)
    assert write(changes(first, "a", "b")) == [2]
    assert write(changes(second, "a")) == [1]
    assert write(changes(second, "a", "c")) == [1]
    assert write(changes(second, "c")) == [0]
    kept = postgres.query(database, "select as_of, customer_id from kindred.changes order by 1, 2")
    assert kept == [(first, "a"), (first, "b"), (second, "c")]


def test_readers_see_the_old_rows_until_the_new_are_complete(database: str) -> None:
    write(scores({"a": "VIP"}))
    seen: list[dict[str, str]] = []
    is_done = threading.Event()

    def watch() -> None:
        while not is_done.is_set():
            seen.append(segments(database))

    watcher = threading.Thread(target=watch)
    watcher.start()
    new = {f"c{number}": "New" for number in range(20_000)}
    write(scores(new))
    is_done.set()
    watcher.join()
    assert seen and all(rows in ({"a": "VIP"}, new) for rows in seen)
    assert segments(database) == new


KILLED = """
import sys
from pathlib import Path
from pipeline.stores.databases.delta import DeltaTables
from tests.pipeline.stores.test_database_tables import TARGET, scores
new = scores({f"c{number}": "New" for number in range(30_000)})
target = DeltaTables(Path(sys.argv[1])) if sys.argv[1:] else TARGET
target.require_usable()
print("ready", flush=True)
sys.stdin.readline()
target.write([new])
"""


def write_until_killed(milliseconds: int, uri: str, *arguments: str) -> None:
    """Start to write 30,000 new rows in another process, and kill it after so long."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PARAMS.parent,
        env={**os.environ, "SHOP_DATABASE": uri},
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()
    time.sleep(milliseconds / 1_000)
    process.send_signal(signal.SIGKILL)
    process.communicate()


MILLISECONDS = (20, 80, 150, 250, 400, 600, 900, 1_300, 2_000, 4_000)


def test_a_kill_leaves_the_old_rows_or_the_new(database: str) -> None:
    old = {f"c{number}": "Old" for number in range(30_000)}
    write(scores(old))
    seen = []
    for milliseconds in MILLISECONDS:
        write_until_killed(milliseconds, database)
        [(segment, count)] = postgres.query(database, "select segment, count(*) from kindred.scores group by 1")
        assert count == 30_000
        seen.append(segment)
        if segment == "New":
            break
    assert {*seen} == {"Old", "New"}
    assert write(scores(old)) == [30_000]  # nothing is locked


def test_a_kill_leaves_the_old_version_of_delta_or_the_new(lake: DeltaTables) -> None:
    lake.write([scores({f"c{number}": "Old" for number in range(30_000)})])
    seen = []
    for milliseconds in (1, 5, 10, *MILLISECONDS):
        write_until_killed(milliseconds, "", str(lake.folder))
        segments = [row["segment"] for row in delta_rows(lake.folder)]
        assert len(segments) == 30_000 and len({*segments}) == 1
        seen.append(segments[0])
        if segments[0] == "New":
            break
    assert seen[-1] == "New"
    lake.write([scores({"a": "Old"})])  # nothing is locked


def test_two_programs_write_one_after_the_other(database: str) -> None:
    names = [{f"c{number}": segment for number in range(3_000)} for segment in ("A", "B", "C")]
    failures: list[BaseException] = []

    def run(rows: dict[str, str]) -> None:
        try:
            write(scores(rows))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(rows,)) for rows in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and segments(database) in names


def test_a_connection_that_is_lost_while_rows_are_written(database: str) -> None:
    write(scores({"a": "VIP"}))
    others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"

    def end_the_session() -> None:
        while not postgres.query(database, f"select pg_terminate_backend(pid) {others} and query like 'COPY%'"):
            time.sleep(0.005)

    thread = threading.Thread(target=end_the_session)
    thread.start()
    with pytest.raises(UserError, match=r"outputs\.tables\.uri: .*the connection was lost") as error:
        write(scores({f"c{number}": "New" for number in range(200_000)}))
    thread.join()
    assert segments(database) == {"a": "VIP"} and postgres.PASSWORD not in str(error.value)


def test_a_table_that_another_program_holds(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    write(scores({"a": "VIP"}))
    monkeypatch.setattr("pipeline.stores.databases.postgresql.LOCK_SECONDS", 1)
    with psycopg.connect(database) as other:
        other.execute("lock table kindred.scores")
        with pytest.raises(UserError, match=r"outputs\.tables: expected the table to be free.* \(SQLSTATE 55P03\)"):
            write(scores({"a": "Lapsed"}))
    assert write(scores({"a": "Lapsed"})) == [1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a\0": "VIP"}, r"one cannot be, and is not shown.* \(SQLSTATE 22021\)"),
        ({"a": "VIP", "b": "\0hush"}, r"one cannot be, and is not shown.* \(SQLSTATE 22021\)"),
    ],
)
def test_values_that_the_database_refuses_are_not_shown(database: str, rows: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        write(scores(rows))
    assert "hush" not in str(error.value) and "\n" not in str(error.value)


def test_an_id_that_is_there_twice_is_not_shown(database: str) -> None:
    table = scores({"hush": "VIP"})
    with pytest.raises(UserError, match=r"constraints allow; they do not allow one.* \(SQLSTATE 23505\)") as error:
        write(TargetTable("scores", pa.concat_tables([table.rows, table.rows])))
    assert "hush" not in str(error.value)


def test_rights_that_are_missing(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    role = f"writer_{database[-8:]}"
    postgres.query(database, f"create role {role} login password 'hush-hush'")
    monkeypatch.setenv("SHOP_DATABASE", database.replace(f"kindred:{postgres.PASSWORD}", f"{role}:hush-hush"))
    TARGET.require_usable()
    with pytest.raises(UserError, match=r"outputs\.tables: expected rights that suffice\. permission denied") as error:
        write(scores({"a": "VIP"}))
    assert "hush" not in str(error.value)
    postgres.query(database, f"create schema kindred authorization {role}")
    assert write(scores({"a": "VIP"})) == [1]  # no right to create schemas is needed for one that is there


def test_a_target_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_DATABASE", raising=False)
    with pytest.raises(UserError, match=r"outputs\.tables\.uri: expected the address .* It is not set"):
        TARGET.require_usable()
    monkeypatch.setenv("SHOP_DATABASE", "sqlite:///shop.db")
    with pytest.raises(UserError, match=r"outputs\.tables\.uri: .* begins with postgresql://"):
        TARGET.require_usable()


def test_a_name_that_postgresql_would_cut_is_refused(database: str) -> None:
    rows = scores({"a": "VIP"}).rows
    with pytest.raises(UserError, match="a name of at most 63 bytes"):
        write(TargetTable(f"audience_{'x' * 55}", rows))
    assert write(TargetTable(f"audience_{'x' * 54}", rows)) == [1]
    assert write(TargetTable('audience_"; drop', rows)) == [1]


def test_customers_are_deleted_from_tables_that_kindred_writes(database: str) -> None:
    write(scores({"a": "VIP", "b": "VIP"}), changes(datetime(2025, 1, 1, tzinfo=UTC), "a", "a2"))
    write(TargetTable("audience_vips", pa.table({"customer_id": ["a", "b"]})))
    postgres.query(database, "create table kindred.mine as select 'a' as customer_id")
    assert TARGET.count_rows(["a", "x'y"]) == 3
    TARGET.delete_rows(["a", "x'y"])
    assert TARGET.count_rows(["a"]) == 0
    assert segments(database) == {"b": "VIP"}
    assert postgres.query(database, "select * from kindred.audience_vips") == [("b",)]
    assert postgres.query(database, "select * from kindred.mine") == [("a",)]


def test_params_choose_the_target(tmp_path: Path) -> None:
    assert target_tables(load_params(PARAMS)) is None
    params = load_params(PARAMS, ["outputs.tables={uri: $SHOP_DATABASE}"])
    assert target_tables(params) == TARGET and "SHOP_DATABASE" not in params.model_dump_json()
    assert params.digest() == load_params(PARAMS).digest()
    folder = load_params(PARAMS, [f"outputs.tables={{delta: {tmp_path / 'lake'}}}"])
    assert target_tables(folder) == DeltaTables(tmp_path / "lake")
    inside = load_params(PARAMS, [f"outputs.folder={tmp_path}", f"outputs.tables={{delta: {tmp_path / 'lake'}}}"])
    with pytest.raises(UserError, match=r"outputs\.tables\.delta: expected a folder outside of outputs\.folder"):
        target_tables(inside)
    for value in ("{schema_name: x}", "{uri: $A, delta: lake}"):
        with pytest.raises(ParamsError, match="exactly one of `uri`"):
            load_params(PARAMS, [f"outputs.tables={value}"])
    with pytest.raises(ParamsError, match=r"environment variable, such as \$SHOP_DATABASE") as error:
        load_params(PARAMS, ["outputs.tables={uri: 'postgresql://ann:hush@host/db'}"])
    assert "hush" not in str(error.value)


def delta_rows(folder: Path, name: str = "scores", version: int | None = None) -> list[dict[str, Any]]:
    """Rows by another reader than Kindred's way of writing: deltalake's own."""
    deltalake = pytest.importorskip("deltalake")
    rows: list[dict[str, Any]] = deltalake.DeltaTable(folder / name, version=version).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: row["customer_id"])


@pytest.fixture
def lake(tmp_path: Path) -> DeltaTables:
    pytest.importorskip("deltalake", reason="deltalake of the extra `databases` is not installed")
    return DeltaTables(tmp_path / "lake")


def test_a_delta_table_has_versions(lake: DeltaTables) -> None:
    lake.write([scores({"007": "VIP", "b": "Lapsed"})])
    lake.write([scores({"007": "Lapsed"}, tier=["x"])])
    assert [(row["customer_id"], row["segment"], row["tier"]) for row in delta_rows(lake.folder)] == [
        ("007", "Lapsed", "x")
    ]
    assert [(row["customer_id"], row["segment"]) for row in delta_rows(lake.folder, version=0)] == [
        ("007", "VIP"),
        ("b", "Lapsed"),
    ]
    assert delta_rows(lake.folder, version=0)[0]["top_categories"] == ["Pets > Cats", 'a "b", {c}']
    assert delta_rows(lake.folder)[0]["as_of"] == datetime(2025, 1, 1, tzinfo=UTC)
    assert stat.S_IMODE(lake.folder.stat().st_mode) == stat.S_IRWXU
    lake.write([scores({"007": "VIP"})])
    assert delta_rows(lake.folder)[0]["tier"] is None


def test_a_delta_table_keeps_its_types(lake: DeltaTables) -> None:
    lake.write([scores({"a": "VIP"})])
    message = "expected column cluster_id of scores to have the type double, found int64"
    with pytest.raises(UserError, match=message):
        lake.write([scores({"a": "Lapsed"}, cluster_id=[0.5])])
    lake.write([scores({"a": "Lapsed"}, cluster_id=pa.nulls(1))])
    assert delta_rows(lake.folder)[0]["segment"] == "Lapsed"


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        (pa.timestamp("ns"), 1_700_000_000_000_000_001, datetime(2023, 11, 14, 22, 13, 20)),
        (pa.timestamp("ns", "Europe/Kyiv"), 1_700_000_000_000_000_001, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (pa.timestamp("s"), 1_700_000_000, datetime(2023, 11, 14, 22, 13, 20)),
        (pa.uint8(), 2**8 - 1, 2**8 - 1),
        (pa.uint16(), 2**16 - 1, 2**16 - 1),
        (pa.uint32(), 2**32 - 1, 2**32 - 1),
        (pa.uint64(), 2**63 - 1, 2**63 - 1),
    ],
)
def test_types_that_delta_lake_does_not_have_are_written_again_and_again(
    kind: pa.DataType, value: int, kept: Any, lake: DeltaTables
) -> None:
    for segment in ("VIP", "Lapsed"):
        lake.write([scores({"a": segment, "b": segment}, more=pa.array([value, None], kind))])
    assert [(row["segment"], row["more"]) for row in delta_rows(lake.folder)] == [("Lapsed", kept), ("Lapsed", None)]


def test_a_number_that_delta_lake_cannot_hold_is_refused(lake: DeltaTables) -> None:
    with pytest.raises(UserError, match=r"outputs\.tables\.delta: expected numbers below 2\^63") as error:
        lake.write([scores({"a": "VIP"}, more=pa.array([2**64 - 1], pa.uint64()))])
    assert str(2**64 - 1) not in str(error.value)


def test_changes_of_other_moments_stay_in_delta(lake: DeltaTables) -> None:
    first, second = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, 12, 30, tzinfo=UTC)
    for table in (changes(first, "a", "b"), changes(second, "a"), changes(second, "c")):
        lake.write([table])
    kept = [(row["customer_id"], row["as_of"]) for row in delta_rows(lake.folder, "changes")]
    assert kept == [("a", first), ("b", first), ("c", second)]


def test_customers_leave_all_versions_and_the_log_of_delta(lake: DeltaTables) -> None:
    gone = "gone-and-forgotten"
    lake.write([scores({gone: "VIP", "b": "VIP"}), TargetTable("audience_x", pa.table({"customer_id": [gone]}))])
    lake.write([scores({gone: "Lapsed", "b": "VIP"}), TargetTable("audience_x", pa.table({"customer_id": ["b"]}))])
    assert lake.count_rows([gone]) == 1
    lake.delete_rows([gone])
    assert lake.count_rows([gone]) == 0
    assert [row["customer_id"] for row in delta_rows(lake.folder)] == ["b"]
    assert not [path for path in lake.folder.rglob("*.json") if gone in path.read_text()]
    assert len([*lake.folder.rglob("*.parquet")]) == 2  # one for each table


def test_a_stale_writer_of_delta_is_refused(lake: DeltaTables, monkeypatch: pytest.MonkeyPatch) -> None:
    from deltalake.exceptions import CommitFailedError

    def refuse(*_: Any, **__: Any) -> None:
        raise CommitFailedError("hush")

    monkeypatch.setattr("deltalake.write_deltalake", refuse)
    with pytest.raises(UserError, match="another one wrote a version at the same time") as error:
        lake.write([scores({"a": "VIP"})])
    assert "hush" not in str(error.value)


def test_a_delta_folder_that_cannot_be_written(
    lake: DeltaTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"outputs\.tables\.delta: expected a writable folder"):
        DeltaTables(tmp_path / "file" / "lake").require_usable()
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(UserError, match=r"the package deltalake, which is not installed.*'\.\[databases\]'"):
        DeltaTables(tmp_path / "lake").require_usable()


def test_counts_of_written_rows_are_published_rounded() -> None:
    written = WrittenRows("kindred.changes", 37, 4)
    assert written.as_text() == "kindred.changes (37 rows, 4 written)"
    assert written.published(10).as_text() == "kindred.changes (40 rows, 10 written)"
    assert WrittenRows("scores", 0, 0).published(10).as_text() == "scores (0 rows, 0 written)"
