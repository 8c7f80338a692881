"""The effect of a campaign as it may be published: means of rounded sums, and differences no finer than these."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.campaign_effect import CampaignEffect, GroupEffect
from models.disclosure import rounded_count, rounded_total, rounding_step, significant, total_step
from models.effect_estimates import Effect

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def published_effect(
    measured: CampaignEffect,
    is_held_out: Flags,
    is_buyer: Flags,
    spend: Floats | None,
    segments: pd.Series,
    *,
    min_group: int,
) -> CampaignEffect:
    """The effect with rounded figures; verdicts stay as they are.

    is_held_out, is_buyer, spend, segments, each (n,): the arguments of `models.campaign_effect.campaign_effect`
    """

    def published(group: GroupEffect, is_in: Flags) -> GroupEffect:
        halves = (is_in & ~is_held_out, is_in & is_held_out)
        counts = [rounded_count(half.sum(), min_group) for half in halves]
        return replace(
            group,
            treated_count=counts[0],
            held_out_count=counts[1],
            buyers=group.buyers and _published(group.buyers, [is_buyer[half] for half in halves], min_group),
            spend=group.spend
            and (None if spend is None else _published(group.spend, [spend[half] for half in halves], min_group)),
            q_value=None if group.q_value is None else significant(group.q_value, 1),
        )

    split = measured.split
    return replace(
        measured,
        overall=published(measured.overall, np.ones(len(is_held_out), dtype=np.bool_)),
        segments=tuple(published(group, (segments == group.segment).to_numpy(bool)) for group in measured.segments),
        split=replace(
            split,
            held_out_count=rounded_count(split.held_out_count, min_group),
            customer_count=rounded_count(split.customer_count, min_group),
            p_value=significant(split.p_value, 1),
        ),
    )


def _published(effect: Effect, halves: list[NDArray[np.float64 | np.bool_]], min_group: int) -> Effect:
    """The effect with rounded figures.

    halves : arrays of shape (n_treated,) and (n_held_out,), what each customer contributes
    """
    if min_group <= 1:
        return effect
    counts = [rounded_count(len(half), min_group) for half in halves]
    means = [rounded_total(half, min_group) / count for half, count in zip(halves, counts, strict=True)]
    steps = [total_step(half, min_group) / count for half, count in zip(halves, counts, strict=True)]
    step = float(rounding_step(max(steps)))
    low, difference, high = (round(value / step) * step for value in (effect.low, effect.difference, effect.high))
    # Whether an interval excludes 0 is not lost by rounding.
    low = max(low, step) if effect.low > 0 else low
    high = min(high, -step) if effect.high < 0 else high
    return replace(
        effect,
        treated=means[0],
        held_out=means[1],
        difference=min(max(difference, low), high),
        low=low,
        high=high,
        p_value=significant(effect.p_value, 1),
        worth_p_value=significant(effect.worth_p_value, 1),
        variance_reduction=round(effect.variance_reduction, 2),
        top_customer_share=None,
    )
