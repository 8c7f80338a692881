"""The profile: one row of numbers per customer, and the ProfileSpec that fixes its columns at training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import ibis
import ibis.expr.types as ir

from features.categories import CategoryCut
from features.context import CHANNEL_PREFIX
from features.events import SECONDS_PER_DAY, EventType, ObservationWindow
from features.interests import SHARE_PREFIX
from features.occasions import PARTS_OF_DAY
from features.value import ValueCuts

DAYS_PER_WEEK = 7.0
JOURNEY: dict[str, tuple[str, float | None]] = {
    **{
        f"{name}_count": ("log", 0.0)
        for name in ("event", "session", "view", "search", "favourite", "cart", "abandoned_cart")
    },
    "activity": ("log", 0.0),
    "visits_per_week": ("log", 0.0),
    "orders_per_visit": ("root", 0.0),
    "abandoned_carts_per_visit": ("root", 0.0),
    # As they are: a logarithm hardly tells half a year from a year.
    "days_since_last_event": ("none", None),
    "days_from_first_to_last_event": ("log", 0.0),
}
"""Columns that the journey may be told by, and their transform and what stands for a null."""
RATES: dict[str, tuple[str, str]] = {
    "carts_per_view": ("cart_count", "view_count"),
    "orders_per_cart": ("order_count", "cart_session_count"),
    "returns_per_purchase": ("return_count", "purchase_count"),
    "contacts_per_order": ("contact_count", "order_count"),
}
"""Rate -> the columns of the profile that count its events and the occasions for them."""


@dataclass(frozen=True)
class Column:
    """One number of a profile, and how a clusterer is to read it.

    Attributes
    ----------
    block : str
        interest, value, journey, context, benefits or rates.
    transform : str
        none; log: log1p of counts, days and money; root: of shares, so that distances are Hellinger's; rate: arcsine of
        the root of a posterior mean.
    missing : float or None
        What stands for a null, before the transform; None: the mean at training.
    counts : (str, str) or None
        Of a rate: the columns of the profile with its numerator and its denominator. The rate itself is no column of
        the profile: how far it is shrunk is fitted at training.
    """

    name: str
    block: str
    transform: str
    missing: float | None
    counts: tuple[str, str] | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the profile that it is computed from."""
        return self.counts or (self.name,)


@dataclass(frozen=True)
class ProfileSpec:
    """All that was learned about the shop before clustering, and that scoring must not learn again.

    Attributes
    ----------
    cut : CategoryCut
        Categories that are columns, and the shop's mix.
    channels : tuple of str
        Channels that are columns.
    mean_prices : tuple of float or None
        Mean price by category column.
    value_cuts : ValueCuts
        Bounds of RFM scores and value tiers.
    has_session_ids : bool
        Visits are the log's own, or found by gaps.
    has_campaigns : bool
        The log has letters or coupons.
    log_start : datetime
        First event of the window, in UTC without a zone.
    history_days : float
        Length of the window; also what stands for "never" in days.
    journey_columns : tuple of str
        Of `JOURNEY`, those that customers are clustered by.
    """

    cut: CategoryCut
    channels: tuple[str, ...]
    mean_prices: tuple[float | None, ...]
    value_cuts: ValueCuts
    has_session_ids: bool
    has_campaigns: bool
    log_start: datetime
    history_days: float
    journey_columns: tuple[str, ...]

    def columns(self) -> list[Column]:
        """Columns that the clusterer reads, by block."""
        never = float(self.history_days)
        interest = [Column(SHARE_PREFIX + category, "interest", "root", None) for category in self.cut.categories]
        value = [
            Column("days_since_last_purchase", "value", "log", never),
            Column("order_count", "value", "log", 0.0),
            Column("spend", "value", "log", 0.0),
        ]
        journey = [Column(name, "journey", *JOURNEY[name]) for name in self.journey_columns]
        context = [
            Column("return_rate", "context", "none", None),
            Column("contact_rate", "context", "none", None),
            Column("weekend_share", "context", "none", None),
            *(Column(f"{part}_share", "context", "none", None) for part in PARTS_OF_DAY),
            *(Column(CHANNEL_PREFIX + channel, "context", "none", None) for channel in self.channels),
        ]
        benefits = [
            Column("discount_share", "benefits", "none", None),
            Column("price_level", "benefits", "log", None),
            Column("items_per_order", "benefits", "log", None),
            Column("novelty_share", "benefits", "none", None),
            Column("brand_loyalty", "benefits", "none", None),
        ]
        rates = [Column(name, "rates", "rate", None, counts) for name, counts in RATES.items()]
        return [*interest, *value, *journey, *context, *benefits, *rates]

    def log_days(self, window: ObservationWindow) -> float:
        """Days of ``window`` that the log is old."""
        return min((window.end - self.log_start).total_seconds() / SECONDS_PER_DAY, window.history_days)

    def to_json(self) -> str:
        """The spec as text; `from_json` gives it back."""
        return json.dumps(asdict(self), default=datetime.isoformat, sort_keys=True, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> ProfileSpec:
        """A spec from `to_json`."""
        raw = json.loads(text)
        cut = raw["cut"]
        return ProfileSpec(
            cut=CategoryCut(cut["level"], tuple(cut["categories"]), tuple(cut["mix"])),
            channels=tuple(raw["channels"]),
            mean_prices=tuple(raw["mean_prices"]),
            value_cuts=ValueCuts.from_lists(raw["value_cuts"]),
            has_session_ids=raw["has_session_ids"],
            has_campaigns=raw["has_campaigns"],
            log_start=datetime.fromisoformat(raw["log_start"]),
            history_days=raw["history_days"],
            journey_columns=tuple(raw["journey_columns"]),
        )


def profile_table(customers: ir.Table, measures: Sequence[ir.Table]) -> ir.Table:
    """All measures side by side.

        customers (customer_id, ...), measures (customer_id, ...)
     -> profiles (customer_id, ...)     one row per customer; null where a measure has no row

    Counts and sums of customers without events become 0, not null. Rates: visits_per_week (from the first to the last
    event, at least a week), orders_per_visit, abandoned_carts_per_visit, return_rate and contact_rate.
    """
    table = customers
    for measure in measures:
        table = table.left_join(measure, "customer_id").drop("customer_id_right")
    zero = {
        "event_count",
        "session_count",
        "cart_session_count",
        "abandoned_cart_count",
        "activity",
        "temperature_points",
    }
    zero |= {"order_count", "spend", "net_spend", "returned_spend", "item_count", "returned_item_count", "evidence"}
    zero |= {f"{kind}_count" for kind in EventType}
    table = table.mutate(**{name: table[name].fill_null(0.0) for name in sorted(zero)})
    visits = ibis.greatest(table.session_count, 1.0)
    weeks = ibis.greatest(table.days_from_first_to_last_event.fill_null(0.0) / DAYS_PER_WEEK, 1.0)
    return table.mutate(
        visits_per_week=table.session_count / weeks,
        orders_per_visit=table.order_count / visits,
        abandoned_carts_per_visit=table.abandoned_cart_count / visits,
        return_rate=(table.returned_item_count / table.item_count.nullif(0.0)).clip(upper=1.0),
        contact_rate=table.contact_count / table.event_count.nullif(0.0),
    )
