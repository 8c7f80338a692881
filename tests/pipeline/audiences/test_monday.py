from __future__ import annotations

import ibis
import pandas as pd
import pytest

from pipeline.audiences.monday import CANDIDATES, Action, monday_actions

ROWS = 400


def frame(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "customer_id": [f"c{number}" for number in range(ROWS)],
            "lifecycle_stage": ["lapsed", "active", "first_order", "browsing"] * (ROWS // 4),
            "value_tier": ["vip", "regular", "occasional", None] * (ROWS // 4),
            "is_border": [False, True] * (ROWS // 2),
            "order_count": [3.0, 1.0, 1.0, 0.0] * (ROWS // 4),
            "journey_events": [[], [], [], ["left_cart"]] * (ROWS // 4),
            "next_tier": ["vip"] * 9 + [None] * (ROWS - 9),
            "spend": [500.0, 100.0, 10.0, 0.0] * (ROWS // 4),
            **columns,
        }
    )


def actions(table: pd.DataFrame, min_group: int = 10) -> list[Action]:
    con = ibis.duckdb.connect()
    found = monday_actions(con, con.create_table("scores", table), separator=" > ", min_group=min_group)
    con.disconnect()
    return found


def test_actions_are_ranked_by_what_their_customers_spent() -> None:
    found = actions(frame())
    assert [(action.name, action.customer_count, action.money) for action in found] == [
        ("win_back_high_spenders", 100, 50_000.0),
        ("second_order", 200, 11_000.0),
        ("remind_of_carts", 100, 0.0),
    ]
    assert {action.money_column for action in found} == {"spend"}
    assert found[0].definition.where == CANDIDATES["win_back_high_spenders"]
    assert found[0].definition.order_by == "-spend"


def test_expected_spending_counts_before_what_was_spent() -> None:
    found = actions(frame(expected_spend=[1.0, 2.0, 3.0, 40.0] * (ROWS // 4)))
    assert [(action.name, action.money) for action in found][:2] == [
        ("remind_of_carts", 4000.0),
        ("second_order", 500.0),
    ]
    assert {action.money_column for action in found} == {"expected_spend"}


def test_expected_spending_that_is_not_known_is_not_used() -> None:
    unknown = pd.Series([None] * ROWS, dtype="float64")
    assert {action.money_column for action in actions(frame(expected_spend=unknown))} == {"spend"}


def test_without_money_the_largest_audience_is_first() -> None:
    found = actions(frame().drop(columns="spend"))
    assert [action.name for action in found] == ["second_order", "win_back_high_spenders", "remind_of_carts"]
    assert {(action.money, action.order_by) for action in found} == {(None, None)}


@pytest.mark.parametrize(("min_group", "is_listed"), [(9, True), (10, False)])
def test_few_customers_are_no_action(min_group: int, is_listed: bool) -> None:
    assert ("nearly_vip" in {action.name for action in actions(frame(), min_group)}) == is_listed


def test_actions_without_their_columns_are_left_out() -> None:
    assert actions(frame()[["customer_id", "spend"]]) == []
    assert [action.name for action in actions(frame()[["customer_id", "journey_events"]])] == ["remind_of_carts"]
