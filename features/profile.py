"""The customer profile: one row of numbers per customer. ProfileSpec fixes its columns at training."""

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
    # Not transformed: a logarithm hardly separates half a year from a year.
    "days_since_last_event": ("none", None),
    "days_from_first_to_last_event": ("log", 0.0),
}
"""Columns available to the journey block -> their transform and the replacement for nulls."""
RATES: dict[str, tuple[str, str]] = {
    "carts_per_view": ("cart_count", "view_count"),
    "orders_per_cart": ("order_count", "cart_session_count"),
    "returns_per_purchase": ("return_count", "purchase_count"),
    "contacts_per_order": ("contact_count", "order_count"),
}
"""Rate -> the profile columns of its numerator and denominator."""


@dataclass(frozen=True)
class Column:
    """A number of a profile, and how the clusterer reads it.

    Attributes
    ----------
    block : str
        interest, value, journey, context, benefits or rates.
    transform : str
        none; log: log1p, for counts, days and money; root: square root, for shares, which makes distances Hellinger
        distances; rate: arcsine of the square root of a posterior mean.
    missing : float or None
        Replacement for nulls, before the transform; None: the mean at training.
    counts : (str, str) or None
        For a rate: the profile columns of its numerator and denominator. The rate itself is not a column of the
        profile, because its shrinkage is fitted at training.
    """

    name: str
    block: str
    transform: str
    missing: float | None
    counts: tuple[str, str] | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Profile columns it is computed from."""
        return self.counts or (self.name,)


@dataclass(frozen=True)
class ProfileSpec:
    """What training learned about the shop before clustering; scoring reuses it and never learns it again.

    Attributes
    ----------
    cut : CategoryCut
        The category columns and the shop's mix.
    channels : tuple of str
        Channels that are columns.
    mean_prices : tuple of float or None
        Mean price by category column.
    value_cuts : ValueCuts
        Bounds of RFM scores and value tiers.
    has_session_ids : bool
        Whether visits come from the log; otherwise they are derived from gaps.
    has_campaigns : bool
        Whether the log has emails or coupons.
    log_start : datetime
        Time of the first event of the window, in UTC without a zone.
    history_days : float
        Length of the window; also the number of days used for "never".
    journey_columns : tuple of str
        The columns of `JOURNEY` used for clustering.
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
        """Columns the clusterer reads, by block."""
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
        """Age of the log in days, at most the length of ``window``."""
        return min((window.end - self.log_start).total_seconds() / SECONDS_PER_DAY, window.history_days)

    def to_json(self) -> str:
        """The spec as JSON text, to be read by `from_json`."""
        return json.dumps(asdict(self), default=datetime.isoformat, sort_keys=True, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> ProfileSpec:
        """The spec from the text of `to_json`."""
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
    """All measures joined into one table.

        customers (customer_id, ...), measures (customer_id, ...)
     -> profiles (customer_id, ...)     one row per customer; null where a measure has no row

    Counts and sums of customers without events are 0, not null. Rates are added: visits_per_week (from the first to the
    last event, at least a week), orders_per_visit, abandoned_carts_per_visit, return_rate and contact_rate.
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
