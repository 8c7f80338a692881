from __future__ import annotations

import pytest

from models.disclosure import hide_spend_of_few, well_founded


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
        {"segment_id": f"s{place}", "customer_count": count, "is_small": count < 10, "spend_share": 0.25, "figures": {}}
        for place, count in enumerate(counts)
    ]
    hide_spend_of_few(table, 10)
    assert {one["customer_count"] for one in table if one["spend_share"] is None} == hidden


def test_figures_of_a_few_buyers_are_left_out() -> None:
    figures = {"customer_count": 100.0, "buyer_share": 0.09, "cart_user_share": 0.5, "views_per_customer": 3.0}
    told = well_founded({**figures, "average_order_value": 3.5, "abandoned_cart_share": 0.7}, min_group=10)
    assert told == {**figures, "abandoned_cart_share": 0.7}


def test_as_many_buyers_as_make_a_group_are_told_of() -> None:
    figures = {"customer_count": 77.0, "buyer_share": 10 / 77, "cart_user_share": 10 / 77, "average_order_value": 3.5}
    assert well_founded(figures, min_group=10) == figures
    assert "average_order_value" not in well_founded({**figures, "buyer_share": 9 / 77}, min_group=10)
