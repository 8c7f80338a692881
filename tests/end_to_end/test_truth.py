"""Segmentations by rule beside the kinds that were planted in the simulated shop: a confusion table of each."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from features.journey import JOURNEY_PREFIX
from pipeline.ingest.source import read_source
from pipeline.profiles.build import build_profiles
from pipeline.stores.database import connect
from tests.pipeline.conftest import params_in


@pytest.fixture(scope="module")
def profile(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Profiles, with the planted kind."""
    params = params_in(tmp_path_factory.mktemp("truth"), shop)
    with connect(params.engine, folder=params.path(params.outputs.folder)) as con:
        table = build_profiles(con, read_source(con, params, rejected_path=None), params).table
    kinds = pd.read_parquet(shop / "truth_customers.parquet").set_index("customer_id").kind
    return table.copy().assign(kind=kinds.reindex(table.customer_id).to_numpy())


def shares(profile: pd.DataFrame, segmentation: str) -> pd.DataFrame:
    """Of each kind (rows), the share in each group (columns); null groups are "none"."""
    return pd.crosstab(profile.kind, profile[segmentation].fillna("none"), normalize="index")


def test_rfm_groups_of_the_kinds(profile: pd.DataFrame) -> None:
    found = shares(profile, "rfm_group")
    # Most of the 84 planted ones; of 2,094 in a larger shop it was 82%, and 35% of the heavy returners.
    assert found.VIP["vip"] > 0.5
    assert found.VIP["vip"] > 1.5 * found.VIP.drop("vip").max()
    # Long gone, though not for a year; of the others some bought nothing.
    assert found.loc["lost", ["Inactive", "none"]].sum() == 1.0
    assert found.loc["lapsed", ["Inactive", "none"]].sum() > 0.9
    assert found.New.idxmax() == "new"
    assert (found.none[["browser", "silent"]] == 1.0).all()


def test_lifecycle_stages_of_the_kinds(profile: pd.DataFrame) -> None:
    found = shares(profile, "lifecycle_stage")
    assert found.newcomer["silent"] == 1.0
    assert found.loc["browser", ["browsing", "cart", "inactive"]].sum() == pytest.approx(1.0)
    assert found.inactive[["passer_by", "browser", "vip", "new"]].idxmax() == "passer_by"
    assert found.cart["cart_abandoner"] > 0.6
    assert found.cart.drop("cart_abandoner").max() < 0.3
    assert found.active["vip"] == found.active.max() > 0.6
    assert found.lost["lost"] == found.lost.max()
    buyers = profile[(profile.kind == "lapsed") & (profile.order_count > 0)]
    assert buyers.lifecycle_stage.isin(["lapsed", "lost"]).all()


def test_difficult_are_the_heavy_returners(profile: pd.DataFrame) -> None:
    is_difficult = profile.value_tier == "difficult"
    assert (profile.kind[is_difficult] == "heavy_returner").mean() > 0.6
    assert is_difficult[profile.kind == "heavy_returner"].mean() > 10 * is_difficult[profile.kind == "regular"].mean()


def test_temperature_and_journey_events_of_the_kinds(profile: pd.DataFrame) -> None:
    found = shares(profile, "temperature")
    assert (found.cold[["silent", "lost", "lapsed"]] == 1.0).all()
    assert found.hot["vip"] > 2 * found.hot["one_time"]
    held = profile.filter(like=JOURNEY_PREFIX).groupby(profile.kind).mean()
    assert held[JOURNEY_PREFIX + "bought_once"].idxmax() == "one_time"
    left = held[JOURNEY_PREFIX + "left_cart"]
    assert left["cart_abandoner"] > 2 * left["regular"]
    assert not held[JOURNEY_PREFIX + "visited_without_order"][["silent", "lost", "lapsed"]].any()
