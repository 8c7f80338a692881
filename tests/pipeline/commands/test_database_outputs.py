"""Commands that read a shop from a database, and write scores, changes and audiences as tables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.audiences.changes import changes_of
from pipeline.cli import main
from pipeline.commands.actions.audience import AudienceOptions, audience
from pipeline.commands.actions.forget import forget
from pipeline.commands.score import ScoringResult, score
from pipeline.commands.train import TrainingResult
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.stores.databases.postgresql import PostgresTables
from pipeline.stores.databases.target_table import TargetTable
from tests import postgres
from tests.conftest import PARAMS

TABLES = "outputs.tables={uri: $SHOP_DATABASE}"


def score_with(params: Params, champion: TrainingResult, out: Path | None = None) -> ScoringResult:
    place = out or params.path(params.outputs.scores)
    return score(params, model_uri=champion.model_uri, out=place, progress=SILENT)


def table_of(uri: str, name: str) -> list[dict[str, Any]]:
    """Rows of a table by column name, as a client in Python sees them."""
    columns = "select column_name from information_schema.columns where table_schema = 'kindred' and table_name = %s"
    names = [column for (column,) in postgres.query(uri, f"{columns} order by ordinal_position", [name])]
    return [dict(zip(names, row, strict=True)) for row in postgres.query(uri, f"select * from kindred.{name}")]


def in_order(rows: list[dict[str, Any]]) -> list[str]:
    """Rows in an order of their own, with times in one zone."""
    plain = [{name: in_utc(value) for name, value in row.items()} for row in rows]
    return sorted(str(sorted(row.items())) for row in plain)


def in_utc(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def test_scores_changes_and_audiences_are_tables(
    database: str, champion: TrainingResult, params: Callable[..., Params], tmp_path: Path
) -> None:
    first = params(TABLES)
    later = first.model_copy(update={"as_of": first.as_of + timedelta(days=3)})
    result = score_with(first, champion)
    assert "kindred.scores (" in result.as_text() and postgres.PASSWORD not in result.as_text()
    path = first.path(first.outputs.scores)
    assert in_order(table_of(database, "scores")) == in_order(pq.read_table(path).to_pylist())
    assert "0 written" in (score_with(first, champion).tables or "")
    score_with(later, champion)
    assert in_order(table_of(database, "scores")) == in_order(pq.read_table(path).to_pylist())
    kept = changes_of(first.path(first.outputs.folder), later.as_of)
    assert kept is not None and kept.num_rows
    assert in_order(table_of(database, "changes")) == in_order(kept.to_pylist())
    # Scores and lists at another place are a look at something else.
    before = postgres.query(database, "select max(xmin::text::bigint) from kindred.scores")
    assert score_with(first, champion, tmp_path / "other.parquet").tables is None
    assert postgres.query(database, "select max(xmin::text::bigint) from kindred.scores") == before
    names = pq.read_table(path).column("segment").to_pylist()
    options = AudienceOptions(segments=[max(set(names), key=names.count)], limit=20)
    text = audience(later, options).as_text()
    [table] = [
        name
        for (name,) in postgres.query(
            database, "select table_name from information_schema.tables where table_name like 'audience%'"
        )
    ]
    listed = pd.read_csv(next((first.path(first.outputs.folder) / "audiences").glob("*.csv")))
    rows = postgres.query(database, f'select customer_id from kindred."{table}" order by position')
    assert [row[0] for row in rows] == listed["customer_id"].tolist() and f"kindred.{table} (" in text
    gone = listed["customer_id"][0]
    text = forget(later, [gone], progress=SILENT)
    assert "tables of outputs.tables" in text
    for name in ("scores", "changes", table):
        assert postgres.query(database, f'select count(*) from kindred."{name}" where customer_id = %s', [gone]) == [
            (0,)
        ]


def test_a_target_that_fails_leaves_the_scores_as_they_were(
    database: str, champion: TrainingResult, params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = params(TABLES)
    path = settings.path(settings.outputs.scores)
    score_with(settings, champion)
    before, scored = hashlib.sha256(path.read_bytes()).hexdigest(), table_of(database, "scores")
    later = settings.model_copy(update={"as_of": settings.as_of + timedelta(days=3)})
    postgres.query(database, "alter table kindred.scores alter column spend type integer")
    with pytest.raises(UserError, match=r"expected column spend of kindred\.scores to have the type double precision"):
        score_with(later, champion)
    monkeypatch.setenv("SHOP_DATABASE", database.replace(postgres.PASSWORD, "hush-hush"))

    def never(*_: Any, **__: Any) -> None:
        pytest.fail("the log was read before the target was checked")

    monkeypatch.setattr("pipeline.commands.score.measure_in_full", never)
    with pytest.raises(UserError, match=r"outputs\.tables\.uri: .*; it refused them"):
        score_with(later, champion)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert len(table_of(database, "scores")) == len(scored)


def test_a_shop_in_a_database_gives_the_scores_of_its_files(
    database: str, champion: TrainingResult, params: Callable[..., Params], shop: Path, tmp_path: Path
) -> None:
    tables = {"events": shop / "events", "products": shop / "products.parquet", "customers": shop / "customers.parquet"}
    rows = {name: pq.read_table(path).replace_schema_metadata(None) for name, path in tables.items()}
    number = pa.array(range(rows["events"].num_rows))
    rows["events"] = rows["events"].append_column("number", number)
    keys = {"events": "number", "products": "product_id", "customers": "customer_id"}
    PostgresTables("$SHOP_DATABASE", "shop").write([TargetTable(name, rows[name], (keys[name],)) for name in rows])
    files = params()
    score_with(files, champion, tmp_path / "files.parquet")
    places = [
        f"source.{name}.{key}"
        for name in tables
        for key in ("path=null", "uri=$SHOP_DATABASE", f"sql=select * from shop.{name}")
    ]
    score_with(params(*places), champion, tmp_path / "database.parquet")
    assert (tmp_path / "database.parquet").read_bytes() == (tmp_path / "files.parquet").read_bytes()


def test_a_mistake_exits_with_2_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOP_DATABASE", "mysql://ann:hush-hush@host/db")
    path = tmp_path / "shop.yaml"
    path.write_text(
        f"base: {PARAMS}\noutputs: {{folder: out}}\nsource:\n  events: {{uri: $SHOP_DATABASE, sql: select 1}}\n"
        "  products: null\n  customers: null\n"
    )
    assert main(["check", "--params", str(path)]) == 2
    printed = capsys.readouterr().err
    assert "kindred: source.events.uri: expected an address in $SHOP_DATABASE that begins with" in printed
    assert "hush" not in printed and "Traceback" not in printed
