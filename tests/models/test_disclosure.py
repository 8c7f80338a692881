from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from models.crosstabs import Funnel
from models.disclosure import drop_small_base_figures, hidden_cells, hide_small_shares, hide_small_spend
from models.segment_names import Evidence
from models.segments import Segment
from tests.segments import segment_of

STEPS = ["known", "ordered", "ordered_again"]
NO_FUNNEL: Funnel = {"steps": STEPS, "shop": [], "segments": {}}


def segment(segment_id: str, count: int, figures: Mapping[str, float], *evidence: Evidence, **changes: Any) -> Segment:
    row = segment_of(segment_id, customer_count=count, figures=figures, is_small=count < 10, **changes)
    return row.with_evidence(evidence)


def test_a_small_group_shows_only_its_size() -> None:
    sizes = {"customer_count": 9.0, "customer_share": 0.1}
    assert drop_small_base_figures({**sizes, "spend_share": 0.2, "views_per_customer": 3.0}, min_group=10) == sizes


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [([50, 9, 20], {9, 20}), ([50, 6, 4, 20], {6, 4}), ([50, 20, 10], set())],
    ids=["the next smallest is hidden too", "ten hidden customers are enough", "no small segment"],
)
def test_spend_of_small_segments_is_hidden(counts: list[int], hidden: set[int]) -> None:
    figures = ["spend_share", "paid_per_customer", "spend_per_customer", "average_order_value", "buyer_share"]
    evidence = [Evidence(figure, 1.0, 0.5) for figure in ("spend_per_customer", "buyer_share")]
    table = [
        segment(f"s{place}", count, dict.fromkeys(figures, 1.0), *evidence, spend_share=0.25)
        for place, count in enumerate(counts)
    ]
    shown = hide_small_spend(table, 10)
    assert [row.segment_id for row in shown] == [row.segment_id for row in table]
    assert {row.customer_count for row in shown if row.spend_share is None} == hidden
    for row in shown:
        is_hidden = row.customer_count in hidden
        assert (set(row.figures) == {"buyer_share"}) == is_hidden
        assert (row.evidence == (evidence[1],)) == is_hidden
    assert all(row.spend_share == 0.25 and row.evidence == tuple(evidence) for row in table)


def test_figures_of_a_few_buyers_are_dropped() -> None:
    figures = {"customer_count": 100.0, "buyer_share": 0.09, "cart_user_share": 0.5, "views_per_customer": 3.0}
    kept = drop_small_base_figures({**figures, "average_order_value": 3.5, "abandoned_cart_share": 0.7}, min_group=10)
    assert kept == {**figures, "abandoned_cart_share": 0.7}


def test_the_refund_of_one_customer_cannot_be_computed() -> None:
    paid = {"customer_count": 100.0, "buyer_share": 0.9, "cart_user_share": 0.5, "paid_per_customer": 50.0}
    figures = {**paid, "spend_per_customer": 40.0, "returned_spend_share": 0.2}
    assert drop_small_base_figures(figures, min_group=10) == figures
    del figures["returned_spend_share"]
    assert "paid_per_customer" not in drop_small_base_figures(figures, min_group=10)
    assert "spend_per_customer" in drop_small_base_figures(figures, min_group=10)


def test_figures_of_exactly_min_group_buyers_are_shown() -> None:
    figures = {"customer_count": 77.0, "buyer_share": 10 / 77, "cart_user_share": 10 / 77, "average_order_value": 3.5}
    assert drop_small_base_figures(figures, min_group=10) == figures
    assert "average_order_value" not in drop_small_base_figures({**figures, "buyer_share": 9 / 77}, min_group=10)


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
        [True, False, True, False],
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
