from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from features.events import EventType
from models.what_if import CHANGED_COLUMNS, Move, moves_as_changes, possible_moves, value_ranks

NOTHING = Move("nothing", days=30, visits=0, views=0, carts=0, orders=0)
ORDER = Move("one more order", days=14, visits=1, views=5, carts=1, orders=1)
VISIT = Move("one more visit", days=14, visits=1, views=2, carts=0, orders=0)
CART = Move("a cart filled", days=14, visits=1, views=2, carts=1, orders=0)
SHOP = {"spend_per_order": 50.0}


def test_an_order_is_tried_at_once_and_on_the_last_day() -> None:
    (order,) = moves_as_changes([ORDER], **SHOP)
    now, later = order["changes"]
    assert now["order_count"] == later["order_count"] == (1.0, 1.0)
    assert set(now) == set(CHANGED_COLUMNS)
    assert now["spend"] == (1.0, 50.0)
    assert now["event_count"] == (1.0, 7.0)
    assert now["abandoned_cart_count"] == (1.0, 0.0)
    assert now["days_since_last_purchase"] == later["days_since_last_event"] == (0.0, 0.0)
    assert (now["days_since_first_event"], later["days_since_first_event"]) == ((1.0, 0.0), (1.0, 14.0))


def test_a_cart_without_an_order_counts_as_abandoned() -> None:
    (cart,) = moves_as_changes([replace(ORDER, orders=0)], **SHOP)
    assert cart["changes"][0]["abandoned_cart_count"] == (1.0, 1.0)
    assert cart["changes"][1]["days_since_last_purchase"] == (1.0, 14.0)


def test_doing_nothing_only_adds_days() -> None:
    (nothing,) = moves_as_changes([NOTHING], **SHOP)
    (change,) = nothing["changes"]
    aged = {name for name, effect in change.items() if effect == (1.0, 30.0)}
    assert aged == {"days_since_first_event", "days_since_last_event", "days_since_last_purchase"}
    assert {effect for name, effect in change.items() if name.endswith("_count")} == {(1.0, 0.0)}


def test_a_move_without_a_visit_or_an_order_is_inactivity() -> None:
    moves = moves_as_changes([NOTHING, VISIT, ORDER], **SHOP)
    assert [move["is_inactivity"] for move in moves] == [True, False, False]


def test_only_moves_that_the_log_can_record_are_offered() -> None:
    none = dict.fromkeys(EventType, 0.0)
    moves = [VISIT, CART, ORDER, NOTHING]
    with_orders = possible_moves(
        moves, {**none, EventType.PURCHASE: 9.0, EventType.RETURN: 2.0, EventType.CONTACT: 1.0}
    )
    assert with_orders == [replace(ORDER, views=0, carts=0), NOTHING]
    assert moves_as_changes(with_orders, **SHOP)[0]["changes"][0]["event_count"] == (1.0, 1.0)
    with_views = possible_moves(moves, {**none, EventType.PURCHASE: 9.0, EventType.VIEW: 90.0})
    assert with_views == [VISIT, replace(ORDER, carts=0), NOTHING]
    with_searches = possible_moves(moves, {**none, EventType.PURCHASE: 9.0, EventType.SEARCH: 90.0})
    assert [move.text for move in with_searches] == ["one more visit", "one more order", "nothing"]
    assert moves_as_changes(with_searches, **SHOP)[0]["changes"][0]["event_count"] == (1.0, 1.0)
    assert possible_moves(moves, {**none, EventType.VIEW: 9.0, EventType.CART: 9.0}) == moves


def test_activity_decays_and_grows_with_new_actions() -> None:
    weights = {EventType.VIEW: 1.0, EventType.CART: 2.0, EventType.PURCHASE: 3.0}
    order, nothing = moves_as_changes([ORDER, NOTHING], **SHOP, half_life_days=15.0, signal_weights=weights)
    now, later = order["changes"]
    assert now["activity"] == (1.0, 10.0)  # five views, a cart, an order
    assert later["activity"] == (0.5 ** (14 / 15), 10.0)
    assert nothing["changes"][0]["activity"] == (0.25, 0.0)
    assert moves_as_changes([ORDER], **SHOP)[0]["changes"][1]["activity"] == (1.0, 0.0)


def test_segments_are_ranked_by_spend_or_else_by_orders() -> None:
    figures = pd.DataFrame(
        {
            "spend_per_customer": [100.0, 300.0, 20.0, 20.0, np.nan],
            "orders_per_customer": [1.0, 0.5, 3.0, 2.0, 1.0],
            "events_per_customer": 1.0,
        },
        index=["shop", "s01", "s02", "s03", "s04"],
    )
    assert value_ranks(figures) == {"s01": 1, "s02": 0, "s03": 0, "s04": 2}
    assert value_ranks(figures.assign(spend_per_customer=0.0)) == {"s01": 0, "s02": 3, "s03": 2, "s04": 1}
