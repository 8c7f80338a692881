from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from models.crosstabs import Funnel
from models.disclosure import hidden_cells
from models.published_segments import hide_small_shares
from models.segment_names import Evidence
from models.segments import Segment
from tests.segments import segment_of

STEPS = ["known", "ordered", "ordered_again"]
NO_FUNNEL: Funnel = {"steps": STEPS, "shop": [], "segments": {}}


def segment(segment_id: str, count: int, figures: Mapping[str, float], *evidence: Evidence, **changes: Any) -> Segment:
    row = segment_of(segment_id, customer_count=count, figures=figures, is_small=count < 10, **changes)
    return row.with_evidence(evidence)


def test_cells_hidden_in_the_crosstab_are_hidden_on_cards() -> None:
    stages = pd.DataFrame(
        [[0, 500, 3, 40], [20, 200, 300, 8], [100, 20, 60, 90]],
        index=["s0", "s1", "s2"],
        columns=["browsing", "active", "slipping", "lost"],
    )
    table = [
        segment(
            *(str(name), int(line.sum())),
            {f"stage_{stage}_share": count / line.sum() for stage, count in line.items()}
            | {"past_buyer_share": (line.slipping + line.lost) / line.sum(), "views_per_customer": 3.0},
            *(Evidence(f"stage_{stage}_share", line[stage] / line.sum(), 0.5) for stage in stages),
        )
        for name, line in stages.iterrows()
    ]
    safe = hide_small_shares(table, stages, NO_FUNNEL, 10)
    hidden = hidden_cells(stages.to_numpy(float), 10)
    assert hidden.tolist() == [
        [False, False, True, True],
        [True, False, False, True],
        [True, False, True, True],
    ]
    for row, marks in zip(safe, hidden, strict=True):
        shown = {f"stage_{stage}_share" for stage, mark in zip(stages, marks, strict=True) if not mark}
        assert {name for name in row.figures if name.startswith("stage_")} == shown
        assert {item.figure for item in row.evidence} == shown
        # If only slipping and lost are hidden, their sum reveals neither.
        assert ("past_buyer_share" in row.figures) == (row.segment_id == "s0")
        assert "views_per_customer" in row.figures


def test_shares_hidden_in_the_funnel_are_hidden_on_cards() -> None:
    row = segment("s0", 100, {"buyer_share": 0.9, "repeat_buyer_share": 0.3, "cart_user_share": 0.95})
    steps: Funnel = {"steps": STEPS, "shop": [], "segments": {"s0": [1.0, 0.9, None]}}
    (safe,) = hide_small_shares([row], pd.DataFrame(), steps, 10)
    assert safe.figures == {"buyer_share": 0.9}


def test_a_share_close_to_one_is_rounded_to_one() -> None:
    item = Evidence("cart_user_share", 997 / 1000, 0.5, held_share=998 / 1000, ahead_share=995 / 1000 - 0.002)
    (safe,) = hide_small_shares([segment("s0", 1000, {"cart_user_share": 0.997}, item)], pd.DataFrame(), NO_FUNNEL, 10)
    assert safe.figures == {"cart_user_share": 1.0}
    # Seven of 1,000 customers are not ahead of their peers: too few to show, and too many to round.
    assert safe.evidence == (Evidence("cart_user_share", 1.0, 0.5, held_share=1.0),)
