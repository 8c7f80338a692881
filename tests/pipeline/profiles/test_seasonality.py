"""Lifts of customers beside the shop at the same times: beside a reckoning in plain Python, and a planted rush."""

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

from features.categories import OTHER, is_rest
from features.events import ObservationWindow
from features.interests import SHARE_PREFIX
from features.seasons import SEASON_PREFIX, SEASONS
from models.audiences import drawn_to
from models.scorer import Floats
from models.top_categories import top_categories
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.ingest.source import read_source
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.profiles.seasonality import expected_in, expected_of, season_mix_of
from pipeline.stores.database import connect
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


class Everything(frozenset[str]):
    """Columns to fetch: all there are."""

    def __contains__(self, name: object) -> bool:
        return True


def built(
    folder: Path, events: Events, *more: str, columns: Collection[str] | None = Everything()
) -> tuple[Params, Profiles, Floats, pd.DataFrame, Floats]:
    """Profiles with the ring, the mixes of its places, what each event said of each category, and expected shares."""
    pd.DataFrame(events).to_parquet(folder / "log.parquet", coerce_timestamps="us")
    pd.DataFrame(PRODUCTS.items(), columns=["product_id", "category_path"]).to_parquet(folder / "products.parquet")
    places = [f"source.{name}.path={folder / file}.parquet" for name, file in (("events", "log"), ("products",) * 2)]
    given = load_params(PARAMS, [f"as_of={AS_OF.isoformat()}", "source.customers=null", *places, *more])
    with connect(given.engine, folder=folder / "work") as con:
        source = read_source(con, given, rejected_path=None)
        profiles = build_profiles(con, source, given, columns=columns)
        window = ObservationWindow(AS_OF, given.history_days)
        mix = season_mix_of(source, profiles.shop.spec, given, window)
        assert profiles.said is not None
        found = expected_in(profiles, source, given)
        everybody = np.arange(len(profiles.table))
        expected = np.array([found.of(column, everybody) for column in range(len(profiles.shop.spec.cut.categories))])
        return given, profiles, mix, profiles.said.to_pyarrow().to_pandas(), expected


