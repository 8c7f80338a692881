"""A small simulated shop, trained once for all tests that need one."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from pipeline.commands.score import ScoringResult, score
from pipeline.commands.train import TrainingResult, train
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.simulate import simulate
from tests import postgres
from tests.conftest import PARAMS, BuildOnce, copy_store

ADDED = ("monitor", "wholesale0", "wholesale1", "wholesale2")
"""Customers of `disturbed_shop` who are far beyond all others."""


@pytest.fixture(scope="session")
def shop(build_once: BuildOnce) -> Path:
    def make(folder: Path) -> None:
        simulate(folder / "shop", customers=3_000, days=395, seed=5)

    return build_once("shop", make)[0] / "shop"


def added_events(products: list[str]) -> list[dict[str, Any]]:
    """An order of one item every six hours, and three customers who buy some 120 items every four days."""
    start = datetime(2025, 3, 1, tzinfo=UTC)
    rows: list[dict[str, Any]] = []
    for number in range(600):
        at = start + timedelta(hours=6 * number)
        rows += [
            {"customer_id": "monitor", "occurred_at": at + timedelta(seconds=second), "event_type": kind}
            | {"product_id": products[0], "quantity": 1.0, "unit_price": 1.0}
            | {"order_id": f"m{number}" if kind == "purchase" else None}
            for second, kind in enumerate(("view", "cart", "purchase"))
        ]
    for buyer in range(3):
        rows += [
            {"customer_id": f"wholesale{buyer}", "event_type": "purchase", "order_id": f"w{buyer}-{number}"}
            | {"occurred_at": start + timedelta(days=4 * number, hours=9 + (7 * number + line) % 8)}
            | {"product_id": products[(number + line) % 50], "quantity": 40.0, "unit_price": 30.0 + buyer}
            for number in range(60)
            for line in range(3)
        ]
    return rows


@pytest.fixture(scope="session")
def disturbed_shop(build_once: BuildOnce, shop: Path) -> Path:
    """The shop of the other tests, with the four customers."""

    def make(folder: Path) -> None:
        shutil.copytree(shop, folder / "shop")
        events = folder / "shop" / "events"
        schema = pq.read_schema(next(events.glob("*.parquet")))
        products = pq.read_table(shop / "products.parquet").column("product_id").to_pylist()
        pq.write_table(pa.Table.from_pylist(added_events(products), schema), events / "added.parquet")

    return build_once("disturbed", make)[0] / "shop"


def settings_in(folder: Path, shop: Path) -> tuple[str, ...]:
    return (
        f"source.events.path={shop / 'events'}",
        f"source.products.path={shop / 'products.parquet'}",
        f"source.customers.path={shop / 'customers.parquet'}",
        f"outputs.folder={folder / 'outputs'}",
        f"outputs.scores={folder / 'scores.parquet'}",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
        f"tracking.artifacts={folder / 'artifacts'}",
        "facets.behaviour.n_segments=6",
        "facets.interest.algorithm=kmeans",
        "facets.interest.n_segments=5",
        "quality.stability_resamples=2",
        "quality.validity=false",  # it takes half of a small training; `trained`, validity and sweep measure it
        "quality.ceiling_customers=300",
        "interests.fit=off",
        "score.hysteresis=0",
    )


def params_in(folder: Path, shop: Path, *more: str) -> Params:
    return load_params(PARAMS, [*settings_in(folder, shop), *more])


def copied(source: Path, folder: Path, *trained: TrainingResult) -> tuple[TrainingResult, ...]:
    copy_store(source, folder)
    return tuple(replace(one, report_path=folder / one.report_path.relative_to(source)) for one in trained)


@pytest.fixture
def params(tmp_path: Path, shop: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Params]:
    """Parameters of the test's own folder. Its trainings do not draw their pictures, which those of `trained` do."""
    monkeypatch.setattr(Figure, "savefig", lambda _, path, **__: Path(path).touch())

    def make(*more: str) -> Params:
        if not (tmp_path / "mlflow.db").exists():
            copy_store(mlflow_store, tmp_path)
        return params_in(tmp_path, shop, *more)

    return make


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL server; each worker starts its own."""
    for driver in ("adbc_driver_postgresql", "psycopg"):
        pytest.importorskip(driver, reason=f"{driver} of the extra `databases` or `dev` is not installed")
    programs = postgres.find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed, such as by: apt-get install postgresql")
    with postgres.server(programs) as uri:
        yield uri


@pytest.fixture
def database(postgres_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty database, which the environment variable SHOP_DATABASE holds."""
    name = f"shop_{secrets.token_hex(4)}"
    uri = f"{postgres_server.rpartition('/')[0]}/{name}"
    postgres.query(postgres_server, f"create database {name}", autocommit=True)
    monkeypatch.setenv("SHOP_DATABASE", uri)
    yield uri


@pytest.fixture(scope="session")
def trained(tmp_path_factory: Any, shop: Path, build_once: BuildOnce) -> tuple[Params, TrainingResult]:
    """A training that nothing is to change: each worker has one, for all its tests."""

    def make(folder: Path) -> TrainingResult:
        return train(params_in(folder, shop, "quality.validity=true"), sweep=False, progress=SILENT)

    source, made = build_once("trained", make)
    folder = tmp_path_factory.mktemp("trained")
    (found,) = copied(source, folder, made)
    return params_in(folder, shop, "quality.validity=true"), found


@pytest.fixture(scope="session")
def scored(trained: tuple[Params, TrainingResult], build_once: BuildOnce) -> ScoringResult:
    """The scores of that training at its date; no test is to change their files."""
    params, result = trained

    def make(folder: Path) -> ScoringResult:
        made = score(params, model_uri=result.model_uri, out=folder / "scores.parquet", progress=SILENT)
        made.path.chmod(0o400)
        return made

    return build_once("scored", make)[1]


@pytest.fixture(scope="session")
def first_training(build_once: BuildOnce, mlflow_store: Path, shop: Path) -> tuple[Path, TrainingResult]:
    def make(folder: Path) -> TrainingResult:
        copy_store(mlflow_store, folder)
        return train(params_in(folder, shop), sweep=False, progress=SILENT)

    return build_once("first", make)


@pytest.fixture(scope="session")
def two_trainings(
    build_once: BuildOnce, first_training: tuple[Path, TrainingResult], shop: Path
) -> tuple[Path, tuple[TrainingResult, TrainingResult]]:
    def make(folder: Path) -> tuple[TrainingResult, TrainingResult]:
        (champion,) = copied(first_training[0], folder, first_training[1])
        again = params_in(folder, shop).model_copy(update={"seed": 99})
        return champion, train(again, sweep=False, progress=SILENT)

    return build_once("two", make)


@pytest.fixture
def champion(first_training: tuple[Path, TrainingResult], tmp_path: Path) -> TrainingResult:
    """A first training with ``params()``, as if it had just been made; the test may do with it what it likes."""
    (found,) = copied(first_training[0], tmp_path, first_training[1])
    return found


@pytest.fixture
def champion_and_challenger(
    two_trainings: tuple[Path, tuple[TrainingResult, TrainingResult]], tmp_path: Path
) -> tuple[TrainingResult, ...]:
    """That, and a second training with another seed."""
    return copied(two_trainings[0], tmp_path, *two_trainings[1])
