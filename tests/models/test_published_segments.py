from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from models.crosstabs import Funnel
from models.disclosure import hidden_cells
from models.lifts import Interest
from models.published_segments import FigureTables, hide_small_shares, published_segment
from models.segment_names import Evidence
from models.segments import Segment, SegmentRule
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


def tables_of(exact: Mapping[str, list[float]], published: Mapping[str, list[float]]) -> FigureTables:
    names = [f"s{place}" for place in range(len(next(iter(exact.values()))))]
    frames = [pd.DataFrame(figures, index=names) for figures in (exact, published)]
    return FigureTables(*frames, shop={"views_per_customer": 3.0, "buyer_share": 0.4})


def test_a_small_group_shows_only_its_size() -> None:
    extremes = {"night_share": [0.0], "buyer_share": [1.0]}
    figures = {"customer_count": [9.0], "customer_share": [0.09], "views_per_customer": [3.3]} | extremes
    rounded = {"customer_count": [10.0], "customer_share": [0.1], "views_per_customer": [3.0]} | extremes
    item = Evidence("views_per_customer", 3.3, 3.1)
    row = segment("s0", 9, {name: values[0] for name, values in figures.items()}, item, spend_share=0.2)
    assert row.stability is not None
    shown = published_segment(row, tables_of(figures, rounded), 10)
    assert shown.figures == {"customer_count": 10.0, "customer_share": 0.1}
    assert (shown.customer_count, shown.customer_share, shown.spend_share, shown.evidence) == (10, 0.1, None, ())
    assert shown.stability is None


def test_a_segment_is_published_with_rounded_figures_alone() -> None:
    figures = {"customer_count": [541.0, 88.0], "customer_share": [0.86, 0.14], "views_per_customer": [7.31, 2.22]}
    rounded = {"customer_count": [540.0, 90.0], "customer_share": [0.857, 0.143], "views_per_customer": [7.3, 2.0]}
    hidden = {"spend_share": [0.9, 0.1], "spend_per_customer": [44.4, 1.0], "buyer_share": [1.0, 0.1]}
    unknown = {"spend_share": [np.nan] * 2, "spend_per_customer": [np.nan] * 2, "buyer_share": [0.99, 0.1]}
    views = Evidence("views_per_customer", 7.31, 3.1, held_share=400 / 541, nearest_peer=2.22)
    interest = Evidence("interest: Cats", 0.3456, 0.1234, customer_count=333, first_share=0.5)
    row = segment(
        "s0",
        541,
        {name: values[0] for name, values in (figures | hidden).items()},
        *(views, Evidence("spend_per_customer", 44.4, 9.0), interest),
        spend_share=0.9,
        stability=0.98765,
        top_categories=(Interest("Pets > Cats", "Cats", 0.3456, 2.345, 1.678, 333),),
        rule=SegmentRule("", (), precision=0.77, coverage=0.55),
    )
    shown = published_segment(row, tables_of(figures | hidden, rounded | unknown), 10)
    assert shown.figures == {name: values[0] for name, values in rounded.items()} | {"buyer_share": 1.0}
    # One of 541 customers changes the stability by 1/541, so its step is 0.005.
    assert (shown.customer_count, shown.spend_share, shown.stability) == (540, None, 0.99)
    assert shown.evidence == (
        replace(views, value=7.3, shop=3.0, held_share=400 / 540, nearest_peer=2.0),
        # 541 * 0.3456 is 187, and 10 customers have 3.5 of it: rounded to 5 * 37.
        replace(interest, value=185 / 540, shop=0.12, customer_count=330, first_share=0.5),
    )
    assert shown.top_categories == (Interest("Pets > Cats", "Cats", 185 / 540, 2.3, 1.7, 330),)
    # 298 of 541 match the rule, 386 do in all.
    assert shown.rule == SegmentRule("", (), precision=300 / 390, coverage=300 / 540)
