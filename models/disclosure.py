"""What may be told of a group so small that figures would tell of people (statistical disclosure control)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.typing import DataFrameGroupBy

SIZES = ("customer_count", "customer_share")
"""All that is said of a group too small for more."""
RESTS_ON = {
    "buyer_share": (
        *("orders_per_buyer", "average_order_value", "return_rate", "discount_share", "price_level"),
        *("days_since_first_purchase", "days_since_last_purchase", "views_per_order", "returned_spend_share"),
    ),
    "cart_user_share": ("abandoned_cart_share",),
}
"""Share of customers -> figures that say something of these alone."""

PARTS_OF_STAGES = {
    "buyer_share": ("first_order", "active", "slipping", "lapsed", "lost", "returned"),
    "past_buyer_share": ("slipping", "lapsed", "lost"),
    "lapsed_buyer_share": ("lapsed", "lost"),
}
"""Share of customers -> the lifecycle stages it is of."""
STEPS = {"buyer_share": "ordered", "repeat_buyer_share": "ordered_again"}
"""Share of customers -> the step of `models.crosstabs.funnel` that says the same."""
MONEY = ("spend_share", "spend_per_customer", "paid_per_customer", "average_order_value")
"""Figures from which, with the number of customers or of orders, the money of a segment could be reckoned."""
COUNTED = (*PARTS_OF_STAGES, "cart_user_share", "back_without_order_share")
HELD = ("held_share", "ahead_share")
"""Shares of a segment's customers in an item of evidence: for whom its condition holds, who are beyond the others."""
NEAR = 0.005
"""Shares that near to none or all are told as none or all, which is true to the percent and tells of nobody."""


def well_founded(figures: dict[str, float], min_group: int) -> dict[str, float]:
    """The figures without those that rest on fewer than ``min_group`` customers."""
    if figures["customer_count"] < min_group:
        return {name: figures[name] for name in SIZES}
    # A share times its whole is not always the whole number that it was made of: 10 / 77 * 77 is below 10.
    few = [share for share in RESTS_ON if round(figures[share] * figures["customer_count"]) < min_group]
    left_out = {name for share in few for name in RESTS_ON[share]}
    if figures.get("paid_per_customer") and "returned_spend_share" not in figures:
        left_out.add("paid_per_customer")  # less what was kept of it, it tells what one customer was given back
    return {name: value for name, value in figures.items() if name not in left_out}


def is_of_one(groups: DataFrameGroupBy, above: str, below: str, *, max_share: float) -> pd.Series:
    """Whether one customer makes a group's ratio of sums: the dominance rule, of one.

        groups of customers with the columns ``above`` and ``below``, a row each, none twice in the index
     -> bool by group

    So it is when one of them carries more than ``max_share`` of the sum above, and the ratio without that customer
    differs by more than ``max_share`` of itself: whoever buys most also returns most, which says no less of all.
    """
    sums, largest = groups[[above, below]].sum().astype(float), groups[above].idxmax()
    own = groups.obj.loc[largest, [above, below]].astype(float).set_axis(largest.index)
    share, share_below = own[above] / sums[above], own[below] / sums[below]
    # Without whoever carries all that is below, there is no ratio.
    change = (1.0 - (1.0 - share) / (1.0 - share_below).where(share_below < 1.0)).abs().fillna(np.inf)
    return (share > max_share) & (change > max_share)


def hide_spend_of_few(table: list[dict[str, Any]], min_group: int) -> None:
    """Take out the money of small segments, and of the next smallest, from which theirs could be reckoned."""
    by_size = sorted(table, key=lambda one: (one["customer_count"], one["segment_id"]))
    hidden = [one for one in by_size if one["is_small"]]
    rest = [one for one in by_size if not one["is_small"]]
    while hidden and rest and sum(one["customer_count"] for one in hidden) < min_group:
        hidden.append(rest.pop(0))
    for one in hidden:
        one["spend_share"] = None
        one["figures"] = {name: value for name, value in one["figures"].items() if name not in MONEY}
        one["evidence"] = [proof for proof in one["evidence"] if proof["figure"] not in MONEY]


