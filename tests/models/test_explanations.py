from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from features.profile import Column
from models.explanations import Condition, segment_rules

COLUMNS = [
    Column("order_count", "value", "log", 0.0),
    Column("days_since_last_purchase", "value", "log", 365.0),
    Column("interest: (other)", "interest", "root", None),
    Column("gender_share", "context", "none", None),
]
SETTINGS = {"max_conditions": 3, "min_customers": 10, "sample_customers": 10_000, "sensitive": ["*gender*"], "seed": 1}


def shop(count: int = 400) -> tuple[pd.DataFrame, np.ndarray]:
    """Buyers (at least 3 orders, lately), lapsed ones (3 orders, long ago) and those who never bought."""
    kind = np.arange(count) % 4  # a quarter each, and half have never bought
    orders = np.where(kind < 2, 3.0 + np.arange(count) % 5, 0.0)
    days = np.where(kind == 0, 20.0, np.where(kind == 1, 200.0, np.nan))
    frame = pd.DataFrame(
        {
            "order_count": orders,
            "days_since_last_purchase": days,
            "interest: (other)": kind.astype(float),  # would tell them apart, and is told to nobody
            "gender_share": kind.astype(float),
        }
    )
    return frame, np.array(["buyers", "lapsed", "never", "never"], dtype=object)[kind]


def test_plain_kinds_are_told_wholly_and_in_their_own_units() -> None:
    rules, fidelity = segment_rules(*shop(), COLUMNS, **SETTINGS)
    assert fidelity == 1.0
    assert {name: (rule.precision, rule.coverage) for name, rule in rules.items()} == dict.fromkeys(rules, (1.0, 1.0))
    assert rules["never"].conditions in {
        (Condition("order_count", False, 1.0),),
        (Condition("order_count", False, 0.0),),  # and not: no order in the last 282 days, of a log of 200
    }
    assert rules["buyers"].conditions == (Condition("days_since_last_purchase", False, 110.0),)  # half way: 20 to 200


def test_days_are_told_within_the_log() -> None:
    """Whoever ordered did so within the log, and nobody is known longer than it is long: such bounds say nothing."""
    count, log = 800, 372.6
    place = np.arange(count)
    never = place % 2 == 1
    known = np.where(place % 4 == 0, log - 0.01 * (place % 9), 100.0 + place % 200)
    frame = pd.DataFrame({"days_since_last_purchase": np.where(never, np.nan, place % 373 * 1.0), "span": known})
    frame = frame.rename(columns={"span": "days_from_first_to_last_event"}).assign(order_count=1.0 - never)
    columns = [
        Column("days_since_last_purchase", "value", "log", 400.0),
        Column("days_from_first_to_last_event", "journey", "log", 0.0),
        Column("order_count", "value", "log", 0.0),
    ]
    kinds = np.where(never, "never", np.where(known > 372, "old", "young")).astype(object)
    for some in (columns, columns[:2]):
        rules, _ = segment_rules(frame, kinds, some, **SETTINGS)
        told = [one for rule in rules.values() for one in rule.conditions]
        assert {"never", "old", "young"} == set(rules)
        days = [one.bound for one in told if one.column == "days_from_first_to_last_event"]
        assert days and max(days) <= log
        if some is columns:
            assert rules["never"].conditions == (Condition("order_count", False, 0.0),)
            assert all(one.bound <= log for one in told)


def test_who_spent_nothing_has_no_orders() -> None:
    """And not: spent at most 3.50, half way to the least that anybody paid."""
    place = np.arange(400)
    frame = pd.DataFrame({"spend": np.where(place % 2, 0.0, 7.0 + place % 90), "order_count": 1.0 - place % 2})
    columns = [Column("spend", "value", "log", 0.0), Column("order_count", "value", "log", 0.0)]
    ids = np.where(place % 2, "never", np.where(frame.spend > 50, "much", "little")).astype(object)
    rules, _ = segment_rules(frame, ids, columns, **SETTINGS)
    assert rules["never"].conditions == (Condition("order_count", False, 0.0),)
    assert {one.column for one in rules["much"].conditions} == {"spend"}
    told = {(one.column, one.is_above) for one in rules["little"].conditions}
    assert told == {("order_count", True), ("spend", False)}


def test_precision_and_coverage_by_hand() -> None:
    """A third of the buyers' segment does not buy, and nothing else tells them: the rule covers two thirds."""
    frame, ids = shop(600)
    stray = np.flatnonzero(ids == "never")[::6]
    ids[stray] = "buyers"
    rules, fidelity = segment_rules(frame, ids, COLUMNS, **SETTINGS)
    assert rules["buyers"].coverage == pytest.approx(150 / 200, abs=0.05)
    assert rules["buyers"].precision == 1.0
    assert rules["never"].precision == pytest.approx(250 / 300, abs=0.05)
    assert fidelity == pytest.approx(550 / 600, abs=0.03)


def test_no_rule_uses_a_sensitive_column_unless_it_is_allowed() -> None:
    frame, ids = shop()
    only = frame.assign(order_count=0.0, days_since_last_purchase=5.0)
    rules, fidelity = segment_rules(only, ids, COLUMNS, **SETTINGS)
    assert rules == {}
    assert np.isnan(fidelity)
    allowed, fidelity = segment_rules(only, ids, COLUMNS, **{**SETTINGS, "sensitive": []})
    assert {one.column for rule in allowed.values() for one in rule.conditions} == {"gender_share"}
    assert fidelity == 1.0


def test_neither_a_rate_nor_activity_is_in_a_rule() -> None:
    """Rates are no columns of the profile, and activity has no unit; either would separate these kinds."""
    frame, ids = shop()
    frame = frame.assign(activity=frame.gender_share, order_count=0.0, days_since_last_purchase=5.0)
    columns = [
        *COLUMNS,
        Column("activity", "journey", "log", 0.0),
        Column("orders_per_visit", "rates", "rate", None, ("gender_share", "activity")),
    ]
    assert segment_rules(frame, ids, columns, **SETTINGS)[0] == {}


def test_few_customers_are_no_rule() -> None:
    frame, ids = shop()
    ids[:6] = "few"
    rules, _ = segment_rules(frame, ids, COLUMNS, **SETTINGS)
    matched = {name: len(rule.conditions) for name, rule in rules.items()}
    assert matched.get("few", 0) <= 3
    assert segment_rules(frame.head(1), ids[:1], COLUMNS, **SETTINGS)[0] == {}


def test_noise_is_told_honestly() -> None:
    """Segments drawn by lot: precision is the segment's share, not what the tree learned by heart."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"order_count": generator.integers(0, 9, 4_000).astype(float)})
    frame["days_since_last_purchase"] = generator.uniform(0, 300, 4_000)
    ids = generator.choice(["a", "b"], 4_000, p=[0.3, 0.7]).astype(object)
    rules, _ = segment_rules(frame, ids, COLUMNS[:2], **SETTINGS)
    assert rules["a"].precision == pytest.approx(0.3, abs=0.05)
