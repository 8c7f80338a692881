"""What may be told of a group so small that figures would tell of people (statistical disclosure control)."""

from __future__ import annotations

from typing import Any

SIZES = ("customer_count", "customer_share")
"""All that is said of a group too small for more."""
RESTS_ON = {
    "buyer_share": (
        *("orders_per_buyer", "average_order_value", "return_rate", "discount_share", "price_level"),
        *("days_since_last_purchase", "views_per_order"),
    ),
    "cart_user_share": ("abandoned_cart_share",),
}
"""Share of customers -> figures that say something of these alone."""


def well_founded(figures: dict[str, float], min_group: int) -> dict[str, float]:
    """The figures without those that rest on fewer than ``min_group`` customers."""
    if figures["customer_count"] < min_group:
        return {name: figures[name] for name in SIZES}
    # A share times its whole is not always the whole number that it was made of: 10 / 77 * 77 is below 10.
    few = [share for share in RESTS_ON if round(figures[share] * figures["customer_count"]) < min_group]
    left_out = {name for share in few for name in RESTS_ON[share]}
    return {name: value for name, value in figures.items() if name not in left_out}


def hide_spend_of_few(table: list[dict[str, Any]], min_group: int) -> None:
    """Take out the spend share of small segments, and of the next smallest from which theirs could be reckoned."""
    by_size = sorted(table, key=lambda one: (one["customer_count"], one["segment_id"]))
    hidden = [one for one in by_size if one["is_small"]]
    rest = [one for one in by_size if not one["is_small"]]
    while hidden and rest and sum(one["customer_count"] for one in hidden) < min_group:
        hidden.append(rest.pop(0))
    for one in hidden:
        one["spend_share"] = None
        one["figures"].pop("spend_share", None)
