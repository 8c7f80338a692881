"""Simple feature spaces for baseline clusterings, with which the segments are compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from features.profile import Column
from models.preprocessing import fit_scaling
from models.scorer import Floats, to_space

RFM = ["recency_score", "frequency_score", "monetary_score"]
ACTIVITY = Column("activity", "journey", "log", 0.0)
LOG_RFM = {"value": np.sqrt(3.0)}
"""Block weight that gives each of the three columns variance 1."""
LOG_RFM_ACTIVITY_SHARES = {**LOG_RFM, ACTIVITY.block: 1.0, "interest": 1.0}
"""Activity has variance 1 as well, and so do all interests together."""


def baseline_points(profile: pd.DataFrame, columns: Sequence[Column]) -> dict[str, Floats]:
    """Customers as points in three baseline spaces, computed from the profile.

    Parameters
    ----------
    profile : DataFrame, n rows
        The clustered customers, sorted by customer.
    columns : sequence of Column
        `features.profile.ProfileSpec.columns`.

    Returns
    -------
    dict of arrays of shape (n, d)
        rfm: the three scores, 0 for customers who never bought. log_rfm: log(1 + x) of the value columns (days since
        the last purchase, orders, spend), standardised. log_rfm_activity_shares: the columns of log_rfm; log(1 +
        activity), standardised; and the centred square roots of interest shares, whose Euclidean distances are
        Hellinger distances. The total variance of the shares equals that of one standardised column.
    """
    value, interest = ([column for column in columns if column.block == block] for block in ("value", "interest"))
    blocks = {
        "log_rfm": (value, LOG_RFM),
        "log_rfm_activity_shares": ([*value, ACTIVITY, *interest], LOG_RFM_ACTIVITY_SHARES),
    }
    return {
        "rfm": profile[RFM].fillna(0).to_numpy(np.float64),
        **{
            name: to_space(profile, fit_scaling(profile, used, block_weights=weights))
            for name, (used, weights) in blocks.items()
        },
    }
