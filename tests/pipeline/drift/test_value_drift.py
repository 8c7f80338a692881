"""Customers whom today's cut points would put into another RFM group or value tier."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from pipeline.config.load import load_params
from pipeline.config.progress import SILENT
from pipeline.drift.value_drift import moved_shares
from pipeline.ingest.source import read_source
from pipeline.profiles.build import measure, to_customer_measures
from pipeline.segmentation.sanity_checks import check_group_cuts
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from tests.conftest import PARAMS

AS_OF = datetime(2025, 11, 1, tzinfo=UTC)


def test_nobody_moves_at_the_training_and_many_after_prices_have_doubled(tmp_path: Path) -> None:
    bought = {"event_type": "purchase", "product_id": "p", "category_path": "A"}
    rows = [
        {"customer_id": f"c{n}", "occurred_at": AS_OF - timedelta(days=30 + n), "unit_price": price, **bought}
        for n in range(40)
        for price in [10.0 + n]
    ]
    later = AS_OF + timedelta(days=40)
    rows += [
        {**row, "occurred_at": later - timedelta(days=1 + n), "unit_price": 90.0} for n, row in enumerate(rows[:20])
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "log.parquet", coerce_timestamps="us")
    tables = [f"source.events.path={tmp_path / 'log.parquet'}", "source.products=null", "source.customers=null"]
    params = load_params(PARAMS, [f"as_of={AS_OF.isoformat()}", *tables])
    with connect(params.engine, folder=tmp_path / "work") as con:
        source = read_source(con, params, rejected_path=None)

        def moved(as_of: datetime, shop: object = None) -> tuple[dict[str, float], object]:
            own = params.model_copy(update={"as_of": as_of})
            measures = to_customer_measures(measure(DuckDB(con), source, own, shop=shop, progress=SILENT))
            return moved_shares(DuckDB(con), measures, own), measures.shop

        at_training, shop = moved(AS_OF)
        assert at_training == {"rfm_group": 0.0, "value_tier": 0.0}
        today, _ = moved(later, shop)
    # Half of the buyers now spend several times as much, so today's bounds are far above those of the training. In both,
    # most have one order, and frequency divides nobody.
    assert today == {"rfm_group": 0.1, "value_tier": 0.95}
    warnings = check_group_cuts({"rfm_group": 0.38, "value_tier": 0.1}, params)
    assert warnings == [
        "38% of the customers with an RFM group would be in another one by today's cut points: groups and tiers keep the "
        "cut points of the training (2025-11-01). Train again to renew them"
    ]
