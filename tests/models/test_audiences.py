from __future__ import annotations

import numpy as np
import pandas as pd

from models.audiences import audience_counts, audience_membership, audiences


def test_certainty_requires_evidence() -> None:
    shares = pd.DataFrame({"cats": [0.6, 0.6, 0.3], "dogs": [0.4, 0.4, 0.7]})
    expected = pd.DataFrame({"cats": [0.3] * 3, "dogs": [0.7] * 3})
    # Twice the shop's share: certain with two hundred views, not with one.
    membership = audience_membership(
        shares, pd.Series([200.0, 1.0, np.nan]), expected, kappa=2.0, min_lift=1.3, certainty=0.95
    )
    assert membership.cats.tolist() == [True, False, False]
    assert not membership.dogs.any()


def test_counts_by_hand() -> None:
    membership = pd.DataFrame({"a": [1, 1, 0, 1], "b": [1, 0, 0, 1], "c": [1, 0, 0, 0]}).astype(bool)
    counts = audience_counts(membership, np.array(["s", "s", "t", "t"])).set_index(["topic", "value", "segment_id"])
    customers = counts.customer_count
    assert customers["category", "a", "s"] == 2
    assert customers["category", "a", "t"] == 1
    assert customers["category", "c", "t"] == 0
    assert customers["categories", "2", "t"] == 1
    assert customers["categories", "3+", "s"] == 1
    assert ("categories", "2", "s") not in customers.index


def test_small_audiences_and_small_remainders_are_omitted() -> None:
    membership = pd.DataFrame({"a": [True] * 2 + [False] * 8, "b": [True] * 9 + [False], "c": [True] * 5 + [False] * 5})
    assert audiences(membership, min_group=5) == [{"category": "c", "customer_count": 5, "customer_share": 0.5}]
