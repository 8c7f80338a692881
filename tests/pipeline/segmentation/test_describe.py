"""The description of segments: what the model knows of their value."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.segmentation.describe import value_ranks


def test_segments_are_ranked_by_spend_or_else_by_orders() -> None:
    figures = pd.DataFrame(
        {
            "spend_per_customer": [100.0, 300.0, 20.0, 20.0, np.nan],
            "orders_per_customer": [1.0, 0.5, 3.0, 2.0, 1.0],
            "events_per_customer": 1.0,
        },
        index=["shop", "s01", "s02", "s03", "s04"],
    )
    assert value_ranks(figures) == {"s01": 1, "s02": 0, "s03": 0, "s04": 2}
    assert value_ranks(figures.assign(spend_per_customer=0.0)) == {"s01": 0, "s02": 3, "s03": 2, "s04": 1}
