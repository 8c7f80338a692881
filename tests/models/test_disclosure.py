from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from models.disclosure import drop_small_base_figures, hidden_cells, hide_small_shares, hide_small_spend

STEPS = ["known", "ordered", "ordered_again"]
NO_FUNNEL = {"steps": STEPS, "segments": {}}


def test_a_small_group_shows_only_its_size() -> None:
    sizes = {"customer_count": 9.0, "customer_share": 0.1}
    assert drop_small_base_figures({**sizes, "spend_share": 0.2, "views_per_customer": 3.0}, min_group=10) == sizes


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [([50, 9, 20], {9, 20}), ([50, 6, 4, 20], {6, 4}), ([50, 20, 10], set())],
    ids=["the next smallest is hidden too", "ten hidden customers are enough", "no small segment"],
)
def test_spend_of_small_segments_is_hidden(counts: list[int], hidden: set[int]) -> None:
    table = [
        {
            **{"segment_id": f"s{place}", "customer_count": count, "is_small": count < 10, "spend_share": 0.25},
            "figures": dict.fromkeys(
                ["spend_share", "paid_per_customer", "spend_per_customer", "average_order_value", "buyer_share"], 1.0
            ),
            "evidence": [{"figure": "spend_per_customer"}, {"figure": "buyer_share"}],
        }
        for place, count in enumerate(counts)
    ]
    hide_small_spend(table, 10)
    assert {segment["customer_count"] for segment in table if segment["spend_share"] is None} == hidden
    for segment in table:
        is_hidden = segment["customer_count"] in hidden
        assert (set(segment["figures"]) == {"buyer_share"}) == is_hidden
        assert (segment["evidence"] == [{"figure": "buyer_share"}]) == is_hidden


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
        {
            "segment_id": name,
            "customer_count": int(line.sum()),
            "figures": {f"stage_{stage}_share": count / line.sum() for stage, count in line.items()}
            | {"past_buyer_share": (line.slipping + line.lost) / line.sum(), "views_per_customer": 3.0},
            "evidence": [{"figure": f"stage_{stage}_share", "value": line[stage] / line.sum()} for stage in stages],
        }
        for name, line in stages.iterrows()
    ]
    hide_small_shares(table, stages, NO_FUNNEL, 10)
    hidden = hidden_cells(stages.to_numpy(float), 10)
    assert hidden.tolist() == [
        [False, False, True, True],
        [True, False, False, True],
        [True, False, True, False],
    ]
    for segment, marks in zip(table, hidden, strict=True):
        shown = {f"stage_{stage}_share" for stage, mark in zip(stages, marks, strict=True) if not mark}
        assert {name for name in segment["figures"] if name.startswith("stage_")} == shown
        assert {item["figure"] for item in segment["evidence"]} == shown
        # If only slipping and lost are hidden, their sum reveals neither.
        assert ("past_buyer_share" in segment["figures"]) == (segment["segment_id"] == "s0")
        assert "views_per_customer" in segment["figures"]


def test_shares_hidden_in_the_funnel_are_hidden_on_cards() -> None:
    figures = {"buyer_share": 0.9, "repeat_buyer_share": 0.3, "cart_user_share": 0.95}
    segment: dict[str, Any] = {"segment_id": "s0", "customer_count": 100, "figures": figures, "evidence": []}
    hide_small_shares([segment], pd.DataFrame(), {"steps": STEPS, "segments": {"s0": [1.0, 0.9, None]}}, 10)
    assert segment["figures"] == {"buyer_share": 0.9}


def test_a_share_close_to_one_is_rounded_to_one() -> None:
    item = {"figure": "cart_user_share", "value": 997 / 1000, "shop": 0.5}
    segment = {"segment_id": "s0", "customer_count": 1000, "figures": {"cart_user_share": 0.997}, "evidence": [item]}
    hide_small_shares([segment], pd.DataFrame(), NO_FUNNEL, 10)
    assert segment["figures"] == {"cart_user_share": 1.0} and segment["evidence"] == [item | {"value": 1.0}]
