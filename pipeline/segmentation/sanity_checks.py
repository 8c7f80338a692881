"""What to know before a result is believed: signs that the moment, the model or the categories are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.categories import OTHER, CategoryCut, at_level, with_category_path
from features.events import EventType, ObservationWindow
from features.interests import SHARE_PREFIX
from features.occasions import local_time
from pipeline.config.params import Params, description
from pipeline.ingest.source import Source
from pipeline.ingest.summary import ReadingSummary
from pipeline.profiles.build import Profiles

MUCH_UNKNOWN = 0.3
"""Share of interests in unknown categories, above that of training, at which a model looks like another shop's."""
MOSTLY = 0.5
"""Share of interests outside the columns, of spend that a few rows bring, and of customers moved, that is told."""

NIGHT_HOURS = 6
"""From midnight on; a shop's quietest, with a twentieth of all or less where the time zone is right."""
AT_NIGHT = 1 / 3
"""Share of what customers do at night past which the clock is told to be wrong; at all hours alike it is a quarter."""
FEW, LEAST_PAID = 0.01, 1_000
"""Share of purchases, the largest, that have `MOSTLY` of spend or items only by mistake; and purchases to judge by."""
LEAST_TIMED, LEAST_DAYS = 1_000, 7
"""Events with an hour, and days with any, below which nothing is said: a sample of one night is no mistake."""
UNLIKE = 10
"""Items a row, beside all other rows, from which on a category is told to be counted in another unit."""
LEAST_CONTACTS = 100
"""Contacts below which nothing is said of them."""
OWN_DOING = (EventType.VIEW, EventType.SEARCH, EventType.FAVOURITE, EventType.CART, EventType.PURCHASE)


def of_moment(params: Params, reading: ReadingSummary) -> list[str]:
    """Whether as_of lies long after the log's end: everybody would look that much longer away."""
    if not reading.last_event_at:  # an update that had nothing new to read
        return []
    last = datetime.fromisoformat(reading.last_event_at).replace(tzinfo=params.as_of.tzinfo)
    days = (params.as_of - last).total_seconds() / 86_400
    if days <= params.minimum.usual_silence_days:
        return []
    return [
        f"as_of ({params.as_of:%Y-%m-%d}) is {days:,.0f} days after the last event ({last:%Y-%m-%d}), so that "
        "everybody looks that much longer away. Name a moment soon after it, or bring the rest of the log"
    ]


def of_hours(params: Params, source: Source) -> list[str]:
    """Whether most is done at night, as by a clock that is many hours wrong; nothing of logs whose times are dates.

    A clock that is wrong by a few hours is not seen.
    """
    window = ObservationWindow(params.as_of, params.history_days)
    read_in, told_in = params.source.events.timezone, params.local_timezone
    events = window.of(source.events)
    events = events.filter(events.event_type.isin([str(kind) for kind in OWN_DOING]))
    clocks = {zone: local_time(events.occurred_at, timezone=zone, window=window) for zone in ("UTC", read_in, told_in)}
    # Midnight, by the clock that wrote it, is what a date without an hour becomes.
    is_timed = ibis.and_(*((clocks[zone].truncate("D") != clocks[zone]) for zone in dict.fromkeys(("UTC", read_in))))
    at = clocks[told_in]
    found = events.aggregate(
        count=events.count(),
        timed=is_timed.sum(),
        night=(is_timed & (at.hour() < NIGHT_HOURS)).sum(),
        days=at.date().nunique(where=is_timed),
    )
    count, timed, night, days = (value or 0 for value in found.to_pyarrow().to_pylist()[0].values())
    if timed < max(LEAST_TIMED, count / 2) or days < LEAST_DAYS or night <= AT_NIGHT * timed:
        return []
    return [
        f"{night / timed:.0%} of what customers do is done from 0:00 to {NIGHT_HOURS}:00 in {told_in}, when most "
        "people sleep. Times without an offset are read in source.events.timezone; name the customers' own in "
        "cards.timezone where the log is in another, such as UTC"
    ]


