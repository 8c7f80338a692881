from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from models.disclosure import hidden_cells, hide_shares_of_few, hide_spend_of_few, well_founded

STEPS = ["known", "ordered", "ordered_again"]
UNTOLD = {"steps": STEPS, "segments": {}}


def test_a_small_group_has_no_figures_but_its_size() -> None:
    sizes = {"customer_count": 9.0, "customer_share": 0.1}
    assert well_founded({**sizes, "spend_share": 0.2, "views_per_customer": 3.0}, min_group=10) == sizes


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [([50, 9, 20], {9, 20}), ([50, 6, 4, 20], {6, 4}), ([50, 20, 10], set())],
    ids=["the next one, or it could be reckoned", "ten people in all are enough", "nobody is few"],
)
def test_spend_of_a_few_people_is_not_told(counts: list[int], hidden: set[int]) -> None:
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
    hide_spend_of_few(table, 10)
    assert {one["customer_count"] for one in table if one["spend_share"] is None} == hidden
    for one in table:
        is_hidden = one["customer_count"] in hidden
        assert (set(one["figures"]) == {"buyer_share"}) == is_hidden
        assert (one["evidence"] == [{"figure": "buyer_share"}]) == is_hidden


def test_figures_of_a_few_buyers_are_left_out() -> None:
    figures = {"customer_count": 100.0, "buyer_share": 0.09, "cart_user_share": 0.5, "views_per_customer": 3.0}
    told = well_founded({**figures, "average_order_value": 3.5, "abandoned_cart_share": 0.7}, min_group=10)
    assert told == {**figures, "abandoned_cart_share": 0.7}


def test_what_one_customer_was_given_back_cannot_be_reckoned() -> None:
    paid = {"customer_count": 100.0, "buyer_share": 0.9, "cart_user_share": 0.5, "paid_per_customer": 50.0}
    told = {**paid, "spend_per_customer": 40.0, "returned_spend_share": 0.2}
    assert well_founded(told, min_group=10) == told
    del told["returned_spend_share"]
    assert "paid_per_customer" not in well_founded(told, min_group=10)
    assert "spend_per_customer" in well_founded(told, min_group=10)


def test_as_many_buyers_as_make_a_group_are_told_of() -> None:
    figures = {"customer_count": 77.0, "buyer_share": 10 / 77, "cart_user_share": 10 / 77, "average_order_value": 3.5}
    assert well_founded(figures, min_group=10) == figures
    assert "average_order_value" not in well_founded({**figures, "buyer_share": 9 / 77}, min_group=10)


def test_what_the_crossing_hides_the_cards_do_not_tell() -> None:
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
    hide_shares_of_few(table, stages, UNTOLD, 10)
    hidden = hidden_cells(stages.to_numpy(float), 10)
    assert hidden.tolist() == [
        [False, False, True, True],
        [True, False, False, True],
        [True, False, True, False],
    ]
    for one, marks in zip(table, hidden, strict=True):
        told = {f"stage_{stage}_share" for stage, mark in zip(stages, marks, strict=True) if not mark}
        assert {name for name in one["figures"] if name.startswith("stage_")} == told
        assert {proof["figure"] for proof in one["evidence"]} == told
        # Where slipping and lost are all that is hidden, their sum tells of neither.
        assert ("past_buyer_share" in one["figures"]) == (one["segment_id"] == "s0")
        assert "views_per_customer" in one["figures"]


def test_what_the_funnel_hides_the_cards_do_not_tell() -> None:
    figures = {"buyer_share": 0.9, "repeat_buyer_share": 0.3, "cart_user_share": 0.95}
    one: dict[str, Any] = {"segment_id": "s0", "customer_count": 100, "figures": figures, "evidence": []}
    hide_shares_of_few([one], pd.DataFrame(), {"steps": STEPS, "segments": {"s0": [1.0, 0.9, None]}}, 10)
    assert one["figures"] == {"buyer_share": 0.9}


def test_a_share_that_rounds_to_all_is_told_as_all() -> None:
    proof = {"figure": "cart_user_share", "value": 997 / 1000, "shop": 0.5}
    one = {"segment_id": "s0", "customer_count": 1000, "figures": {"cart_user_share": 0.997}, "evidence": [proof]}
    hide_shares_of_few([one], pd.DataFrame(), UNTOLD, 10)
    assert one["figures"] == {"cart_user_share": 1.0} and one["evidence"] == [proof | {"value": 1.0}]
