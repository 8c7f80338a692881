"""What customers did lately: a whole window of a year moves too slowly to show what changed last month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from features import categories
from features.events import EventType, ObservationWindow
from features.profile import ProfileSpec
from features.value import order_key
from models.disclosure import rounded_events, shares_of_whole
from pipeline.ingest.source import Source

COLUMNS = ("event_count", "order_count")


@dataclass(frozen=True)
class RecentActivity:
    """What customers did in the days before a moment.

    Attributes
    ----------
    customers : DataFrame
        `COLUMNS`, one row per customer with an event.
    category_shares : dict of str to float
        Category at the model's level -> share of the events with a category, from rounded numbers of events.
    """

    customers: pd.DataFrame
    category_shares: dict[str, float]


def recent_activity(source: Source, spec: ProfileSpec, as_of: datetime, days: float, min_group: int) -> RecentActivity:
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
    totals = counts.groupby("category").event_count.sum().sort_index()
    customers = by_customer.order_by("customer_id").select(*COLUMNS).to_pandas()
    counted = rounded_events(totals, len(customers), min_group)
    shares = shares_of_whole(counted, counted.sum())
    return RecentActivity(customers, dict(zip(totals.index.astype(str), shares.tolist(), strict=True)))
