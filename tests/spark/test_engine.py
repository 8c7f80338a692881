"""The face of the engine on Spark, and the messages where it cannot start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from ibis.expr.types import Table

from pipeline.config.params import Params
from pipeline.stores.database import EngineError, in_order
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.engines.engine import Engine
from tests.spark.conftest import OVERRIDDEN, QUERIES

MERGES_PARTS = "spark.sql.adaptive.coalescePartitions.enabled"


def folders_of(params: Params) -> list[str]:
    """Folders of tables in the scratch folder."""
    return sorted(folder.name for folder in Path(str(params.engine.scratch_folder)).glob(".kindred-*/*-*"))


def rows_of(engine: Engine, count: int) -> Table:
    names = [f"c{number * 7919 % count:05}" for number in range(count)]
    schema = pa.schema({"name": pa.string(), "place": pa.int64()})
    return engine.upload(pa.table([names, range(count)], schema), "rows")


def test_materialise_may_read_the_table_it_replaces(spark: Engine, params: Params) -> None:
    first = spark.materialise(rows_of(spark, 10), "numbers")
    second = spark.materialise(first.mutate(place=first.place + 1), "numbers")
    assert second.place.sum().to_pyarrow().as_py() == 55
    assert spark.table("numbers").count().execute() == 10
    assert len([name for name in folders_of(params) if name.startswith("numbers-")]) == 1
    spark.drop("numbers")
    assert not [name for name in folders_of(params) if name.startswith("numbers-")]


def test_a_view_is_computed_when_it_is_read(spark: Engine, params: Params) -> None:
    before = folders_of(params)
    view = spark.view(ibis.memtable({"x": [1, 2, 3]}), "seen")
    assert view.x.max().to_pyarrow().as_py() == 3 and folders_of(params) == before


@pytest.mark.parametrize("count", [0, 1, 5_000])
def test_customers_have_the_numbers_of_duckdb(count: int, spark: Engine) -> None:
    """Also where the sorted rows lie in several parts."""
    local, session = DuckDB(spark.con), spark.backend.session  # type: ignore[attr-defined]
    session.conf.set(MERGES_PARTS, "false")
    by_spark, by_duckdb = (
        engine.numbered(rows_of(engine, count), "named", order_by="name", number="number").to_pyarrow()
        for engine in (spark, local)
    )
    session.conf.unset(MERGES_PARTS)
    assert count < 5_000 or len(list(spark.scratch.glob("named-*/*.parquet"))) > 1  # type: ignore[attr-defined]
    assert by_spark.sort_by("name").equals(by_duckdb.sort_by("name").cast(by_spark.schema))
    assert sorted(by_spark["number"].to_pylist()) == [*range(count)]


def test_batches_hold_all_rows_and_always_the_columns(spark: Engine, params: Params) -> None:
    rows, before = rows_of(spark, 1_000), folders_of(params)
    frame = in_order(spark.batches(rows), order_by="name")
    assert frame["name"].is_monotonic_increasing and len(frame) == 1_000
    (empty,) = spark.batches(rows.filter(rows.place < 0))
    assert empty.schema.names == ["name", "place"] and not empty.num_rows
    assert not [name for name in set(folders_of(params)) - set(before) if list(Path(name).glob("*.parquet"))]


def test_results_have_the_types_of_the_expression(spark: Engine) -> None:
    table = ibis.memtable({"text": ["a", None], "number": [1, None]}, schema={"text": "string", "number": "int32"})
    rows = spark.view(table, "typed")
    assert rows.to_pyarrow().schema == pa.schema({"text": pa.string(), "number": pa.int32()})
    assert rows.number.to_pyarrow().to_pylist() == [1, None]
    assert rows.number.max().to_pyarrow() == pa.scalar(1, pa.int32())
    assert rows.order_by("text").to_pandas().number.tolist()[-1] != rows.count().to_pandas()


@pytest.mark.parametrize("text", [*QUERIES, " \t\n\r\v\f", "\u0085\u2003x\u2003", "ǅ ẞ K Å Ω", "ΑΣ Σ ΣΑ", ""])
def test_texts_are_changed_as_by_duckdb(text: str, spark: Engine) -> None:
    local = DuckDB(spark.con)
    results = []
    for engine in (local, spark):
        texts = engine.upload(pa.table({"text": [text]}), "texts").text
        changed = texts.strip(), texts.lower(), texts.substr(0, 3), texts.re_replace(r"[^\p{L}\p{M}\p{N}]+", " ")
        results.append([value.to_pyarrow().to_pylist()[0] for value in changed])
    assert results[0] == results[1]


def test_numbers_are_computed_as_by_duckdb(spark: Engine) -> None:
    """Money becomes decimals at ties and in large sums, halves are rounded up, and no condition is counted as null."""
    values = [0.5, -0.5, 1212984.5058745926, 98_765_432.1 * 3, 1 / 3, 0.005, None, 8e9 + 0.1, -2125495.7326452904]
    rows = pa.table({"x": pa.array(values, pa.float64()), "none": pa.nulls(len(values), pa.bool_())})
    results = []
    for engine in (DuckDB(spark.con), spark):
        table = engine.upload(rows, "amounts")
        money = table.x.cast("decimal(38, 9)")
        found = table.aggregate(
            total=money.sum().cast("float64"),
            halves=table.x.round().cast("int64").sum(),
            count=table.count(where=table.none),
            quantile=table.x.quantile(0.99),
        )
        results.append(
            (found.to_pyarrow().to_pylist(), pc.sort_indices(money.cast("float64").to_pyarrow()).to_pylist())
        )
        results[-1] += (sorted(money.cast("float64").to_pyarrow().drop_null().to_pylist()),)
    assert results[0] == results[1]


def test_settings_that_results_depend_on_are_fixed(spark: Engine) -> None:
    from pipeline.stores.engines.spark import FIXED_CONF

    conf = spark.backend.session.conf  # type: ignore[attr-defined]
    assert FIXED_CONF.keys() == OVERRIDDEN.keys()
    assert {name: conf.get(name) for name in FIXED_CONF} == FIXED_CONF


def test_a_sum_that_overflows_is_an_error(spark: Engine, params: Params) -> None:
    from pipeline.stores.engines.spark import translate_errors

    rows = spark.upload(pa.table({"x": pa.array([2**62, 2**62])}), "large")
    with pytest.raises(EngineError, match="ARITHMETIC_OVERFLOW"), translate_errors(params.engine):
        rows.x.sum().to_pyarrow()


def test_fractions_of_seconds_are_kept(spark: Engine) -> None:
    moment = pa.array([1_750_000_000_500_001], pa.timestamp("us"))
    rows = spark.upload(pa.table({"at": moment}), "moments")
    assert rows.at.epoch_seconds().cast("float64").to_pyarrow().to_pylist() == [1_750_000_000.500001]
    assert rows.to_pyarrow()["at"].to_pylist() == moment.to_pylist()


def test_an_error_of_spark_shows_no_value(spark: Engine, params: Params, capfd: pytest.CaptureFixture[str]) -> None:
    from pipeline.stores.engines.spark import translate_errors

    texts = spark.upload(pa.table({"text": ["ann@example.org"]}), "texts")
    with pytest.raises(EngineError, match=r"CAST_INVALID_INPUT") as caught, translate_errors(params.engine):
        texts.text.cast("int64").to_pyarrow()
    assert "ann" not in str(caught.value) and "engine.kind" in str(caught.value)

    def fail(rows: pa.RecordBatch) -> pa.Table:
        if rows.num_rows:
            raise ValueError(rows.to_pylist())
        return pa.Table.from_batches([rows])

    with pytest.raises(EngineError) as caught, translate_errors(params.engine):
        spark.map_batches(texts, fail, "failing")
    assert "ValueError" in str(caught.value.__context__)
    assert "ann" not in str(caught.value.__context__) + str(caught.value) + "".join(capfd.readouterr())
    with pytest.raises(KeyError), translate_errors(params.engine):
        {}["another error"]


def test_without_java_the_message_says_what_to_install(
    spark: Engine, params: Params, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pipeline.stores.engines.spark import connect_spark

    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with (
        pytest.raises(EngineError, match=r"Java 17 .* JAVA_HOME .* engine\.kind to duckdb"),
        connect_spark(spark.con, params.engine, folder=tmp_path),
    ):
        pass


@pytest.mark.parametrize("name", ["_scores.parquet", ".scores.parquet", "scores [*{2025}?].parquet"])
def test_a_file_of_any_name_is_read(name: str, spark: Engine, tmp_path: Path) -> None:
    """In a folder whose name looks like a pattern, as that of all tests does."""
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / name)
    assert spark.read_parquet(tmp_path / name, "scores").x.sum().to_pyarrow().as_py() == 3
    spark.drop("scores")


def as_table(rows: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([rows])


def test_a_table_of_this_machine_can_be_dropped(spark: Engine, params: Params) -> None:
    rows = rows_of(spark, 10)
    for _ in range(2):
        assert spark.map_batches(rows, as_table, "rows_here").count().to_pyarrow().as_py() == 10
        assert len([name for name in folders_of(params) if name.startswith("rows_here-")]) == 1
    spark.drop("rows_here")
    assert not [name for name in folders_of(params) if name.startswith("rows_here-")]
    assert "rows_here" not in spark.con.list_tables()


def test_profiles_that_come_here_leave_less_room_to_the_database_here(spark: Engine) -> None:
    limits = []
    for byte_count in (0.0, 2.0**30):
        spark.leave_room(byte_count)
        limits.append(spark.con.con.execute("select current_setting('memory_limit')").fetchone()[0])
    assert len(set(limits)) == 2
    spark.leave_room(0.0)


def test_an_unwritable_scratch_folder_names_the_parameter(spark: Engine, params: Params, tmp_path: Path) -> None:
    from pipeline.stores.engines.spark import connect_spark

    (tmp_path / "file").write_text("x")
    elsewhere = params.engine.spark.model_copy(update={"scratch": str(tmp_path / "file" / "scratch")})
    settings = params.engine.model_copy(update={"spark": elsewhere})
    with (
        pytest.raises(EngineError, match=r"engine\.spark\.scratch"),
        connect_spark(spark.con, settings, folder=tmp_path),
    ):
        pass


def test_what_spark_spills_is_in_the_private_scratch_folder(spark: Engine) -> None:
    rows = rows_of(spark, 1_000)
    assert rows.group_by("name").aggregate(n=rows.count()).n.sum().to_pyarrow().as_py() == 1_000
    scratch = spark.scratch  # type: ignore[attr-defined]
    assert scratch.stat().st_mode & 0o777 == 0o700
    assert list((scratch / "local").rglob("shuffle_*.data"))


def test_a_scratch_folder_that_spark_would_split_is_refused(spark: Engine, params: Params, tmp_path: Path) -> None:
    from pipeline.stores.engines.spark import connect_spark

    settings = params.engine.model_copy(update={"spark": params.engine.spark.model_copy(update={"scratch": None})})
    with (
        pytest.raises(EngineError, match=r"without a comma.*engine\.spark\.scratch"),
        connect_spark(spark.con, settings, folder=tmp_path / "a,b"),
    ):
        pass


def test_help_does_not_import_spark() -> None:
    code = (
        "import sys; from pipeline.cli import main\n"
        "try: main(['score', '--help'])\n"
        "finally: assert 'pyspark' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], capture_output=True
    )
    assert b"kindred score" in result.stdout
