"""Plain ways to make customers into points, which segments are compared with."""

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
"""Each of the three figures has variance 1."""
LOG_RFM_ACTIVITY_SHARES = {**LOG_RFM, ACTIVITY.block: 1.0, "interest": 1.0}
"""So has activity, and so have all interests together."""


def baseline_points(profile: pd.DataFrame, columns: Sequence[Column]) -> dict[str, Floats]:
    """Customers as points of three baselines, each as they come out of the profile.

    Parameters
    ----------
    profile : DataFrame, n rows
        Those who are clustered, sorted by customer.
    columns : sequence of Column
        `features.profile.ProfileSpec.columns`.

    Returns
    -------
    dict of arrays of shape (n, d)
        rfm: the three scores, 0 for who never bought. log_rfm: log(1 + x) of the columns of value (days since the last
        purchase, orders, spend), standardised. log_rfm_activity_shares: these, log(1 + activity), standardised,
        and the roots of interest shares, centred, whose Euclidean distances are Hellinger's, scaled to the total
        variance of one standardised column.
    """
    value, interest = ([one for one in columns if one.block == block] for block in ("value", "interest"))
    blocks = {
        "log_rfm": (value, LOG_RFM),
        "log_rfm_activity_shares": ([*value, ACTIVITY, *interest], LOG_RFM_ACTIVITY_SHARES),
    }
    return {
        "rfm": profile[RFM].fillna(0).to_numpy(np.float64),
        **{
            name: to_space(profile, fit_scaling(profile, read, block_weights=weights))
            for name, (read, weights) in blocks.items()
        },
    }
