"""Segment names must be true of most of their customers. Tested on simulated shops, where each customer has a known type.

A name that describes a type of customer (VIP, cart abandoners) must match the simulated type of most members. A name that
only states what happened (filled a cart, no order) can be true of many types, so it is compared with the log itself.
Neither test uses the figures by which the names were chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config.facets import facets_of
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.ingest.source import read_source
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.segmentation.cluster import cluster
from pipeline.segmentation.describe import describe_segments
from pipeline.simulate import simulate
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from tests.conftest import PARAMS, BuildOnce
from tests.pipeline.conftest import params_in

SEEDS = (1, 2, 3, 4, 5)
CUSTOMERS = 6_000
MIN_SHARE = 0.7
DAYS = 365
SETTINGS = (
    "quality.stability_resamples=1",
    "quality.hdbscan_resamples=1",
    "quality.hdbscan_resample_customers=300",
    "quality.sample_customers=300",
    "quality.min_stability=0",  # a stricter test: an unstable segment would get no archetype
)

COMES_AND_BUYS = {"vip", "regular", "bargain_hunter", "heavy_returner"}
"""At least twelve visits a year up to the training date, each of which may lead to a cart and an order."""
GONE = {"lapsed", "lost"}
"""Bought, and last visited at least 148 days before the training date."""
TYPES: dict[str, set[str]] = {
    "difficult": {"heavy_returner"},
    "open_cart": {"cart_abandoner"},
    "cart_abandoner": {"cart_abandoner"},
    "vip": {"vip"},  # not regular customers who happen to spend as much
    "bargain_hunter": {"bargain_hunter"},
    "high_spender": COMES_AND_BUYS,  # all of these can be; FACTS checks the log for those who are
    "regular": COMES_AND_BUYS,
    "lapsed_repeat": GONE,
    "lost": GONE | {"one_time"},  # one-time buyers leave twenty days after their only order
    "lapsed": GONE | {"one_time"},
    "at_risk": GONE,
    "new": {"new", "one_time"},  # it is not yet known whether the first order is the last
    "one_time": {"one_time"},
    "paused": COMES_AND_BUYS | {"cart_abandoner"},  # cart abandoners who bought once
    "recent": COMES_AND_BUYS | {"new", "one_time"},
    "promising": COMES_AND_BUYS | {"new", "browser", "cart_abandoner"},  # all types that return
    "browser": {"browser", "passer_by"},  # 1% of their views lead to a cart
}
"""Archetype -> simulated customer types that the name describes."""

FACTS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "high_spender": lambda log: log.kept >= 2 * log.kept.mean(),
    "lost": lambda log: log.silent >= 120,
    "lapsed": lambda log: log.silent >= 120,
    "lapsed_repeat": lambda log: log.silent >= 120,
    "at_risk": lambda log: log.silent >= 60,
    "new": lambda log: log.known <= 60,
    "recent": lambda log: log.since_order <= 60,
    "paused": lambda log: (log.since_order >= 30) & (log.silent <= 60),
    "quiet": lambda log: log.since_order >= 45,
    "repeat": lambda log: log.orders > 1,
    "occasional": lambda log: log.orders.between(1, 5),
    "left": lambda log: (log.orders == 0) & (log.silent >= 90),
    "cart_only": lambda log: (log.orders == 0) & (log.carts > 0),
    "glance": lambda log: (log.orders == 0) & (log.visit_days <= 2),
    "visitor": lambda log: log.orders == 0,
}
"""Archetype -> whether what its name says happened, per customer of the log."""


def facts(shop: Path, params: Params, customers: pd.Series) -> pd.DataFrame:
    """Facts about each customer, computed directly from the log without profiles.

    orders, carts, visit_days (count), kept (money), silent, known, since_order (days)
    """
    events = pd.read_parquet(shop / "events")
    as_of = pd.Timestamp(params.as_of)
    at = pd.to_datetime(events.occurred_at, utc=True)
    inside = events.assign(age=(as_of - at) / pd.Timedelta(days=1), day=at.dt.date).query("0 < age <= @DAYS")
    inside["money"] = inside.quantity.fillna(1.0) * inside.unit_price.fillna(0.0) - inside.discount.fillna(0.0)
    by_type = {kind: rows.groupby("customer_id") for kind, rows in inside.groupby("event_type")}
    visits = inside[inside.event_type.isin(["view", "search", "favourite", "cart", "purchase"])]
    everything = inside.groupby("customer_id").age
    table = pd.DataFrame(
        {
            "orders": by_type["purchase"].order_id.nunique(),
            "carts": by_type["cart"].size(),
            "visit_days": visits.groupby("customer_id").day.nunique(),
            "kept": by_type["purchase"].money.sum(),
            "silent": everything.min(),
            "known": everything.max(),
            "since_order": by_type["purchase"].age.min(),
        },
        index=pd.Index(customers),
    )
    counts = ["orders", "carts", "visit_days", "kept"]
    return table.fillna(dict.fromkeys(counts, 0.0))


@pytest.fixture(scope="module", params=SEEDS)
def shop(request: pytest.FixtureRequest, build_once: BuildOnce) -> tuple[Path, Params, Profiles]:
    def make(folder: Path) -> Profiles:
        simulate(folder / "shop", customers=CUSTOMERS, days=395, seed=request.param)
        params = params_in(folder, folder / "shop", *SETTINGS)
        with connect(params.engine, folder=folder) as con:
            profiles = build_profiles(DuckDB(con), read_source(con, params, rejected_path=None), params)
        return replace(profiles, event_evidence=None, visits=None)

    folder, profiles = build_once(f"names-{request.param}", make)
    return folder / "shop", params_in(folder, folder / "shop", *SETTINGS), profiles


def test_every_archetype_is_covered() -> None:
    assert TYPES.keys() | FACTS.keys() == {archetype.id for archetype in load_params(PARAMS).naming.archetypes}


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "count"), [("kmeans", 8), ("kmeans", 10), ("hdbscan", 8)])
def test_names_describe_the_simulated_types(shop: tuple[Path, Params, Profiles], algorithm: str, count: int) -> None:
    folder, params, profiles = shop
    customers = profiles.table.customer_id
    (facet, *_) = facets_of(params)
    fitted = cluster(profiles, params, facet, algorithm=algorithm, n_segments=count)
    segments = describe_segments(profiles, fitted, params, facet, seasonal_lift=None)
    kinds = pd.read_parquet(folder / "truth_customers.parquet").set_index("customer_id").kind.reindex(customers)
    log = facts(folder, params, customers)
    clustered = log[fitted.is_clustered]
    wrong, named = {}, 0
    for segment in segments.table:
        archetype = segment["archetype"]
        if archetype is None or segment["is_standing"]:
            continue
        members = customers[segments.segment_ids == segment["segment_id"]]
        named += len(members)
        if archetype in TYPES and (share := kinds[members].isin(TYPES[archetype]).mean()) < MIN_SHARE:
            wrong[segment["name"], "kinds"] = (share, kinds[members].value_counts(normalize=True).head(4).to_dict())
        if archetype in FACTS and (share := FACTS[archetype](clustered)[members].mean()) < MIN_SHARE:
            wrong[segment["name"], "log"] = share
    assert not wrong
    assert named / fitted.is_clustered.sum() > 0.9  # without this, names that say nothing would pass
