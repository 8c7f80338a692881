"""Rule-based segmentations compared with the customer types of the simulated shop, in confusion tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from features.journey import JOURNEY_PREFIX
from pipeline.ingest.source import read_source
from pipeline.profiles.build import build_profiles
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from tests.pipeline.conftest import params_in


@pytest.fixture(scope="module")
def profile(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Profiles with the simulated customer type."""
    params = params_in(tmp_path_factory.mktemp("truth"), shop)
    with connect(params.engine, folder=params.path(params.outputs.folder)) as con:
        table = build_profiles(DuckDB(con), read_source(con, params, rejected_path=None), params).table
    kinds = pd.read_parquet(shop / "truth_customers.parquet").set_index("customer_id").kind
    return table.copy().assign(kind=kinds.reindex(table.customer_id).to_numpy())


def shares(profile: pd.DataFrame, segmentation: str) -> pd.DataFrame:
    """Share of each customer type (rows) in each group (columns); null groups are "none"."""
    return pd.crosstab(profile.kind, profile[segmentation].fillna("none"), normalize="index")


def test_rfm_groups_of_the_kinds(profile: pd.DataFrame) -> None:
    table = shares(profile, "rfm_group")
    # More than half of the 84 simulated VIPs. In a larger shop it was 82% of 2,094, and 35% of the heavy returners.
    assert table.VIP["vip"] > 0.5
    assert table.VIP["vip"] > 1.5 * table.VIP.drop("vip").max()
    # Inactive for long, but less than a year. Some of the others never bought.
    assert table.loc["lost", ["Inactive", "none"]].sum() == 1.0
    assert table.loc["lapsed", ["Inactive", "none"]].sum() > 0.9
    assert table.New.idxmax() == "new"
    assert (table.none[["browser", "silent"]] == 1.0).all()


def test_lifecycle_stages_of_the_kinds(profile: pd.DataFrame) -> None:
    table = shares(profile, "lifecycle_stage")
    assert table.newcomer["silent"] == 1.0
    assert table.loc["browser", ["browsing", "cart", "inactive"]].sum() == pytest.approx(1.0)
    assert table.inactive[["passer_by", "browser", "vip", "new"]].idxmax() == "passer_by"
    assert table.cart["cart_abandoner"] > 0.6
    assert table.cart.drop("cart_abandoner").max() < 0.3
    assert table.active["vip"] == table.active.max() > 0.6
    assert table.lost["lost"] == table.lost.max()
    buyers = profile[(profile.kind == "lapsed") & (profile.order_count > 0)]
    assert buyers.lifecycle_stage.isin(["lapsed", "lost"]).all()


def test_difficult_are_the_heavy_returners(profile: pd.DataFrame) -> None:
    is_difficult = profile.value_tier == "difficult"
    assert (profile.kind[is_difficult] == "heavy_returner").mean() > 0.6
    assert is_difficult[profile.kind == "heavy_returner"].mean() > 10 * is_difficult[profile.kind == "regular"].mean()


def test_temperature_and_journey_events_of_the_kinds(profile: pd.DataFrame) -> None:
    table = shares(profile, "temperature")
    assert (table.cold[["silent", "lost", "lapsed"]] == 1.0).all()
    assert table.hot["vip"] > 2 * table.hot["one_time"]
    event_shares = profile.filter(like=JOURNEY_PREFIX).groupby(profile.kind).mean()
    assert event_shares[JOURNEY_PREFIX + "bought_once"].idxmax() == "one_time"
    left = event_shares[JOURNEY_PREFIX + "left_cart"]
    assert left["cart_abandoner"] > 2 * left["regular"]
    assert not event_shares[JOURNEY_PREFIX + "visited_without_order"][["silent", "lost", "lapsed"]].any()
