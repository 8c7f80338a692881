from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from features.profile import Column
from models.baselines import baseline_points

COLUMNS = [
    Column("interest: a", "interest", "root", None),
    Column("interest: b", "interest", "root", None),
    Column("days_since_last_purchase", "value", "log", 100.0),
    Column("order_count", "value", "log", 0.0),
    Column("spend", "value", "log", 0.0),
    Column("session_count", "journey", "log", 0.0),
]


def customers(count: int) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    share = generator.beta(2.0, 2.0, count)
    profile = pd.DataFrame({"interest: a": share, "interest: b": 1.0 - share})
    for name in ("days_since_last_purchase", "order_count", "spend", "session_count", "activity"):
        profile[name] = generator.gamma(1.0, 10.0, count)
    for name in ("recency_score", "frequency_score", "monetary_score"):
        profile[name] = generator.integers(1, 6, count).astype(float)
    return profile


def test_log_rfm_of_two_customers_by_hand() -> None:
    """Of two, the larger of each logarithm is one deviation above the mean; who never bought did so the window long ago."""
    profile = customers(2).assign(days_since_last_purchase=[np.nan, 9.0], order_count=[0.0, 2.0], spend=[0.0, 5.0])
    found = baseline_points(profile, COLUMNS)["log_rfm"]
    assert found == pytest.approx(np.array([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]]))


def test_never_bought_is_as_long_ago_as_the_window() -> None:
    profile = customers(50).assign(days_since_last_purchase=[np.nan, 100.0] * 25)
    assert (baseline_points(profile, COLUMNS)["log_rfm"][:, 0] == 0.0).all()


def test_all_interests_together_weigh_as_much_as_activity() -> None:
    profile = customers(400)
    found = baseline_points(profile, COLUMNS)["log_rfm_activity_shares"]
    assert found.shape == (400, 6)  # no other column of the journey
    variance = found.var(axis=0)
    assert variance[:4] == pytest.approx(np.ones(4))
    assert variance[4:].sum() == pytest.approx(1.0)
    assert np.corrcoef(found[:, 3], np.log1p(profile.activity))[0, 1] == pytest.approx(1.0)
    # Distances among interests are Hellinger's, up to one factor.
    roots, scaled = np.sqrt(profile[["interest: a", "interest: b"]].to_numpy()), found[:, 4:]
    factors = np.linalg.norm(scaled[1:] - scaled[:-1], axis=1) / np.linalg.norm(roots[1:] - roots[:-1], axis=1)
    assert factors == pytest.approx(factors[0])


def test_who_never_bought_has_no_rfm_scores() -> None:
    profile = customers(3).assign(recency_score=[np.nan, 5.0, 1.0])
    assert baseline_points(profile, COLUMNS)["rfm"][:, 0].tolist() == [0.0, 5.0, 1.0]