def hidden_cells(counts: NDArray[np.float64], min_group: int) -> NDArray[np.bool_]:
    """Cells of 1 to ``min_group`` - 1 customers, and others so that no row or column hides fewer than that alone."""
    hidden = (counts > 0) & (counts < min_group)
    while True:
        before = hidden.sum()
        for cells, hide in ((counts, hidden), (counts.T, hidden.T)):
            for line, marks in zip(cells, hide, strict=True):
                while marks.any() and (marks.sum() == 1 or line[marks].sum() < min_group):
                    rest = np.flatnonzero(~marks & (line > 0))
                    if not rest.size:
                        break
                    marks[rest[np.argmin(line[rest])]] = True
        if hidden.sum() == before:
            return hidden


def is_told(hidden: NDArray[np.bool_], inside: NDArray[np.bool_]) -> bool:
    """Whether the sum of the groups ``inside`` tells nothing of the ``hidden`` ones (`hidden_cells` of their line).

    All that is hidden adds up to enough, so it may be of the sum, or of the rest, but not of both.
    """
    return not (hidden[inside].any() and hidden[~inside].any())


def none_or_all(share: float) -> float | None:
    """0 or 1 for a share so near that it is so to the percent, which tells of nobody; None for another."""
    return float(round(share)) if min(share, 1.0 - share) < NEAR else None


def hide_shares_of_few(
    table: list[dict[str, Any]], stages: pd.DataFrame, steps: Mapping[str, Any], min_group: int
) -> None:
    """Take shares that tell of 1 to ``min_group`` - 1 customers out of the figures of segments, and of their evidence.

    Parameters
    ----------
    stages : DataFrame, segments x lifecycle stages
        Customers of each, as they are crossed: what the crossing hides is told nowhere else. Segments that are not
        crossed may be missing.
    steps : mapping
        `models.crosstabs.funnel`; what it hides is told nowhere else either.
    """
    hidden = pd.DataFrame(hidden_cells(stages.to_numpy(np.float64), min_group), stages.index, stages.columns)
    for one in table:
        figures, size = one["figures"], one["customer_count"]
        marks = hidden.loc[one["segment_id"]] if one["segment_id"] in hidden.index else pd.Series(dtype=bool)
        untold = {f"stage_{stage}_share" for stage in marks.index[marks]}
        for name, part in PARTS_OF_STAGES.items():
            if not is_told(marks.to_numpy(bool), marks.index.isin(part)):
                untold.add(name)
        for name in figures.keys() & COUNTED:
            if any(0 < round(part * size) < min_group for part in (figures[name], 1.0 - figures[name])):
                untold.add(name)
        reached = dict(zip(steps["steps"], steps["segments"].get(one["segment_id"], ()), strict=False))
        untold |= {name for name, step in STEPS.items() if reached.get(step) is None}
        told = {name: none_or_all(value) if name in untold else value for name, value in figures.items()}
        one["figures"] = {name: value for name, value in told.items() if value is not None}
        one["evidence"] = [
            _without_few({**proof, "value": told.get(proof["figure"], proof["value"])}, size, min_group)
            for proof in one["evidence"]
            if told.get(proof["figure"], proof["value"]) is not None
        ]


def _without_few(proof: dict[str, Any], size: int, min_group: int) -> dict[str, Any]:
    """The evidence, whose shares of the segment's customers (``..._share`` beside the figure) tell of no few."""
    kept = dict(proof)
    for name in HELD:
        share = kept.get(name)
        if share is not None and any(0 < round(part * size) < min_group for part in (share, 1.0 - share)):
            whole = none_or_all(share)
            kept = {key: value for key, value in kept.items() if key != name} | ({} if whole is None else {name: whole})
    return kept
