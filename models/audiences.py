"""Who is drawn to a category, with certainty: the audience of a category, and customers drawn to several."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

MOST_CATEGORIES = 3
"""Customers drawn to as many or more are told as one group."""


def drawn_to(
    shares: pd.DataFrame,
    evidence: pd.Series,
    expected: pd.DataFrame,
    *,
    kappa: float,
    min_lift: float,
    certainty: float,
) -> pd.DataFrame:
    """Customer x category: whether the customer surely over-indexes on it.

    A share of the interest formula is the mean of a Beta distribution of ``evidence + kappa`` observations, kappa of
    them the shop's. A customer is drawn to a category when the share is ``min_lift`` times the expected one, and is
    above it with a probability of ``certainty``. Evidence counts as it is weighted, old events less than the last one.

    Parameters
    ----------
    shares : DataFrame
        Customer x category, `features.interests.interest_shares`.
    evidence : Series, by customer
        S(u); null: 0.
    expected : DataFrame
        Of the same rows and columns: shares of who turned, at the same times, to what the shop turned to
        (`models.seasons.ExpectedShares`).
    """
    share, shop = shares.to_numpy(np.float64), expected.to_numpy(np.float64)
    weight = evidence.fillna(0.0).to_numpy(np.float64)[:, None] + kappa
    drawn = (share >= min_lift * shop) & (shop > 0)
    # Few come so far, and the distribution is what takes time.
    row, column = np.nonzero(drawn)
    a, total = share[row, column] * weight[row, 0], weight[row, 0]
    drawn[row, column] = stats.beta.sf(shop[row, column], a, np.maximum(total - a, 1e-9)) >= certainty
    return pd.DataFrame(drawn, index=shares.index, columns=shares.columns)


def audience_counts(drawn: pd.DataFrame, segment_ids: np.ndarray) -> pd.DataFrame:
    """Counts (topic, value, segment_id, customer_count) of the topics ``category`` and ``categories`` (1, 2, 3+)."""
    by_category = drawn.groupby(segment_ids).sum().rename_axis("segment_id").melt(
        ignore_index=False, var_name="value", value_name="customer_count"
    ).reset_index().assign(topic="category")  # fmt: skip
    number = drawn.sum(axis=1).clip(upper=MOST_CATEGORIES)
    several = pd.DataFrame({"segment_id": segment_ids, "value": number.to_numpy()})[(number >= 2).to_numpy()]
    several = several.assign(value=several.value.map({2: "2", MOST_CATEGORIES: f"{MOST_CATEGORIES}+"}))
    by_number = several.groupby(["segment_id", "value"]).size().rename("customer_count").reset_index()
    counts = pd.concat([by_category, by_number.assign(topic="categories")], ignore_index=True)
    return counts[["topic", "value", "segment_id", "customer_count"]]


def audiences(drawn: pd.DataFrame, *, min_group: int) -> list[dict[str, str | int | float]]:
    """category, customer_count and customer_share of every category with an audience, the largest first.

    An audience, or all others, of fewer than ``min_group`` customers is not told.
    """
    counts = drawn.sum().sort_values(ascending=False, kind="stable")
    told = counts[(counts >= min_group) & (len(drawn) - counts >= min_group)]
    return [
        {"category": str(category), "customer_count": int(count), "customer_share": float(count / len(drawn))}
        for category, count in told.items()
    ]
