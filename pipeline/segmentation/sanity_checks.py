"""Checks that a result can be trusted: signs that as_of, the log, the model or the categories are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.categories import CategoryCut, at_level, with_category_path
from features.events import EventType, ObservationWindow
from features.occasions import local_time
from features.value import MONEY_COLUMNS, ValueCuts
from models.disclosure import is_few, rounded_count, rounded_share, rounded_total
from pipeline.config.params import Params, source_fingerprint
from pipeline.ingest.findings.money_checks import check_line_totals, check_repeated_discounts
from pipeline.ingest.findings.summary import ReadingSummary
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles

MAX_UNKNOWN_INCREASE = 0.3
"""A model looks like another shop's if the share of unknown interests exceeds that at training by more than this."""
MAJORITY = 0.5
"""A share above this causes a warning: interests outside the columns, spend of a few rows, customers who moved."""
MAX_MOVED_SHARE = 0.1
"""A larger share of customers whom today's cut points would put into another RFM group or value tier is a warning."""

NIGHT_HOURS = 6
"""Hours from midnight. They are a shop's quietest: at most a twentieth of events if the time zone is right."""
MAX_NIGHT_SHARE = 1 / 3
"""A larger share of events at night suggests a wrong time zone. Events spread evenly over the day give a quarter."""
TOP_SHARE = 0.01
"""The largest purchases, as a share of all. If they hold the `MAJORITY` of spend or items, it is by mistake."""
MIN_PURCHASES = 1_000
"""Fewer purchases are not checked."""
MIN_TIMED_EVENTS, MIN_DAYS = 1_000, 7
"""Fewer events with an hour, or fewer days with such events, are not checked: a sample of one night is no mistake."""
MAX_TIED_SHARE = 1 / 3
"""A larger share of the buyers with one and the same value cannot be divided by an RFM score."""
UNIT_RATIO = 10
"""A category with this many times the items per row of all others is probably counted in another unit."""
MIN_CONTACTS = 100
"""Fewer contacts are not checked."""
CUSTOMER_ACTIONS = (EventType.VIEW, EventType.SEARCH, EventType.FAVOURITE, EventType.CART, EventType.PURCHASE)


def check_as_of_age(params: Params, reading: ReadingSummary) -> list[str]:
    """Warn if as_of lies long after the end of the log, which makes every customer look less recent."""
    if not reading.last_event_at:  # an update that read nothing new
        return []
    last = datetime.fromisoformat(reading.last_event_at).replace(tzinfo=params.as_of.tzinfo)
    days = (params.as_of - last).total_seconds() / 86_400
    if days <= params.minimum.usual_silence_days:
        return []
    return [
        f"as_of ({params.as_of:%Y-%m-%d}) is {days:,.0f} days after the last event ({last:%Y-%m-%d}), so every "
        "customer looks inactive for that much longer. Set as_of soon after the last event, or add the rest of the log"
    ]


def check_timezone(params: Params, source: Source) -> list[str]:
    """Warn if customers are unusually active at night, which suggests that the time zone is wrong by many hours.

    An error of a few hours is not detected. Logs whose times are dates are not checked.
    """
    window = ObservationWindow(params.as_of, params.history_days)
    source_zone, local_zone = params.source.events.timezone, params.local_timezone
    events = window.of(source.events)
    events = events.filter(events.event_type.isin([str(kind) for kind in CUSTOMER_ACTIONS]))
    zones = ("UTC", source_zone, local_zone)
    clocks = {zone: local_time(events.occurred_at, timezone=zone, window=window) for zone in zones}
    # A date without an hour becomes midnight in the zone in which it was written.
    is_timed = ibis.and_(
        *((clocks[zone].truncate("D") != clocks[zone]) for zone in dict.fromkeys(("UTC", source_zone)))
    )
    at = clocks[local_zone]
    totals = events.aggregate(
        count=events.count(),
        timed=is_timed.sum(),
        night=(is_timed & (at.hour() < NIGHT_HOURS)).sum(),
        days=at.date().nunique(where=is_timed),
    )
    count, timed, night, days = (value or 0 for value in totals.to_pyarrow().to_pylist()[0].values())
    if timed < max(MIN_TIMED_EVENTS, count / 2) or days < MIN_DAYS or night <= MAX_NIGHT_SHARE * timed:
        return []
    return [
        f"{night / timed:.0%} of customer activity takes place from 0:00 to {NIGHT_HOURS}:00 in {local_zone}, when "
        "most people sleep. Times without an offset are read in source.events.timezone. If the log is in another zone "
        "than the customers' own, such as UTC, set theirs in cards.timezone"
    ]


