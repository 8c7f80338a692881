"""What each segment is and does, as numbers that names and cards rest on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from features.journey import STAGES
from models.disclosure import is_of_one

MEANS = {
    "events_per_customer": "event_count",
    "visits_per_customer": "session_count",
    "views_per_customer": "view_count",
    "searches_per_customer": "search_count",
    "favourites_per_customer": "favourite_count",
    "carts_per_customer": "cart_count",
    "abandoned_carts_per_customer": "abandoned_cart_count",
    "contacts_per_customer": "contact_count",
    "returned_items_per_customer": "returned_item_count",
    "orders_per_customer": "order_count",
    "spend_per_customer": "net_spend",
    "paid_per_customer": "spend",
    **{
        name: name
        for name in (
            "temperature_points",
            "days_since_last_event",
            "days_since_first_event",
            "days_since_first_purchase",
            "days_since_last_purchase",
            "price_level",
            "weekend_share",
            "night_share",
            "morning_share",
            "afternoon_share",
            "evening_share",
        )
    },
}
"""Figure -> the profile's column that it is the mean of."""
RATES = {
    "buyer_share": ("is_buyer", "customers"),
    "repeat_buyer_share": ("is_repeat_buyer", "customers"),
    "past_buyer_share": ("is_past_buyer", "customers"),
    "lapsed_buyer_share": ("is_lapsed_buyer", "customers"),
    "cart_user_share": ("is_cart_user", "customers"),
    "back_without_order_share": ("is_back_without_order", "customers"),
    "orders_per_buyer": ("order_count", "is_buyer"),
    "average_order_value": ("net_spend", "order_count"),
    "return_rate": ("returned_item_count", "item_count"),
    "returned_spend_share": ("given_back", "spend"),
    "discount_share": ("discounted_lines", "purchase_count"),
    "abandoned_cart_share": ("abandoned_cart_count", "cart_session_count"),
    "views_per_order": ("view_count", "order_count"),
    **{f"stage_{stage}_share": (f"is_{stage}", "customers") for stage in STAGES},
}
"""Figure -> the two columns whose sums it is the ratio of."""
FIGURES = frozenset({*MEANS, *RATES, "customer_count", "customer_share", "spend_share"})
"""All that an archetype or a trait may ask for."""
BACK_DAYS = 7.0
"""Days from the last order to the last event, from which a buyer has been back since without an order."""


def segment_figures(
    profile: pd.DataFrame, segment_ids: Sequence[str] | np.ndarray, *, max_one_customer_share: float
) -> pd.DataFrame:
    """What each segment is and does, as numbers.

        profile (one row per customer), segment_ids (n,)
     -> figures (segment_id, <figure>...)     one row per segment, and one named "shop" for everybody

    Means are over the customers for whom the measure is known; rates are pooled, such as returned items over bought
    items, and null where one customer makes them (`models.disclosure.is_of_one`, ``max_one_customer_share``).
    ``stage_<name>_share`` is the share of customers in each lifecycle stage; past buyers are slipping, lapsed or
    lost, lapsed ones lapsed or lost; ``back_without_order_share`` is of buyers whose last event is `BACK_DAYS` or more
    after their last order. Null: cannot be said. Spend is what the shop kept, but for ``paid_per_customer``;
    ``returned_spend_share`` is of what was paid. Where the shop earned nothing all shares of spend are 0.
    """
    table = _with_parts(profile).assign(segment_id=np.asarray(segment_ids, dtype=object))
    spend = float(profile.net_spend.sum())
    grouped = pd.concat([table, table.assign(segment_id="shop")], ignore_index=True).groupby("segment_id", sort=True)
    sums = grouped[sorted({column for pair in RATES.values() for column in pair})].sum()
    rates = {name: sums[above] / sums[below].where(sums[below] > 0) for name, (above, below) in RATES.items()}
    for name, (above, below) in RATES.items():
        # Shares of customers weigh everybody alike: what they tell of few is hidden by their number.
        if not above.startswith("is_"):
            rates[name] = rates[name].mask(is_of_one(grouped, above, below, max_share=max_one_customer_share))
    return pd.DataFrame(
        {
            **{name: grouped[column].mean() for name, column in MEANS.items()},
            **rates,
            "customer_count": sums.customers,
            "customer_share": sums.customers / max(len(profile), 1),
            "spend_share": sums.net_spend / spend if spend > 0 else 0.0,
        }
    )


def member_figures(profile: pd.DataFrame) -> pd.DataFrame:
    """The figures of each customer alone: what a mean is the mean of, and the customer's own ratio for a pooled rate.

        profile (one row per customer)
     -> members (<figure>...)     one row per customer, in the same order; null where it cannot be said of a customer

    Shares of customers have no column: they already say for how many something holds.
    """
    table = _with_parts(profile)
    means = {name: table[column].astype(float) for name, column in MEANS.items()}
    pooled = {name: pair for name, pair in RATES.items() if not pair[0].startswith("is_")}
    rates = {
        name: table[above].astype(float) / table[below].astype(float).where(table[below] > 0)
        for name, (above, below) in pooled.items()
    }
    return pd.DataFrame({**means, **rates}, index=profile.index)


def _with_parts(profile: pd.DataFrame) -> pd.DataFrame:
    """The columns of the profile that figures rest on, and those made of them."""
    stage = profile["lifecycle_stage"].astype(str)
    used = {*MEANS.values(), *(column for pair in RATES.values() for column in pair)}
    return profile[[name for name in profile if name in used]].assign(
        customers=1,
        is_buyer=profile.order_count > 0,
        is_repeat_buyer=profile.order_count > 1,
        is_past_buyer=stage.isin(["slipping", "lapsed", "lost"]),
        is_lapsed_buyer=stage.isin(["lapsed", "lost"]),
        is_cart_user=profile.cart_session_count > 0,
        is_back_without_order=profile.days_since_last_purchase - profile.days_since_last_event >= BACK_DAYS,
        given_back=profile.spend - profile.net_spend,
        discounted_lines=(profile.discount_share * profile.purchase_count).fillna(0.0),
        **{f"is_{name}": stage == name for name in STAGES},
    )
