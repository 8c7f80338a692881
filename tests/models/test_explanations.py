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
    """Buyers (at least 3 orders, recent), lapsed buyers (at least 3 orders, long ago) and customers without orders."""
    group = np.arange(count) % 4  # a quarter buyers, a quarter lapsed, half without orders
    orders = np.where(group < 2, 3.0 + np.arange(count) % 5, 0.0)
    days = np.where(group == 0, 20.0, np.where(group == 1, 200.0, np.nan))
    frame = pd.DataFrame(
        {
            "order_count": orders,
            "days_since_last_purchase": days,
            "interest: (other)": group.astype(float),  # would separate the groups, but is excluded from rules
            "gender_share": group.astype(float),
        }
    )
    return frame, np.array(["buyers", "lapsed", "never", "never"], dtype=object)[group]


def test_clear_groups_have_exact_rules_in_original_units() -> None:
    rules, fidelity = segment_rules(*shop(), COLUMNS, **SETTINGS)
    assert fidelity == 1.0
    assert {name: (rule.precision, rule.coverage) for name, rule in rules.items()} == dict.fromkeys(rules, (1.0, 1.0))
    assert rules["never"].conditions in {
        (Condition("order_count", False, 1.0),),
        (Condition("order_count", False, 0.0),),  # not "no order in the last 282 days", as the log has only 200
    }
    assert rules["buyers"].conditions == (
        Condition("days_since_last_purchase", False, 110.0),
    )  # halfway between 20 and 200


def test_days_that_differ_by_minutes_are_in_no_rule() -> None:
    frame = pd.DataFrame({"days_since_last_purchase": np.arange(400) % 2 * 0.02 + 0.05, "order_count": 1.0})
    frame["order_count"] += np.arange(400) % 2 * (np.arange(400) % 3 > 0)
    rules, _ = segment_rules(frame, np.array(["early", "late"])[np.arange(400) % 2], COLUMNS, **SETTINGS)
    assert {condition.column for rule in rules.values() for condition in rule.conditions} <= {"order_count"}


def test_bounds_on_days_are_within_the_log() -> None:
    """No order is older than the log, and no customer is known for longer: bounds beyond the log say nothing."""
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
    ids = np.where(never, "never", np.where(known > 372, "old", "young")).astype(object)
    for subset in (columns, columns[:2]):
        rules, _ = segment_rules(frame, ids, subset, **SETTINGS)
        conditions = [condition for rule in rules.values() for condition in rule.conditions]
        assert {"never", "old", "young"} == set(rules)
        days = [condition.bound for condition in conditions if condition.column == "days_from_first_to_last_event"]
        assert days and max(days) <= log
        if subset is columns:
            assert rules["never"].conditions == (Condition("order_count", False, 0.0),)
            assert all(condition.bound <= log for condition in conditions)


def test_a_rule_for_no_spend_uses_the_number_of_orders() -> None:
    """Not "spent at most 3.50", which is halfway to the smallest amount paid."""
    place = np.arange(400)
    frame = pd.DataFrame({"spend": np.where(place % 2, 0.0, 7.0 + place % 90), "order_count": 1.0 - place % 2})
    columns = [Column("spend", "value", "log", 0.0), Column("order_count", "value", "log", 0.0)]
    ids = np.where(place % 2, "never", np.where(frame.spend > 50, "much", "little")).astype(object)
    rules, _ = segment_rules(frame, ids, columns, **SETTINGS)
    assert rules["never"].conditions == (Condition("order_count", False, 0.0),)
    assert {condition.column for condition in rules["much"].conditions} == {"spend"}
    sides = {(condition.column, condition.is_above) for condition in rules["little"].conditions}
    assert sides == {("order_count", True), ("spend", False)}


def test_precision_and_coverage_by_hand() -> None:
    """A quarter of the buyers' segment does not buy, and no column identifies them: the rule covers the rest."""
    frame, ids = shop(600)
    stray = np.flatnonzero(ids == "never")[::6]
    ids[stray] = "buyers"
    rules, fidelity = segment_rules(frame, ids, COLUMNS, **SETTINGS)
    assert rules["buyers"].coverage == pytest.approx(150 / 200, abs=0.05)
    assert rules["buyers"].precision == 1.0
    assert rules["never"].precision == pytest.approx(250 / 300, abs=0.05)
    assert fidelity == pytest.approx(550 / 600, abs=0.03)


def test_no_rule_uses_a_sensitive_column_unless_allowed() -> None:
    frame, ids = shop()
    only = frame.assign(order_count=0.0, days_since_last_purchase=5.0)
    rules, fidelity = segment_rules(only, ids, COLUMNS, **SETTINGS)
    assert rules == {}
    assert np.isnan(fidelity)
    allowed, fidelity = segment_rules(only, ids, COLUMNS, **{**SETTINGS, "sensitive": []})
    assert {condition.column for rule in allowed.values() for condition in rule.conditions} == {"gender_share"}
    assert fidelity == 1.0


def test_rules_do_not_use_rates_or_activity() -> None:
    """Rates are not columns of the profile, and activity has no unit; either would separate these groups."""
    frame, ids = shop()
    frame = frame.assign(activity=frame.gender_share, order_count=0.0, days_since_last_purchase=5.0)
    columns = [
        *COLUMNS,
        Column("activity", "journey", "log", 0.0),
        Column("orders_per_visit", "rates", "rate", None, ("gender_share", "activity")),
    ]
    assert segment_rules(frame, ids, columns, **SETTINGS)[0] == {}


def test_few_customers_give_no_complex_rule() -> None:
    frame, ids = shop()
    ids[:6] = "few"
    rules, _ = segment_rules(frame, ids, COLUMNS, **SETTINGS)
    matched = {name: len(rule.conditions) for name, rule in rules.items()}
    assert matched.get("few", 0) <= 3
    assert segment_rules(frame.head(1), ids[:1], COLUMNS, **SETTINGS)[0] == {}


def test_precision_on_random_segments_is_not_inflated() -> None:
    """For random segments, precision is the segment's share, not the overfitted value of the training half."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"order_count": generator.integers(0, 9, 4_000).astype(float)})
    frame["days_since_last_purchase"] = generator.uniform(0, 300, 4_000)
    ids = generator.choice(["a", "b"], 4_000, p=[0.3, 0.7]).astype(object)
    rules, _ = segment_rules(frame, ids, COLUMNS[:2], **SETTINGS)
    assert rules["a"].precision == pytest.approx(0.3, abs=0.05)
