"""Figures per segment and per customer, used for names and profile cards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy

from features.journey import STAGES
from models.disclosure import hidden_line, is_dominated, is_few, rounded_sums, shares_of_whole, sum_errors

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
"""Figure -> the profile column of which it is the mean."""
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
"""Figure -> (numerator, denominator): the columns whose sums give the ratio."""
FIGURES = frozenset({*MEANS, *RATES, "customer_count", "customer_share", "spend_share"})
"""All figures that an archetype or a trait may use."""
MONEY = ("net_spend", "spend", "given_back", "order_count")
"""Sums whose totals over the shop are published: enough segments are hidden that no remainder is of a few customers."""
MAX_ERROR = 0.2
"""A mean or rate is published only if rounding cannot change it by more than this share of its true value."""
BACK_DAYS = 7.0
"""A buyer is back without an order if the last event is at least this many days after the last order."""


def segment_figures(
    profile: pd.DataFrame, segment_ids: Sequence[str] | np.ndarray, *, max_one_customer_share: float
) -> pd.DataFrame:
    """Figures that describe each segment and its behaviour.

        profile (one row per customer), segment_ids (n,)
     -> figures (segment_id, <figure>...)     one row per segment, and one named "shop" for all customers

    Means are over the customers with a known value. Rates are pooled, such as returned items over bought items. A rate
    is null if one customer dominates it (`models.disclosure.is_dominated`, ``max_one_customer_share``).
    ``stage_<name>_share`` is the share of customers in each lifecycle stage. Past buyers are slipping, lapsed or lost;
    lapsed buyers are lapsed or lost. ``back_without_order_share`` is the share of customers whose last event is at
    least `BACK_DAYS` after their last order. Visits are null if they are the same as the orders. Null means unknown.
    Spend is net of refunds, except in ``paid_per_customer``; ``returned_spend_share`` is a share of the amount paid. If
    the shop's net spend is not positive, all shares of spend are 0.
    """
    table = _with_segments(profile, segment_ids)
    grouped = table.groupby("segment_id", sort=True)
    sums = grouped[sorted({column for pair in RATES.values() for column in pair})].sum()
    rates = {name: sums[top] / sums[bottom].where(sums[bottom] > 0) for name, (top, bottom) in RATES.items()}
    for name, (top, bottom) in RATES.items():
        # Shares of customers give all customers the same weight; small groups among them are hidden by count.
        if not top.startswith("is_") and table[top].notna().any():
            rates[name] = rates[name].mask(is_dominated(grouped, top, bottom, max_share=max_one_customer_share))
    spend = float(profile.net_spend.sum())
    return pd.DataFrame(
        {
            **{name: grouped[column].mean() for name, column in MEANS.items()},
            **rates,
            "customer_count": sums.customers,
            "customer_share": sums.customers / max(len(profile), 1),
            "spend_share": sums.net_spend / spend if spend > 0 else 0.0,
        }
    )


def published_figures(
    profile: pd.DataFrame,
    segment_ids: Sequence[str] | np.ndarray,
    exact: pd.DataFrame,
    *,
    min_group: int,
    history_days: float,
    max_error: float = MAX_ERROR,
) -> pd.DataFrame:
    """The table of `segment_figures`, which is ``exact``, as it may be published (`models.disclosure`).

    All figures are quotients of rounded sums. A figure is null if fewer than ``min_group`` customers contribute to it:
    buyers to money and orders, those with returns to refunds, and so on. It is also null if rounding could change it by
    more than ``max_error`` of its true value. Shares of customers are not hidden here. No share is above 1, and no time
    is longer than ``history_days``.
    """
    table = _with_segments(profile, segment_ids)
    columns = sorted({*MEANS.values(), *(column for pair in RATES.values() for column in pair)})
    values, ids = table[columns].astype(float), table["segment_id"]
    known, contributors = values.notna().groupby(ids).sum(), (values.fillna(0.0) != 0.0).groupby(ids).sum()
    sums, errors = _rounded_sums(values.groupby(ids).sum(), values.abs().groupby(ids), contributors, min_group)
    sums = sums.mask(_hidden_sums(known, contributors, min_group))
    known_counts, count_errors = _rounded_sums(known, (values.notna() * 1.0).groupby(ids), known, min_group)
    figures = pd.DataFrame(
        {
            **{
                name: (sums[column] / known_counts[column].where(known[column] > 0)).where(
                    _largest_error(errors[column], count_errors[column]) <= max_error
                )
                for name, column in MEANS.items()
            },
            **{
                name: (sums[top] / sums[bottom].where(sums[bottom] > 0)).where(
                    top.startswith("is_") | (_largest_error(errors[top], errors[bottom]) <= max_error)
                )
                for name, (top, bottom) in RATES.items()
            },
            "customer_count": sums.customers,
            "customer_share": _shares_of_shop(sums.customers),
            "spend_share": _shares_of_shop(sums.net_spend),
        }
    )
    return _within_bounds(figures, history_days).where(exact.notna())


def _shares_of_shop(sums: pd.Series) -> pd.Series:
    """Share of each segment in the published sum of the shop, which is the row "shop" itself."""
    segments = sums.drop("shop")
    shares = pd.Series(shares_of_whole(segments, sums["shop"]), segments.index)
    return shares.reindex(sums.index, fill_value=float(sums["shop"] > 0))


def _rounded_sums(
    sums: pd.DataFrame, sizes: DataFrameGroupBy, contributors: pd.DataFrame, min_group: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Segment x column: the rounded sums, and by how much of itself each may differ from the exact one."""
    parts = {"sizes": sizes.sum(), "largest": sizes.max().fillna(0.0), "contributors": contributors}
    rounded = rounded_sums(sums, **parts, min_group=min_group)
    errors = sum_errors(rounded, **parts, min_group=min_group)
    return pd.DataFrame(rounded, sums.index, sums.columns), pd.DataFrame(errors, sums.index, sums.columns)


