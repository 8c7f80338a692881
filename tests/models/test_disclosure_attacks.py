"""An attacker takes everything that is published of random shops, on one day and on the next, and gets nobody.

The attacker multiplies means by counts, which gives the rounded sums behind them, knows every rounding step, and knows
what all customers contribute but a few: those in question. Whatever else was published of them in other tables is used
as well, by intersecting intervals; hidden cells are bounded by linear programming.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.journey import STAGES
from models.backtest import Figure, customer_weights
from models.disclosure import (
    is_few,
    rounded_counts,
    rounded_measure,
    rounded_total,
    rounding_step,
    shown_measure,
    total_step,
)
from models.facet_crossing import cross_facets
from models.pareto import revenue
from models.segment_metrics import MEANS, RATES, published_figures, segment_figures
from models.selection import scores
from models.validity import Outcomes, figures_of
from tests.models.test_selection import candidate, choice_of

MIN_GROUP = 10
MIN_WIDTH = 0.3
"""The least interval, as a share of what a customer spent."""
Marks = NDArray[np.bool_]


def shop(seed: int, customers: int = 800) -> pd.DataFrame:
    """A shop with skewed spend, one very large customer, and segments of two facets, some almost without buyers."""
    random = np.random.default_rng(seed)
    behaviour, interest = random.integers(0, 6, customers), random.integers(0, 4, customers)
    rates = np.array([6.0, 2.0, 0.7, 0.2, 0.03, 0.01])[behaviour]
    orders = random.poisson(rates).astype(float)
    spend = np.round(orders * random.lognormal(3.5, 0.8, customers), 2)
    spend[np.argmax(spend)] *= 15.0
    counts = random.poisson(rates[:, None] + 3.0, (customers, 10)).astype(float)
    known = np.where(orders > 0, random.integers(1, 300, customers), np.nan)
    names = ("event", "session", "view", "search", "favourite", "cart", "contact", "item", "purchase", "cart_session")
    return pd.DataFrame(
        {
            "behaviour": [f"s{place}" for place in behaviour],
            "interest": [f"i{place}" for place in interest],
            "value_tier": pd.Series(pd.qcut(spend, [0.0, 0.6, 0.95, 1.0], labels=False, duplicates="drop"))
            .map("tier {}".format)
            .where(orders > 0),
            **{f"{name}_count": column for name, column in zip(names, counts.T, strict=True)},
            **{name: random.random(customers) for name in ("weekend_share", "night_share", "morning_share")},
            **{name: random.random(customers) for name in ("afternoon_share", "evening_share", "temperature_points")},
            **{
                name: random.integers(0, 365, customers) for name in ("days_since_last_event", "days_since_first_event")
            },
            **{
                "order_count": orders,
                "spend": spend,
                "net_spend": spend,
                "price_level": np.where(orders > 0, 1.1, np.nan),
            },
            **{"returned_item_count": 0.0, "abandoned_cart_count": 1.0, "discount_share": 0.1},
            **{"days_since_first_purchase": known, "days_since_last_purchase": known},
            "lifecycle_stage": random.choice(STAGES, customers),
        }
    )


def published(profile: pd.DataFrame, facet: str) -> pd.DataFrame:
    """The published figures, with those that are only hidden because rounding changes them too much."""
    exact = segment_figures(profile, profile[facet].to_numpy(), max_one_customer_share=0.5)
    return published_figures(
        profile, profile[facet].to_numpy(), exact, min_group=MIN_GROUP, history_days=365, max_error=np.inf
    )


def published_spend(profile: pd.DataFrame) -> dict[str, tuple[Marks, float]]:
    """Name -> the customers of a sum of spend, and the sum that figures of the published tables multiply to.

    Shares of tiers and crossings are of a total that the attacker is given, so their sums are as good as published.
    """
    everybody = np.ones(len(profile), dtype=bool)
    sums: dict[str, tuple[Marks, float]] = {}
    for facet in ("behaviour", "interest"):
        figures = published(profile, facet)
        for name, row in figures.iterrows():
            inside = everybody if name == "shop" else (profile[facet] == name).to_numpy()
            sums[f"{facet} {name}"] = inside, float(row.spend_per_customer * row.customer_count)
    found = revenue(profile.net_spend, profile.value_tier, min_group=MIN_GROUP)
    for tier in found["tiers"] if found else []:
        inside = (profile.value_tier == tier["tier"]).to_numpy()
        sums[tier["tier"]] = inside, rounded_total(profile.net_spend[inside], MIN_GROUP)
    crossed = cross_facets(
        *(profile[facet].to_numpy(object) for facet in ("behaviour", "interest")),
        profile.net_spend.to_numpy(float),
        (profile.order_count > 0).to_numpy(),
        min_group=MIN_GROUP,
    )
    for row, shares in zip(crossed["rows"], crossed["spend_shares"], strict=True):
        for column, share in zip(crossed["columns"], shares, strict=True):
            inside = ((profile.behaviour == row) & (profile.interest == column)).to_numpy()
            shown = np.nan if share is None else rounded_total(profile.net_spend[inside], MIN_GROUP)
            sums[f"{row} {column}"] = inside, shown
    return {name: part for name, part in sums.items() if not np.isnan(part[1])}


def bounds(profile: pd.DataFrame, inside: Marks, shown: float) -> tuple[float, float]:
    """What the exact sum of a published one can be, for one who knows its rounding step."""
    step = total_step(profile.net_spend[inside], MIN_GROUP)
    low = 0.0 if shown <= 1.5 * step else shown - step / 2  # the smallest figure stands for anything up to it
    return low, shown + step / 2


def intersection(intervals: Iterable[tuple[float, float]]) -> tuple[float, float]:
    lows, highs = zip(*intervals, strict=True)
    return max(0.0, *lows), min(highs)


@pytest.mark.parametrize("seed", range(12))
def test_nobody_is_found_by_one_who_knows_all_others(seed: int) -> None:
    profile = shop(seed)
    spend, sums = profile.net_spend.to_numpy(float), published_spend(profile).values()
    for customer in np.argsort(-spend)[[0, 1, 5, 30, 100]]:
        found = []
        for inside, shown in sums:
            if inside[customer]:
                others = spend[inside].sum() - spend[customer]
                found.append(np.array(bounds(profile, inside, shown)) - others)
        low, high = intersection(map(tuple, found))
        assert low - 1e-6 <= spend[customer] <= high + 1e-6
        assert high - low > MIN_WIDTH * spend[customer]


@pytest.mark.parametrize("seed", range(12))
def test_shares_of_one_table_never_add_up_to_more_than_all(seed: int) -> None:
    """One customer has so large a part that sums are rounded up to steps of it; so are segments of a few customers."""
    profile = shop(seed, 300)
    profile.loc[profile.net_spend.idxmax(), ["spend", "net_spend"]] *= 20.0
    is_best = profile.spend > profile.spend[profile.order_count > 0].median()
    profile["value_tier"] = is_best.map({True: "vip", False: "occasional"}).where(profile.order_count > 0)
    for facet in ("behaviour", "interest"):
        figures = published(profile, facet).drop("shop")
        assert 0.5 < figures.spend_share.sum() <= 1.0 + 1e-9 and 0.9 < figures.customer_share.sum() <= 1.0 + 1e-9
    found = revenue(profile.net_spend, profile.value_tier, min_group=MIN_GROUP)
    assert found and len(found["tiers"]) == 2
    for share in ("customer_share", "spend_share"):
        assert 0.9 < sum(tier[share] for tier in found["tiers"]) <= 1.0 + 1e-9
    crossed = cross_facets(
        *(profile[facet].to_numpy(object) for facet in ("behaviour", "interest")),
        profile.net_spend.to_numpy(float),
        (profile.order_count > 0).to_numpy(),
        min_group=MIN_GROUP,
    )
    assert sum(share or 0.0 for row in crossed["spend_shares"] for share in row) <= 1.0 + 1e-9


@given(st.integers(20, 3_000), st.floats(0.5, 1.0), st.floats(0.0, 1.0))
def test_a_measure_of_quality_does_not_tell_what_one_customer_did(buyers: int, others: float, own: float) -> None:
    """The AUROC is the mean of a part of each buyer; one who knows all but one part cannot tell whether it is 0 or 1."""
    shown = rounded_measure((others * (buyers - 1) + own) / buyers, buyers, MIN_GROUP)
    assert abs(shown - (others * (buyers - 1) + own) / buyers) <= rounding_step(2 / buyers) / 2 + 0.0005 + 1e-9
    step = rounding_step(2 / buyers)
    assert step >= 2 / buyers and abs(shown / step - round(shown / step)) < 0.5001 * 0.001 / step + 1e-6


def test_measures_of_many_customers_keep_three_digits() -> None:
    assert rounded_measure(0.86605, 20_000, 10) == 0.866 and rounded_measure(1234.6, 1_000_000, 10) == 1230.0
    assert rounded_measure(0.86605, 21, 10) == 0.9 and rounded_measure(78.8, 200, 10) == 79.0
    assert np.isnan(rounded_measure(np.nan, 21, 10))


def test_a_measure_of_a_few_customers_is_hidden_and_not_rounded_to_0() -> None:
    assert rounded_measure(0.63, 10, 10) == 0.6
    assert shown_measure(0.63, 9, 10) is None and np.isnan(rounded_measure(0.63, 9, 10))
    assert shown_measure(0.63, 25, 30) is None and shown_measure(0.63, 2, 2) is None
    assert shown_measure(None, 500, 10) is None
    assert rounded_measure(0.0, 0, 10) == 0.0  # of nobody


def test_without_a_smallest_group_measures_keep_three_digits() -> None:
    assert [rounded_measure(0.63219, count, 1) for count in (1, 21, 20_000)] == [0.632] * 3


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("customers", [1, 3, 9])
def test_the_orders_of_one_day_are_not_the_difference_of_two_reports(seed: int, customers: int) -> None:
    before, random = shop(seed), np.random.default_rng(seed)
    known = random.choice(["s0", "s1", "s2"])  # of whom the orders are, at most
    ordering = random.choice(np.flatnonzero(before.behaviour == known), customers, replace=False)
    paid = np.zeros(len(before))
    paid[ordering] = np.round(random.lognormal(4.0, 0.8, customers), 2)
    after = before.assign(
        **{name: before[name] + paid for name in ("spend", "net_spend")}, order_count=before.order_count + (paid > 0)
    )
    then, now = published_spend(before), published_spend(after)
    found = []
    for name in then.keys() & now.keys():
        if then[name][0][ordering].all() and now[name][0][ordering].all():
            (low_then, high_then), (low, high) = bounds(before, *then[name]), bounds(after, *now[name])
            found.append((low - high_then, high - low_then))
    low, high = intersection(found)
    assert low - 1e-6 <= paid.sum() <= high + 1e-6
    assert high - low > 0.5 * paid.sum()


def test_the_order_of_a_single_buyer_is_no_mean_times_a_count() -> None:
    """169 customers with one buyer, and 500 others: neither the mean nor the remainder of the shop tells the order."""
    profile = shop(0, customers=669)
    profile["behaviour"] = ["s0"] * 169 + ["s1"] * 60 + ["s2"] * 440
    is_buyer = np.r_[np.arange(169) == 7, np.arange(500) % 2 == 0]
    money = (
        "spend",
        "net_spend",
        "order_count",
        "days_since_last_purchase",
        "days_since_first_purchase",
        "price_level",
    )
    for column in money:
        unknown = 0.0 if column in money[:3] else np.nan
        profile[column] = np.where(is_buyer, profile[column].fillna(20.0).clip(lower=3.0), unknown)
    figures = published(profile, "behaviour")
    of_buyers = ["spend_share", "spend_per_customer", "paid_per_customer", "orders_per_customer", "average_order_value"]
    rates = ["orders_per_buyer", "views_per_order", "price_level", "days_since_last_purchase"]
    assert figures.loc["s0", [*of_buyers, *rates]].isna().all()
    # s1, the next smallest, is hidden with it where the total of the shop is shown.
    assert figures.loc["s1", of_buyers].isna().all() and figures.loc["s1", rates[2:]].notna().all()
    assert figures.loc["s2", of_buyers].notna().all()


def test_refunds_of_a_few_are_not_paid_minus_net_spend() -> None:
    profile = shop(1)
    is_returning = (profile.behaviour == "s0").to_numpy() & (np.arange(len(profile)) < 40)
    assert is_few(is_returning.sum(), MIN_GROUP)
    profile["net_spend"] -= np.where(is_returning, 0.5 * profile.spend, 0.0)
    figures = published(profile, "behaviour")
    assert np.isnan(figures.loc["s0", "paid_per_customer"]) and np.isnan(figures.loc["s0", "returned_spend_share"])
    assert figures.loc["s0", "spend_per_customer"] > 0


@given(st.integers(0, 500), st.integers(1, MIN_GROUP - 1))
def test_two_counts_do_not_tell_that_a_few_came(count: int, more: int) -> None:
    """Both counts could as well be of a day when nobody came, or of one when ``MIN_GROUP`` or more did."""
    pair = rounded_counts([count, count + more], MIN_GROUP)
    possible = [
        other
        for first in range(count + MIN_GROUP)
        for other in (0, *range(MIN_GROUP, 3 * MIN_GROUP))
        if (rounded_counts([first, first + other], MIN_GROUP) == pair).all()
    ]
    assert possible or count == 0  # an empty group is known to be empty


@given(st.integers(0, 10_000), st.integers(2, 40))
def test_counts_are_rounded_by_less_than_a_step(count: int, min_group: int) -> None:
    rounded = rounded_counts(count, min_group)
    assert abs(rounded - count) < rounding_step(min_group) < 1.7 * min_group
    assert (rounded == 0) == (count == 0)
    assert rounded_counts(count, 1) == count


def shown_and_exact(profile: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    ids = profile.behaviour.to_numpy()
    exact = segment_figures(profile, ids, max_one_customer_share=0.5)
    return published_figures(profile, ids, exact, min_group=MIN_GROUP, history_days=365), exact


@given(st.integers(0, 10_000), st.integers(60, 1200))
def test_a_mean_is_near_the_true_one_or_hidden(seed: int, customers: int) -> None:
    shown, exact = shown_and_exact(shop(seed, customers))
    means = [*MEANS, *(name for name, (top, _) in RATES.items() if not top.startswith("is_"))]
    for figure in means:
        known = shown[figure].dropna()
        assert known.to_numpy() == pytest.approx(exact[figure][known.index].to_numpy(), rel=0.2 + 1e-9), figure
    shares = shown.columns[shown.columns.str.endswith("_share")].drop("spend_share")
    days = [name for name in MEANS if name.startswith("days_since_")]
    assert np.nanmin(shown[shares]) >= 0.0 and np.nanmax(shown[shares]) <= 1.0
    assert np.nanmax(shown[days].to_numpy(float), initial=0.0) <= 365
    assert not (shown.orders_per_buyer < 1.0).any()


def test_a_mean_of_twelve_customers_is_hidden_and_one_of_many_is_shown() -> None:
    """12 customers whom the shop last saw 349 days ago: as 10 customers with 5,000 days they would be away for 500."""
    profile = shop(0, customers=1012)
    profile["behaviour"] = ["s0"] * 12 + ["s1"] * 1000
    profile["days_since_last_event"] = [349] * 1012
    days = shown_and_exact(profile)[0].days_since_last_event
    assert shown_and_exact(profile)[0].returned_items_per_customer["s0"] == 0.0  # nobody returned anything
    assert np.isnan(days["s0"]) and 340 < days["s1"] <= 365
    assert published(profile, "behaviour").days_since_last_event["s0"] == 365  # no more than is possible


def test_figures_that_are_not_rounded_are_not_hidden() -> None:
    profile = shop(3, customers=60)
    ids = profile.behaviour.to_numpy()
    exact = segment_figures(profile, ids, max_one_customer_share=0.5)
    shown = published_figures(profile, ids, exact, min_group=1, history_days=365)
    assert (shown.events_per_customer == exact.events_per_customer).all()


def test_a_mean_that_is_shown_is_near_the_true_one() -> None:
    profile = shop(2, customers=20_000)
    shown, exact = shown_and_exact(profile)
    for figure in ("orders_per_customer", "buyer_share", "customer_share", "night_share", "days_since_last_event"):
        known = shown[figure].dropna()
        assert known.to_numpy() == pytest.approx(exact[figure][known.index].to_numpy(), rel=0.05), figure


@pytest.mark.parametrize("seed", range(8))
def test_the_spend_of_one_buyer_is_not_solved_for_from_the_quality_of_predictions(seed: int) -> None:
    """One who knows all predictions, and all outcomes but the spend of one of 21 buyers, compares R² and interval."""
    random = np.random.default_rng(seed)
    bought = np.arange(430) < 21
    spend = np.where(bought, random.lognormal(4.0, 1.0, 430), 0.0)
    predicted = np.column_stack([random.random(430) + bought, np.round(random.random(430) + 0.5 * bought, 1)])
    weights = customer_weights(430, 200, seed)

    def shown(amount: float, count: int) -> Figure:
        outcomes = Outcomes(bought, np.where(np.arange(430) == 7, amount, spend), np.zeros((430, 0), dtype=bool))
        return figures_of(predicted, outcomes, weights)["spend_r2"].published(count, MIN_GROUP)

    candidates = spend[7] * np.geomspace(0.5, 2.0, 41)
    possible = candidates[[shown(amount, 21) == shown(spend[7], 21) for amount in candidates]]
    exact = candidates[[shown(amount, 10**9) == shown(spend[7], 10**9) for amount in candidates]]
    assert possible[-1] / possible[0] > 1.0 + MIN_WIDTH > exact[-1] / exact[0]


@pytest.mark.parametrize("seed", range(8))
def test_the_spend_of_one_buyer_is_not_solved_for_from_the_choice_among_candidates(seed: int) -> None:
    """One who knows all predictions, and all outcomes but the spend of one of 21 buyers, compares scores and reason."""
    random = np.random.default_rng(seed)
    bought = np.arange(430) < 21
    spend = np.where(bought, random.lognormal(4.0, 1.0, 430), 0.0)
    chances = [np.round(random.random(430) + gain * bought, 1) for gain in (0.5, 1.0, 1.5)]
    weights = customer_weights(430, 1, seed)

    def shown(amount: float, min_group: int) -> tuple[list[float], str]:
        outcomes = Outcomes(bought, np.where(np.arange(430) == 7, amount, spend), np.zeros((430, 0), dtype=bool))
        found = [
            figures_of(np.column_stack([chance, 4.0 * chance]), outcomes, weights)["spend_r2"].mean
            for chance in chances
        ]
        tried = [candidate(3 + place, None, spend_r2=r2, buyer_count=21) for place, r2 in enumerate(found)]
        published = [each.published(min_group) for each in tried]
        return scores(published, ["spend_r2"]), choice_of(*tried, min_group=min_group).reason

    amounts = spend[7] * np.geomspace(0.5, 2.0, 41)
    for min_group, is_safe in ((MIN_GROUP, True), (1, False)):
        possible = amounts[[shown(amount, min_group) == shown(spend[7], min_group) for amount in amounts]]
        assert (possible[-1] / possible[0] > 1.0 + MIN_WIDTH) == is_safe
