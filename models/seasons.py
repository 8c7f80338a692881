"""What the shop as a whole turned to when a segment was there: a Christmas rush is not taken for an interest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats


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


def _shares(values: Floats) -> Floats:
    total = values.sum(axis=-1, keepdims=True)
    return np.divide(values, total, out=np.zeros_like(values), where=total > 0)