def _largest_error(top_error: pd.Series, bottom_error: pd.Series) -> pd.Series:
    """By how much of its true value the quotient of two rounded sums may differ from that of the exact ones."""
    errors = (1.0 + bottom_error) / (1.0 - top_error).clip(lower=0.0) - 1.0
    return errors.where(top_error > 0.0, 0.0)  # a sum of nothing is exact, and so is its quotient


def _within_bounds(figures: pd.DataFrame, history_days: float) -> pd.DataFrame:
    """The figures without values that are not possible, which rounding can give."""
    shares = [name for name in map(str, figures) if name.endswith("_share") and name != "spend_share"]
    days = [name for name in map(str, figures) if name.startswith("days_since_")]
    bounded = {**dict.fromkeys(shares, 1.0), **dict.fromkeys(days, history_days)}
    clipped = figures[[*bounded]].clip(upper=pd.Series(bounded), axis="columns")
    return figures.assign(**clipped, orders_per_buyer=figures.orders_per_buyer.clip(lower=1.0))


def _hidden_sums(known: pd.DataFrame, contributors: pd.DataFrame, min_group: int) -> pd.DataFrame:
    """Segment x column: whether a sum is of a few customers, or its remainder to the shop's would be.

    known, contributors (segment x column): customers with a known value, and with one that is not 0
    """
    few = is_few(known, min_group) | is_few(contributors, min_group)
    hidden = pd.DataFrame(few, contributors.index, contributors.columns)
    hidden.loc[:, contributors.columns.str.match("is_|customers")] = False
    segments = contributors.index.drop("shop")
    for column in MONEY:
        hidden.loc[segments, column] = hidden_line(contributors.loc[segments, column].to_numpy(float), min_group)
    # Paid minus net spend is what was given back.
    hidden["spend"] |= hidden["given_back"] & ~hidden["net_spend"]
    return hidden


def _with_segments(profile: pd.DataFrame, segment_ids: Sequence[str] | np.ndarray) -> pd.DataFrame:
    """The parts of all figures, with segment_id: each customer once in a segment, and once in "shop"."""
    table = _with_parts(profile).assign(segment_id=np.asarray(segment_ids, dtype=object))
    if profile.session_count.equals(profile.order_count):
        table["session_count"] = np.nan  # visits would repeat the orders
    return pd.concat([table, table.assign(segment_id="shop")], ignore_index=True)


def member_figures(profile: pd.DataFrame) -> pd.DataFrame:
    """The figures of each individual customer: the value behind a mean, and the customer's own ratio for a pooled rate.

        profile (one row per customer)
     -> members (<figure>...)     one row per customer, in the same order; null if unknown for a customer

    Shares of customers have no column, because they already count customers.
    """
    table = _with_parts(profile)
    means = {name: table[column].astype(float) for name, column in MEANS.items()}
    pooled = {name: pair for name, pair in RATES.items() if not pair[0].startswith("is_")}
    rates = {
        name: table[top].astype(float) / table[bottom].astype(float).where(table[bottom] > 0)
        for name, (top, bottom) in pooled.items()
    }
    return pd.DataFrame({**means, **rates}, index=profile.index)


def _with_parts(profile: pd.DataFrame) -> pd.DataFrame:
    """The profile columns used by figures, and the columns derived from them."""
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