def check_purchases(events: ir.Table, products: ir.Table | None) -> list[str]:
    """Warnings about prices, discounts and quantities that look wrongly described.

    events (customer_id, event_type, product_id, order_id, quantity, unit_price, discount, and category_path if it is
            known)     of the window
    """
    return (
        check_row_totals(events)
        + check_line_totals(events)
        + check_repeated_discounts(events)
        + check_units(events, products)
    )


def check_row_totals(events: ir.Table) -> list[str]:
    """Warn if a few rows hold most of the spend, which suggests that row totals were read as unit prices.

    events (event_type, quantity, unit_price)     of the window; only purchases count
    """
    bought = events.filter(events.event_type == str(EventType.PURCHASE))
    paid = _with_largest(bought.select(paid=bought.quantity * bought.unit_price), "paid")
    brought = paid.paid.sum(where=paid.is_large) / paid.paid.sum()
    count, share = paid.aggregate(count=paid.count(), share=brought).to_pyarrow().to_pylist()[0].values()
    if count < MIN_PURCHASES or (share or 0.0) <= MAJORITY:
        return []
    return [
        f"{TOP_SHARE:.0%} of purchases account for {share:.0%} of the spend. Spend is quantity times unit_price. If "
        "the column holds the price of the whole row, name it as amount in source.events.columns, not as unit_price"
    ]


def _with_largest(rows: ir.Table, amount: str) -> ir.Table:
    """Rows with an ``amount`` above 0; is_large marks the largest `TOP_SHARE` of them."""
    positive = rows.filter(rows[amount] > 0)
    bounded = positive.cross_join(positive.aggregate(bound=positive[amount].quantile(1.0 - TOP_SHARE)))
    return bounded.mutate(is_large=bounded[amount] > bounded.bound)


def check_units(events: ir.Table, products: ir.Table | None) -> list[str]:
    """Warn if a few rows or categories hold most items, for example because petrol is counted in millilitres.

    events (event_type, product_id, quantity, and category_path if it is known)     of the window; only purchases count
    products (product_id, category_path) or None
    """
    bought = events.filter(events.event_type == str(EventType.PURCHASE))
    own_path = bought.category_path if "category_path" in bought.columns else ibis.null("string")
    bought = with_category_path(bought.mutate(category_path=own_path), products)
    items = _with_largest(bought.select("quantity", category=at_level(bought.category_path, 1)), "quantity")
    # Rows without a category form a category.
    by_category = items.group_by(category=items.category.fill_null("")).aggregate(
        count=items.count(), items=items.quantity.sum(), large=items.quantity.sum(where=items.is_large)
    )
    categories = by_category.to_pandas().astype({"items": "float64", "large": "float64"}).fillna({"large": 0.0})
    count, total = categories["count"].sum(), categories["items"].sum()
    others = (total - categories["items"]) / (count - categories["count"]).replace(0, np.nan)
    has_other_unit = categories["items"] / categories["count"] >= UNIT_RATIO * others
    suspicious = categories[has_other_unit].sort_values("items", ascending=False)
    names = ", ".join(repr(name[:40]) for name in suspicious.category[suspicious.category != ""][:3])
    groups = [(f"{TOP_SHARE:.0%} of purchases", categories.large.sum())]
    if names:
        groups.insert(0, (f"purchases in {names}", suspicious["items"].sum()))
    held = [(label, amount / total) for label, amount in groups if amount > MAJORITY * total]
    if count < MIN_PURCHASES or not held:
        return []
    return [
        f"{held[0][0]} hold {held[0][1]:.0%} of all items. If they are counted in another unit than the rest, such as "
        "millilitres or grams, count each such row as one item in source.events.query, with the price of the whole "
        "row. Otherwise these rows dominate every figure about items"
    ]


