"""Retention: the share of a segment's earlier customers who are still in it, and how many came and went on balance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pandas as pd

from models.migration_tables import net_flows, stayed_shares
from models.saved_segmentation import input_columns
from models.scorer import IS_UNUSUAL, segment_columns
from models.segments import Retention
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.profiles.cutoffs import first_event, sample_of
from pipeline.profiles.shop import Shop
from pipeline.segmentation.describe import Segments
from pipeline.segmentation.predictive_validity import SAMPLED_EVENTS, CutoffData
from pipeline.stores.engines.engine import Engine

MIN_WINDOW_RATIO = 0.9
"""The window at the cutoff must have held at least this share of the days of log that it holds now."""


def add_retention(
    engine: Engine,
    source: Source,
    cutoffs: Sequence[CutoffData],
    profiles: Profiles,
    facets: Sequence[Segments],
    params: Params,
) -> list[Segments]:
    """Add ``retention`` to each of the segments.

    It is measured from the last of ``cutoffs``: its sample of customers is assigned to today's segments by their
    profiles at that time. ``retention`` is None if there is no cutoff, if the log was too short then, or if too few of
    the sample were in the segment, stayed or left. The tables of profiles in the open database are replaced.
    """
    is_sample = sample_of(source, params.backtest.sample_customers) is not source
    then = None
    if cutoffs and _has_comparable_window(source, cutoffs[-1].cutoff, params):
        then = profiles_at(engine, source, cutoffs[-1].cutoff, profiles.shop, params)
    return [_with_retention(segments, then, profiles, params, is_sample=is_sample) for segments in facets]


def _with_retention(
    segments: Segments, then: pd.DataFrame | None, profiles: Profiles, params: Params, *, is_sample: bool
) -> Segments:
    if then is None:
        return segments
    ids_then = segment_columns(then, segments.model).segment_id
    before = pd.DataFrame({"customer_id": then.customer_id, "segment_id": ids_then})
    now = pd.DataFrame({"customer_id": profiles.table.customer_id, "segment_id": segments.segment_ids})
    min_group = params.naming.min_group
    shares, flows = stayed_shares(before, now, min_group=min_group), net_flows(before, now, min_group=min_group)
    retentions = {
        segment_id: Retention(params.backtest.horizon_days, is_sample, shares.get(segment_id), flows.get(segment_id))
        for segment_id in shares | flows
    }
    rows = (
        replace(segment, retention=None if segment.is_small else retentions.get(segment.segment_id))
        for segment in segments.rows
    )
    return replace(segments, rows=tuple(rows))


def _has_comparable_window(source: Source, cutoff: datetime, params: Params) -> bool:
    """Whether the window at ``cutoff`` held nearly as many days of log as now; if not, that alone moves customers."""
    first, full_window = first_event(source, params), timedelta(days=params.history_days)
    then, now = (min(moment - first, full_window) for moment in (cutoff, params.as_of))
    return then >= MIN_WINDOW_RATIO * now


def profiles_at(engine: Engine, source: Source, cutoff: datetime, shop: Shop, params: Params) -> pd.DataFrame:
    """Profiles of the sampled customers as they were at ``cutoff``."""
    sample = replace(sample_of(source, params.backtest.sample_customers), events=engine.table(SAMPLED_EVENTS))
    columns = {"customer_id", IS_UNUSUAL, *input_columns(shop.spec.columns())}
    then = params.model_copy(update={"as_of": cutoff})
    return build_profiles(engine, sample, then, shop=shop, columns=columns).table
