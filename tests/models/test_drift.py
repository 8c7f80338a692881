from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.drift import (
    ColumnDrift,
    DriftReading,
    Limits,
    column_drift,
    judge,
    make_reference,
    segment_drift,
    stability_index,
)

LIMITS = {
    "psi": Limits(0.1, 0.25),
    "segment_psi": Limits(0.1, 0.25),
    "recent_psi": Limits(0.1, 0.25),
    "moved": Limits(0.1, 0.2),
    "new_categories": Limits(0.05, 0.2),
    "validity": Limits(0.02, 0.05),
}


def reading(**changes) -> DriftReading:
    quiet = {
        "columns": [ColumnDrift("spend", 0.01)],
        "segment_psi": {"behaviour": 0.0},
        "other_segment_share": None,
        "new_category_share": 0.0,
        "validity_loss": None,
    }
    return DriftReading(**(quiet | changes))


def test_the_index_by_hand() -> None:
    expected, actual = np.array([0.5, 0.5]), np.array([0.6, 0.4])
    by_hand = 0.1 * np.log(0.6 / 0.5) - 0.1 * np.log(0.4 / 0.5)
    assert stability_index(expected, actual, (10**9, 10**9)) == pytest.approx(by_hand, abs=1e-8)


def test_chance_alone_is_no_drift() -> None:
    rng = np.random.default_rng(5)
    raw, corrected = [], []
    for _ in range(300):
        samples = [np.bincount(rng.integers(0, 10, 300), minlength=10) / 300 for _ in range(2)]
        raw.append(stability_index(*samples, (0, 0)))
        corrected.append(stability_index(*samples, (300, 300)))
    assert np.mean(raw) == pytest.approx(9 * 2 / 300, rel=0.1)
    assert np.mean(corrected) < 0.3 * np.mean(raw)


def test_columns_that_moved_come_first_and_nulls_count() -> None:
    rng = np.random.default_rng(6)
    trained = pd.DataFrame(
        {"same": rng.normal(size=5000), "shifted": rng.normal(size=5000), "lost": rng.normal(size=5000)}
    )
    now = pd.DataFrame(
        {"same": rng.normal(size=5000), "shifted": rng.normal(0.5, 1, size=5000), "lost": rng.normal(size=5000)}
    )
    now.loc[rng.random(5000) < 0.5, "lost"] = np.nan
    drifts = column_drift(make_reference(trained, list(trained), 1), now, trained_count=5000, min_group=1)
    assert [drift.column for drift in drifts] == ["lost", "shifted", "same"]
    # Two normal distributions half a deviation apart: PSI 0.25 exactly, a little less in ten bins.
    assert drifts[1].psi == pytest.approx(0.25, abs=0.04)
    assert drifts[2].psi < 0.01


def test_constant_and_unknown_columns_do_not_drift() -> None:
    table = pd.DataFrame({"constant": [1.0] * 50, "unknown": [np.nan] * 50})
    assert [
        drift.psi for drift in column_drift(make_reference(table, list(table), 1), table, trained_count=50, min_group=1)
    ] == [
        0,
        0,
    ]


def test_the_reference_does_not_tell_how_many_are_in_a_bin() -> None:
    """Three digits of a share are the exact number of fewer than a thousand customers."""
    random = np.random.default_rng(1)
    table = pd.DataFrame({"spend": random.lognormal(3, 1, 400), "orders": random.poisson(0.03, 400).astype(float)})
    references = make_reference(table, list(table), 10)
    for reference in references.values():
        counts = reference.shares / reference.shares[reference.shares > 0].min()
        assert reference.shares.sum() == pytest.approx(1.0) and counts == pytest.approx(np.round(counts * 10) / 10)
    assert len(references["spend"].edges) == 9 and len(make_reference(table[:45], ["spend"], 10)["spend"].edges) == 1
    own = column_drift(references, table, trained_count=400, min_group=10)
    assert [drift.psi for drift in own] == [0.0, 0.0]


def test_a_segment_that_appears_or_goes() -> None:
    assert segment_drift({"s1": 0.5, "s2": 0.5}, {"s1": 0.5, "s3": 0.5}, (1000, 1000)) > 0.25
    assert segment_drift({"s1": 0.5, "s2": 0.5}, {"s2": 0.5, "s1": 0.5}, (1000, 1000)) == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "keep"),
        ({"segment_psi": {"behaviour": 0.15}}, "watch"),
        ({"segment_psi": {"behaviour": 0.3}}, "train_again"),
        ({"columns": [ColumnDrift("one", 3.0), *(ColumnDrift(name, 0.0) for name in "abcd")]}, "keep"),
        ({"columns": [ColumnDrift(name, 0.3) for name in "abcde"]}, "train_again"),
        ({"new_category_share": 0.06}, "watch"),
        ({"other_segment_share": 0.25}, "train_again"),
        ({"other_segment_share": 0.25, "validity_loss": 0.0}, "watch"),
        ({"validity_loss": 0.06}, "train_again"),
        ({"recent_psi": {"order_count": 0.3}, "validity_loss": 0.0}, "watch"),
        ({"recent_psi": {"categories": 0.3}, "validity_loss": 0.0}, "train_again"),
        ({"new_category_share": 0.3, "validity_loss": 0.0}, "train_again"),
    ],
)
def test_verdicts(changes, expected) -> None:
    verdict, reasons = judge(reading(**changes), **LIMITS)
    assert verdict == expected
    assert bool(reasons) == (expected != "keep")
