"""Statistical disclosure control: hide figures of groups so small that they would reveal individual customers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.typing import DataFrameGroupBy

if TYPE_CHECKING:
    from models.segment_names import Evidence
    from models.segments import Segment

SIZES = ("customer_count", "customer_share")
"""The only figures shown for a group that is too small."""
SUBGROUP_FIGURES = {
    "buyer_share": (
        *("orders_per_buyer", "average_order_value", "return_rate", "discount_share", "price_level"),
        *("days_since_first_purchase", "days_since_last_purchase", "views_per_order", "returned_spend_share"),
    ),
    "cart_user_share": ("abandoned_cart_share",),
}
"""Share of customers in a subgroup, such as buyers -> figures that describe this subgroup only."""
SUBGROUP_SHARE = {figure: share for share, figures in SUBGROUP_FIGURES.items() for figure in figures}
"""Figure that describes a subgroup, such as buyers -> the share of customers in that subgroup."""

STAGES_BY_SHARE = {
    "buyer_share": ("first_order", "active", "slipping", "lapsed", "lost", "returned"),
    "past_buyer_share": ("slipping", "lapsed", "lost"),
    "lapsed_buyer_share": ("lapsed", "lost"),
}
"""Share of customers -> the lifecycle stages that it covers."""
FUNNEL_STEPS = {"buyer_share": "ordered", "repeat_buyer_share": "ordered_again"}
"""Share of customers -> the step of `models.crosstabs.funnel` with the same meaning."""
MONEY = ("spend_share", "spend_per_customer", "paid_per_customer", "average_order_value")
"""Figures from which a segment's spend could be computed, given the number of customers or orders."""
COUNTED_SHARES = (*STAGES_BY_SHARE, "cart_user_share", "back_without_order_share")
EXTREME_MARGIN = 0.005
"""Shares this close to 0 or 1 are rounded to it: correct to the percent, and no individual is revealed."""


def describes_enough(figure: str, figures: Mapping[str, float], min_share: float) -> bool:
    """Whether at least ``min_share`` of a segment's customers are in the subgroup that a figure describes, if any."""
    return figures.get(SUBGROUP_SHARE.get(figure, ""), 1.0) >= min_share


class Funnel(TypedDict):
    """Customers by funnel step, as in summary.json.

    ``steps`` are those that the log records, ``shop`` the customers by step. ``segments`` has the share of a segment's
    customers by step, by segment_id; None if it would reveal too few customers.
    """

    steps: list[str]
    shop: list[int]
    segments: dict[str, list[float | None]]


def drop_small_base_figures(figures: Mapping[str, float], min_group: int) -> dict[str, float]:
    """The figures without those based on fewer than ``min_group`` customers."""
    if figures["customer_count"] < min_group:
        return {name: figures[name] for name in SIZES}
    # Rounded, because a share times its total can miss the original count: 10 / 77 * 77 is below 10.
    small = [share for share in SUBGROUP_FIGURES if round(figures[share] * figures["customer_count"]) < min_group]
    dropped = {name for share in small for name in SUBGROUP_FIGURES[share]}
    if figures.get("paid_per_customer") and "returned_spend_share" not in figures:
        dropped.add("paid_per_customer")  # paid minus net spend would reveal the refund of one customer
    return {name: value for name, value in figures.items() if name not in dropped}


def is_dominated(groups: DataFrameGroupBy, top: str, bottom: str, *, max_share: float) -> pd.Series:
    """Whether one customer dominates a group's ratio of sums: the dominance rule for a single contributor.

        groups of customers with the columns ``top`` (numerator) and ``bottom`` (denominator), unique index
     -> bool by group

    A customer dominates if they account for more than ``max_share`` of the numerator, and leaving them out changes the
    ratio by more than ``max_share`` of its value. A customer who both buys and returns most does not dominate: the
    ratio is the same without them.
    """
    sums, largest = groups[[top, bottom]].sum().astype(float), groups[top].idxmax()
    own = groups.obj.loc[largest, [top, bottom]].astype(float).set_axis(largest.index)
    top_share, bottom_share = own[top] / sums[top], own[bottom] / sums[bottom]
    # If one customer is the whole denominator, there is no ratio without them.
    change = (1.0 - (1.0 - top_share) / (1.0 - bottom_share).where(bottom_share < 1.0)).abs().fillna(np.inf)
    return (top_share > max_share) & (change > max_share)


def hide_small_spend(segments: Sequence[Segment], min_group: int) -> list[Segment]:
    """Segments without money figures of small ones, and of the next smallest if the small ones could be derived."""
    by_size = sorted(segments, key=lambda segment: (segment.customer_count, segment.segment_id))
    hidden = [segment for segment in by_size if segment.is_small]
    larger = [segment for segment in by_size if not segment.is_small]
    while hidden and larger and sum(segment.customer_count for segment in hidden) < min_group:
        hidden.append(larger.pop(0))
    hidden_ids = {segment.segment_id for segment in hidden}
    return [_without_money(segment) if segment.segment_id in hidden_ids else segment for segment in segments]


