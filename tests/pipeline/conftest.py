"""A small simulated shop, trained once for all tests that need one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.params import Params
from pipeline.params_file import load_params
from pipeline.simulate import simulate
from pipeline.train import Trained, train

PARAMS = Path(__file__).parents[2] / "params.yaml"


def quiet(step: str) -> None:
    """No progress."""


@pytest.fixture(scope="session")
def shop(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "shop"
    simulate(folder, customers=3_000, days=395, seed=5)
    return folder


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: Any) -> Path:
    """A migrated, empty store: making one takes seconds, copying it none."""
    from pipeline import tracking

    folder = tmp_path_factory.mktemp("store")
    tracking.open_store(params_in(folder, folder))
    return folder / "mlflow.db"


def params_in(folder: Path, shop: Path, *more: str) -> Params:
    places = (
        f"source.events.path={shop / 'events'}",
        f"source.products.path={shop / 'products.parquet'}",
        f"source.customers.path={shop / 'customers.parquet'}",
        f"outputs.folder={folder / 'outputs'}",
        f"outputs.scores={folder / 'scores.parquet'}",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
        f"tracking.artifacts={folder / 'artifacts'}",
        "clustering.n_segments=6",
        "quality.stability_resamples=2",
        "quality.validity=false",  # it takes half of a small training; `trained`, validity and sweep measure it
        "quality.ceiling_customers=300",
        "interests.fit=off",
        "score.hysteresis=0",
    )
    return load_params(PARAMS, [*places, *more])


@pytest.fixture
def params(tmp_path: Path, shop: Path, mlflow_database: Path) -> Callable[..., Params]:
    def make(*more: str) -> Params:
        import shutil

        shutil.copy(mlflow_database, tmp_path / "mlflow.db")
        return params_in(tmp_path, shop, *more)

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: Any, shop: Path) -> tuple[Params, Trained]:
    folder = tmp_path_factory.mktemp("trained")
    params = params_in(folder, shop, "quality.validity=true")
    return params, train(params, sweep=False, progress=quiet)
