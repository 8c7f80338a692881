"""The formula on counts: it equals the formula on events, and fitting recovers settings of simulated purchases."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features import interests as on_events
from features.categories import CategoryCut
from features.events import EventType, ObservationWindow
from features.signals import signal_counts
from models.interests import (
    BLOCK_CUSTOMERS,
    Decay,
    Formula,
    Snapshot,
    activity,
    fit_formula,
    interest_shares,
    only_buyers,
    purchase_scores,
    snapshot_shares,
)
from models.tree import tree_levels
from tests.interest_shares import shares_by_customer

PATHS = (("Pets", "Cats"), ("Pets", "Dogs"), ("Home", "Lamps"), ("(other)",))
MIX = (0.4, 0.3, 0.2, 0.1)
KINDS = ("view", "cart", "purchase")


def drawn(generator: np.random.Generator, n: int, *, rows: int = 12, kinds: tuple[str, ...] = KINDS) -> Snapshot:
    """Customers who each prefer a category, without purchases."""
    customer = np.repeat(np.arange(n), rows)
    preferred = generator.integers(0, 3, n)[customer]
    column = np.where(generator.random(len(customer)) < 0.6, preferred, generator.integers(0, 4, len(customer)))
    age = generator.exponential(40.0, len(customer))
    return Snapshot(
        customer=customer,
        column=column,
        kind=generator.integers(0, len(kinds), len(customer)),
        event_count=np.ones(len(customer)),
        mean_age_days=age,
        min_age_days=age,
        kinds=kinds,
        paths=PATHS,
        level=2,
        mix=np.array(MIX),
        last_age_days=pd.Series(age).groupby(customer).min().to_numpy(),
        bought=np.zeros((n, 3), dtype=bool),
    )


def formula(half_life_days: float, kappa: float, **weights: float) -> Formula:
    decay = Decay(weights, half_life_days)
    return Formula(decay, kappa, decay)


def test_shares_equal_those_of_the_expressions(con: Any, events_table: Any, window: ObservationWindow) -> None:
    generator = np.random.default_rng(1)
    # Few distinct ages: each bin then holds one age and its mean is exact.
    days = generator.choice([0.5, 2.0, 5.0, 45.0], 60)
    rows = [
        {
            "customer_id": f"c{generator.integers(5)}",
            "occurred_at": f"{np.datetime64('2025-11-01T00:00:00') - np.timedelta64(int(day * 86_400), 's')}".replace(
                "T", " "
            ),
            "event_type": str(generator.choice(["view", "cart"])),
            "column": int(generator.integers(4)),
        }
        for day in days
    ]
    last = pd.DataFrame(rows).groupby("customer_id").occurred_at.max()
    rows = [{**row, "last_counted_at": pd.Timestamp(last[row["customer_id"]])} for row in rows]
    events = events_table(rows, column="int64", last_counted_at="timestamp")
    weights = {EventType.VIEW: 1.0, EventType.CART: 3.0}
    cut = CategoryCut(2, tuple(" > ".join(path) for path in PATHS), MIX)
    weight = on_events.own_weight(events, signal_weights=weights, half_life_days=30.0)
    expected = shares_by_customer(con, on_events.event_evidence(events, None, weight=weight), cut, kappa=2.0)
    counts = con.to_pandas(signal_counts(events, None, window=window, kinds=list(weights)))
    names = sorted(counts.customer_id.unique())
    snapshot = Snapshot(
        customer=counts.customer_id.map(names.index).to_numpy(),
        column=counts.column.to_numpy(),
        kind=counts.event_type.map(["view", "cart"].index).to_numpy(),
        event_count=counts.event_count.to_numpy(),
        mean_age_days=counts.mean_age_days.to_numpy(),
        min_age_days=counts.min_age_days.to_numpy(),
        kinds=("view", "cart"),
        paths=PATHS,
        level=2,
        mix=np.array(MIX),
        last_age_days=counts.groupby("customer_id").min_age_days.min().to_numpy(),
        bought=np.zeros((len(names), 3), dtype=bool),
    )
    found = snapshot_shares(snapshot, Decay({"view": 1.0, "cart": 3.0}, 30.0), 2.0)
    columns = [f"interest: {category}" for category in cut.categories]
    np.testing.assert_allclose(found, expected[columns].to_numpy(), atol=1e-8)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


@pytest.mark.parametrize("count", [0, 1, BLOCK_CUSTOMERS, BLOCK_CUSTOMERS + 1, 2 * BLOCK_CUSTOMERS + 1])
def test_shares_do_not_depend_on_the_blocks_they_are_computed_in(count: int) -> None:
    names = [(f"A{number % 3}", f"B{number}") for number in range(24)]  # NumPy adds 8 numbers and more in pairs
    levels = tree_levels(names, 2, np.full(24, 1 / 24))
    evidence = np.random.default_rng(3).random((24, count))
    shares = interest_shares(evidence, levels, kappa=2.0)
    assert shares.shape == evidence.shape
    np.testing.assert_allclose(shares.sum(axis=0), 1.0)
    for start in range(0, count - 2, 500):
        pair = interest_shares(evidence[:, start : start + 2], levels, kappa=2.0)
        assert np.array_equal(shares[:, start : start + 2], pair)
    if count > 2:
        assert np.array_equal(shares[:, -2:], interest_shares(evidence[:, -2:], levels, kappa=2.0))


def test_customers_without_events_rank_last() -> None:
    snapshot = drawn(np.random.default_rng(2), 5)
    known = snapshot.customer > 0
    fields = ("customer", "column", "kind", "event_count", "mean_age_days", "min_age_days")
    without_first = Snapshot(**{**vars(snapshot), **{name: getattr(snapshot, name)[known] for name in fields}})
    scores = purchase_scores(without_first, formula(30.0, 5.0, view=1.0, cart=2.0, purchase=3.0))
    assert (scores[0] == 0).all() and (scores[1:] > 0).all()
    np.testing.assert_allclose(snapshot_shares(without_first, Decay({"view": 1.0}, 30.0), 5.0)[0], MIX)


def test_only_buyers_keeps_their_rows() -> None:
    snapshot = drawn(np.random.default_rng(3), 6, rows=4)
    snapshot.bought[[1, 4], 0] = True
    kept = only_buyers(snapshot)
    decay = Decay({"view": 1.0, "cart": 2.0}, 20.0)
    assert kept.bought.shape == (2, 3)
    np.testing.assert_allclose(kept.table(decay.of(kept)), snapshot.table(decay.of(snapshot))[[1, 4]])
    np.testing.assert_allclose(activity(kept, decay), activity(snapshot, decay)[[1, 4]])


def with_purchases(snapshot: Snapshot, truth: Formula, generator: np.random.Generator) -> Snapshot:
    chance = snapshot_shares(snapshot, truth.interest, truth.kappa)[:, :3] ** 2
    chance = np.cumsum(chance / chance.sum(axis=1, keepdims=True), axis=1)
    choice = (generator.random((len(chance), 1)) > chance).sum(axis=1)
    amount = activity(snapshot, truth.activity)
    buys = generator.random(len(chance)) < amount / (amount + np.median(amount))
    bought = np.eye(3, dtype=bool)[choice] & buys[:, None]
    return Snapshot(**{**vars(snapshot), "bought": bought})


def test_fitting_recovers_the_weights_of_simulated_purchases() -> None:
    generator = np.random.default_rng(4)
    truth = Formula(
        Decay({"view": 1.0, "cart": 6.0, "purchase": 0.3}, 15.0),
        4.0,
        Decay({"view": 1.0, "cart": 1.0, "purchase": 8.0}, 60.0),
    )
    snapshots = [with_purchases(drawn(generator, 6_000), truth, generator) for _ in range(8)]
    start = formula(45.0, 8.0, view=1.0, cart=2.0, purchase=3.0)
    found = fit_formula(snapshots, start, min_purchases=500, prior_strength=1.0)
    assert found.is_fitted
    assert re.fullmatch(r"fitted to about \d+,\d00 purchases after earlier cutoffs", found.reason)

    def ratios(decay: Decay) -> tuple[float, float]:
        weights = decay.signal_weights
        return weights["cart"] / weights["view"], weights["purchase"] / weights["view"]

    assert ratios(found.formula.interest) == pytest.approx((6.0, 0.3), rel=0.35)
    assert found.formula.interest.half_life_days == pytest.approx(15.0, rel=0.25)
    assert ratios(found.formula.activity)[1] == pytest.approx(8.0, rel=0.35)
    assert found.formula.activity.half_life_days == pytest.approx(60.0, rel=0.35)


def test_with_too_few_purchases_the_start_is_kept() -> None:
    start = formula(45.0, 8.0, view=1.0, cart=2.0)
    found = fit_formula([drawn(np.random.default_rng(5), 50)], start, min_purchases=10, prior_strength=1.0)
    assert not found.is_fitted and found.formula == start
    assert "fewer than the 10 purchases" in found.reason


def test_a_strong_prior_keeps_the_start() -> None:
    generator = np.random.default_rng(6)
    start = formula(45.0, 8.0, view=1.0, cart=2.0, purchase=3.0)
    snapshot = with_purchases(drawn(generator, 2_000), formula(10.0, 1.0, view=1.0, cart=9.0, purchase=9.0), generator)
    found = fit_formula([snapshot], start, min_purchases=1, prior_strength=1e7)
    assert found.formula.interest.half_life_days == pytest.approx(45.0, rel=0.01)
    assert found.formula.kappa == pytest.approx(8.0, rel=0.01)