def check_contact_events(customers: pd.DataFrame, min_group: int = 1) -> list[str]:
    """Warn if there are so many contacts that emails from the shop were probably read as contacts.

    customers (contact_count, order_count); ``min_group``: for a text that is published
    """
    contacts, orders = customers.contact_count.sum(), customers.order_count.sum()
    contacting, buyers = (customers.contact_count > 0).sum(), (customers.order_count > 0).sum()
    if contacts < MIN_CONTACTS or (contacts <= orders and contacting <= MAJORITY * buyers):
        return []
    contacts, orders = (rounded_total(customers[name], min_group) for name in ("contact_count", "order_count"))
    return [
        f"the log has {contacts:,.0f} contacts of {rounded_count(contacting, min_group):,} customers, but "
        f"{orders:,.0f} orders of {rounded_count(buyers, min_group):,}. A "
        "contact is a customer who writes or calls. List emails from the shop under email_open and email_click, or "
        "remove them from source.events.event_types"
    ]


OPTIONAL_EVENTS = (
    ("views", ("view_count",), "how close customers are to a purchase (few or none are warm)"),
    ("searches", ("search_count",), "which products customers searched for"),
    ("carts", ("cart_count",), "left_cart and the stage `cart`"),
    ("contacts", ("contact_count",), "silent_after_contact"),
    ("emails or coupons", ("email_open_count", "email_click_count", "redemption_count"), "campaign_response"),
)
"""Events that a log may lack, the profile columns that count them, what they are needed for. Prices: see reading."""


def check_missing_event_types(profile: pd.DataFrame) -> list[str]:
    """Name the event types that the log lacks, and the results that are missing without them, in one line."""
    missing = [(name, lost) for name, columns, lost in OPTIONAL_EVENTS if not profile[list(columns)].to_numpy().any()]
    if not missing:
        return []
    names, losses = zip(*missing, strict=True)
    return [f"The log has {', '.join(f'no {name}' for name in names)}, so it cannot show {'; '.join(losses)}"]


def check_category_coverage(params: Params, profiles: Profiles) -> list[str]:
    """Warn if most interests lie outside the categories that are columns, or if there are none unexpectedly."""
    cut = profiles.shop.spec.cut
    other = cut.mix[cut.other_index]
    if other <= MAJORITY:
        return []
    if len(cut.categories) == 1:
        if _is_without_categories(params):
            return []
        return [
            "no event has a category, so no interests are shown. Name the catalogue in source.products, or the column "
            "of category_path in source.events.columns"
        ]
    return [
        f"{other:.0%} of interests lie outside the {len(cut.categories) - 1} categories that are columns, and count as "
        "one category. Raise interests.max_categories, or give products a category_path with fewer, broader levels"
    ]


def _is_without_categories(params: Params) -> bool:
    """Whether the params describe a log without categories on purpose."""
    return params.source.products is None and "category_path" not in params.source.events.columns


def check_missing_data(params: Params, source: Source, profiles: Profiles) -> list[str]:
    """Notes on what the source cannot show, as it lacks event types, products or categories, or single events."""
    reading = source.summary
    if source.summaries is not None:
        return [
            "source.summaries has one row per customer, without dates: customers are described by how recently, how "
            "often and how much they bought. Visits, what was bought, changes over time and predictions are not known"
        ]
    if reading.has_products:
        return check_missing_event_types(profiles.table) + check_categories_left_out(params, profiles)
    if reading.has_orders_alone:
        return [
            "The log has orders alone: customers are described by how recently, how often and for how much they buy"
        ]
    return check_missing_event_types(profiles.table)


def check_categories_left_out(params: Params, profiles: Profiles) -> list[str]:
    """A note on what a log described without categories cannot show."""
    if not _is_without_categories(params) or len(profiles.shop.spec.cut.categories) > 1:
        return []
    return ["source.products is null and no event has a category, so no interests are shown"]


