"""The table of scores: takes profiles batch by batch and returns one row per customer."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from features.categories import OTHER
from features.interests import SHARE_PREFIX
from features.journey import JOURNEY_EVENTS, JOURNEY_PREFIX
from features.profile import ProfileSpec
from features.seasons import SEASON_LISTS
from models.scorer import EXPECTED_VALUE, Floats, facet_column
from models.top_categories import top_categories
from pipeline.config.facets import facets_of
from pipeline.config.params import Params
from pipeline.profiles.build import profile_batches
from pipeline.profiles.measures import CustomerMeasures
from pipeline.profiles.seasonality import expected_shares_for_batch
from pipeline.scoring.hysteresis import AS_OF
from pipeline.stores import model_registry
from pipeline.stores.engines.engine import Engine

FROM_PROFILE = (
    "lifecycle_stage",
    "temperature",
    "rfm_group",
    "value_tier",
    "days_since_last_purchase",
    "order_count",
    "spend",
)
APPENDED_COLUMNS = (
    "usual_interval_days",
    "interval_variation",
    "holiday_order_share",
    "gift_order_share",
    "payday_order_share",
    "campaign_response",
    "click_rate",
    "next_tier",
    "next_tier_needs",
    "redemptions_per_order",
    "returned_spend",
    "activity",
    "recency_score",
    "frequency_score",
    "monetary_score",
)
"""Profile columns added to the scores later, at the end, because some readers count columns from the left."""
Batch = tuple[pa.RecordBatch, pd.DataFrame]
DRIFT_COLUMNS = ("evidence", SHARE_PREFIX + OTHER)
"""Profile columns that `sanity_checks.foreign_model_signs` reads."""


def score_profiles(
    engine: Engine,
    measures: CustomerMeasures,
    mix: Floats,
    params: Params,
    model: model_registry.LoadedModel,
    *,
    threads: int,
) -> tuple[pa.Table, pd.DataFrame]:
    """The profile columns of the scores and the segment columns; one row per customer each, sorted by customer_id.

    Profiles of a million customers take a gigabyte, so only a few batches are in memory at once.

    Parameters
    ----------
    mix : float array of shape (n_slots, n_categories)
        Result of `models.seasons.period_mixes`.
    params : Params
        Params of the model.
    threads : int
        0: one per core.

    Returns
    -------
    Table
        customer_id, `DRIFT_COLUMNS`, `FROM_PROFILE`, `APPENDED_COLUMNS`, top_categories, journey_events.
    DataFrame
        The predictions of the model.
    """
    spec = measures.shop.spec
    score_batch = functools.partial(_score_batch, spec=spec, mix=mix, params=params, model=model)
    batches = profile_batches(engine, measures, params, columns=profile_columns(model, spec))
    kept_batches, predicted = zip(
        *_on_threads(score_batch, batches, threads or len(os.sched_getaffinity(0))), strict=True
    )
    profiles = pa.Table.from_batches(kept_batches).combine_chunks()
    order = pc.sort_indices(profiles["customer_id"])
    rows = pd.concat(predicted, ignore_index=True).take(order.to_numpy()).reset_index(drop=True)
    return profiles.take(order), rows


def _score_batch(
    batch: pa.RecordBatch, *, spec: ProfileSpec, mix: Floats, params: Params, model: model_registry.LoadedModel
) -> Batch:
    profile = batch.to_pandas(split_blocks=True)
    names = ["customer_id", *DRIFT_COLUMNS, *FROM_PROFILE, *APPENDED_COLUMNS]
    # Copied with take, because a selected column would keep its whole batch in memory.
    kept = batch.select(names).take(np.arange(len(profile)))
    top = top_categories(
        profile,
        spec,
        expected_shares_for_batch(profile, spec, mix, kappa=params.interests.kappa),
        max_count=params.naming.top_categories,
        min_lift=params.naming.min_lift,
        min_share=params.naming.min_interest_share,
    )
    kept = kept.append_column("top_categories", top).append_column("journey_events", journey_events(profile))
    return kept, model.predict(profile)


def _on_threads(
    work: Callable[[pa.RecordBatch], Batch], batches: Iterable[pa.RecordBatch], count: int
) -> Iterator[Batch]:
    """Results of ``work`` for each batch, in order; at most one batch more than there are threads is in memory."""
    waiting: deque[Future[Batch]] = deque()
    # Each worker computes one batch on a single thread, so the libraries do not start further threads.
    single_thread = functools.partial(threadpool_limits, 1, user_api="openmp")
    with threadpool_limits(limits=1), ThreadPoolExecutor(count, initializer=single_thread) as pool:
        for batch in batches:
            waiting.append(pool.submit(work, batch))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def score_table(
    profiles: pa.Table, predicted: pd.DataFrame, params: Params, model: model_registry.LoadedModel
) -> pa.Table:
    """The table of scores, with the rows in the order of ``profiles`` and ``predicted``."""
    same = pa.array(np.zeros(len(predicted), np.int64))
    # Columns of further facets come last, because some readers count columns from the left.
    prefixes = [facet.column_prefix for facet in facets_of(params) if not facet.is_first]
    names = [str(name) for name in predicted]
    further_prefixes = tuple(facet_column(start, prefix) for prefix in prefixes for start in ("", "next_", "is_"))
    first = [name for name in names if not name.startswith(further_prefixes) and name not in EXPECTED_VALUE]
    further = [name for name in names if name.startswith(further_prefixes)]

    def as_in_history(name: str) -> pa.ChunkedArray:
        """The string type that pandas writes, so scores and `kindred history` have the same schema."""
        column = profiles[name]
        return column.cast(pa.large_string()) if pa.types.is_string(column.type) else column

    # A model without an expected value, or of an earlier version, has no such columns; the scores always have them.
    values = predicted.reindex(columns=[*EXPECTED_VALUE]).astype(np.float64)
    columns = {
        "customer_id": as_in_history("customer_id"),
        "as_of": pa.array([params.as_of], AS_OF).take(same),
        **{name: pa.array(predicted[name], from_pandas=True) for name in first},
        **{name: as_in_history(name) for name in (*FROM_PROFILE, "top_categories")},
        "model_uri": pa.array([model.uri]).take(same),
        "run_id": pa.array([model.run_id]).take(same),
        **{name: profiles[name] for name in ("journey_events", *APPENDED_COLUMNS)},
        **{name: pa.array(values[name], from_pandas=True) for name in EXPECTED_VALUE},
        **{name: pa.array(predicted[name], from_pandas=True) for name in further},
    }
    return pa.table(columns)


def profile_columns(model: model_registry.LoadedModel, spec: ProfileSpec) -> set[str]:
    """Profile columns that the model and the scores need."""
    shares = [SHARE_PREFIX + category for category in spec.cut.categories]
    events = [JOURNEY_PREFIX + name for name in JOURNEY_EVENTS]
    return {
        "customer_id",
        *SEASON_LISTS,
        *DRIFT_COLUMNS,
        *model.columns,
        *shares,
        *events,
        *FROM_PROFILE,
        *APPENDED_COLUMNS,
    }


def journey_events(profile: pd.DataFrame) -> pa.ListArray:
    """Lists of each customer's journey events, in the order of `features.journey.JOURNEY_EVENTS`; may be empty."""
    has_event = profile[[JOURNEY_PREFIX + name for name in JOURNEY_EVENTS]].to_numpy(dtype=bool)
    offsets = np.concatenate([[0], has_event.sum(axis=1).cumsum()])
    names = pa.array(JOURNEY_EVENTS, pa.string())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), names.take(pa.array(np.nonzero(has_event)[1])))
