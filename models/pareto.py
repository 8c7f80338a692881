"""Revenue concentration: the share of each value tier, and the Pareto curve."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import pandas as pd

STEPS = 20
"""Number of points on the curve: one per 5% of the buyers."""


class Tier(TypedDict):
    """A value tier, as in summary.json; shares are of all buyers and of their spend."""

    tier: str
    customer_count: int
    customer_share: float
    spend_share: float


class CurvePoint(TypedDict):
    """The share of the best buyers, and the share of spend that is theirs."""

    customer_share: float
    spend_share: float


class Revenue(TypedDict):
    """Tiers, highest spend first, and the Pareto curve, best buyers first, from (0, 0) to (1, 1)."""

    tiers: list[Tier]
    curve: list[CurvePoint]


def revenue(spend: pd.Series, tiers: pd.Series, *, min_group: int) -> Revenue | None:
    """Shares of revenue by value tier, and the Pareto curve.

    Parameters
    ----------
    spend : Series of float, n rows
        Spend of each customer.
    tiers : Series of str, n rows
        Value tier; null for customers who never bought. They are left out.
    min_group : int
        Tiers with fewer customers are hidden. If any is, the smallest other tiers are hidden too until at least this
        many customers are hidden together, so that no small tier can be found by subtraction. Two neighbouring points
        of the curve are also at least this many buyers apart.

    Returns
    -------
    Revenue or None
        None without revenue, or with fewer buyers than ``min_group``.
    """
    is_buyer = tiers.notna()
    # Sorted because a sum of floats depends on the order of rows, and the result must not.
    spend = spend[is_buyer].sort_values(ascending=False)
    tiers = tiers[spend.index]
    ranked = spend.to_numpy(dtype=np.float64).cumsum()
    total = float(ranked[-1]) if len(ranked) else 0.0
    if len(spend) < min_group or total <= 0:
        return None
    sums = spend.groupby(tiers).agg(["size", "sum"]).sort_values(["sum", "size"], ascending=False)
    by_size = sums["size"].sort_values(kind="stable")
    small_count = int((by_size < min_group).sum())
    enough_count = int(np.searchsorted(by_size.cumsum(), min_group)) + 1
    hidden = by_size.index[: max(small_count, enough_count) if small_count else 0]
    tier_rows: list[Tier] = [
        {
            "tier": str(tier),
            "customer_count": int(row["size"]),
            "customer_share": float(row["size"] / len(spend)),
            "spend_share": float(row["sum"] / total),
        }
        for tier, row in sums.iterrows()
        if tier not in hidden
    ]
    steps = max(1, min(STEPS, len(spend) // min_group))
    counts = [round(len(spend) * step / steps) for step in range(1, steps + 1)]
    curve: list[CurvePoint] = [
        {"customer_share": count / len(spend), "spend_share": float(ranked[count - 1] / total)} for count in counts
    ]
    return {"tiers": tier_rows, "curve": [{"customer_share": 0.0, "spend_share": 0.0}, *curve]}
