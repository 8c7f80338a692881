"""Category audiences: customers with a clearly above-average interest in a category, or in several."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from models.disclosure import rounded_count, rounded_share

MAX_CATEGORIES = 3
"""Customers in this many audiences or more are reported as one group."""


def audience_membership(
    shares: pd.DataFrame,
    evidence: pd.Series,
    expected: pd.DataFrame,
    *,
    kappa: float,
    min_lift: float,
    certainty: float,
) -> pd.DataFrame:
    """Customer x category: whether the customer over-indexes on the category with confidence.

    A share of the interest formula is the mean of a Beta distribution of ``evidence + kappa`` observations, of which
    kappa come from the shop's mix. A customer is in the audience of a category if the share is at least ``min_lift``
    times the expected share, and above it with a probability of at least ``certainty``. Evidence is the weighted one:
    older events count less.

    Parameters
    ----------
    shares : DataFrame
        Customer x category, `features.interests.interest_shares`.
    evidence : Series, by customer
        S(u); null counts as 0.
    expected : DataFrame
        Same rows and columns: the shares of a customer with the shop's average interests over the same period
        (`models.seasons.ExpectedShares`).
    """
    share, shop = shares.to_numpy(np.float64), expected.to_numpy(np.float64)
    weight = evidence.fillna(0.0).to_numpy(np.float64)[:, None] + kappa
    is_member = (share >= min_lift * shop) & (shop > 0)
    # Only these candidates are tested, because the distribution is slow to compute.
    row, column = np.nonzero(is_member)
    a, total = share[row, column] * weight[row, 0], weight[row, 0]
    is_member[row, column] = stats.beta.sf(shop[row, column], a, np.maximum(total - a, 1e-9)) >= certainty
    return pd.DataFrame(is_member, index=shares.index, columns=shares.columns)


def audience_counts(membership: pd.DataFrame, segment_ids: np.ndarray) -> pd.DataFrame:
    """Counts (topic, value, segment_id, customer_count) of the topics ``category`` and ``categories`` (1, 2, 3+)."""
    by_category = membership.groupby(segment_ids).sum().rename_axis("segment_id").melt(
        ignore_index=False, var_name="value", value_name="customer_count"
    ).reset_index().assign(topic="category")  # fmt: skip
    number = membership.sum(axis=1).clip(upper=MAX_CATEGORIES)
    several = pd.DataFrame({"segment_id": segment_ids, "value": number.to_numpy()})[(number >= 2).to_numpy()]
    several = several.assign(value=several.value.map({2: "2", MAX_CATEGORIES: f"{MAX_CATEGORIES}+"}))
    by_number = several.groupby(["segment_id", "value"]).size().rename("customer_count").reset_index()
    counts = pd.concat([by_category, by_number.assign(topic="categories")], ignore_index=True)
    return counts[["topic", "value", "segment_id", "customer_count"]]


def audiences(membership: pd.DataFrame, *, min_group: int) -> list[dict[str, str | int | float]]:
    """category, customer_count and customer_share of every category with an audience, largest first.

    An audience is omitted if it, or the group of all other customers, has fewer than ``min_group`` customers. Figures
    are rounded.
    """
    counts = membership.sum().sort_values(ascending=False, kind="stable")
    shown = counts[(counts >= min_group) & (len(membership) - counts >= min_group)]
    return [
        {
            "category": str(category),
            "customer_count": rounded_count(count, min_group),
            "customer_share": rounded_share(count, len(membership), min_group),
        }
        for category, count in shown.items()
    ]
