"""How many of the customers who were in a segment a while before are in it still."""

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
from pipeline.segmentation.predictive_validity import SAMPLED_EVENTS, Past
from pipeline.stores.database import TEMPORARY

AS_FULL = 0.9
"""Share of the days that the window holds now, which it must have held then."""


def with_staying(
    con: Any, source: Source, past: Sequence[Past], profiles: Profiles, facets: Sequence[Segments], params: Params
) -> list[Segments]:
    """Segments whose rows have ``staying``: days, of who was there so long ago the share who is there now, is_sample.

    That is at the last cutoff of ``past``, at which its sample of customers is put into today's segments. None where
    there is no cutoff, the log was too young at it, or few of the sample were there, stayed or left. Tables of profiles
    are made anew in the open database.
    """
    days = {"days": params.backtest.horizon_days, "is_sample": sample_of(source, params) is not source}
    then = None
    if past and _is_as_full(source, past[-1].cutoff, params):
        then = _profiles_at(con, source, past[-1].cutoff, profiles.shop, params)
    return [_with_shares(segments, then, profiles, days, params) for segments in facets]


def _with_shares(
    segments: Segments, then: pd.DataFrame | None, profiles: Profiles, days: dict[str, Any], params: Params
) -> Segments:
    shares: dict[str, float] = {}
    if then is not None:
        was = segment_columns(then, segments.model).segment_id
        before = pd.DataFrame({"customer_id": then.customer_id, "segment_id": was})
        now = pd.DataFrame({"customer_id": profiles.table.customer_id, "segment_id": segments.segment_ids})
        shares = stayed_shares(before, now, min_group=params.naming.min_group)
    table = []
    for one in segments.table:
        share = None if one["is_small"] else shares.get(one["segment_id"])
        table.append({**one, "staying": None if share is None else {**days, "share": share}})
    return replace(segments, table=table)


def _is_as_full(source: Source, cutoff: datetime, params: Params) -> bool:
    """Whether the window at ``cutoff`` held nearly as many days of the log as now; if not, all have moved for that."""
    first, whole = first_event(source, params), timedelta(days=params.history_days)
    then, now = (min(moment - first, whole) for moment in (cutoff, params.as_of))
    return then >= AS_FULL * now


def _profiles_at(con: Any, source: Source, cutoff: datetime, shop: Shop, params: Params) -> pd.DataFrame:
    """Profiles of the sampled customers as they were at ``cutoff``."""
    sample = replace(sample_of(source, params), events=con.table(SAMPLED_EVENTS, database=TEMPORARY))
    columns = {"customer_id", *input_columns(shop.spec.columns())}
    then = params.model_copy(update={"as_of": cutoff})
    return build_profiles(con, sample, then, shop=shop, columns=columns).table
