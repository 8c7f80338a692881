"""The table of scores: profiles in, batch by batch; a row per customer out."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from features.categories import OTHER
from features.interests import SHARE_PREFIX
from features.journey import JOURNEY_EVENTS, JOURNEY_PREFIX
from features.profile import ProfileSpec
from features.seasons import SEASONS
from models.scorer import Floats, facet_column
from models.top_categories import top_categories
from pipeline.config.facets import facets_of
from pipeline.config.params import Params
from pipeline.profiles.build import Measures, profile_batches
from pipeline.profiles.seasonality import expected_of
from pipeline.scoring.hysteresis import AS_OF
from pipeline.stores import model_registry

FROM_PROFILE = (
    "lifecycle_stage",
    "temperature",
    "rfm_group",
    "value_tier",
    "days_since_last_purchase",
    "order_count",
    "spend",
)
AT_THE_END = (
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
)
"""Columns of the profile that came to the scores later: their readers count columns from the left."""
Batch = tuple[pa.RecordBatch, pd.DataFrame]
SIGNS = ("evidence", SHARE_PREFIX + OTHER)
"""What `sanity_checks.of_another_shop` reads of the profile."""


def scored(
    con: Any, measures: Measures, mix: Floats, params: Params, model: model_registry.LoadedModel, *, threads: int
) -> tuple[pa.Table, pd.DataFrame]:
    """What scores tell of profiles, and the segment columns: a row per customer each, sorted by customer_id.

    Profiles of a million customers take a gigabyte, of which little is kept: a few batches are there at once.

    Parameters
    ----------
    mix : float array of shape (n_slots, n_categories)
        `models.seasons.period_mixes`.
    params : Params
        Of the model.
    threads : int
        0: as many as there are cores.

    Returns
    -------
    Table
        customer_id, `SIGNS`, `FROM_PROFILE`, `AT_THE_END`, top_categories, journey_events.
    DataFrame
        What the model predicts.
    """
    spec = measures.shop.spec

    def score_batch(batch: pa.RecordBatch) -> Batch:
        profile = batch.to_pandas(split_blocks=True)
        # A column alone would hold on to all of its batch: it is copied.
        told = batch.select(["customer_id", *SIGNS, *FROM_PROFILE, *AT_THE_END]).take(np.arange(len(profile)))
        top = top_categories(
            profile,
            spec,
            expected_of(profile, spec, mix, kappa=params.interests.kappa),
            most=params.naming.top_categories,
            min_lift=params.naming.min_lift,
            min_share=params.naming.min_interest_share,
        )
        told = told.append_column("top_categories", top).append_column("journey_events", journey_events(profile))
        return told, model.predict(profile)

    batches = profile_batches(con, measures, params, columns=profile_columns(model, spec))
    kept, predicted = zip(*_on_threads(score_batch, batches, threads or len(os.sched_getaffinity(0))), strict=True)
    told = pa.Table.from_batches(kept).combine_chunks()
    order = pc.sort_indices(told["customer_id"])
    rows = pd.concat(predicted, ignore_index=True).take(order.to_numpy()).reset_index(drop=True)
    return told.take(order), rows


def _on_threads(
    work: Callable[[pa.RecordBatch], Batch], batches: Iterable[pa.RecordBatch], count: int
) -> Iterator[Batch]:
    """What ``work`` makes of each batch, in order; no more batches are there at once than threads, and one."""
    waiting: deque[Future[Batch]] = deque()
    # Each thread computes a batch of its own, and no other threads within it.
    one = functools.partial(threadpool_limits, 1, user_api="openmp")
    with threadpool_limits(limits=1), ThreadPoolExecutor(count, initializer=one) as pool:
        for batch in batches:
            waiting.append(pool.submit(work, batch))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def score_table(told: pa.Table, predicted: pd.DataFrame, params: Params, model: model_registry.LoadedModel) -> pa.Table:
    """The scores contract, row by row as ``told`` and ``predicted`` stand."""
    same = pa.array(np.zeros(len(predicted), np.int64))
    # Columns of further facets come last, for readers that count columns from the left.
    prefixes = [facet.column_prefix for facet in facets_of(params) if not facet.is_first]
    names = [str(name) for name in predicted]
    beginnings = tuple(facet_column(own, prefix) for prefix in prefixes for own in ("", "next_", "is_"))
    first = [name for name in names if not name.startswith(beginnings)]
    further = [name for name in names if name.startswith(beginnings)]

    def as_in_history(name: str) -> pa.ChunkedArray:
        """Texts of the kind that pandas gives, so that scores and their history go together."""
        column = told[name]
        return column.cast(pa.large_string()) if pa.types.is_string(column.type) else column

    columns = {
        "customer_id": as_in_history("customer_id"),
        "as_of": pa.array([params.as_of], AS_OF).take(same),
        **{name: pa.array(predicted[name], from_pandas=True) for name in first},
        **{name: as_in_history(name) for name in (*FROM_PROFILE, "top_categories")},
        "model_uri": pa.array([model.uri]).take(same),
        "run_id": pa.array([model.run_id]).take(same),
        **{name: told[name] for name in ("journey_events", *AT_THE_END)},
        **{name: pa.array(predicted[name], from_pandas=True) for name in further},
    }
    return pa.table(columns)


def profile_columns(model: model_registry.LoadedModel, spec: ProfileSpec) -> set[str]:
    """Columns of the profile that the model and the scores are made of."""
    shares = [SHARE_PREFIX + category for category in spec.cut.categories]
    events = [JOURNEY_PREFIX + name for name in JOURNEY_EVENTS]
    return {"customer_id", SEASONS, *SIGNS, *model.columns, *shares, *events, *FROM_PROFILE, *AT_THE_END}


def journey_events(profile: pd.DataFrame) -> pa.ListArray:
    """Each customer's journey events, in the order of `features.journey.JOURNEY_EVENTS`; empty where none holds."""
    held = profile[[JOURNEY_PREFIX + name for name in JOURNEY_EVENTS]].to_numpy(dtype=bool)
    offsets = np.concatenate([[0], held.sum(axis=1).cumsum()])
    names = pa.array(JOURNEY_EVENTS, pa.string())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), names.take(pa.array(np.nonzero(held)[1])))
