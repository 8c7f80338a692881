from __future__ import annotations

from models.moves import CHANGED, moves_as_changes

NOTHING = {"text": "nothing", "days": 30, "visits": 0, "views": 0, "carts": 0, "orders": 0}
ORDER = {"text": "one more order", "days": 14, "visits": 1, "views": 5, "carts": 1, "orders": 1}
SHOP = {"spend_per_order": 50.0}


def test_an_order_is_tried_at_once_and_at_the_end() -> None:
    (order,) = moves_as_changes([ORDER], **SHOP)
    now, later = order["changes"]
    assert now["order_count"] == later["order_count"] == (1.0, 1.0)
    assert set(now) == set(CHANGED)
    assert now["spend"] == (1.0, 50.0)
    assert now["event_count"] == (1.0, 7.0)
    assert now["abandoned_cart_count"] == (1.0, 0.0)
    assert now["days_since_last_purchase"] == later["days_since_last_event"] == (0.0, 0.0)
    assert (now["days_since_first_event"], later["days_since_first_event"]) == ((1.0, 0.0), (1.0, 14.0))


def test_a_cart_without_an_order_is_left_behind() -> None:
    (cart,) = moves_as_changes([{**ORDER, "orders": 0}], **SHOP)
    assert cart["changes"][0]["abandoned_cart_count"] == (1.0, 1.0)
    assert cart["changes"][1]["days_since_last_purchase"] == (1.0, 14.0)


def test_nothing_only_ages() -> None:
    (nothing,) = moves_as_changes([NOTHING], **SHOP)
    (change,) = nothing["changes"]
    aged = {name for name, both in change.items() if both == (1.0, 30.0)}
    assert aged == {"days_since_first_event", "days_since_last_event", "days_since_last_purchase"}
    assert {both for name, both in change.items() if name.endswith("_count")} == {(1.0, 0.0)}
