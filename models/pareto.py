"""Revenue concentration: the share of each value tier, and the Pareto curve."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import pandas as pd

from models.disclosure import hidden_line, rounded_count, rounded_counts, rounded_total, shares_of_whole

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
        Tiers with fewer customers are hidden, with others so that no small tier can be found by subtraction. Two
        neighbouring points of the curve are at least this many buyers apart. All figures are rounded
        (`models.disclosure`).

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
    hidden = hidden_line(sums["size"].to_numpy(np.float64), min_group)
    revenue_total = rounded_total(spend, min_group)
    shown = sums.index[~hidden]
    counts = rounded_counts(sums["size"][shown], min_group)
    customer_shares = shares_of_whole(counts, rounded_count(len(spend), min_group))
    spend_shares = shares_of_whole([rounded_total(spend[tiers == tier], min_group) for tier in shown], revenue_total)
    tier_rows: list[Tier] = [
        {
            "tier": str(tier),
            "customer_count": int(count),
            "customer_share": float(share),
            "spend_share": float(of_spend),
        }
        for tier, count, share, of_spend in zip(shown, counts, customer_shares, spend_shares, strict=True)
    ]
    steps = max(1, min(STEPS, len(spend) // min_group))
    best = [rounded_total(spend[: round(len(spend) * step / steps)], min_group) for step in range(1, steps + 1)]
    shares = np.minimum(np.maximum.accumulate(best) / revenue_total, 1.0)
    curve: list[CurvePoint] = [
        {"customer_share": step / steps, "spend_share": float(share)} for step, share in enumerate([0.0, *shares])
    ]
    return {"tiers": tier_rows, "curve": curve}
