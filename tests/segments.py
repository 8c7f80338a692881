"""Segments for tests, with typical values for everything that a test does not state."""

from __future__ import annotations

from typing import Any

import pandas as pd

from models.disclosure import rounded_count
from models.naming import LANGUAGES
from models.segment_names import Naming, SegmentNames
from models.segments import Segment


def names_of(name: str) -> SegmentNames:
    """The same name in every language."""
    return SegmentNames(dict.fromkeys(LANGUAGES, name))


def segment_of(segment_id: str, name: str = "VIP", **changes: Any) -> Segment:
    """A segment of 50 customers, with ``changes`` to its attributes."""
    typical: dict[str, Any] = {
        **{"facet": "behaviour", "naming": Naming(names_of(name)), "customer_count": 50, "customer_share": 0.5},
        **{"spend_share": 0.5, "top_categories": (), "stability": 0.9, "is_stable": True, "stability_word": "stable"},
        **{"is_small": False, "figures": {"customer_count": 50.0, "buyer_share": 0.5}},
    }
    return Segment(segment_id=segment_id, **{**typical, **changes})


def published_sizes(segment_ids: pd.Series, min_group: int = 10) -> dict[str, int]:
    """segment_id -> customers, rounded as in published files."""
    sizes = segment_ids.value_counts()
    return {str(name): rounded_count(size, min_group) for name, size in sizes.items()}
