"""What a customer might do next, as changes of the profile: which of it would move one on the border."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from features.events import EventType

VISITING = (
    *(EventType.VIEW, EventType.SEARCH, EventType.FAVOURITE),
    *(EventType.CART, EventType.REMOVE_FROM_CART, EventType.EMAIL_CLICK),
)
"""What shows a visit in which nothing is ordered."""
CHANGED = (
    *("days_since_first_event", "days_since_last_event", "days_since_last_purchase"),
    *("session_count", "event_count", "view_count", "cart_count", "abandoned_cart_count", "order_count", "spend"),
    *("cart_session_count", "purchase_count", "activity"),
)
"""Columns that a move may change; the rates among the clusterer's columns follow from them."""
DONE = (EventType.VIEW, EventType.CART, EventType.PURCHASE)
"""What a move counts as views, carts and orders."""
Change = dict[str, tuple[float, float]]
"""Column -> (factor, addend): what the column becomes. Factor 0: whatever it was, null too."""


def possible_moves(moves: Sequence[Mapping[str, Any]], event_counts: Mapping[EventType, float]) -> list[dict[str, Any]]:
    """The moves that the shop's log could show, without the views and carts that it never shows.

    A log of orders alone shows no visit without an order, and one without carts no cart that is filled and left.

    Parameters
    ----------
    moves : sequence of mapping
        As `moves_as_changes` takes them.
    event_counts : mapping
        `EventType` -> number of such events at training.
    """
    shows_visits, shows_views, shows_carts = (
        any(event_counts[kind] > 0 for kind in kinds) for kinds in (VISITING, (EventType.VIEW,), (EventType.CART,))
    )
    return [
        {**move, "views": move["views"] * shows_views, "carts": move["carts"] * shows_carts}
        for move in moves
        if move["orders"] or ((shows_visits or not move["visits"]) and (shows_carts or not move["carts"]))
    ]


def moves_as_changes(
    moves: Sequence[Mapping[str, Any]],
    *,
    spend_per_order: float,
    half_life_days: float = math.inf,
    signal_weights: Mapping[EventType, float] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Each move as the changes of a profile that it may mean; a customer moves if each of them leads to one segment.

    What is done within some days may be done at once or at their end, so both are tried; doing nothing, at their end.
    Interests, habits and discounts are left as they are: they change slowly, and which way is not known.

    Parameters
    ----------
    moves : sequence of mapping
        text, days, visits, views, carts, orders.
    spend_per_order : float
        Of a usual order.
    half_life_days, signal_weights : float, mapping of EventType to float
        Of activity; without them it is left as it is.

    Returns
    -------
    list of dict
        text; changes: list of `Change`. Plain values, for the model's JSON.
    """
    change = functools.partial(
        _change, spend_per_order=spend_per_order, half_life_days=half_life_days, signal_weights=signal_weights
    )
    return [
        {
            "text": move["text"],
            "changes": [change(move, days) for days in ([0.0] if move["visits"] else []) + [float(move["days"])]],
        }
        for move in moves
    ]


def _change(
    move: Mapping[str, Any],
    days: float,
    *,
    spend_per_order: float,
    half_life_days: float,
    signal_weights: Mapping[EventType, float],
) -> Change:
    """What a profile becomes when the move is made ``days`` from now."""
    views, carts, orders = (float(move[name]) for name in ("views", "carts", "orders"))
    weighed = zip((signal_weights.get(kind, 0.0) for kind in DONE), (views, carts, orders), strict=True)
    return {
        "days_since_first_event": (1.0, days),
        "days_since_last_event": (0.0, 0.0) if move["visits"] else (1.0, days),
        "days_since_last_purchase": (0.0, 0.0) if orders else (1.0, days),
        "session_count": (1.0, float(move["visits"])),
        # A visit is seen by what is done in it.
        "event_count": (1.0, max(views + carts + orders, float(move["visits"]))),
        "view_count": (1.0, views),
        "cart_count": (1.0, carts),
        "cart_session_count": (1.0, float(carts > 0)),
        "abandoned_cart_count": (1.0, float(carts > 0 and not orders)),
        "order_count": (1.0, orders),
        "purchase_count": (1.0, orders),
        # What was done before has aged, what is done now has not.
        "activity": (0.5 ** (days / half_life_days), sum(weight * done for weight, done in weighed)),
        "spend": (1.0, orders * spend_per_order),
    }