def of_spend(events: ir.Table) -> list[str]:
    """Whether a few rows bring most of the spend, as where the price of a whole row is taken for that of one item.

    events (event_type, quantity, unit_price)     of the window; purchases alone count
    """
    bought = events.filter(events.event_type == str(EventType.PURCHASE))
    paid = _with_largest(bought.select(paid=bought.quantity * bought.unit_price), "paid")
    brought = paid.paid.sum(where=paid.is_large) / paid.paid.sum()
    count, share = paid.aggregate(count=paid.count(), share=brought).to_pyarrow().to_pylist()[0].values()
    if count < LEAST_PAID or (share or 0.0) <= MOSTLY:
        return []
    return [
        f"{FEW:.0%} of the purchases bring {share:.0%} of the spend. Spend is quantity times unit_price; if the "
        "column holds the price of the whole row, divide it in source.events.query: amount / quantity as price"
    ]


def _with_largest(rows: ir.Table, amount: str) -> ir.Table:
    """Rows with an ``amount`` above 0, and whether it is among the largest `FEW` (is_large)."""
    some = rows.filter(rows[amount] > 0)
    beside = some.cross_join(some.aggregate(bound=some[amount].quantile(1.0 - FEW)))
    return beside.mutate(is_large=beside[amount] > beside.bound)


def of_items(events: ir.Table, products: ir.Table | None) -> list[str]:
    """Whether a few rows or categories hold most of all items, as where petrol is counted in thousandths of a litre.

    events (event_type, product_id, quantity, and category_path if it is known)     of the window; purchases alone count
    products (product_id, category_path) or None
    """
    bought = events.filter(events.event_type == str(EventType.PURCHASE))
    own_path = bought.category_path if "category_path" in bought.columns else ibis.null("string")
    bought = with_category_path(bought.mutate(category_path=own_path), products)
    items = _with_largest(bought.select("quantity", category=at_level(bought.category_path, 1)), "quantity")
    # Rows without a category are one of their own.
    by_category = items.group_by(category=items.category.fill_null("")).aggregate(
        count=items.count(), items=items.quantity.sum(), large=items.quantity.sum(where=items.is_large)
    )
    found = by_category.to_pandas().astype({"items": "float64", "large": "float64"}).fillna({"large": 0.0})
    count, total = found["count"].sum(), found["items"].sum()
    others = (total - found["items"]) / (count - found["count"]).replace(0, np.nan)
    unlike = found[found["items"] / found["count"] >= UNLIKE * others].sort_values("items", ascending=False)
    names = ", ".join(repr(name[:40]) for name in unlike.category[unlike.category != ""][:3])
    told = [(f"{FEW:.0%} of the purchases", found.large.sum())]
    if names:
        told.insert(0, (f"purchases in {names}", unlike["items"].sum()))
    held = [(who, amount / total) for who, amount in told if amount > MOSTLY * total]
    if count < LEAST_PAID or not held:
        return []
    return [
        f"{held[0][0]} hold {held[0][1]:.1%} of all items. If they are counted in another unit than the rest, such as "
        "millilitres or grams, count each such row as one item in source.events.query, with the price of the whole "
        "row; else figures of items tell of little but these"
    ]


def of_contacts(customers: pd.DataFrame) -> list[str]:
    """Whether so many contact the shop that it must be mails to them, or else, that were taken for contacts.

    customers (contact_count, order_count)
    """
    contacts, orders = customers.contact_count.sum(), customers.order_count.sum()
    asking, buyers = (customers.contact_count > 0).sum(), (customers.order_count > 0).sum()
    if contacts < LEAST_CONTACTS or (contacts <= orders and asking <= MOSTLY * buyers):
        return []
    return [
        f"{contacts:,.0f} contacts of {asking:,} customers stand beside {orders:,.0f} orders of {buyers:,}. A contact "
        "is a customer who writes or calls; mails of the shop are email_open and email_click, or in no list of "
        "source.events.event_types"
    ]


