"""Possible next actions of a customer as profile changes, to see which would move a customer to another segment."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypedDict

import pandas as pd

from features.events import EventType

VISIT_EVENTS = (
    *(EventType.VIEW, EventType.SEARCH, EventType.FAVOURITE),
    *(EventType.CART, EventType.REMOVE_FROM_CART, EventType.EMAIL_CLICK),
)
"""Event types that show a visit without an order."""
CHANGED_COLUMNS = (
    *("days_since_first_event", "days_since_last_event", "days_since_last_purchase"),
    *("session_count", "event_count", "view_count", "cart_count", "abandoned_cart_count", "order_count", "spend"),
    *("cart_session_count", "purchase_count", "activity"),
)
"""Columns that a move may change; the rates among the clusterer's columns are recomputed from them."""
MOVE_EVENTS = (EventType.VIEW, EventType.CART, EventType.PURCHASE)
"""Event types of the views, carts and orders of a move."""
Change = dict[str, tuple[float, float]]
"""Column -> (factor, addend). With factor 0 the new value is the addend, even if the old value was null."""


@dataclass(frozen=True, slots=True)
class Move:
    """A possible next action of a customer, within some ``days``: the number of visits, views, carts and orders."""

    text: str
    days: float
    visits: float
    views: float
    carts: float
    orders: float


class MoveChanges(TypedDict):
    """The possible profile changes of a move, as the saved model holds them.

    ``is_inactivity`` is true for a move without a visit or an order.
    """

    text: str
    changes: list[Change]
    is_inactivity: bool


def possible_moves(moves: Sequence[Move], event_counts: Mapping[EventType, float]) -> list[Move]:
    """The moves that the shop's log can record, without views and carts if the log has none.

    A log with orders only cannot show a visit without an order. A log without carts cannot show an abandoned cart.

    Parameters
    ----------
    event_counts : mapping
        `EventType` -> number of such events at training.
    """
    has_visits, has_views, has_carts = (
        any(event_counts[kind] > 0 for kind in kinds) for kinds in (VISIT_EVENTS, (EventType.VIEW,), (EventType.CART,))
    )
    return [
        replace(move, views=move.views * has_views, carts=move.carts * has_carts)
        for move in moves
        if move.orders or ((has_visits or not move.visits) and (has_carts or not move.carts))
    ]


def moves_as_changes(
    moves: Sequence[Move],
    *,
    spend_per_order: float,
    half_life_days: float = math.inf,
    signal_weights: Mapping[EventType, float] = MappingProxyType({}),
) -> list[MoveChanges]:
    """The possible profile changes of each move; a customer moves only if all of them lead to the same segment.

    An action within some days may happen at once or on the last day, so both are tried. Doing nothing is tried on the
    last day only. Interests, habits and discounts stay unchanged: they change slowly, and the direction is unknown.

    Parameters
    ----------
    spend_per_order : float
        Value of a typical order.
    half_life_days, signal_weights : float, mapping of EventType to float
        Parameters of activity; without them activity stays unchanged.
    """
    change = functools.partial(
        _change, spend_per_order=spend_per_order, half_life_days=half_life_days, signal_weights=signal_weights
    )
    return [
        {
            "text": move.text,
            "changes": [change(move, days) for days in ([0.0] if move.visits else []) + [float(move.days)]],
            "is_inactivity": not (move.visits or move.orders),
        }
        for move in moves
    ]


def _change(
    move: Move,
    days: float,
    *,
    spend_per_order: float,
    half_life_days: float,
    signal_weights: Mapping[EventType, float],
) -> Change:
    """The profile change if the move happens ``days`` from now."""
    views, carts, orders = float(move.views), float(move.carts), float(move.orders)
    weighted = zip((signal_weights.get(kind, 0.0) for kind in MOVE_EVENTS), (views, carts, orders), strict=True)
    return {
        "days_since_first_event": (1.0, days),
        "days_since_last_event": (0.0, 0.0) if move.visits else (1.0, days),
        "days_since_last_purchase": (0.0, 0.0) if orders else (1.0, days),
        "session_count": (1.0, float(move.visits)),
        # A visit has at least one event.
        "event_count": (1.0, max(views + carts + orders, float(move.visits))),
        "view_count": (1.0, views),
        "cart_count": (1.0, carts),
        "cart_session_count": (1.0, float(carts > 0)),
        "abandoned_cart_count": (1.0, float(carts > 0 and not orders)),
        "order_count": (1.0, orders),
        "purchase_count": (1.0, orders),
        # Earlier activity decays; the new actions count in full.
        "activity": (0.5 ** (days / half_life_days), sum(weight * done for weight, done in weighted)),
        "spend": (1.0, orders * spend_per_order),
    }


def value_ranks(figures: pd.DataFrame) -> dict[str, int]:
    """segment_id -> rank by spend per customer, 0 for the lowest; by orders or events in a log without revenue.

    The model saves ranks, not figures: those of small segments are confidential.
    """
    measured = [f"{name}_per_customer" for name in ("spend", "orders", "events")]
    figure = next((name for name in measured if float(figures[name]["shop"]) > 0), measured[-1])
    ranks = figures.drop(index="shop")[figure].rank(method="dense", na_option="bottom")
    return {str(segment_id): int(rank) - 1 for segment_id, rank in ranks.items()}
