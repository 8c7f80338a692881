"""`kindred init`: what it writes, when it refuses, and what it shows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from pipeline.cli import main
from pipeline.commands.init import init
from pipeline.config.errors import UserError
from pipeline.config.progress import SILENT
from pipeline.presets.params_file import BASE
from tests.pipeline.presets.invented import plain_orders, rees46


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    (tmp_path / "export").mkdir()
    plain_orders(tmp_path / "export")
    return tmp_path / "export"


def written_by(places: list[Path], out: Path, *, preset: str | None = None, overwrite: bool = False) -> str:
    return init(places, preset=preset, out=out, overwrite=overwrite, progress=SILENT)


def test_the_same_files_give_the_same_params_file(orders: Path, tmp_path: Path) -> None:
    out = tmp_path / "shop.yaml"
    first = written_by([orders], out), out.read_bytes()
    assert (written_by([orders], out, overwrite=True), out.read_bytes()) == first
    values = yaml.safe_load(out.read_text())
    assert values["source"]["products"] == {
        "path": "export/products.csv",
        "columns": {"product_id": "sku", "category_path": "category"},
    }
    assert values["outputs"] == {"folder": "shop_outputs", "scores": "shop_outputs/scores.parquet"}


def test_results_of_earlier_commands_are_no_part_of_the_export(orders: Path) -> None:
    out = orders / "shop.yaml"
    first = written_by([orders], out), out.read_bytes()
    scores = pd.DataFrame({"customer_id": ["a", "b"], "segment": ["VIP", "Lapsed"]})
    (orders / "mlartifacts").mkdir()
    scores.to_parquet(orders / "shop_outputs" / "scores.parquet")
    scores.to_parquet(orders / "mlartifacts" / "scores.parquet")
    assert (written_by([orders], out, overwrite=True), out.read_bytes()) == first


def test_customers_and_searches_are_masked(tmp_path: Path) -> None:
    events = {
        "user": ["customer-17", "customer-17"],
        "time": ["2025-01-01 10:00", "2025-01-01 10:01"],
        "action": ["search", "view"],
        "sku": [None, "p1"],
        "query": ["ann smith ltd", None],
    }
    pd.DataFrame(events).to_csv(tmp_path / "log.csv", index=False)
    text = written_by([tmp_path / "log.csv"], tmp_path / "shop.yaml")
    assert "ids and search texts are shortened:" in text and "cu…" in text and "an…" in text
    assert "customer-17" not in text and "smith" not in text


def test_an_existing_file_is_kept(orders: Path, tmp_path: Path) -> None:
    out = tmp_path / "shop.yaml"
    out.write_text("mine")
    with pytest.raises(UserError, match=r"shop.yaml: expected a new file, but it exists.*--out, or add --overwrite"):
        written_by([orders], out)
    with pytest.raises(UserError, match=r"nofile.csv: expected files such as CSV"):
        written_by([orders / "nofile.csv"], out)
    assert out.read_text() == "mine"
    written_by([orders], out, overwrite=True)
    assert out.read_text() != "mine"


def test_the_params_file_of_kindred_is_never_replaced(orders: Path) -> None:
    before = BASE.read_bytes()
    with pytest.raises(UserError, match=r"expected a new file, but it exists. Name another file with --out\.$"):
        written_by([orders], BASE, overwrite=True)
    assert BASE.read_bytes() == before


def test_an_export_is_never_replaced(orders: Path) -> None:
    before = (orders / "orders.csv").read_bytes()
    with pytest.raises(UserError, match="this file is an input"):
        written_by([orders], orders / "orders.csv", overwrite=True)
    assert (orders / "orders.csv").read_bytes() == before


def test_a_log_that_cannot_be_read_leaves_a_file_to_correct(tmp_path: Path) -> None:
    rees46(tmp_path)
    table = pd.read_csv(tmp_path / "2025-Mar.csv", dtype=str)
    table.loc[:50, "price"] = "unknown"
    table.to_csv(tmp_path / "2025-Mar.csv", index=False)
    out = tmp_path / "shop.yaml"
    with pytest.raises(
        UserError, match=r"unreadable_number(.|\n)*is written as far as .* set as_of, and run kindred check"
    ):
        written_by([tmp_path / "2025-Mar.csv"], out)
    values = yaml.safe_load(out.read_text())
    assert f"{values['as_of']:%Y}" == "2099"
    assert values["source"]["events"]["columns"]["unit_price"] == "price"


@pytest.mark.parametrize(("strays", "expected"), [(0, "2025-03-25"), (1, "2025-03-25"), (3, "2098-01-02")])
def test_times_far_ahead_do_not_set_as_of(strays: int, expected: str, tmp_path: Path) -> None:
    rees46(tmp_path)
    table = pd.read_csv(tmp_path / "2025-Mar.csv", dtype=str)
    table = pd.concat([table] * 15, ignore_index=True)  # 1,800 events
    table.loc[len(table) - strays :, "event_time"] = "2098-01-01 10:00:00 UTC"
    table.to_csv(tmp_path / "2025-Mar.csv", index=False)
    text = written_by([tmp_path / "2025-Mar.csv"], tmp_path / "shop.yaml")
    assert f"{yaml.safe_load((tmp_path / 'shop.yaml').read_text())['as_of']:%Y-%m-%d}" == expected
    assert ("which end on 2025-03-24: 1 event," in text) == (strays == 1)


def test_the_command_line(
    orders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "export", "--from", "orders"]) == 0
    assert "kindred check --params" in capsys.readouterr().out
    assert main(["init", "export", "--output", "other.yaml"]) == 0
    assert (tmp_path / "other.yaml").exists()
    assert main(["init", "export"]) == 2
    assert "kindred: " in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["init", "export", "--from", "amazon"])
