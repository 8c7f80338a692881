"""Tables from which the cards are made: attributes, audiences, visits and what buyers look for, by segment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features import attributes, occasions
from features.categories import OTHER
from features.events import ObservationWindow
from features.interests import SHARE_PREFIX
from models.audiences import audience_membership
from models.significance import CELL
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles
from pipeline.profiles.seasonality import expected_shares_for_profiles

ATTRIBUTE = "attribute: "
"""Prefix of topics that are columns of the customers' table, so they cannot be confused with other topics."""
WHY = ("discount_share", "price_level", "brand_loyalty", "novelty_share", "views_per_order")
GROWS_WITH_ORDERS = ("brand_loyalty", "novelty_share")
MIN_SHARED_VALUES = 0.5
"""A column is shown only if at least this share of its customers have a value in common with ``min_group`` others."""
MAX_SINGLE_NUMBERS = 10
"""A column with at most this many different numbers is shown number by number; with more, in bands."""


def attribute_counts(
    source: Source, profiles: Profiles, ids: np.ndarray, params: Params
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Counts and known counts (see `compare_counts`) of the columns to show, and notes on the others."""
    empty = pd.DataFrame(columns=[*CELL, "customer_count", "known_count"])
    if source.customers is None:
        return empty, empty, ()
    customers = source.customers
    columns, bounds, notes = columns_to_show(customers, params)
    if not columns:
        return empty, empty, notes
    membership = ibis.memtable(pd.DataFrame({"customer_id": profiles.table.customer_id, "segment_id": ids}))
    counts = attributes.value_counts(customers, membership, columns, bounds).to_pyarrow().to_pandas()
    counts["topic"] = ATTRIBUTE + counts.topic
    known = counts.groupby(["topic", "segment_id"]).customer_count.sum().rename("known_count").reset_index()
    value_totals = counts.groupby(["topic", "value"]).customer_count.transform("sum")
    return counts[value_totals >= params.naming.min_group].sort_values(CELL), known, notes


def columns_to_show(customers: ir.Table, params: Params) -> tuple[list[str], dict[str, list[float]], tuple[str, ...]]:
    """Columns to show, the bounds of those shown in bands, and a note on each column that is left out."""
    columns: list[str] = []
    bounds: dict[str, list[float]] = {}
    notes: list[str] = []
    for name, kind in sorted(attributes.column_kinds(customers).items()):
        spread, reason = None, ""
        if any(fnmatchcase(name.lower(), pattern.lower()) for pattern in params.cards.left_out):
            reason = "it is listed in cards.left_out"
        elif kind == "other":
            reason = "it holds neither texts nor numbers"
        else:
            spread = attributes.spread(customers, name, min_group=params.naming.min_group).to_pyarrow().to_pylist()[0]
            reason = _reason_to_hide(kind, spread)
        if reason or spread is None:
            notes.append(f"customers: column {name!r} is not shown on the cards: {reason}")
            continue
        if kind == "number" and spread["value_count"] > MAX_SINGLE_NUMBERS:
            table = attributes.quantiles(customers, name, bands=params.cards.attribute_bands)
            # An exact bound would reveal the value of one customer, so it is rounded.
            rounded = {float(f"{value:.2g}") for value in table.to_pyarrow().to_pylist()[0].values()}
            bounds[name] = sorted(rounded)
        columns.append(name)
    return columns, bounds, tuple(notes)


def _reason_to_hide(kind: str, spread: Mapping[str, Any]) -> str:
    """Why a column must not be shown; empty if it may be."""
    if not spread["known_count"]:
        return "it is empty"
    is_number = kind == "number" and spread["value_count"] > MAX_SINGLE_NUMBERS
    if is_number and spread["is_whole"] and spread["value_count"] == spread["known_count"]:
        return "every customer has a different number in it, like an id"
    if not is_number and spread["shared_count"] < MIN_SHARED_VALUES * spread["known_count"]:
        return "too few customers share a value in it, as with names and addresses"
    return ""


def customers_in_audiences(source: Source, profiles: Profiles, params: Params) -> pd.DataFrame:
    """`models.audiences.audience_membership` of all customers; needs the open database."""
    columns = {name: column for column, name in enumerate(profiles.shop.spec.cut.categories) if name != OTHER}
    shares = profiles.table[[SHARE_PREFIX + name for name in columns]].set_axis(list(columns), axis=1)
    expected, all_rows = expected_shares_for_profiles(profiles, source, params), np.arange(len(shares))
    return audience_membership(
        shares,
        profiles.table.evidence,
        pd.DataFrame({name: expected.of(column, all_rows) for name, column in columns.items()}, index=shares.index),
        kappa=params.interests.kappa,
        min_lift=params.naming.min_lift,
        certainty=params.cards.certainty,
    )


def visit_sums(profiles: Profiles, ids: Mapping[str, np.ndarray], params: Params) -> dict[str, pd.DataFrame]:
    """Sums (see `compare_means`) of the shares of visits by time and channel, in one pass over the visits.

    Parameters
    ----------
    ids : dict of str to array of shape (n,)
        Facet -> the segment of each customer.

    Returns
    -------
    dict of str to DataFrame
        Facet -> the sums of its segments.
    """
    empty = pd.DataFrame(columns=[*CELL, "known_count"])
    if profiles.visits is None:
        return dict.fromkeys(ids, empty)
    settings = params.cards
    members = [
        pd.DataFrame({"customer_id": np.arange(len(own)), "facet": name, "segment_id": own})
        for name, own in ids.items()
    ]
    membership = ibis.memtable(pd.concat(members, ignore_index=True))
    sums, keys = occasions.visit_sums(
        profiles.visits,
        membership,
        window=ObservationWindow(params.as_of, params.history_days),
        timezone=params.local_timezone,
        channels=profiles.shop.spec.channels,
        occasions={name: occasion.days for name, occasion in settings.occasions.items()},
        margin_days=settings.season_margin_days,
    )
    both = sums.to_pyarrow().to_pandas().sort_values(["facet", "segment_id"])
    return {name: _long_sums(both[both.facet == name], keys) if keys else empty for name in ids}


def _long_sums(wide: pd.DataFrame, keys: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """`visit_sums` of a facet, with a row per segment, topic and value."""
    figures = {"n": "known_count", "total": "total", "squares": "squares", "customers": "customer_count"}
    tables = [
        pd.DataFrame({"segment_id": wide.segment_id, **{name: wide[f"{key}{index}"] for key, name in figures.items()}})
        .assign(topic=topic, value=value, largest=1.0, shop_largest=1.0) for index, (topic, value) in enumerate(keys)
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def benefit_sums(profile: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    """Sums (see `compare_means`) of the figures that show what buyers look for.

    Brand loyalty and novelty depend on the number of orders: two orders share a brand more often than twenty do. Such
    figures are adjusted by the mean of buyers with a similar number of orders.
    """
    tables = []
    order_band = np.round(2.0 * np.log2(profile.order_count.fillna(0.0) + 1.0))
    for name in WHY:
        values = profile[name].astype("float64")
        if name in GROWS_WITH_ORDERS:
            values = values - values.groupby(order_band).transform("mean") + values.mean()
        by_segment = pd.DataFrame({"total": values, "squares": values**2, "known_count": values.notna()}).groupby(ids)
        sums = by_segment.sum().rename_axis("segment_id").reset_index()
        largest = values.abs().groupby(ids).max().fillna(0.0).to_numpy()
        shown = {"largest": largest, "shop_largest": max(largest, default=0.0), "customer_count": sums.known_count}
        tables.append(sums.assign(topic=name, value="", **shown))
    return pd.concat(tables, ignore_index=True)