def check_champion_source(params: Params, trained: Params) -> str:
    """Warning that the champion may be another shop's, to append to a sentence; else empty.

    ``trained`` holds the champion's parameters.
    """
    if source_fingerprint(params) == source_fingerprint(trained):
        return ""
    return (
        " Warning: `source` describes other columns or event types than when the champion was trained. If this is "
        "another shop, set its own tracking.model_name and outputs.folder, and train again"
    )


def unknown_share(unknown_evidence: float, evidence: float) -> float:
    """Share of the interests in OTHER, from the evidence in it and the evidence in all categories.

    It is weighted by evidence, because customers with little of it have the average shares of the model's shop.
    """
    return unknown_evidence / max(evidence, 1e-9)


def foreign_model_signs(
    params: Params, trained: Params, cut: CategoryCut, unknown: float, drift: float | None = None
) -> list[str]:
    """Signs that a model was trained on another shop. A single sign may only mean that the shop changed.

    Parameters
    ----------
    trained : Params
        The model's parameters.
    unknown : float
        Share of the customers' interests in categories that the model does not know (`unknown_share`).
    drift : float, optional
        Share of the customers that would have to move for the segments to be as large as at training.
    """
    signs = []
    if source_fingerprint(params) != source_fingerprint(trained):
        signs.append("`source` describes other columns or event types than when it was trained")
    if unknown > cut.mix[cut.other_index] + MAX_UNKNOWN_INCREASE:
        signs.append(f"{unknown:.0%} of its customers' interests are in categories that the model does not know")
    if (drift or 0.0) > MAJORITY:
        signs.append(f"{drift:.0%} of its customers would have to move for the segments to be as large as at training")
    return signs


def check_group_cuts(moved: Mapping[str, float], trained: Params) -> list[str]:
    """Warn if many customers would be in another RFM group or value tier by the cut points of today's buyers."""
    names = {"rfm_group": "an RFM group", "value_tier": "a value tier"}
    return [
        f"{share:.0%} of the customers with {names[name]} would be in another one by today's cut points: groups and "
        f"tiers keep the cut points of the training ({trained.as_of:%Y-%m-%d}). Train again to renew them"
        for name, share in moved.items()
        if share > MAX_MOVED_SHARE
    ]


def check_rfm_ties(buyers: pd.DataFrame, cuts: ValueCuts, params: Params) -> list[str]:
    """Warn if a cut point of an RFM score is a value that many buyers have; cut points that params.yaml fixes are fine.

    buyers (days_since_last_purchase, order_count, net_spend, average_order_value)
    """
    measures = {
        "frequency": ("order_count", cuts.order_count),
        "monetary": (MONEY_COLUMNS[params.value.rfm_money], cuts.money),
        "recency": ("days_since_last_purchase", cuts.days_since_last_purchase),
    }
    warnings = []
    for name, (column, bounds) in measures.items():
        counts = {bound: int((buyers[column] == bound).sum()) for bound in dict.fromkeys(bounds)}
        bound, count = max(counts.items(), key=lambda item: item[1], default=(0.0, 0))
        is_tied = count > MAX_TIED_SHARE * len(buyers) and not is_few(count, params.naming.min_group)
        if is_tied and params.value.rfm_cuts is None:
            share = rounded_share(count, len(buyers), params.naming.min_group)
            warnings.append(
                f"{share:.0%} of the buyers have the same {column.replace('_', ' ')} ({bound:g}), so the same {name} "
                f"score; the other scores divide the rest. To choose the bounds, set value.rfm_cuts"
            )
    return warnings


def check_model(params: Params, trained: Params, signs: Sequence[str]) -> list[str]:
    """Warn if ``signs`` suggest that the model is another shop's, or if it was trained on data after as_of."""
    warnings = []
    if signs:
        warnings.append(
            f"the model may be another shop's: {', and '.join(signs)}. Train on this log, or name this shop's model "
            "with --model"
        )
    if params.as_of < trained.as_of:
        warnings.append(
            f"as_of ({params.as_of:%Y-%m-%d}) is before the model's training ({trained.as_of:%Y-%m-%d}), so the model "
            "has seen later data. Do not judge the model by these scores"
        )
    return warnings
