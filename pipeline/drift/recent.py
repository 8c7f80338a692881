"""What customers did lately: a whole window of a year moves too slowly to show what changed last month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from features import categories
from features.events import EventType, ObservationWindow
from features.profile import ProfileSpec
from features.value import order_key
from pipeline.ingest.source import Source

COLUMNS = ("event_count", "order_count")


@dataclass(frozen=True)
class RecentActivity:
    """What customers did in the days before a moment.

    Attributes
    ----------
    customers : DataFrame
        `COLUMNS`, one row per customer with an event.
    category_counts : Series of int
        Events by category at the model's level.
    """

    customers: pd.DataFrame
    category_counts: pd.Series

    @property
    def category_shares(self) -> dict[str, float]:
        """Category -> share of the events with a category."""
        return shares_by_name(self.category_counts)


def shares_by_name(counts: pd.Series) -> dict[str, float]:
    """Counts as shares of their sum."""
    return {str(name): float(share) for name, share in (counts / max(counts.sum(), 1.0)).items()}


def recent_activity(source: Source, spec: ProfileSpec, as_of: datetime, days: float) -> RecentActivity:
    """The events of the ``days`` before ``as_of``."""
    events = ObservationWindow(as_of, days).of(source.events)
    keyed = events.mutate(order_key=order_key(events), is_order=events.event_type == str(EventType.PURCHASE))
    by_customer = keyed.group_by("customer_id").aggregate(
        event_count=keyed.count(), order_count=keyed.order_key.nunique(where=keyed.is_order)
    )
    seen = events.filter(events.event_type != str(EventType.SEARCH))
    by_product = seen.group_by("product_id", "category_path").aggregate(event_count=seen.count())
    paths = categories.with_category_path(by_product, source.products)
    paths = paths.filter(paths.category_path.notnull())
    counts = categories.roll_up(paths, spec.cut.level, count="event_count").to_pandas()
    counts["category"] = counts.category.str.lower()
    total = counts.groupby("category").event_count.sum().sort_index()
    return RecentActivity(
        by_customer.order_by("customer_id").select(*COLUMNS).to_pandas(),
        total.astype("int64"),
    )
