"""Past cutoffs: what was known about a sample of customers at each, and what they bought afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

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
from pipeline.profiles.prepare_events import prepare_events, with_columns, with_customer_numbers
from pipeline.profiles.search_queries import fit_queries, query_meanings, query_table
from pipeline.stores.engines.engine import Engine

HASH_DIGITS = 8
MIN_HISTORY_HORIZONS = 1


def backtest_cutoffs(source: Source, params: Params) -> list[datetime]:
    """Cutoffs one horizon apart. The last is a horizon before as_of; each has at least a horizon of log before it."""
    horizon = timedelta(days=params.backtest.horizon_days)
    first = first_event(source, params)
    candidates = [params.as_of - number * horizon for number in range(params.backtest.cutoffs, 0, -1)]
    cutoffs = [cutoff for cutoff in candidates if cutoff - MIN_HISTORY_HORIZONS * horizon >= first]
    if not cutoffs:
        raise UserError(
            f"expected a log of at least {(MIN_HISTORY_HORIZONS + 1) * horizon.days} days before as_of for a backtest "
            f"of {horizon.days} days, but the log begins on {first:%Y-%m-%d}. Lower backtest.horizon_days."
        )
    return cutoffs


def first_event(source: Source, params: Params) -> datetime:
    """Time of the first event in the log."""
    return datetime.fromisoformat(source.summary.first_event_at).replace(tzinfo=params.as_of.tzinfo)


def snapshot_at(engine: Engine, source: Source, params: Params, cutoff: datetime) -> tuple[Snapshot, Floats]:
    """Snapshot of a sample of customers at ``cutoff``, and their Adobe affinities (n_customers, n_categories)."""
    window = ObservationWindow(cutoff, params.history_days)
    sampled = replace(sample_of(source, params.backtest.sample_customers), customers=None)
    prepared = prepare_events(engine, sampled, params, window)
    learned = fit_queries(prepared.observed, prepared.columns, len(prepared.cut.categories), params)
    queries = query_table(engine, query_meanings(prepared.observed, learned, params)[0])
    decays = (params.interests, params.interests.activity)
    kinds = tuple(kind for kind in EventType if any(decay.signal_weights.get(kind) for decay in decays))
    counted = signals.signal_counts(prepared.observed, queries, window=window, kinds=kinds)
    rows = counted.to_pyarrow().to_pandas()
    rows = rows.assign(kind=pd.Index([str(kind) for kind in kinds]).get_indexer(pd.Index(rows.event_type)))
    rows = rows.sort_values(["customer_id", "column", "kind", "age_bin"], ignore_index=True)
    after = ObservationWindow(cutoff + timedelta(days=params.backtest.horizon_days), params.backtest.horizon_days)
    later = with_columns(with_customer_numbers(after.of(sampled.events), prepared.customers), sampled, prepared.columns)
    bought = signals.purchases_by_category(later).order_by("customer_id", "column").to_pyarrow().to_pandas()
    adobe = adobe_affinity(prepared.observed).order_by("customer_id", "column").to_pyarrow().to_pandas()

    customers = pd.Index(np.unique(prepared.observed.customer_id.to_pyarrow().to_numpy()))
    shape = (len(customers), len(prepared.cut.categories))
    ages = prepared.customers.select("customer_id", age_days=window.age_days(prepared.customers.last_counted_at))
    last_age = ages.to_pyarrow().to_pandas().set_index("customer_id").age_days.reindex(customers).fillna(0.0)
    snapshot = Snapshot(
        customer=customers.get_indexer(pd.Index(rows.customer_id)).astype(np.int64),
        column=rows.column.to_numpy(np.int64),
        kind=rows.kind.to_numpy(np.int64),
        event_count=rows.event_count.to_numpy(np.float64),
        mean_age_days=rows.mean_age_days.to_numpy(np.float64),
        min_age_days=rows.min_age_days.to_numpy(np.float64),
        kinds=tuple(str(kind) for kind in kinds),
        paths=tuple(lowered_parts(category) for category in prepared.cut.categories),
        level=prepared.cut.level,
        mix=np.array(prepared.cut.mix),
        last_age_days=last_age.to_numpy(np.float64),
        bought=_matrix(customers, bought, np.ones(len(bought)), shape)[:, :-1] > 0,
    )
    return snapshot, _matrix(customers, adobe, adobe.affinity.to_numpy(np.float64), shape)


def _matrix(customers: pd.Index, pairs: pd.DataFrame, values: Floats, shape: tuple[int, int]) -> Floats:
    """Matrix of the values at (customer, column); pairs of other customers are left out."""
    row = customers.get_indexer(pd.Index(pairs.customer_id))
    matrix = np.zeros(shape)
    inside = row >= 0
    matrix[row[inside], pairs.column.to_numpy(np.int64)[inside]] = values[inside]
    return matrix


def sample_of(source: Source, count: int | None) -> Source:
    """The source limited to about ``count`` customers, the same ones at every cutoff and on every engine; None: all."""
    share = 1.0 if count is None else count / max(source.summary.customer_count, 1)
    if share >= 1.0:
        return source
    # Engines have hashes of their own, but one MD5. Its first digits are spread evenly.
    bound = f"{int(share * 16**HASH_DIGITS):0{HASH_DIGITS}x}"
    events, customers = (
        table if table is None else table.filter(table.customer_id.hexdigest("md5").substr(0, HASH_DIGITS) < bound)
        for table in (source.events, source.customers)
    )
    return replace(source, events=events, customers=customers)


def training_sample(engine: Engine, source: Source, params: Params) -> Source:
    """The source limited to about ``sample_customers`` customers, whose events are a table, as they are read often."""
    sample = sample_of(source, params.sample_customers)
    return sample if sample is source else replace(sample, events=engine.materialise(sample.events, "training_events"))
