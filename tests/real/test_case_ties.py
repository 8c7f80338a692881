"""A shop in which most customers have one order: nobody with two orders has a high frequency score or is a VIP."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.load import load_params
from pipeline.ingest.source import read_source
from pipeline.profiles.build import build_profiles
from pipeline.segmentation import sanity_checks
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB

PARAMS = Path(__file__).parents[2] / "params.yaml"
CASE = Path(__file__).parents[3] / "shared" / "cases" / "17-rfm-ties"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not CASE.is_dir(), reason="expected the log in shared/cases/ next to the project"),
]


@pytest.mark.parametrize("form", ["five", "eleven"])
def test_nobody_with_two_orders_is_a_champion(form: str, tmp_path: Path) -> None:
    given = tmp_path / "params.yaml"
    given.write_text(
        f"base: {PARAMS}\n" + (CASE / "params.yaml").read_text().replace("orders.csv", f"{CASE}/orders.csv")
    )
    params = load_params(given, [f"outputs.folder={tmp_path}", f"value.rfm_form={form}"])
    with connect(params.engine, folder=tmp_path) as con:
        profiles = build_profiles(DuckDB(con), read_source(con, params, rejected_path=None), params)
    buyers = profiles.table[profiles.table.order_count > 0]
    best = buyers[buyers.rfm_group == {"five": "VIP", "eleven": "Champions"}[form]]
    assert best.order_count.min() >= 7
    assert set(buyers.frequency_score[buyers.order_count == 2]) == {2}
    frequency, money = sanity_checks.check_rfm_ties(buyers, profiles.shop.spec.value_cuts, params)
    assert frequency.startswith("85% of the buyers have the same order count (1)")
    assert money.startswith("85% of the buyers have the same net spend (9.99)")
