"""Retention: the share of a segment's earlier customers who are still in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from models.migration_tables import stayed_shares
from models.scorer import segment_columns
from models.segmentation import input_columns
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.profiles.cutoffs import first_event, sample_of
from pipeline.profiles.shop import Shop
from pipeline.segmentation.describe import Segments
from pipeline.segmentation.predictive_validity import SAMPLED_EVENTS, CutoffData
from pipeline.stores.database import TEMPORARY

MIN_WINDOW_RATIO = 0.9
"""The window at the cutoff must have held at least this share of the days of log that it holds now."""


def add_retention(
    con: Any,
    source: Source,
    cutoffs: Sequence[CutoffData],
    profiles: Profiles,
    facets: Sequence[Segments],
    params: Params,
) -> list[Segments]:
    """Add ``retention`` to each row of the segments: days, share, is_sample.

    ``share`` is the share of the customers in the segment ``days`` ago who are in it now. It is measured from the last
    of ``cutoffs``: its sample of customers is assigned to today's segments by their profiles at that time.
    ``retention`` is None if there is no cutoff, if the log was too short then, or if too few of the sample were in the
    segment, stayed or left. The tables of profiles in the open database are replaced.
    """
    basis = {"days": params.backtest.horizon_days, "is_sample": sample_of(source, params) is not source}
    then = None
    if cutoffs and _has_comparable_window(source, cutoffs[-1].cutoff, params):
        then = profiles_at(con, source, cutoffs[-1].cutoff, profiles.shop, params)
    return [_with_shares(segments, then, profiles, basis, params) for segments in facets]


def _with_shares(
    segments: Segments, then: pd.DataFrame | None, profiles: Profiles, basis: dict[str, Any], params: Params
) -> Segments:
    shares: dict[str, float] = {}
    if then is not None:
        ids_then = segment_columns(then, segments.model).segment_id
        before = pd.DataFrame({"customer_id": then.customer_id, "segment_id": ids_then})
        now = pd.DataFrame({"customer_id": profiles.table.customer_id, "segment_id": segments.segment_ids})
        shares = stayed_shares(before, now, min_group=params.naming.min_group)
    table = []
    for row in segments.table:
        share = None if row["is_small"] else shares.get(row["segment_id"])
        table.append({**row, "retention": None if share is None else {**basis, "share": share}})
    return replace(segments, table=table)


def _has_comparable_window(source: Source, cutoff: datetime, params: Params) -> bool:
    """Whether the window at ``cutoff`` held nearly as many days of log as now; if not, that alone moves customers."""
    first, full_window = first_event(source, params), timedelta(days=params.history_days)
    then, now = (min(moment - first, full_window) for moment in (cutoff, params.as_of))
    return then >= MIN_WINDOW_RATIO * now


def profiles_at(con: Any, source: Source, cutoff: datetime, shop: Shop, params: Params) -> pd.DataFrame:
    """Profiles of the sampled customers as they were at ``cutoff``."""
    sample = replace(sample_of(source, params), events=con.table(SAMPLED_EVENTS, database=TEMPORARY))
    columns = {"customer_id", *input_columns(shop.spec.columns())}
    then = params.model_copy(update={"as_of": cutoff})
    return build_profiles(con, sample, then, shop=shop, columns=columns).table
