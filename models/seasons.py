"""Seasonal adjustment of interests: what the whole shop did while a segment or customer was active.

It ensures that a Christmas rush does not count as an interest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.tree import Level, child_share

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats, Ints


def segment_seasonal_lift(weights: pd.DataFrame, *, n_categories: int, prior_weight: float) -> pd.DataFrame:
    """Seasonal lift: the shop's interest in each category while a segment was active, relative to the whole window.

        weights (segment_id, period, column, weight)
     -> lift (segment_id x column)     1: as usual; 2: the shop's share was twice as high at those times

    The shop's category mix of each period is weighted by the segment's activity in that period. The mix of a period is
    shrunk towards that of the whole window with weight ``prior_weight``, because little is known about periods with
    little activity. The part of a share that comes from shrinkage belongs to no period and has no seasonal lift.

    Parameters
    ----------
    weights : DataFrame
        `features.interests.segment_weights`; a customer's weights sum to less than 1.
    prior_weight : float, > 0
        Weight of the whole window's mix in each period, in customers.
    """
    segments, segment = np.unique(weights.segment_id.to_numpy(dtype=object), return_inverse=True)
    periods, period = np.unique(weights.period.to_numpy(), return_inverse=True)
    by_segment = np.zeros((len(segments), len(periods), n_categories))
    np.add.at(by_segment, (segment, period, weights.column.to_numpy(np.int64)), weights.weight.to_numpy(np.float64))
    by_period = by_segment.sum(axis=0)
    mix = _shares(by_period.sum(axis=0))
    period_mix = _shares(by_period + prior_weight * mix)
    lift = _shares(by_segment.sum(axis=2)) @ (period_mix / np.where(mix > 0, mix, 1.0))
    lift[:, mix == 0] = 1.0
    return pd.DataFrame(lift, index=pd.Index(segments, name="segment_id"), columns=range(n_categories))


@dataclass(frozen=True)
class ExpectedShares:
    """Shares expected of a customer who is as active at the same times, but follows the shop's category mix.

    Expected evidence E(u,c) is the sum over periods t of S(u,t) * mix_t(c), where S(u,t) is the customer's evidence in
    period t. The interest formula with E(u,c) in place of S(u,c) gives the expected share.

    Attributes
    ----------
    above : float array of shape (n,)
        S(u), the evidence over all categories.
    evidence : sequence of float arrays of shape (n_nodes, n)
        E(u,c) for the nodes of each level.
    levels : sequence of Level
        The category tree of the cut, with the same levels.
    kappa : float
    """

    above: Floats
    evidence: Sequence[Floats]
    levels: Sequence[Level]
    kappa: float

    def of(self, column: int, rows: Ints) -> Floats:
        """The expected share of a column of the cut for customers ``rows``: shape (n_rows,)."""
        return self.at(len(self.levels) - 1, int(self.levels[-1].node[column]), rows)

    def at(self, depth: int, node: int, rows: Ints) -> Floats:
        """The expected share of a node at level ``depth`` (from 0) for customers ``rows``."""
        ancestors = [node]
        for level in self.levels[depth:0:-1]:
            ancestors.append(int(level.parent[ancestors[-1]]))
        share, above = np.ones(len(rows)), self.above[rows]
        for level, expected, index in zip(self.levels, self.evidence, ancestors[::-1], strict=False):
            evidence = expected[index][rows]
            share, above = child_share(share, evidence, above, level.spread[index], self.kappa), evidence
        return share


def expected_shares(by_slot: Floats, slot_mix: Floats, levels: Sequence[Level], kappa: float) -> ExpectedShares:
    """The expected shares with which the shares of customers are compared.

    Parameters
    ----------
    by_slot : float array of shape (n_slots, n)
        S(u,t), `features.seasons.season_evidence`.
    slot_mix : float array of shape (n_slots, n_categories)
        `period_mixes`.
    """
    mixes = [level.sums(slot_mix.T) for level in levels]
    expected = np.vstack(mixes) @ by_slot
    ends = np.cumsum([len(mix) for mix in mixes])
    return ExpectedShares(by_slot.sum(axis=0), np.split(expected, ends[:-1]), levels, kappa)


def period_mixes(
    sums: pd.DataFrame, mix: Floats, *, first_whole: int, last: int, slot_count: int, prior_evidence: float
) -> Floats:
    """The shop's category mix in each period, indexed by slot of the ring buffer of `features.seasons`.

        sums (period, column, weight)
     -> mixes, shape (slot_count, n_categories); rows sum to 1

    The mix of a period is shrunk towards that of the whole window, and the latter towards ``mix``, each with weight
    ``prior_evidence``. The period that is cut off by the start of the window gets the mix of the next one.

    Parameters
    ----------
    mix : float array of shape (n_categories,)
        The shop's mix, from the cut.
    first_whole, last : int
        First complete and last period; if no period is complete, all get the mix of the whole window.
    prior_evidence : float, > 0
        Weight of the prior mix, in views.
    """
    rows = sums[(sums.period >= first_whole) & (sums.period <= last)]
    cell = (rows.period.to_numpy(np.int64) - first_whole) * len(mix) + rows.column.to_numpy(np.int64)
    count = max(last - first_whole + 1, 1)
    by_period = np.bincount(cell, weights=rows.weight.to_numpy(np.float64), minlength=count * len(mix))
    by_period = by_period.reshape(count, len(mix))
    window_mix = _shares(by_period.sum(axis=0) + prior_evidence * mix)
    period_mix = _shares(by_period + prior_evidence * window_mix)
    periods = np.arange(last - slot_count + 1, last + 1)
    mixes = np.empty((slot_count, len(mix)))
    mixes[periods % slot_count] = period_mix[np.clip(periods - first_whole, 0, count - 1)]
    return mixes


def _shares(values: Floats) -> Floats:
    total = values.sum(axis=-1, keepdims=True)
    return np.divide(values, total, out=np.zeros_like(values), where=total > 0)
