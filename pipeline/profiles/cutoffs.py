"""Cutoffs in the past: what was known of some customers at each, and what they bought after it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from features import signals
from features.baselines import adobe_affinity
from features.categories import lowered_parts
from features.events import EventType, ObservationWindow
from models.interests import Snapshot
from models.scorer import Floats
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.profiles.prepare_events import numbered, observe, with_columns
from pipeline.profiles.search_queries import fit_queries, query_meanings, query_table

HASH_BUCKETS = 1_000_003
MIN_HISTORY_HORIZONS = 1


def backtest_cutoffs(source: Source, params: Params) -> list[datetime]:
    """Moments a horizon apart, the last one horizon before as_of, each with at least a horizon of log before it."""
    horizon = timedelta(days=params.backtest.horizon_days)
    first = first_event(source, params)
    found = [params.as_of - place * horizon for place in range(params.backtest.cutoffs, 0, -1)]
    kept = [cutoff for cutoff in found if cutoff - MIN_HISTORY_HORIZONS * horizon >= first]
    if not kept:
        raise UserError(
            f"expected a log of at least {(MIN_HISTORY_HORIZONS + 1) * horizon.days} days before as_of for a backtest "
            f"of {horizon.days} days; it begins on {first:%Y-%m-%d}. Lower backtest.horizon_days."
        )
    return kept


def first_event(source: Source, params: Params) -> datetime:
    """When the log begins."""
    return datetime.fromisoformat(source.summary.first_event_at).replace(tzinfo=params.as_of.tzinfo)


def snapshot_at(con: Any, source: Source, params: Params, cutoff: datetime) -> tuple[Snapshot, Floats]:
    """What was known of a sample of customers at ``cutoff``, and Adobe's rule beside it (n_customers, n_categories)."""
    window = ObservationWindow(cutoff, params.history_days)
    sampled = replace(sample_of(source, params), customers=None)
    known = observe(con, sampled, params, window)
    learned = fit_queries(known.observed, known.columns, len(known.cut.categories), params)
    queries = query_table(con, query_meanings(known.observed, learned, params)[0])
    given = params.interests
    kinds = tuple(kind for kind in EventType if any(one.signal_weights.get(kind) for one in (given, given.activity)))
    counted = signals.signal_counts(known.observed, queries, window=window, kinds=kinds)
    rows = counted.order_by("customer_id", "column", "event_type", "age_bin").to_pyarrow().to_pandas()
    after = ObservationWindow(cutoff + timedelta(days=params.backtest.horizon_days), params.backtest.horizon_days)
    later = with_columns(numbered(after.of(sampled.events), known.customers), sampled, known.columns)
    bought = signals.purchases_by_category(later).order_by("customer_id", "column").to_pyarrow().to_pandas()
    adobe = adobe_affinity(known.observed).order_by("customer_id", "column").to_pyarrow().to_pandas()

    customers = pd.Index(np.unique(known.observed.customer_id.to_pyarrow().to_numpy()))
    shape = (len(customers), len(known.cut.categories))
    ages = known.customers.select("customer_id", age_days=window.age_days(known.customers.last_counted_at))
    last_age = ages.to_pyarrow().to_pandas().set_index("customer_id").age_days.reindex(customers).fillna(0.0)
    snapshot = Snapshot(
        customer=customers.get_indexer(pd.Index(rows.customer_id)).astype(np.int64),
        column=rows.column.to_numpy(np.int64),
        kind=pd.Index([str(kind) for kind in kinds]).get_indexer(pd.Index(rows.event_type)).astype(np.int64),
        event_count=rows.event_count.to_numpy(np.float64),
        mean_age_days=rows.mean_age_days.to_numpy(np.float64),
        min_age_days=rows.min_age_days.to_numpy(np.float64),
        kinds=tuple(str(kind) for kind in kinds),
        paths=tuple(lowered_parts(category) for category in known.cut.categories),
        level=known.cut.level,
        mix=np.array(known.cut.mix),
        last_age_days=last_age.to_numpy(np.float64),
        bought=_matrix(customers, bought, np.ones(len(bought)), shape)[:, :-1] > 0,
    )
    return snapshot, _matrix(customers, adobe, adobe.affinity.to_numpy(np.float64), shape)


def _matrix(customers: pd.Index, pairs: pd.DataFrame, values: Floats, shape: tuple[int, int]) -> Floats:
    """Values at (customer, column); pairs of customers who are not among ``customers`` are left out."""
    place = customers.get_indexer(pd.Index(pairs.customer_id))
    found = np.zeros(shape)
    inside = place >= 0
    found[place[inside], pairs.column.to_numpy(np.int64)[inside]] = values[inside]
    return found


def sample_of(source: Source, params: Params) -> Source:
    """The events and entries of at most ``backtest.sample_customers`` customers, the same at every cutoff."""
    share = params.backtest.sample_customers / max(source.summary.customer_count, 1)
    if share >= 1.0:
        return source
    events, customers = (
        table
        if table is None
        else table.filter(table.customer_id.hash().abs() % HASH_BUCKETS < int(share * HASH_BUCKETS))
        for table in (source.events, source.customers)
    )
    return replace(source, events=events, customers=customers)
