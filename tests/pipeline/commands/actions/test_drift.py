"""`kindred drift` on a shop that changes on a known day, and on the same shop unchanged."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from pipeline.cli import main
from pipeline.commands.actions.drift import FILE, drift
from pipeline.commands.score import score
from pipeline.commands.train import train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.config.sections.drift import DriftLimit
from pipeline.drift.reference import FILE as REFERENCE
from pipeline.drift.reference import Reference
from pipeline.stores import mlflow_runs, model_registry
from tests.conftest import BuildOnce, copy_store
from tests.pipeline.conftest import copied, params_in

CHANGED_ON = pd.Timestamp("2025-09-01", tz="UTC")
CATEGORY_STEP = 3
"""Every third category is dropped."""


def changed_log(shop: Path, folder: Path) -> None:
    """The shop's log, without a third of the categories and half of the orders from `CHANGED_ON` on."""
    products = pd.read_parquet(shop / "products.parquet").set_index("product_id").category_path
    dropped = set(sorted(products.dropna().unique())[::CATEGORY_STEP])
    folder.mkdir()
    for path in sorted((shop / "events").glob("*.parquet")):
        events = pd.read_parquet(path)
        at = pd.to_datetime(events.occurred_at, errors="coerce", utc=True, format="mixed")
        is_half = events.order_id.fillna("").map(lambda order_id: zlib.crc32(order_id.encode()) % 2 == 0)
        is_dropped = events.product_id.map(products).isin(dropped) | ((events.event_type == "purchase") & is_half)
        events[~(is_dropped & (at >= CHANGED_ON))].to_parquet(folder / path.name)


def renamed_categories(shop: Path, path: Path) -> None:
    """The shop's products; half of the categories have another name."""
    products = pd.read_parquet(shop / "products.parquet")
    renamed = set(sorted(products.category_path.dropna().unique())[::2])
    is_renamed = products.category_path.isin(renamed)
    products["category_path"] = products.category_path.where(~is_renamed, "New > " + products.category_path)
    products.to_parquet(path)


@pytest.fixture(scope="session")
def trained_in_september(build_once: BuildOnce, mlflow_store: Path, shop: Path) -> Path:
    def make(folder: Path) -> None:
        copy_store(mlflow_store, folder)
        params = params_in(folder, shop, "quality.validity=true", "as_of=2025-09-01T00:00:00Z")
        result = train(params, sweep=False, progress=SILENT)
        out = params.path(params.outputs.scores)
        score(params, model_uri=result.model_uri, out=out, progress=SILENT)
        changed_log(shop, folder / "changed")
        renamed_categories(shop, folder / "renamed.parquet")

    return build_once("september", make)[0]


@pytest.fixture
def at(trained_in_september: Path, tmp_path: Path, shop: Path) -> Callable[..., Params]:
    copied(trained_in_september, tmp_path)
    return lambda day, *more: params_in(tmp_path, shop, f"as_of={day}T00:00:00Z", *more)


@pytest.mark.parametrize("day", ["2025-09-01", "2025-09-15", "2025-10-01"])
def test_a_shop_that_stays_the_same_keeps_its_model(at: Callable[..., Params], day: str) -> None:
    params = at(day)
    result = drift(params, model_uri=params.tracking.champion_uri, progress=SILENT)
    assert (result.verdict, result.reasons) == ("keep", [])
    reading = result.measured.reading
    assert reading.recent_psi["categories"] < 0.1 and max(reading.segment_psi.values()) < 0.1
    assert reading.other_segment_share is not None and (reading.validity_loss is None) == (day < "2025-10-01")
    if day == "2025-09-01":
        assert reading.other_segment_share == 0 and max(drift.psi for drift in reading.columns) < 1e-9
        assert list(reading.segment_psi.values()) == [0, 0] and set(reading.recent_psi.values()) == {0}


def test_a_shop_that_changed_is_trained_again(
    at: Callable[..., Params], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = at("2025-10-01", f"source.events.path={tmp_path / 'changed'}")
    assert main(["drift", *params.called_with]) == 3
    text = capsys.readouterr().out
    assert text.startswith("Verdict   train again\nReason    Lately the categories of events have changed")
    assert "orders per active customer have changed" in text and "kindred train" in text
    written = json.loads((params.path(params.outputs.folder) / FILE).read_text())
    assert written["verdict"] == "train_again" and written["recent_psi"]["categories"] > 1
    assert main(["drift", *at("2025-09-01").called_with]) == 0


def test_new_categories_are_a_reason_to_train_again(at: Callable[..., Params], tmp_path: Path) -> None:
    params = at("2025-09-01", f"source.products.path={tmp_path / 'renamed.parquet'}")
    result = drift(params, model_uri=params.tracking.champion_uri, progress=SILENT)
    assert result.measured.reading.new_category_share > 0.2 and result.verdict == "train_again"
    assert any("categories that the model does not know" in reason for reason in result.reasons)


def test_a_loss_of_validity_is_a_reason_to_train_again(
    at: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Reference.load

    def better(folder: Path) -> Reference:
        reference = original(folder)
        assert reference is not None and reference.buys_auc is not None and 0.6 < reference.buys_auc < 0.99
        return Reference(**{**vars(reference), "buys_auc": 0.999})

    monkeypatch.setattr(Reference, "load", staticmethod(better))
    params = at("2025-10-01")
    result = drift(params, model_uri=params.tracking.champion_uri, progress=SILENT)
    assert result.verdict == "train_again" and "predict who buys worse" in result.reasons[0]


def test_the_reference_holds_shares_only(at: Callable[..., Params], tmp_path: Path) -> None:
    params = at("2025-09-01")
    store = mlflow_runs.open_store(params)
    model = model_registry.load_model(store, params.tracking.champion_uri)
    reference = Reference.load(model.shop_folder)
    assert reference is not None and reference.customer_count > 1000
    for column in [*reference.columns.values(), *reference.recent.values()]:
        assert column.shares.sum() == pytest.approx(1, abs=0.01) and len(column.shares) == len(column.edges) + 2
    for shares in [*reference.segments.values(), reference.category_shares]:
        assert sum(shares.values()) == pytest.approx(1, abs=0.05)  # rounded
    reference.save(tmp_path)
    assert (tmp_path / REFERENCE).read_bytes() == (model.shop_folder / REFERENCE).read_bytes()
    assert Reference.load(tmp_path / "none") is None


def test_dates_before_the_training_and_models_without_a_reference(
    at: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    early = at("2025-08-01")
    with pytest.raises(UserError, match=r"as_of: expected 2025-09-01 .* or later; got 2025-08-01"):
        drift(early, model_uri=early.tracking.champion_uri, progress=SILENT)
    monkeypatch.setattr(Reference, "load", staticmethod(lambda folder: None))
    with pytest.raises(UserError, match="Train again"):
        drift(early, model_uri=early.tracking.champion_uri, progress=SILENT)


def test_limits_in_order() -> None:
    with pytest.raises(ValidationError, match="watch at most train_again"):
        DriftLimit(watch=0.3, train_again=0.2)
