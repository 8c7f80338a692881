"""Interest in a single product: viewed repeatedly, or found by a search."""

from __future__ import annotations

import ibis.expr.types as ir

from features.events import FINE_POINT, EventType, ObservationWindow, constant, exact_sum
from features.interests import decayed_weight


def product_points(
    events: ir.Table, *, window: ObservationWindow, half_life_days: float, searched_points: float
) -> ir.Table:
    """Decayed points of the product each customer viewed most.

        events (customer_id, occurred_at, event_type, session_key, product_key)
     -> points (customer_id, product_points)     one row per customer who viewed a product

    A view counts 1 at as_of and half as much ``half_life_days`` earlier.

    Parameters
    ----------
    searched_points : float, >= 0
        Extra points of a view that follows a search in the same visit.
    """
    views = events.filter(events.event_type == str(EventType.VIEW), events.product_key.notnull())
    views = views.mutate(
        points=decayed_weight(views, window=window, signal_weights={EventType.VIEW: 1.0}, half_life_days=half_life_days)
    )
    if searched_points:
        searches = events.filter(events.event_type == str(EventType.SEARCH))
        searched = searches.group_by("customer_id", "session_key").aggregate(searched_at=searches.occurred_at.min())
        views = views.left_join(searched, ["customer_id", "session_key"])
        follows_search = (views.occurred_at >= views.searched_at).fill_null(False)
        views = views.mutate(
            points=views.points * follows_search.ifelse(constant(1.0 + searched_points), constant(1.0))
        )
    by_product = views.group_by("customer_id", "product_key").aggregate(points=exact_sum(views.points, unit=FINE_POINT))
    return by_product.group_by("customer_id").aggregate(product_points=by_product.points.max())
