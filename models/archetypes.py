"""Archetypes: kinds of customers, defined by conditions on a segment's figures compared with the shop's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from models.segment_names import Bounds, Evidence, Texts


@dataclass(frozen=True, slots=True)
class Archetype:
    """A kind of customer.

    Attributes
    ----------
    priority : int
        Of several archetypes that match a segment, the one with the lowest priority names it.
    name, playbook, avoid : mapping
        Language -> text.
    when : mapping
        Figure -> the condition that it must meet.
    """

    id: str
    priority: int
    name: Texts
    when: Mapping[str, Bounds]
    playbook: Texts
    avoid: Texts


def matching_archetype(
    figures: Mapping[str, float],
    shop: Mapping[str, float],
    archetypes: Sequence[Archetype],
    *,
    members: pd.DataFrame,
    min_held_share: float,
) -> tuple[Archetype | None, tuple[Evidence, ...]]:
    """The first archetype by priority whose conditions all hold, and its evidence.

    Parameters
    ----------
    members : DataFrame, n customers x figures
        `models.segment_metrics.member_figures` of the segment. Conditions on these figures must hold for the segment.
        At least ``min_held_share`` of its customers must meet all of them individually.
    """
    for archetype in sorted(archetypes, key=lambda archetype: (archetype.priority, archetype.id)):
        evidence = evidence_for(archetype.when, figures, shop, members=members, min_held_share=min_held_share)
        if evidence is not None:
            return archetype, evidence
    return None, ()


def evidence_for(
    conditions: Mapping[str, Bounds],
    figures: Mapping[str, float],
    shop: Mapping[str, float],
    *,
    members: pd.DataFrame,
    min_held_share: float,
) -> tuple[Evidence, ...] | None:
    """The figures that support a name; None if a condition fails, or if too few customers meet all conditions."""
    evidence = []
    meets_all = np.ones(len(members), dtype=np.bool_)
    for name, bounds in conditions.items():
        own_value, shop_value = float(figures.get(name, np.nan)), float(shop.get(name, np.nan))
        if not within(own_value, shop_value, bounds).all():
            return None
        is_met = meets_condition(members, name, shop_value, bounds)
        share = None if is_met is None else float(is_met.mean())
        meets_all &= True if is_met is None else is_met
        # A figure that is unknown for the segment or the shop is no evidence.
        if not np.isnan([own_value, shop_value]).any():
            evidence.append(Evidence(name, own_value, shop_value, condition=bounds, held_share=share))
    return None if len(members) and meets_all.mean() < min_held_share else tuple(evidence)


def meets_condition(members: pd.DataFrame, figure: str, shop: float, bounds: Bounds) -> NDArray[np.bool_] | None:
    """Which customers meet a condition; None for a share of customers, without bounds, and without customers.

    A customer whose figure is unknown, such as days since the last order without any order, does not meet it.
    """
    if figure not in members or not len(members) or not bounds.limits():
        return None
    return within(members[figure].to_numpy(np.float64), shop, bounds)


def within(values: ArrayLike, shop: float, bounds: Bounds) -> NDArray[np.bool_]:
    """Which figures are within the bounds; an unknown figure is not.

    A figure of at least ``enough`` always is: if the shop's own figure is high, no segment can be far above it.
    """
    own_values = np.asarray(values, dtype=np.float64)
    ratio = own_values / shop if shop else np.full_like(own_values, np.nan)
    is_within = np.ones(own_values.shape, dtype=np.bool_)
    for bound, limit in bounds.limits().items():
        if bound != "enough":
            compared = ratio if bound.endswith("_ratio") else own_values
            is_within &= compared >= limit if bound.startswith("min") else compared <= limit
    return is_within if bounds.enough is None else is_within | (own_values >= bounds.enough)
