"""What the shop as a whole turned to when a segment or a customer was there: a Christmas rush is no interest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.tree import Level, divided

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats, Ints


def seasonal_lean(voices: pd.DataFrame, *, n_categories: int, thin_voices: float) -> pd.DataFrame:
    """How much more the shop turned to each category at the times of a segment than over the whole window.

        voices (segment_id, period, column, voice)
     -> lean (segment_id x column)     1: as ever; 2: twice as much, so that a share twice the shop's is nothing special

    The shop's mix of each period is weighed by how much of what the segment said fell into it. Of a period in which
    little was said little is known: ``thin_voices`` of the whole window's mix are added to it. What shrinking adds to a
    share belongs to no period, and leans to nothing.

    Parameters
    ----------
    voices : DataFrame
        `features.interests.voices`; a customer's add up to less than 1.
    thin_voices : float, > 0
        In customers.
    """
    segments, segment = np.unique(voices.segment_id.to_numpy(dtype=object), return_inverse=True)
    periods, period = np.unique(voices.period.to_numpy(), return_inverse=True)
    said = np.zeros((len(segments), len(periods), n_categories))
    np.add.at(said, (segment, period, voices.column.to_numpy(np.int64)), voices.voice.to_numpy(np.float64))
    by_period = said.sum(axis=0)
    mix = _shares(by_period.sum(axis=0))
    period_mix = _shares(by_period + thin_voices * mix)
    lean = _shares(said.sum(axis=2)) @ (period_mix / np.where(mix > 0, mix, 1.0))
    lean[:, mix == 0] = 1.0
    return pd.DataFrame(lean, index=pd.Index(segments, name="segment_id"), columns=range(n_categories))


@dataclass(frozen=True)
class ExpectedShares:
    """The shares of a customer who did as much at the same times, but turned to what the shop as a whole turned to.

    Expected evidence E(u,c) is the sum over periods t of S(u,t) * mix_t(c), S(u,t) being the customer's evidence that
    fell into t; put in the interest formula in place of S(u,c), it gives the expected share.

    Attributes
    ----------
    above : float array of shape (n,)
        S(u), the evidence of all categories.
    evidence : sequence of float arrays of shape (n_nodes, n)
        E(u,c) of the nodes of each level.
    levels : sequence of Level
        The tree of the cut, of as many levels.
    kappa : float
    """

    above: Floats
    evidence: Sequence[Floats]
    levels: Sequence[Level]
    kappa: float

    def of(self, column: int, rows: Ints) -> Floats:
        """The expected share of one column of the cut, for customers ``rows``: shape (n_rows,)."""
        return self.at(len(self.levels) - 1, int(self.levels[-1].node[column]), rows)

    def at(self, depth: int, node: int, rows: Ints) -> Floats:
        """The expected share of a node of the level ``depth``, counted from 0, for customers ``rows``."""
        line = [node]
        for level in self.levels[depth:0:-1]:
            line.append(int(level.parent[line[-1]]))
        share, above = np.ones(len(rows)), self.above[rows]
        for level, expected, place in zip(self.levels, self.evidence, line[::-1], strict=False):
            evidence = expected[place][rows]
            share, above = divided(share, evidence, above, level.spread[place], self.kappa), evidence
        return share


def expected_shares(by_slot: Floats, slot_mix: Floats, levels: Sequence[Level], kappa: float) -> ExpectedShares:
    """What the shares of customers are compared with.

    Parameters
    ----------
    by_slot : float array of shape (n_slots, n)
        S(u,t), `features.seasons.season_evidence`.
    slot_mix : float array of shape (n_slots, n_categories)
        `period_mixes`.
    """
    mixes = [level.sums(slot_mix) for level in levels]
    expected = np.hstack(mixes).T @ by_slot
    ends = np.cumsum([mix.shape[1] for mix in mixes])
    return ExpectedShares(by_slot.sum(axis=0), np.split(expected, ends[:-1]), levels, kappa)


def period_mixes(
    sums: pd.DataFrame, mix: Floats, *, first_whole: int, last: int, slot_count: int, thin_evidence: float
) -> Floats:
    """What the shop turned to in each period, by its place in the ring of `features.seasons`.

        sums (period, column, weight)
     -> mixes, shape (slot_count, n_categories); rows add up to 1

    Of a period in which little was done little is known: ``thin_evidence`` of the whole window's mix are added to it,
    to which as much of ``mix`` is. The period that the start of the window cuts off counts as the next one.

    Parameters
    ----------
    mix : float array of shape (n_categories,)
        The cut's.
    first_whole, last : int
        Periods; where no period is whole, all are as the whole window.
    thin_evidence : float, > 0
        In views.
    """
    rows = sums[(sums.period >= first_whole) & (sums.period <= last)]
    cell = (rows.period.to_numpy(np.int64) - first_whole) * len(mix) + rows.column.to_numpy(np.int64)
    count = max(last - first_whole + 1, 1)
    said = np.bincount(cell, weights=rows.weight.to_numpy(np.float64), minlength=count * len(mix))
    said = said.reshape(count, len(mix))
    window_mix = _shares(said.sum(axis=0) + thin_evidence * mix)
    known = _shares(said + thin_evidence * window_mix)
    periods = np.arange(last - slot_count + 1, last + 1)
    found = np.empty((slot_count, len(mix)))
    found[periods % slot_count] = known[np.clip(periods - first_whole, 0, count - 1)]
    return found


def _shares(values: Floats) -> Floats:
    total = values.sum(axis=-1, keepdims=True)
    return np.divide(values, total, out=np.zeros_like(values), where=total > 0)