def _without_money(segment: Segment) -> Segment:
    figures = {name: value for name, value in segment.figures.items() if name not in MONEY}
    evidence = tuple(item for item in segment.evidence if item.figure not in MONEY)
    return replace(segment.with_evidence(evidence), spend_share=None, figures=figures)


def hidden_cells(counts: NDArray[np.float64], min_group: int) -> NDArray[np.bool_]:
    """Cells to hide: those of 1 to ``min_group`` - 1 customers, and others until no row or column reveals them.

    In every row and column, the hidden cells together hold at least ``min_group`` customers, if there are enough.
    """
    hidden = (counts > 0) & (counts < min_group)
    while True:
        before = hidden.sum()
        for cells, hide in ((counts, hidden), (counts.T, hidden.T)):
            for line, marks in zip(cells, hide, strict=True):
                while marks.any() and (marks.sum() == 1 or line[marks].sum() < min_group):
                    visible = np.flatnonzero(~marks & (line > 0))
                    if not visible.size:
                        break
                    marks[visible[np.argmin(line[visible])]] = True
        if hidden.sum() == before:
            return hidden


def is_safe_sum(hidden: NDArray[np.bool_], inside: NDArray[np.bool_]) -> bool:
    """Whether the sum of the groups ``inside`` reveals nothing about the ``hidden`` ones (a line of `hidden_cells`).

    All hidden groups together are large enough. They may all be inside the sum or all outside it, but not on both
    sides.
    """
    return not (hidden[inside].any() and hidden[~inside].any())


def rounded_extreme(share: float) -> float | None:
    """0 or 1 for a share within `EXTREME_MARGIN` of it, which reveals no individual; None for any other share."""
    return float(round(share)) if min(share, 1.0 - share) < EXTREME_MARGIN else None


def hide_small_shares(
    segments: Sequence[Segment], stages: pd.DataFrame, steps: Funnel, min_group: int
) -> list[Segment]:
    """Segments without figures and evidence that reveal 1 to ``min_group`` - 1 customers.

    Parameters
    ----------
    stages : DataFrame, segments x lifecycle stages
        Customers per cell of the crosstab. A cell hidden there is hidden here too. Segments outside the crosstab may be
        missing.
    steps : Funnel
        A share hidden there is hidden here too.
    """
    hidden = pd.DataFrame(hidden_cells(stages.to_numpy(np.float64), min_group), stages.index, stages.columns)
    result = []
    for segment in segments:
        unsafe = _unsafe_shares(segment, hidden, steps, min_group)
        rounded = {name: rounded_extreme(value) if name in unsafe else value for name, value in segment.figures.items()}
        evidence = (
            _safe_evidence(item, rounded.get(item.figure, item.value), segment.customer_count, min_group)
            for item in segment.evidence
        )
        shown = segment.with_evidence(tuple(item for item in evidence if item is not None))
        result.append(replace(shown, figures={name: value for name, value in rounded.items() if value is not None}))
    return result


def _unsafe_shares(segment: Segment, hidden: pd.DataFrame, steps: Funnel, min_group: int) -> set[str]:
    """Figures of a segment that would reveal too few customers, alone or by subtraction.

    hidden (segments x lifecycle stages): the cells of the crosstab that are hidden
    """
    marks = hidden.T[segment.segment_id] if segment.segment_id in hidden.index else pd.Series(dtype=bool)
    of_stages = {f"stage_{stage}_share" for stage in marks.index[marks]}
    of_several_stages = {
        name
        for name, covered in STAGES_BY_SHARE.items()
        if not is_safe_sum(marks.to_numpy(bool), marks.index.isin(covered))
    }
    counted = {
        name
        for name in segment.figures.keys() & COUNTED_SHARES
        if _reveals_few(segment.figures[name], segment.customer_count, min_group)
    }
    reached = dict(zip(steps["steps"], steps["segments"].get(segment.segment_id, ()), strict=False))
    of_funnel = {name for name, step in FUNNEL_STEPS.items() if reached.get(step) is None}
    return of_stages | of_several_stages | counted | of_funnel


def _reveals_few(share: float, size: int, min_group: int) -> bool:
    """Whether a share, or its complement, stands for 1 to ``min_group`` - 1 of ``size`` customers."""
    return any(0 < round(part * size) < min_group for part in (share, 1.0 - share))


def _safe_evidence(item: Evidence, value: float | None, size: int, min_group: int) -> Evidence | None:
    """The evidence with ``value``, without shares of customers that would reveal too few; None without a value."""
    if value is None:
        return None
    held, ahead = (
        rounded_extreme(share) if share is not None and _reveals_few(share, size, min_group) else share
        for share in (item.held_share, item.ahead_share)
    )
    return replace(item, value=value, held_share=held, ahead_share=ahead)