def random_log(seed: int) -> Events:
    """Few customers; moments on the bounds of periods and of the window, and queries that lead somewhere."""
    draw, found = random.Random(seed), []
    for _ in range(220):
        moment = EPOCH + timedelta(days=draw.randrange(20_300 // 5, 20_393 // 5) * 5, seconds=draw.choice([-1, 0, 1]))
        moment = draw.choice([moment, END - timedelta(seconds=draw.randrange(1, 91 * 86_400))])
        kind = draw.choice(["view", "view", "cart", "purchase", "return", "search"])
        event = {"customer_id": f"c{draw.randrange(12):02}", "occurred_at": moment, "event_type": kind}
        query = draw.choice(["cat food", "lamp"]) if kind == "search" else None
        found.append({**event, "product_id": None if query else draw.choice(list(PRODUCTS)), "query": query})
    return found


def naive_expected(
    given: Params, profiles: Profiles, said: pd.DataFrame, events: Events
) -> dict[tuple[int, int], float]:
    """Expected share by customer and column, one event after another; of each formula what its docstring says."""
    cut, days, kappa = profiles.shop.spec.cut, given.naming.season_days, given.interests.kappa
    start = END - timedelta(days=given.history_days)

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
        weight = given.interests.signal_weights[event["event_type"]]
        if period(event["occurred_at"]) >= first_whole:
            column = max(inside, key=lambda c: len(tops[c]), default=len(tops) - 1)
            sums[period(event["occurred_at"])][column] += weight
    thin = given.naming.min_group * kappa

    def mixed(values: list[float], toward: tuple[float, ...]) -> tuple[float, ...]:
        total = sum(values) + thin
        return tuple((value + thin * other) / total for value, other in zip(values, toward, strict=True))

    of_window = mixed([sum(column) for column in zip(*sums.values(), strict=True)], cut.mix)
    parts = [tuple(name.lower().split(" > ")) for name in cut.categories]
    expected = {}
    for customer, rows in said.groupby("customer_id"):
        evidence = [0.0] * len(cut.categories)
        for row in rows.itertuples():
            mix = mixed(sums[max(period(row.occurred_at), first_whole)], of_window)
            evidence = [value + row.weight * share for value, share in zip(evidence, mix, strict=True)]
        for column, path in enumerate(parts):
            share, above = 1.0, list(range(len(parts)))
            for level in range(1, cut.level + 1):
                node = [c for c in above if parts[c][:level] == path[:level]] if level < cut.level else [column]
                spread = sum(cut.mix[c] for c in node) / (sum(cut.mix[c] for c in above) or 1.0)
                share *= (sum(evidence[c] for c in node) + kappa * spread) / (sum(evidence[c] for c in above) + kappa)
                above = node
            expected[customer, column] = share
    return expected


@pytest.mark.parametrize("seed", range(3))
def test_beside_a_reckoning_in_plain_python(tmp_path: Path, seed: int) -> None:
    events = random_log(seed)
    places = "interests.max_categories=" + ("40", "4", "3")[seed]  # of what is left of a category, too
    more = (
        "history_days=88",
        "naming.season_days=5",
        "naming.min_group=1",
        "interests.kappa=2",
        "engine.threads=1",
        places,
    )
    given, profiles, mix, said, of_all = built(tmp_path, events, *more, "searches.min_customers=1")
    spec, frame, kappa = profiles.shop.spec, profiles.table, given.interests.kappa
    names, settings = spec.cut.categories, {"most": 2, "min_lift": 1.2, "min_share": 0.1}
    naive = naive_expected(given, profiles, said, events)
    assert len(naive) > 30 and (said.event_type == "search").any()
    expected = expected_of(frame, spec, mix, kappa=kappa)
    for (customer, column), share in naive.items():
        assert expected.of(column, np.array([customer]))[0] == pytest.approx(share, rel=1e-7)
        assert of_all[column, customer] == pytest.approx(share, rel=1e-7)
    told = top_categories(frame, spec, expected, **settings).to_pylist()  # type: ignore[arg-type]
    assert any(told)
    for customer, found in enumerate(told):
        shares = [float(frame[SHARE_PREFIX + name][customer]) for name in names]

        def lift(top: str, of: int = customer, own: list[float] = shares) -> float:
            inside = [c for c, name in enumerate(names) if f"{name} >".startswith(f"{top} >")]
            share = sum(own[c] for c in inside)
            return share / sum(naive.get((of, c), own[c]) for c in inside) if share >= 0.1 else 0.0

        assert len(found) <= 2 and all(lift(name) >= 1.2 for name in found)
        if not found:
            high = [name for name in names if name != OTHER and not is_rest(name) and lift(name) >= 1.2]
            seen = said[said.customer_id == customer].groupby("column").weight.sum()
            assert not any(seen.get(names.index(name), 0.0) > 0.5 * seen.sum() for name in high)


def test_a_rush_is_no_interest_and_toys_in_quiet_times_are(tmp_path: Path) -> None:
    """For two weeks everybody turns to toys, before and after hardly anybody."""
    draw = random.Random(1)
    rush = END - timedelta(days=42)  # of a part of one period and a part of the next
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
    views("of the rush", rush, 14, ["t1"] * 18 + ["c1", "d1", "l1"] * 2)
    views("of toys", rush - timedelta(days=30), 14, ["t1"] * 12 + ["c1", "d1", "l1"] * 4)
    given, profiles, mix, _, expected = built(tmp_path, events, "history_days=150")
    spec, frame = profiles.shop.spec, profiles.table.set_index("customer_id")
    beside_all = expected_of(profiles.table, spec, mix, kappa=given.interests.kappa)
    top = top_categories(profiles.table, spec, beside_all, most=3, min_lift=1.3, min_share=0.05)
    found = dict(zip(frame.index, top.to_pylist(), strict=True))
    toys = spec.cut.categories.index("Toys")
    assert (
        frame[f"{SHARE_PREFIX}Toys"]["of the rush"] > 1.3 * spec.cut.mix[toys]
    )  # beside the whole window they were one
    assert "Toys" not in found["of the rush"]
    assert found["of toys"] == ["Toys"]
    asked = {"kappa": given.interests.kappa, "min_lift": 1.3, "certainty": 0.9}
    shares = frame[[f"{SHARE_PREFIX}Toys"]]
    beside = pd.DataFrame(expected[[toys]].T, frame.index, shares.columns)
    drawn = drawn_to(shares, frame.evidence, beside, **asked)[f"{SHARE_PREFIX}Toys"]
    whole = drawn_to(shares, frame.evidence, beside * 0.0 + spec.cut.mix[toys], **asked)[f"{SHARE_PREFIX}Toys"]
    assert drawn["of toys"] and not drawn["of the rush"] and whole["of the rush"]


def test_a_window_of_few_whole_periods_is_beside_the_mix_of_training(tmp_path: Path) -> None:
    """What is whole of ten days changes from night to night: of fourteen nights on most there is nothing."""
    _, profiles, mix, _, _ = built(tmp_path, random_log(0), "history_days=10")
    np.testing.assert_allclose(mix, [profiles.shop.spec.cut.mix] * len(mix))


def test_the_ring_is_in_no_profile_that_did_not_ask_for_it(tmp_path: Path) -> None:
    for columns in (None, {"customer_id", "evidence"}):
        _, profiles, *_ = built(tmp_path, random_log(0), columns=columns)
        assert not [name for name in profiles.table if name == SEASONS or name.startswith(SEASON_PREFIX)]
