"""Customers' lifts over the shop at the same times, checked against plain Python and on a simulated rush."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.categories import OTHER, is_remainder
from features.events import ObservationWindow
from features.interests import SHARE_PREFIX
from features.seasons import SEASON_LISTS, SEASON_PREFIX
from models.audiences import audience_membership
from models.scorer import Floats
from models.top_categories import top_categories
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.ingest.source import read_source
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.profiles.seasonality import expected_shares_for_batch, expected_shares_for_profiles, full_season_mix
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from tests.conftest import PARAMS

AS_OF = datetime(2025, 11, 1, tzinfo=UTC)
END = AS_OF.replace(tzinfo=None)
EPOCH = datetime(1970, 1, 1)
PRODUCTS = {
    "c1": "Pets > Cats > Food",
    "c2": "Pets > Cats > Litter",
    "d1": "Pets > Dogs",
    "l1": "Home > Lamps",
    "t1": "Toys",
    "none": None,
}
Events = list[dict[str, Any]]


class AllColumns(frozenset[str]):
    """A set of columns that contains every name, so all are fetched."""

    def __contains__(self, name: object) -> bool:
        return True


def profiles_with_expected(
    folder: Path, events: Events, *more: str, columns: Collection[str] | None = AllColumns()
) -> tuple[Params, Profiles, Floats, pd.DataFrame, Floats]:
    """Parameters, profiles with the ring, the mix of each slot, the event evidence, and the expected shares."""
    pd.DataFrame(events).to_parquet(folder / "log.parquet", coerce_timestamps="us")
    pd.DataFrame(PRODUCTS.items(), columns=["product_id", "category_path"]).to_parquet(folder / "products.parquet")
    paths = [f"source.{name}.path={folder / file}.parquet" for name, file in (("events", "log"), ("products",) * 2)]
    params = load_params(PARAMS, [f"as_of={AS_OF.isoformat()}", "source.customers=null", *paths, *more])
    with connect(params.engine, folder=folder / "work") as con:
        source = read_source(con, params, rejected_path=None)
        profiles = build_profiles(DuckDB(con), source, params, columns=columns)
        window = ObservationWindow(AS_OF, params.history_days)
        mix = full_season_mix(source, profiles.shop.spec, params, window)
        assert profiles.event_evidence is not None
        shares = expected_shares_for_profiles(profiles, source, params)
        all_rows = np.arange(len(profiles.table))
        expected = np.array([shares.of(column, all_rows) for column in range(len(profiles.shop.spec.cut.categories))])
        return params, profiles, mix, profiles.event_evidence.to_pyarrow().to_pandas(), expected


def random_log(seed: int) -> Events:
    """Few customers, with times on the bounds of periods and of the window, and searches followed by actions."""
    draw, events = random.Random(seed), []
    for _ in range(220):
        moment = EPOCH + timedelta(days=draw.randrange(20_300 // 5, 20_393 // 5) * 5, seconds=draw.choice([-1, 0, 1]))
        moment = draw.choice([moment, END - timedelta(seconds=draw.randrange(1, 91 * 86_400))])
        kind = draw.choice(["view", "view", "cart", "purchase", "return", "search"])
        event = {"customer_id": f"c{draw.randrange(12):02}", "occurred_at": moment, "event_type": kind}
        query = draw.choice(["cat food", "lamp"]) if kind == "search" else None
        events.append({**event, "product_id": None if query else draw.choice(list(PRODUCTS)), "query": query})
    return events


def naive_expected(
    params: Params, profiles: Profiles, evidence: pd.DataFrame, events: Events
) -> dict[tuple[int, int], float]:
    """Expected share by customer and column, computed event by event from the documented formulas."""
    cut, days, kappa = profiles.shop.spec.cut, params.naming.season_days, params.interests.kappa
    start = END - timedelta(days=params.history_days)

    def period(moment: datetime) -> int:
        return int((moment - EPOCH).total_seconds() // (days * 86_400))

    first_whole = next(p for p in range(100_000) if EPOCH + timedelta(days=p * days) >= start)
    tops = [name.partition(" > other ")[0] for name in cut.categories]
    sums: dict[int, list[float]] = defaultdict(lambda: [0.0] * len(cut.categories))
    for event in events:
        path = PRODUCTS.get(event["product_id"])
        if event["event_type"] == "search" or path is None or not start <= event["occurred_at"] < END:
            continue
        inside = [c for c, top in enumerate(tops) if f"{path} >".startswith(f"{top} >")]
        weight = params.interests.signal_weights[event["event_type"]]
        if period(event["occurred_at"]) >= first_whole:
            column = max(inside, key=lambda c: len(tops[c]), default=len(tops) - 1)
            sums[period(event["occurred_at"])][column] += weight
    thin = params.naming.min_group * kappa

    def mixed(values: list[float], toward: tuple[float, ...]) -> tuple[float, ...]:
        total = sum(values) + thin
        return tuple((value + thin * other) / total for value, other in zip(values, toward, strict=True))

    window_mix = mixed([sum(column) for column in zip(*sums.values(), strict=True)], cut.mix)
    parts = [tuple(name.lower().split(" > ")) for name in cut.categories]
    expected = {}
    for customer, rows in evidence.groupby("customer_id"):
        expected_evidence = [0.0] * len(cut.categories)
        for row in rows.itertuples():
            mix = mixed(sums[max(period(row.occurred_at), first_whole)], window_mix)
            expected_evidence = [
                value + row.weight * share for value, share in zip(expected_evidence, mix, strict=True)
            ]
        for column, path in enumerate(parts):
            share, above = 1.0, list(range(len(parts)))
            for level in range(1, cut.level + 1):
                node = [c for c in above if parts[c][:level] == path[:level]] if level < cut.level else [column]
                spread = sum(cut.mix[c] for c in node) / (sum(cut.mix[c] for c in above) or 1.0)
                own, total = (sum(expected_evidence[c] for c in columns) for columns in (node, above))
                share *= (own + kappa * spread) / (total + kappa)
                above = node
            expected[customer, column] = share
    return expected


@pytest.mark.parametrize("seed", range(3))
def test_expected_shares_match_plain_python(tmp_path: Path, seed: int) -> None:
    events = random_log(seed)
    max_categories = "interests.max_categories=" + ("40", "4", "3")[seed]  # few columns also give remainder columns
    more = (
        "history_days=88",
        "naming.season_days=5",
        "naming.min_group=1",
        "interests.kappa=2",
        "engine.threads=1",
        max_categories,
    )
    params, profiles, mix, evidence, of_all = profiles_with_expected(
        tmp_path, events, *more, "searches.min_customers=1"
    )
    spec, frame, kappa = profiles.shop.spec, profiles.table, params.interests.kappa
    names, settings = spec.cut.categories, {"max_count": 2, "min_lift": 1.2, "min_share": 0.1}
    naive = naive_expected(params, profiles, evidence, events)
    assert len(naive) > 30 and (evidence.event_type == "search").any()
    expected = expected_shares_for_batch(frame, spec, mix, kappa=kappa)
    for (customer, column), share in naive.items():
        assert expected.of(column, np.array([customer]))[0] == pytest.approx(share, rel=1e-7)
        assert of_all[column, customer] == pytest.approx(share, rel=1e-7)
    tops = top_categories(frame, spec, expected, **settings).to_pylist()  # type: ignore[arg-type]
    assert any(tops)
    for customer, top in enumerate(tops):
        shares = [float(frame[SHARE_PREFIX + name][customer]) for name in names]

        def lift(category: str, of: int = customer, own: list[float] = shares) -> float:
            inside = [c for c, name in enumerate(names) if f"{name} >".startswith(f"{category} >")]
            share = sum(own[c] for c in inside)
            return share / sum(naive.get((of, c), own[c]) for c in inside) if share >= 0.1 else 0.0

        assert len(top) <= 2 and all(lift(name) >= 1.2 for name in top)
        if not top:
            high = [name for name in names if name != OTHER and not is_remainder(name) and lift(name) >= 1.2]
            seen = evidence[evidence.customer_id == customer].groupby("column").weight.sum()
            assert not any(seen.get(names.index(name), 0.0) > 0.5 * seen.sum() for name in high)


def test_a_rush_does_not_count_as_an_interest(tmp_path: Path) -> None:
    """For two weeks all customers view toys, before and after hardly any. Toys in quiet times do count."""
    draw = random.Random(1)
    rush = END - timedelta(days=42)  # covers parts of two periods
    events: Events = []

    def views(customer: str, begin: datetime, days: float, products: list[str]) -> None:
        for product in products:
            at = begin + timedelta(days=draw.random() * days)
            events.append({"customer_id": customer, "occurred_at": at, "event_type": "view", "product_id": product})

    for number in range(60):
        for week in {*range(1, 21)} - {5, 6}:
            quiet = draw.choices(["c1", "d1", "l1", "t1"], [4, 3, 4, 1], k=3)
            views(f"usual{number}", END - timedelta(days=7 * week), 7, quiet)
        views(f"usual{number}", rush, 14, ["t1"] * 18 + ["c1", "d1", "l1"] * 2)
    views("rush only", rush, 14, ["t1"] * 18 + ["c1", "d1", "l1"] * 2)
    views("toys in quiet times", rush - timedelta(days=30), 14, ["t1"] * 12 + ["c1", "d1", "l1"] * 4)
    params, profiles, mix, _, expected = profiles_with_expected(tmp_path, events, "history_days=150")
    spec, frame = profiles.shop.spec, profiles.table.set_index("customer_id")
    expected_shares = expected_shares_for_batch(profiles.table, spec, mix, kappa=params.interests.kappa)
    top = top_categories(profiles.table, spec, expected_shares, max_count=3, min_lift=1.3, min_share=0.05)
    tops = dict(zip(frame.index, top.to_pylist(), strict=True))
    toys = spec.cut.categories.index("Toys")
    assert (
        frame[f"{SHARE_PREFIX}Toys"]["rush only"] > 1.3 * spec.cut.mix[toys]
    )  # over the whole window, toys would be an interest
    assert "Toys" not in tops["rush only"]
    assert tops["toys in quiet times"] == ["Toys"]
    settings = {"kappa": params.interests.kappa, "min_lift": 1.3, "certainty": 0.9}
    shares = frame[[f"{SHARE_PREFIX}Toys"]]
    seasonal = pd.DataFrame(expected[[toys]].T, frame.index, shares.columns)
    over_season = audience_membership(shares, frame.evidence, seasonal, **settings)[f"{SHARE_PREFIX}Toys"]
    over_window = audience_membership(shares, frame.evidence, seasonal * 0.0 + spec.cut.mix[toys], **settings)[
        f"{SHARE_PREFIX}Toys"
    ]
    assert over_season["toys in quiet times"] and not over_season["rush only"] and over_window["rush only"]


def test_a_window_with_few_whole_periods_uses_the_mix_at_training(tmp_path: Path) -> None:
    """The whole periods within ten days change from night to night, and on most nights there are none."""
    _, profiles, mix, _, _ = profiles_with_expected(tmp_path, random_log(0), "history_days=10")
    np.testing.assert_allclose(mix, [profiles.shop.spec.cut.mix] * len(mix))


@pytest.mark.slow
def test_the_ring_is_fetched_only_on_request(tmp_path: Path) -> None:
    for columns in (None, {"customer_id", "evidence"}):
        _, profiles, *_ = profiles_with_expected(tmp_path, random_log(0), columns=columns)
        assert not [name for name in profiles.table if name in SEASON_LISTS or name.startswith(SEASON_PREFIX)]
