"""Segments as they may be published: without figures of a few customers, all others rounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from models.crosstabs import Funnel
from models.disclosure import (
    hidden_cells,
    is_few,
    is_safe_sum,
    rounded_count,
    rounded_extreme,
    rounded_mean,
    rounded_share,
    shown_measure,
    significant,
)
from models.lifts import Interest
from models.segment_names import Evidence
from models.segments import Segment, SegmentRule

SIZES = ("customer_count", "customer_share")
"""The only figures shown for a group that is too small."""
STAGES_BY_SHARE = {
    "buyer_share": ("first_order", "active", "slipping", "lapsed", "lost", "returned"),
    "past_buyer_share": ("slipping", "lapsed", "lost"),
    "lapsed_buyer_share": ("lapsed", "lost"),
}
"""Share of customers -> the lifecycle stages that it covers."""
FUNNEL_STEPS = {"buyer_share": "ordered", "repeat_buyer_share": "ordered_again"}
"""Share of customers -> the step of `models.crosstabs.funnel` with the same meaning."""
COUNTED_SHARES = (*STAGES_BY_SHARE, "cart_user_share", "back_without_order_share")


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


@dataclass(frozen=True)
class FigureTables:
    """The figures of all segments of a facet.

    Attributes
    ----------
    exact, published : DataFrame, segment_id x figure
        `models.segment_metrics.segment_figures` and `published_figures`.
    shop : mapping
        The published figures that evidence is compared with.
    """

    exact: pd.DataFrame
    published: pd.DataFrame
    shop: Mapping[str, float]

    def published_value(self, figure: str, value: float) -> float | None:
        """The published figure of the segment whose exact one is ``value``; None if it is hidden."""
        place = int((self.exact[figure] - value).abs().argmin())
        shown = float(self.published[figure].reindex(self.exact.index).to_numpy(np.float64)[place])
        return None if np.isnan(shown) else shown


def published_segment(segment: Segment, tables: FigureTables, min_group: int) -> Segment:
    """The segment with rounded figures, after `hide_small_shares`; a small segment has its size alone."""
    size, own = segment.customer_count, tables.published.T[segment.segment_id].astype(float).to_dict()
    kept = SIZES if segment.is_small else segment.figures
    figures = {name: own[name] for name in kept if not np.isnan(own[name])}
    if not segment.is_small:
        # A share of 0 or 1 is one that is nearly that.
        figures |= {
            name: value for name, value in segment.figures.items() if name.endswith("_share") and value in (0.0, 1.0)
        }
    evidence = (_published_evidence(item, figures, tables, size, min_group) for item in segment.evidence)
    shown = segment.with_evidence(tuple(item for item in evidence if item is not None))
    return replace(
        shown,
        customer_count=rounded_count(size, min_group),
        customer_share=own["customer_share"],
        spend_share=figures.get("spend_share"),
        stability=shown_measure(segment.stability, size, min_group),
        top_categories=tuple(_published_interest(interest, size, min_group) for interest in segment.top_categories),
        figures=figures,
        rule=segment.rule and _published_rule(segment.rule, size, min_group),
    )


def _published_evidence(
    item: Evidence, figures: Mapping[str, float], tables: FigureTables, size: int, min_group: int
) -> Evidence | None:
    """The evidence with rounded figures; None if its figure is hidden."""

    def shown(share: float | None) -> float | None:
        return None if share is None else rounded_share(share * size, size, min_group)

    item = replace(
        item,
        first_share=shown(item.first_share),
        held_share=shown(item.held_share),
        ahead_share=shown(item.ahead_share),
    )
    if item.figure not in tables.exact:  # the share of an interest
        value, count = rounded_mean(item.value, size, min_group), rounded_count(item.customer_count or 0, min_group)
        return replace(item, value=value, shop=significant(item.shop), customer_count=count)
    if item.figure not in figures or item.figure not in tables.shop:
        return None
    nearest = item.nearest_peer and tables.published_value(item.figure, item.nearest_peer)
    return replace(item, value=figures[item.figure], shop=tables.shop[item.figure], nearest_peer=nearest)


def _published_rule(rule: SegmentRule, size: int, min_group: int) -> SegmentRule:
    """The rule, with the quotients of rounded numbers of customers as its precision and coverage."""
    both = rule.coverage * size
    matched = both / rule.precision if rule.precision > 0 else 0.0
    return replace(
        rule, precision=rounded_share(both, matched, min_group), coverage=rounded_share(both, size, min_group)
    )


def _published_interest(interest: Interest, size: int, min_group: int) -> Interest:
    return replace(
        interest,
        share=rounded_mean(interest.share, size, min_group),
        lift=significant(interest.lift),
        lift_low=significant(interest.lift_low),
        customer_count=rounded_count(interest.customer_count, min_group),
    )


def _reveals_few(share: float, size: int, min_group: int) -> bool:
    """Whether a share, or its complement, stands for 1 to ``min_group`` - 1 of ``size`` customers."""
    return bool(is_few([round(part * size) for part in (share, 1.0 - share)], min_group).any())


def _safe_evidence(item: Evidence, value: float | None, size: int, min_group: int) -> Evidence | None:
    """The evidence with ``value``, without shares of customers that would reveal too few; None without a value."""
    if value is None:
        return None
    held, ahead = (
        rounded_extreme(share) if share is not None and _reveals_few(share, size, min_group) else share
        for share in (item.held_share, item.ahead_share)
    )
    return replace(item, value=value, held_share=held, ahead_share=ahead)
