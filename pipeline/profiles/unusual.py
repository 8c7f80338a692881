"""Customers far beyond all others: found in the log, reported, and set apart in training (`outliers`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import ibis
import pandas as pd
import pyarrow as pa

from features import outliers
from features.events import ObservationWindow
from features.outliers import Measure
from models.disclosure import is_few
from models.scorer import IS_UNUSUAL, capped
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.stores import files
from pipeline.stores.engines.engine import Engine
from pipeline.stores.writers import write_table

FILE = "unusual_customers.csv"
CAPPED = (
    *("spend", "net_spend", "returned_spend", "average_order_value", "items_per_order"),
    *("activity", "temperature_points", "visits_per_week", "orders_per_visit"),
)
"""Columns of profiles that are capped, besides all counts: those that grow without bound."""
REASONS: dict[Measure, str] = {
    "spend": "by spend",
    "order_count": "by orders",
    "event_count": "by events",
    "orders_per_day": "by orders a day",
    "clock_order_days": "with orders as regular as a clock",
}
REMEDIES = {
    "warn": "They can distort segments. List those who are no customers in source.exclude, or set outliers.action: "
    "exclude (no scores), own_segment (`Unusual customers`) or cap (they count as very good customers)",
    "cap": "When segments are made, they count as very good customers (outliers.action: cap)",
    "own_segment": "They are a segment of their own (outliers.action: own_segment)",
    "exclude": "They are left out of training and scores (outliers.action: exclude)",
}


@dataclass(frozen=True)
class UnusualCustomers:
    """The customers beyond the limits.

    Attributes
    ----------
    limits : dict
        Measure -> the most that a usual customer has.
    table : DataFrame
        customer_id, event_count, order_count, spend, order_day_count, and reasons (measures, joined); by customer_id.
    shares : dict
        Measure -> their share of the shop's, for events, orders and spend.
    """

    limits: dict[Measure, float]
    table: pd.DataFrame
    shares: dict[Measure, float]

    def warnings(self, params: Params, *, is_published: bool = False) -> list[str]:
        """How many there are, why, their share, and what to do, without their ids; none if there are none.

        In a text that is published, there is nothing on a few customers but that there are some.
        """
        count = len(self.table)
        if not count:
            return []
        reasons = self.table.reasons.str.split("; ").explode().value_counts()
        if is_published and is_few(count, params.naming.min_group):
            return [
                f"fewer than {params.naming.min_group} customers are far beyond all others: perhaps staff, tests, "
                f"wholesale, programs. {FILE} in outputs.folder lists them. {REMEDIES[params.outliers.action]}"
            ]
        why = ", ".join(f"{reasons[name]:,} {text}" for name, text in REASONS.items() if name in reasons)
        held = ", ".join(
            f"{self.shares[name]:.1%} of {what}"
            for name, what in (("spend", "the spend"), ("order_count", "the orders"), ("event_count", "all events"))
            if name in self.shares
        )
        who = "customer is" if count == 1 else "customers are"
        return [
            f"{count:,} {who} far beyond all others ({why}), with {held}: perhaps staff, tests, wholesale, programs. "
            f"{FILE} in outputs.folder lists them. {REMEDIES[params.outliers.action]}"
        ]

    def write(self, folder: Path) -> None:
        """Write the customers to a file that only its owner can read; without any, delete the file."""
        if self.table.empty:
            (folder / FILE).unlink(missing_ok=True)
        else:
            write_table(folder / FILE, self.table, mode=files.PRIVATE)

    def left_out_of(self, engine: Engine, source: Source) -> Source:
        """The source without these customers."""
        unusual = engine.upload(
            pa.Table.from_pandas(self.table[["customer_id"]], preserve_index=False), "unusual_customers"
        )
        events, customers = (
            table if table is None else table.anti_join(unusual, "customer_id")
            for table in (source.events, source.customers)
        )
        return replace(source, events=events, customers=customers)


def find_unusual(engine: Engine, source: Source, params: Params) -> UnusualCustomers:
    """The customers beyond the limits of ``params``, or those found in the log where ``params`` sets none."""
    events = ObservationWindow(params.as_of, params.history_days).of(source.events)
    settings = params.outliers
    totals = engine.materialise(outliers.customer_totals(events), "customer_totals")
    found = outliers.usual_limits(totals, min_ratio=settings.min_ratio, min_share=settings.min_share).to_pandas()
    limits = found.iloc[0].dropna().to_dict() | settings.limits
    measures = outliers.unusual_measures(totals, limits)
    none = ibis.null("string")
    reasons = [is_above.ifelse(name, none) for name, is_above in measures.items()] or [none]  # none: an empty log
    unusual = totals.mutate(reasons=ibis.literal("; ").join(reasons)).filter(outliers.is_unusual(totals, limits))
    table = unusual.order_by("customer_id").to_pandas()
    sums = totals.aggregate(**{name: totals[name].sum() for name in outliers.SHARED}).to_pandas().iloc[0]
    shares = {name: float(table[name].sum() / sums[name]) for name in outliers.SHARED if sums[name] > 0}
    shown = ["customer_id", "event_count", "order_count", "spend", "order_day_count", "reasons"]
    return UnusualCustomers(limits, table[shown], shares)


def set_apart(engine: Engine, source: Source, params: Params, folder: Path) -> tuple[Source, Params, list[str]]:
    """Find unusual customers before a training, and write them to a file in ``folder``.

    Returns
    -------
    (Source, Params, list of str)
        The source, without them if they are excluded; the params, with the limits that scoring will need; and warnings.
    """
    unusual = find_unusual(engine, source, params)
    unusual.write(folder)
    warnings = [f"Warning: {text}" for text in unusual.warnings(params, is_published=True)]
    if params.outliers.action == "warn":
        return source, params, warnings
    if params.outliers.action == "exclude" and len(unusual.table):
        source = unusual.left_out_of(engine, source)
    settings = params.outliers.model_copy(update={"limits": unusual.limits})
    return source, params.model_copy(update={"outliers": settings}), warnings


def cap_unusual(profile: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """The profile (..., is_unusual) with unusual customers capped, and the caps by column.

    They are winsorised (Tukey, 1962) at the 99th percentile of the others with any, so that they count as very good
    customers. At the others' maximum they would still lie outside every segment. The others stay as they are.
    """
    others = profile[~profile[IS_UNUSUAL]]
    columns = [str(name) for name in profile if name in CAPPED or str(name).endswith("_count")]
    quantiles = others[columns].where(others[columns] > 0).quantile(outliers.USUAL_QUANTILE).dropna()
    caps = {str(name): float(value) for name, value in quantiles.items()}
    return capped(profile, caps), caps
