from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from models.audiences import audience_counts
from models.lifts import Interest, category_labels, segment_lifts, top_interests


def test_interests_by_hand() -> None:
    profile = pd.DataFrame(
        {
            "interest: a": [0.5, 0.5, 0.5, 0.5],
            "interest: b": [0.4, 0.2, 0.1, 0.1],
            "interest: (other)": [0.1, 0.3, 0.4, 0.4],
        }
    )
    ids = np.array(["s01", "s01", "s02", "standing-lost"], dtype=object)
    tables = segment_lifts(profile, ids, ["a", "b", "(other)"], None, min_lift=1.3, lift_errors=1.0, min_group=1)
    assert list(tables["share"].columns) == ["b", "a"]  # ordered by difference between segments; OTHER is left out
    assert tables["share"].loc["s01"].to_dict() == {"b": 0.30000000000000004, "a": 0.5}
    assert tables["lift"].loc["s02"].round(9).to_dict() == {"b": 0.5, "a": 1.0}
    assert tables["customer_count"]["b"].to_dict() == {"s01": 1, "s02": 0, "standing-lost": 0}
    # The standard error of 0.4 and 0.2 is 0.1; with one customer nothing is significant.
    assert tables["lift_low"].loc["s01", "b"] == pytest.approx(0.2 / 0.2)
    assert not tables["is_significant"].loc["s02"].any()


def test_a_lift_that_rounds_to_one_is_not_significant() -> None:
    profile = pd.DataFrame({"interest: a": [0.52, 0.5202] * 20 + [0.5, 0.5002] * 20 + [0.2, 0.2002] * 10})
    ids = np.array(["s01"] * 40 + ["s02"] * 40 + ["s03"] * 20, dtype=object)
    tables = segment_lifts(profile, ids, ["a"], None, min_lift=1.3, lift_errors=2.0, min_group=1)
    assert tables["lift"].a.round(3).tolist() == [1.161, 1.116, 0.447] and tables["is_significant"].a.all()
    seasonal_lift = pd.DataFrame({"a": [1.12, 1.12, 1.0]}, index=["s01", "s02", "s03"])
    adjusted = segment_lifts(profile, ids, ["a"], seasonal_lift, min_lift=1.3, lift_errors=2.0, min_group=1)
    assert adjusted["lift"].a.round(3).tolist() == [1.036, 0.996, 0.447]  # both many standard errors from 1
    assert adjusted["is_significant"].a.tolist() == [False, False, True]


def test_a_seasonal_interest_of_the_whole_shop_is_not_an_interest_of_a_segment() -> None:
    profile = pd.DataFrame({"interest: a": [0.5] * 8, "interest: b": [0.4, 0.42] * 2 + [0.1, 0.12] * 2})
    ids = np.array(["s01"] * 4 + ["s02"] * 4, dtype=object)
    bounds = {"min_lift": 1.3, "lift_errors": 2.0, "min_group": 1}
    plain = segment_lifts(profile, ids, ["a", "b"], None, **bounds)
    assert plain["is_significant"].loc["s01", "b"] and plain["lift"].loc["s01", "b"] == pytest.approx(0.41 / 0.26)
    seasonal_lift = pd.DataFrame({"a": 1.0, "b": [0.41 / 0.26, 1.0]}, index=["s01", "s02"])
    adjusted = segment_lifts(profile, ids, ["a", "b"], seasonal_lift, **bounds)
    assert adjusted["lift"].loc["s01", "b"] == pytest.approx(1.0)
    assert not adjusted["is_significant"].loc["s01", "b"]
    assert adjusted["lift"].loc["s02", "b"] == plain["lift"].loc["s02", "b"]


def test_labels_are_short_and_unique() -> None:
    labels = category_labels(["A > Food", "B > Food", "C", "x" * 99])
    assert list(labels.values())[:3] == ["A › Food", "B › Food", "C"]
    assert len(labels["x" * 99]) == 40


def test_top_interests_are_distinctive_and_shown_by_enough_customers() -> None:
    table = pd.DataFrame(
        {
            "share": {"a": 0.5, "b": 0.3, "c": 0.01, "d": 0.4, "e": 0.1, "f": 0.2, "(other)": 0.19},
            "lift": {"a": 1.1, "b": 2.0, "c": 9.0, "d": 22.0, "e": 2.5, "f": 3.0, "(other)": 4.0},
            "lift_low": {"a": 1.05, "b": 1.5, "c": 2.0, "d": 2.0, "e": 1.2, "f": 0.9, "(other)": 2.0},
            "customer_count": {"a": 90, "b": 40, "c": 50, "d": 9, "e": 10, "f": 60, "(other)": 50},
        }
    )
    labels = {name: name.upper() for name in table.index}
    top = top_interests(table, min_lift=1.3, min_share=0.05, min_count=10, most=3, labels=labels)
    assert top == [Interest("e", "E", 0.1, 2.5, 1.2, 10), Interest("b", "B", 0.3, 2.0, 1.5, 40)]


def test_warning_filters_are_not_changed_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates are described in threads, and warning filters belong to the process, so threads would undo them."""
    monkeypatch.setattr(warnings, "filterwarnings", lambda *_, **__: None)
    table = pd.DataFrame({"share": 0.5, "lift": 2.0, "lift_low": 1.5, "customer_count": 40}, index=["a"])
    assert top_interests(table, min_lift=1.3, min_share=0.05, min_count=10, most=3, labels={"a": "A"})
    audience_counts(pd.DataFrame({"a": [1, 1], "b": [1, 0]}), np.array(["s01", "s01"]))
