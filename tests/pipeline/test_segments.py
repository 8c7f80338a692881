from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.segments import _hide_spend_of_few, _interests, _keep_names, _leave_names, _well_founded


def test_a_small_group_has_no_figures_but_its_size() -> None:
    sizes = {"customer_count": 9.0, "customer_share": 0.1}
    assert _well_founded({**sizes, "spend_share": 0.2, "views_per_customer": 3.0}, min_group=10) == sizes


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
    _hide_spend_of_few(table, 10)
    assert {one["customer_count"] for one in table if one["spend_share"] is None} == hidden


def test_figures_of_a_few_buyers_are_left_out() -> None:
    figures = {"customer_count": 100.0, "buyer_share": 0.09, "cart_user_share": 0.5, "views_per_customer": 3.0}
    told = _well_founded({**figures, "average_order_value": 3.5, "abandoned_cart_share": 0.7}, min_group=10)
    assert told == {**figures, "abandoned_cart_share": 0.7}


def called(name: str, archetype: str | None = None, **evidence: Any) -> dict[str, Any]:
    return {
        "names": {"en": name},
        "names_by_figures": {"en": name},
        "archetype": archetype,
        "evidence": [evidence] if evidence else [],
    }


def test_segments_of_the_same_kind_keep_their_names() -> None:
    visits: dict[str, Any] = {"figure": "events_per_customer"}
    frequent, rare = {**visits, "condition": {"min_ratio": 1.0}}, {**visits, "condition": {"max_ratio": 1.0}}
    known = {
        "s01": called("Regulars, away longer", "regular"),
        "s02": called("VIP", "vip"),
        "s03": called("Frequent visitors, away longer", **frequent),
        "s04": called("Frequent visitors", **frequent),
        "s05": called("Lost 2", "lost"),
    }
    now = {
        "s01": called("Regulars", "regular"),
        "s02": called("Lapsed", "lapsed"),
        "s03": called("Frequent visitors", **frequent),
        "s04": called("Rare visitors", **rare),
        "s05": called("Lost", "lost"),
        "s06": called("Lost 2", "lost"),
    }
    _keep_names(now, known)
    # s02 and s04 are of another kind now; the old name of s05 is another one's.
    assert [one["names"]["en"] for one in now.values()] == [
        *("Regulars, away longer", "Lapsed", "Frequent visitors, away longer", "Rare visitors", "Lost", "Lost 2")
    ]


def test_names_that_two_segments_swapped_are_kept() -> None:
    now = {"s01": called("Lost", "lost"), "s02": called("Lost 2", "lost")}
    _keep_names(now, {"s01": called("Lost 2", "lost"), "s02": called("Lost", "lost")})
    assert [one["names"]["en"] for one in now.values()] == ["Lost 2", "Lost"]


def test_a_name_given_by_hand_is_nobody_elses() -> None:
    now = {"s01": called("Lost", "lost"), "s02": called("VIP", "vip")}
    _leave_names(now, {"s01": "VIP"})
    assert [one["names"]["en"] for one in now.values()] == ["Lost", "VIP 2"]


def test_interests_by_hand() -> None:
    profile = pd.DataFrame(
        {
            "interest: a": [0.5, 0.5, 0.5, 0.5],
            "interest: b": [0.4, 0.2, 0.1, 0.1],
            "interest: (other)": [0.1, 0.3, 0.4, 0.4],
        }
    )
    ids = np.array(["s01", "s01", "s02", "standing-lost"], dtype=object)
    told = _interests(profile, ids, ["a", "b", "(other)"], None, min_lift=1.3, lift_errors=1.0, min_group=1)
    assert list(told["share"].columns) == ["b", "a"]  # what segments differ in comes first; the rest is no interest
    assert told["share"].loc["s01"].to_dict() == {"b": 0.30000000000000004, "a": 0.5}
    assert told["lift"].loc["s02"].round(9).to_dict() == {"b": 0.5, "a": 1.0}
    assert told["customer_count"]["b"].to_dict() == {"s01": 1, "s02": 0, "standing-lost": 0}
    # Between 0.4 and 0.2 the standard error is 0.1; of one customer nothing is sure.
    assert told["lift_low"].loc["s01", "b"] == pytest.approx(0.2 / 0.2)
    assert not told["is_sure"].loc["s02"].any()


def test_what_the_whole_shop_leaned_to_is_no_interest() -> None:
    profile = pd.DataFrame({"interest: a": [0.5] * 8, "interest: b": [0.4, 0.42] * 2 + [0.1, 0.12] * 2})
    ids = np.array(["s01"] * 4 + ["s02"] * 4, dtype=object)
    bounds = {"min_lift": 1.3, "lift_errors": 2.0, "min_group": 1}
    plain = _interests(profile, ids, ["a", "b"], None, **bounds)
    assert plain["is_sure"].loc["s01", "b"] and plain["lift"].loc["s01", "b"] == pytest.approx(0.41 / 0.26)
    leaning = pd.DataFrame({"a": 1.0, "b": [0.41 / 0.26, 1.0]}, index=["s01", "s02"])
    rushed = _interests(profile, ids, ["a", "b"], leaning, **bounds)
    assert rushed["lift"].loc["s01", "b"] == pytest.approx(1.0)
    assert not rushed["is_sure"].loc["s01", "b"]
    assert rushed["lift"].loc["s02", "b"] == plain["lift"].loc["s02", "b"]
