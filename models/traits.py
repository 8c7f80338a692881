"""Traits: figures that distinguish segments of one name from each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Literal

import numpy as np
import pandas as pd

from models.disclosure import SUBGROUP_SHARE
from models.segment_names import Evidence, Naming, Texts

MAJORITY = 0.5
"""A trait of a subgroup names a segment only if at least this share of its customers is in the subgroup."""
LEAST_DAYS = 1.0
Place = Literal["above", "below", "between"]
"""Where a figure lies compared with those of the other segments."""


@dataclass(frozen=True, slots=True)
class Trait:
    """A figure that distinguishes segments: its words for the highest, the lowest and the middle one of three.

    Attributes
    ----------
    above, below, between : mapping
        Language -> word; ``between`` may be None.
    """

    figure: str
    above: Texts
    below: Texts
    between: Texts | None = None

    def word(self, place: Place) -> Texts | None:
        """The word for a place, by language; None if the trait has none."""
        return {"above": self.above, "below": self.below, "between": self.between}[place]


@dataclass(frozen=True, slots=True)
class TraitRules:
    """When a trait distinguishes a segment.

    Attributes
    ----------
    traits : sequence of Trait
        The first one that distinguishes a segment is taken.
    min_contrast, min_gap, min_share_gap : float
        The larger figure must be ``min_contrast`` times the smaller, and exceed it by ``min_gap`` times the shop's.
        Shares must also differ by ``min_share_gap``.
    min_held_share : float
        At least this share of the customers must be beyond the median customer of each peer.
    """

    traits: Sequence[Trait]
    min_contrast: float
    min_gap: float
    min_share_gap: float
    min_held_share: float


def distinguish_by_trait(
    named: Mapping[str, Naming],
    group: Sequence[str],
    figures: pd.DataFrame,
    members: Mapping[str, pd.DataFrame],
    rules: TraitRules,
) -> dict[str, Naming]:
    """Give each segment of ``group`` the first word that distinguishes it from all others of the group (its peers).

    Segments that lead in nothing get the first word that distinguishes them from each other, unless another peer
    clearly exceeds them in that direction. A word about a mean must also fit most customers.
    """
    result = dict(named)
    unnamed = set(group)
    for is_second_round, trait in product((False, True), rules.traits):
        compared = sorted(unnamed if is_second_round else group)
        values = figures.loc[list(group), trait.figure].astype(float)
        if len(compared) < 2 or values.isna().any() or not _fits_subgroup(figures, group, trait.figure):
            continue
        shop = float(figures[trait.figure].loc["shop"])
        least_gap = max(rules.min_gap * shop, _least_gap(trait.figure, rules))
        places = _places(values, compared, min_contrast=rules.min_contrast, least=least_gap)
        for segment_id, place in places.items():
            word = trait.word(place)
            if segment_id not in unnamed or not word:
                continue
            peers = values.loc[compared].drop(segment_id)
            ahead = _ahead_share(members, segment_id, list(peers.index), trait.figure, place)
            if ahead is not None and ahead < rules.min_held_share:
                continue
            unnamed.remove(segment_id)
            own = float(values[segment_id])
            nearest = min(peers, key=lambda peer: abs(peer - own))
            item = Evidence(trait.figure, own, shop, nearest_peer=float(nearest), ahead_share=ahead)
            result[segment_id] = _with_trait(result[segment_id], word, item)
    return result


def _least_gap(figure: str, rules: TraitRules) -> float:
    """Difference that any two segments must have: of shares, by the rules; of days, a whole one, not some minutes."""
    if figure.startswith("days_"):
        return LEAST_DAYS
    return rules.min_share_gap if figure.endswith("_share") else 0.0


def _fits_subgroup(figures: pd.DataFrame, group: Sequence[str], figure: str) -> bool:
    """Whether a figure speaks of most customers of each segment: true if it is of all, not of a subgroup."""
    subgroup = SUBGROUP_SHARE.get(figure)
    return subgroup is None or bool((figures.loc[list(group), subgroup] >= MAJORITY).all())


def _with_trait(naming: Naming, word: Texts, item: Evidence) -> Naming:
    """The name followed by the word; if the figure is evidence already, only the comparison with peers is added."""
    names = naming.names.with_addition(", ", word)
    known = {evidence.figure: evidence for evidence in naming.evidence}
    same = known.get(item.figure)
    if same is not None:
        ahead = same.ahead_share if item.ahead_share is None else item.ahead_share
        item = replace(same, nearest_peer=item.nearest_peer, ahead_share=ahead)
    return replace(naming, names=names, evidence=tuple((known | {item.figure: item}).values()))


def _ahead_share(
    members: Mapping[str, pd.DataFrame], segment_id: str, peers: Sequence[str], figure: str, place: Place
) -> float | None:
    """Share of a segment's customers beyond the median customer of every peer; None for shares of customers."""
    own = members[segment_id]
    if figure not in own or own.empty:
        return None
    values = own[figure].to_numpy(np.float64)
    medians = [float(members[peer][figure].median()) for peer in peers]
    # Strictly beyond: many customers may equal the median, such as those without an order.
    above, below = values > max(medians), values < min(medians)
    ahead = {"above": above, "below": below, "between": (values > min(medians)) & (values < max(medians))}
    return float(ahead[place].mean())


def _places(values: pd.Series, compared: Sequence[str], *, min_contrast: float, least: float) -> dict[str, Place]:
    """segment_id -> above, below or (of three) between, for figures clearly different from the others in ``compared``.

    values (n,) by segment_id. Two figures are clearly different when the higher is ``min_contrast`` times the lower
    and exceeds it by ``least``. A segment is not above (below) if any other in ``values`` is clearly higher (lower).
    """

    def is_clear(low: float, high: float) -> bool:
        return bool(high > low and high >= min_contrast * low and high - low >= least)

    order = values.loc[list(compared)].sort_values(kind="stable")
    gaps = [is_clear(low, high) for low, high in pairwise(order)]
    candidates: dict[int, tuple[Place, bool]] = {
        -1: ("above", gaps[-1] and not is_clear(order.iloc[-1], values.max())),
        0: ("below", gaps[0] and not is_clear(values.min(), order.iloc[0])),
    }
    if len(values) == len(order) == 3:
        candidates[1] = ("between", all(gaps))
    return {str(order.index[position]): place for position, (place, holds) in candidates.items() if holds}


def contradicts(
    name: str, segment_id: str, peers: Collection[str], figures: pd.DataFrame, traits: Sequence[Trait]
) -> bool:
    """Whether today's figures contradict the trait at the end of an English name; False for a name without a trait.

    Without ``peers``, the other segments of the kind, the comparison has no meaning, which counts as a contradiction.
    """
    places: tuple[Place, ...] = ("above", "below", "between")
    for trait, place in product(traits, places):
        word = trait.word(place)
        if not word or not name.endswith(f", {word['en']}"):
            continue
        own = figures.loc[segment_id, trait.figure]
        others = figures.loc[list(peers), trait.figure]
        if others.empty:
            return True
        if place == "between":
            return not others.min() < own < others.max()
        return not ((own >= others).all() if place == "above" else (own <= others).all())
    return False
