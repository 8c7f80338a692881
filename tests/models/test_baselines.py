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
    """Of two customers, the larger log is one deviation above the mean; no purchase counts as a whole window ago."""
    profile = customers(2).assign(days_since_last_purchase=[np.nan, 9.0], order_count=[0.0, 2.0], spend=[0.0, 5.0])
    points = baseline_points(profile, COLUMNS)["log_rfm"]
    assert points == pytest.approx(np.array([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]]))


def test_no_purchase_counts_as_a_purchase_at_the_start_of_the_window() -> None:
    profile = customers(50).assign(days_since_last_purchase=[np.nan, 100.0] * 25)
    assert (baseline_points(profile, COLUMNS)["log_rfm"][:, 0] == 0.0).all()


def test_all_interests_together_weigh_as_much_as_activity() -> None:
    profile = customers(400)
    points = baseline_points(profile, COLUMNS)["log_rfm_activity_shares"]
    assert points.shape == (400, 6)  # of the journey block, only activity
    variance = points.var(axis=0)
    assert variance[:4] == pytest.approx(np.ones(4))
    assert variance[4:].sum() == pytest.approx(1.0)
    assert np.corrcoef(points[:, 3], np.log1p(profile.activity))[0, 1] == pytest.approx(1.0)
    # Distances among interests are Hellinger distances, up to a constant factor.
    roots, scaled = np.sqrt(profile[["interest: a", "interest: b"]].to_numpy()), points[:, 4:]
    factors = np.linalg.norm(scaled[1:] - scaled[:-1], axis=1) / np.linalg.norm(roots[1:] - roots[:-1], axis=1)
    assert factors == pytest.approx(factors[0])


def test_customers_who_never_bought_have_rfm_scores_of_zero() -> None:
    profile = customers(3).assign(recency_score=[np.nan, 5.0, 1.0])
    assert baseline_points(profile, COLUMNS)["rfm"][:, 0].tolist() == [0.0, 5.0, 1.0]
