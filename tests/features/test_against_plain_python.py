"""Profiles of small random logs compared with the same profiles computed in plain Python."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features.categories import OTHER
from features.events import EventType
from features.journey import STAGES
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.ingest.source import read_source
from pipeline.profiles.build import build_profiles
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB

PARAMS = Path(__file__).parents[2] / "params.yaml"
AS_OF = datetime(2025, 11, 1, tzinfo=UTC)
END = AS_OF.replace(tzinfo=None)
PRODUCTS = {
    "c1": "Pets > Cats > Food",
    "c2": "Pets > Cats > Litter",
    "d1": "Pets > Dogs",
    "l1": "Home > Lamps",
    "none": None,
}
Event = dict[str, Any]


def random_log(seed: int, *, by_day: bool) -> list[Event]:
    """A log of few customers whose times fall on the bounds of the window, visits and stages."""
    draw = random.Random(seed)
    days = [0.0, 1 / 86_400, 0.5, 1.0, 29.99, 30.0, 59.0, 60.0, 61.0, 119.0, 121.0, 240.0, 241.0, 250.0, 250.01]
    ago = [draw.choice(days) * 86_400 + draw.choice([0, 0, 60, 1_799, 1_800, 1_801]) for _ in range(150)]
    ago += [draw.choice([-1, 0, 1]) for _ in range(6)]
    moments = [END - timedelta(seconds=seconds) for seconds in ago]
    return [
        {
            "customer_id": f"c{draw.randrange(25):02}",
            "occurred_at": moment.replace(hour=0, minute=0, second=0) if by_day else moment,
            "event_type": draw.choice([*EventType, "purchase", "purchase", "view", "cart"]),
            "product_id": draw.choice(list(PRODUCTS)),
            "quantity": float(draw.randrange(4)),
            "unit_price": draw.choice([None, 0.0, 9.99, 250.5]),
            "discount": draw.choice([None, None, 1.25]),
            "order_id": draw.choice([None, "o1", "o2", "o3"]),
            "session_id": None,
        }
        for moment in moments
    ]


def profiles_of(folder: Path, log: list[Event], *more: str) -> tuple[Params, pd.DataFrame, Any]:
    """Profiles from the pipeline: parameters, one row per customer, and the learned shop."""
    pd.DataFrame(log).astype({"session_id": "str"}).to_parquet(folder / "log.parquet")
    pd.DataFrame(PRODUCTS.items(), columns=["product_id", "category_path"]).to_parquet(folder / "products.parquet")
    params = load_params(
        PARAMS,
        [
            f"as_of={AS_OF.isoformat()}",
            "history_days=250",
            f"source.events.path={folder / 'log.parquet'}",
            f"source.products.path={folder / 'products.parquet'}",
            "source.customers=null",
            *more,
        ],
    )
    with connect(params.engine, folder=folder / "work") as con:
        profiles = build_profiles(DuckDB(con), read_source(con, params, rejected_path=None), params)
    return params, profiles.table.set_index("customer_id"), profiles.shop


def age_days(event: Event) -> float:
    return (END - event["occurred_at"]).total_seconds() / 86_400


def orders_of(events: list[Event]) -> list[tuple[datetime, float]]:
    """(time, spend) of each order: purchases with the same order_id, otherwise of the same day."""
    orders: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["event_type"] == "purchase":
            orders[event["order_id"] or str(event["occurred_at"].date())].append(event)
    return sorted(
        (
            min(item["occurred_at"] for item in items),
            sum(
                item["quantity"] * item["unit_price"] - (item["discount"] or 0.0)
                for item in items
                if item["unit_price"] is not None
            ),
        )
        for items in orders.values()
    )


def session_count(events: list[Event], gap_minutes: float, *, has_session_ids: bool) -> int:
    visits = [event for event in events if event["event_type"] not in ("email_open", "contact", "redemption", "other")]
    if has_session_ids:
        return len({event["session_id"] or event["occurred_at"].date() for event in visits})
    times = sorted(event["occurred_at"] for event in visits)
    gap = timedelta(minutes=gap_minutes)
    return bool(times) + sum(after - before > gap for before, after in pairwise(times))


def lifecycle_stage(events: list[Event], before: list[Event], age_of_log: float, params: Params) -> str:
    rules, orders = params.journey, orders_of(events)
    has_returned_items = any(event["event_type"] == "return" for event in events)
    is_buyer = any(event["event_type"] == "purchase" for event in before)
    if before and not events:
        return "lost" if is_buyer else "inactive"
    if not orders and (has_returned_items or is_buyer):
        stages = ((rules.lost_days, "lost"), (rules.lapsed_days, "lapsed"), (rules.active_days, "slipping"))
        return next((stage for days, stage in stages if age_of_log > days), "active")
    if not orders:
        last_at = max((event["occurred_at"] for event in events), default=END)
        has_cart = any(event["event_type"] == "cart" for event in events)
        stage = "cart" if has_cart else "browsing" if events else "newcomer"
        return "inactive" if (END - last_at).total_seconds() / 86_400 > rules.lost_days else stage
    last = orders[-1][0]
    since = (END - last).total_seconds() / 86_400
    if since > rules.lapsed_days:
        return "lost" if since > rules.lost_days else "lapsed"
    if len(orders) == 1 and not is_buyer:
        return "first_order" if since <= rules.first_order_days else "slipping"
    earlier = [moment for moment, _ in orders if moment < last]
    silence = (last - max(earlier)).total_seconds() / 86_400 if earlier else (age_of_log - since) * is_buyer
    has_returned = silence > rules.lapsed_days
    days = sorted({moment.date() for moment, _ in orders})
    is_late = len(days) >= rules.slipping_min_orders and since > max(
        rules.slipping_intervals * (days[-1] - days[0]).days / (len(days) - 1), rules.slipping_min_days
    )
    return "slipping" if since > rules.active_days or is_late else "returned" if has_returned else "active"


def rolled_up(event: Event, categories: tuple[str, ...]) -> str | None:
    path = PRODUCTS[event["product_id"]]
    if path is None:
        return None
    parts = path.split(" > ")
    for depth in range(len(parts), 0, -1):
        node = " > ".join(parts[:depth])
        for name in (node, f"{node} > other {parts[depth - 1]}"):
            if name in categories:
                return name
    return OTHER


def interest_shares(events: list[Event], shop: Any, params: Params) -> dict[str, float]:
    """The formula of features/interests.py, from the root down; no search has a query here."""
    rules, cut = params.interests, shop.spec.cut
    mix = dict(zip(cut.categories, cut.mix, strict=True))
    evidence = dict.fromkeys(cut.categories, 0.0)
    # Everything but a search has a product here, and no search has a query.
    counted = [
        event["occurred_at"]
        for event in events
        if event["event_type"] != "search" and rules.signal_weights.get(EventType(event["event_type"]), 0.0) > 0
    ]
    for event in events:
        category = rolled_up(event, cut.categories)
        if category is not None and event["event_type"] != "search":
            weight = rules.signal_weights.get(EventType(event["event_type"]), 0.0)
            if weight:
                before = (max(counted) - event["occurred_at"]).total_seconds() / 86_400
                evidence[category] += weight * 2 ** (-before / rules.half_life_days)

    def at(figures: dict[str, float], node: tuple[str, ...]) -> float:
        return sum(value for name, value in figures.items() if tuple(name.split(" > "))[: len(node)] == node)

    total = sum(evidence.values())
    shares = {(): 1.0}
    for category in cut.categories:
        path = tuple(category.split(" > "))
        # A path that ends above the level of the cut is its own parent at each missing level.
        nodes = [path[:depth] for depth in range(1, cut.level + 1)]
        share, parent_mix, parent_evidence = 1.0, 1.0, total
        for node in nodes:
            spread = at(mix, node) / parent_mix if parent_mix else 0.0
            share *= (at(evidence, node) + rules.kappa * spread) / (parent_evidence + rules.kappa)
            parent_mix, parent_evidence = at(mix, node), at(evidence, node)
        shares[path] = share
    return {category: shares[tuple(category.split(" > "))] for category in cut.categories}


@pytest.mark.parametrize(
    ("seed", "by_day", "has_session_ids", "column_count", "max_categories"),
    [(1, False, False, 3, 3), (2, True, False, 2, 2), (3, False, True, 5, 10)],
)
def test_profiles_match_plain_python(
    tmp_path: Path, seed: int, by_day: bool, has_session_ids: bool, column_count: int, max_categories: int
) -> None:
    log = random_log(seed, by_day=by_day)
    for number, event in enumerate(log):
        event["session_id"] = ["s1", "s2", None][number % 3] if has_session_ids else None
    params, table, shop = profiles_of(tmp_path, log, f"interests.max_categories={max_categories}")
    assert len(shop.spec.cut.categories) == column_count
    known = [event for event in log if event["occurred_at"] < END]
    age_of_log = max(age_days(event) for event in known if age_days(event) <= params.history_days)
    assert list(table.index) == sorted({event["customer_id"] for event in known})
    for customer, row in table.iterrows():
        own = [event for event in known if event["customer_id"] == customer]
        events = [event for event in own if age_days(event) <= params.history_days]
        orders = orders_of(events)
        assert row.event_count == len(events)
        for kind in EventType:
            assert row[f"{kind}_count"] == sum(event["event_type"] == kind for event in events)
        assert row.order_count == len(orders)
        assert row.spend == pytest.approx(sum(spend for _, spend in orders), abs=1e-6)
        refunded = sum(
            max(event["quantity"] * event["unit_price"] - (event["discount"] or 0.0), 0.0)
            for event in events
            if event["event_type"] == "return" and event["unit_price"] is not None
        )
        assert row.returned_spend == pytest.approx(refunded, abs=1e-6)
        assert row.net_spend == pytest.approx(min(row.spend, max(row.spend - refunded, 0.0)), abs=1e-6)
        if orders:
            since = (END - orders[-1][0]).total_seconds() / 86_400
            assert row.days_since_last_purchase == pytest.approx(since)
        else:
            assert pd.isna(row.days_since_last_purchase)
        visits = session_count(events, params.sessions.gap_minutes, has_session_ids=has_session_ids)
        assert row.session_count == visits
        before = [event for event in own if age_days(event) > params.history_days]
        assert row.lifecycle_stage == lifecycle_stage(events, before, age_of_log, params)
        for category, share in interest_shares(events, shop, params).items():
            assert row[f"interest: {category}"] == pytest.approx(share, abs=1e-7)


@pytest.mark.slow
def test_random_logs_reach_every_stage(tmp_path: Path) -> None:
    stages: set[str] = set()
    for seed in (1, 2, 3):
        stages |= set(profiles_of(tmp_path, random_log(seed, by_day=seed == 2))[1].lifecycle_stage)
    assert stages == set(STAGES) - {"newcomer"}