ABSENCES = (
    ("views", ("view_count",), "how near a purchase people are: few or none are warm"),
    ("searches", ("search_count",), "which products were looked for"),
    ("carts", ("cart_count",), "left_cart and the stage `cart`"),
    ("contacts", ("contact_count",), "silent_after_contact"),
    ("letters or coupons", ("email_open_count", "email_click_count", "redemption_count"), "campaign_response"),
)
"""What a log may lack, columns of the profile that would show it, what cannot be told without. Prices: see reading."""


def of_absences(profile: pd.DataFrame) -> list[str]:
    """What the log holds none of, in one line, and what is not told for that."""
    lacking = [(name, lost) for name, columns, lost in ABSENCES if not profile[list(columns)].to_numpy().any()]
    if not lacking:
        return []
    names, losses = zip(*lacking, strict=True)
    return [f"The log has {', '.join(f'no {name}' for name in names)}, so that it cannot tell {'; '.join(losses)}"]


def of_categories(profiles: Profiles) -> list[str]:
    """Whether most of what customers like lies outside the categories that are columns, or there are none."""
    cut = profiles.shop.spec.cut
    other = cut.mix[cut.other_index]
    if other <= MOSTLY:
        return []
    if len(cut.categories) == 1:
        return [
            "nothing that customers did has a category, so that no interests are told. Name the catalogue in "
            "source.products, or the column of category_path in source.events.columns"
        ]
    return [
        f"{other:.0%} of interests lie outside the {len(cut.categories) - 1} categories that are columns, and count as "
        "one. Raise interests.max_categories, or give products a category_path with fewer, broader levels"
    ]


def of_champion(params: Params, trained: Params) -> str:
    """Whether the champion that segments are matched with is another shop's; goes on a sentence. ``trained``: of it."""
    if description(params) == description(trained):
        return ""
    return (
        " Beware: `source` describes other columns or event types than at the champion's training. If this is another "
        "shop, name it in tracking.model_name and outputs.folder, and train again"
    )


def of_another_shop(
    params: Params, trained: Params, cut: CategoryCut, profile: pd.DataFrame, drift: float | None = None
) -> list[str]:
    """Signs that a model is another shop's; one alone may be a shop that changed. ``trained``: of the model.

    Parameters
    ----------
    profile : DataFrame
        evidence, and the share of OTHER.
    drift : float, optional
        Share of the customers that would have to move for the segments to be as large as at training.
    """
    evidence = profile.evidence.fillna(0.0)
    # Weighed, since whoever did little has the shares of the shop that the model knows.
    unknown = float((profile[SHARE_PREFIX + OTHER] * evidence).sum() / max(evidence.sum(), 1e-9))
    unlike = []
    if description(params) != description(trained):
        unlike.append("`source` describes other columns or event types than at its training")
    if unknown > cut.mix[cut.other_index] + MUCH_UNKNOWN:
        unlike.append(f"{unknown:.0%} of its customers' interests are in categories that the model does not know")
    if (drift or 0.0) > MOSTLY:
        unlike.append(f"{drift:.0%} of its customers would have to move for the segments to be as large as at training")
    return unlike


def of_model(params: Params, trained: Params, signs: Sequence[str]) -> list[str]:
    """Whether a model may be another shop's, by the ``signs`` of it, or knows a later time than as_of."""
    told = []
    if signs:
        told.append(
            f"the model may be another shop's: {', and '.join(signs)}. Train on this log, or name its model "
            "with --model"
        )
    if params.as_of < trained.as_of:
        told.append(
            f"as_of ({params.as_of:%Y-%m-%d}) is before the model's training ({trained.as_of:%Y-%m-%d}), which has "
            "seen what comes after it. Do not judge the model by these scores"
        )
    return told
