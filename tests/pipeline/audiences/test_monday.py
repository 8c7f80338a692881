from __future__ import annotations

import ibis
import pandas as pd
import pytest

from pipeline.audiences.monday import CANDIDATES, Action, action_audience, monday_actions
from pipeline.commands.score import ScoringResult
from pipeline.config.params import Params
from pipeline.report.summary import read_summary
from pipeline.report.training_result import TrainingResult
from pipeline.stores import mlflow_runs

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
        ("second_order", 200, 11_200.0),  # 11,000, in steps of 700
        ("remind_of_carts", 100, 0.0),
    ]
    assert {action.money_column for action in found} == {"spend"}
    assert found[0].definition.where == CANDIDATES["win_back_high_spenders"]
    assert found[0].definition.order_by == "-spend"


def test_expected_spending_counts_before_what_was_spent() -> None:
    found = actions(frame(expected_spend=[1.0, 2.0, 3.0, 40.0] * (ROWS // 4)))
    assert [(action.name, action.money) for action in found][:2] == [
        ("remind_of_carts", 4000.0),
        ("second_order", 510.0),  # 500, in steps of 30
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


@pytest.mark.parametrize(("payers", "money"), [(0, 0.0), (9, None), (10, 50.0)])
def test_money_of_a_few_customers_is_hidden(payers: int, money: float | None) -> None:
    left_cart = [place for place in range(ROWS) if place % 4 == 3]
    spend = [5.0 if place in left_cart[:payers] else 0.0 for place in range(ROWS)]
    [carts] = [action for action in actions(frame(spend=spend)) if action.name == "remind_of_carts"]
    assert (carts.customer_count, carts.money) == (100, money)


@pytest.mark.parametrize(("expected_spend", "order_by"), [(1.0, "-expected_spend"), (None, "-spend")])
def test_the_audience_of_an_action_has_most_money_first(expected_spend: float | None, order_by: str) -> None:
    con = ibis.duckdb.connect()
    table = frame(expected_spend=pd.Series([expected_spend] * ROWS, dtype="float64"))
    made = action_audience(con, con.create_table("scores", table), "keep_vips")
    assert (made.where, made.order_by, made.holdout_share) == (CANDIDATES["keep_vips"], order_by, 0.0)
    con.disconnect()


def test_actions_without_their_columns_are_left_out() -> None:
    assert actions(frame()[["customer_id", "spend"]]) == []
    assert [action.name for action in actions(frame()[["customer_id", "journey_events"]])] == ["remind_of_carts"]


@pytest.mark.slow
def test_the_actions_of_a_training_are_those_of_scores_at_the_same_moment(
    trained: tuple[Params, TrainingResult], scored: ScoringResult
) -> None:
    params, result = trained
    store = mlflow_runs.open_store(params)
    summary = read_summary(result.run_id, mlflow_runs.read_run(store, result.run_id).summary)
    con = ibis.duckdb.connect()
    separator, min_group = params.source.category_separator, params.naming.min_group
    found = monday_actions(con, con.read_parquet(scored.path), separator=separator, min_group=min_group)
    con.disconnect()
    assert [action.name for action in found] == [action.name for action in summary.actions] != []
    for action, shown in zip(found, summary.actions, strict=True):
        assert (action.customer_count, action.money_column) == (shown.customer_count, shown.money_column)
        assert action.money == pytest.approx(shown.money)
