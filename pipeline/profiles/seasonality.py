"""What the shop as a whole turned to, period by period: the mixes that customers' own lifts are beside."""

from __future__ import annotations

from datetime import datetime

import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features import categories, seasons
from features.events import ObservationWindow, exact_sum
from features.profile import ProfileSpec
from models.scorer import Floats
from models.seasons import ExpectedShares, expected_shares, period_mixes
from models.tree import cut_levels
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles

MOST = 0.5
"""Of a window must lie in whole periods; else lifts are beside the mix of training."""


def shop_sums(
    events: ir.Table,
    params: Params,
    window: ObservationWindow,
    *,
    since: datetime | None = None,
    before: ir.Table | None = None,
) -> ir.Table:
    """`features.seasons.period_sums` of the periods that the window's start does not cut off.

    Parameters
    ----------
    since : datetime, optional
        UTC without a zone. Nothing changed before it: of periods that ended by then the sums of ``before`` hold.
    before : table, optional
        The sums of an earlier moment.
    """
    days = params.naming.season_days
    first = whole = seasons.first_whole_period(window, days)
    if since is not None:
        first = max(whole, seasons.period_at(since, days))
    sums = seasons.period_sums(
        # The scan skips what is older by its statistics of times, of which periods have none.
        events.filter(events.occurred_at >= seasons.period_start(first, days)),
        window=window,
        signal_weights=params.interests.signal_weights,
        season_days=days,
        first_period=first,
    )
    if before is not None:
        sums = before.filter(before.period >= whole, before.period < first).union(sums)
    return sums


def season_mix(sums: ir.Table, source: Source, spec: ProfileSpec, params: Params, window: ObservationWindow) -> Floats:
    """`models.seasons.period_mixes` of ``sums``, with the categories that products have now."""
    found = categories.with_category_path(sums, source.products)
    found = found.filter(found.category_path.notnull())
    columns = categories.category_columns(found.select("category_path").distinct(), spec.cut)
    found = found.join(columns, "category_path").group_by("period", "column").aggregate(weight=exact_sum(found.weight))
    days = params.naming.season_days
    first, last = seasons.first_whole_period(window, days), seasons.period_at(window.end, days)
    rows = found.to_pyarrow().to_pandas()
    if (last - first) * days < MOST * window.history_days:
        # What falls into whole periods says too little of the window, and of another part of it each night.
        rows = rows.head(0)
    return period_mixes(
        rows,
        np.array(spec.cut.mix),
        first_whole=first,
        last=last,
        slot_count=seasons.slot_count(window.history_days, days),
        thin_evidence=params.naming.min_group * params.interests.kappa,
    )


def season_mix_of(source: Source, spec: ProfileSpec, params: Params, window: ObservationWindow) -> Floats:
    """The same of all events of the window."""
    return season_mix(shop_sums(source.events, params, window), source, spec, params, window)


def expected_of(profile: pd.DataFrame, spec: ProfileSpec, mix: Floats, *, kappa: float) -> ExpectedShares:
    """What the shares of ``profile`` are compared with, which has the ring of `features.seasons` as columns."""
    ring = [profile[f"{seasons.SEASON_PREFIX}{slot}"].to_numpy(np.float64) for slot in range(len(mix))]
    return expected_shares(np.array(ring), mix, cut_levels(spec.cut), kappa)


def expected_in(profiles: Profiles, source: Source, params: Params) -> ExpectedShares:
    """The same for all customers of ``profiles``, while the database that said what they did is open."""
    window, days = ObservationWindow(params.as_of, params.history_days), params.naming.season_days
    spec, table = profiles.shop.spec, profiles.table
    mix = season_mix_of(source, spec, params, window)
    by_slot = np.zeros((len(mix), len(table)))
    if profiles.said is not None:
        ring = seasons.season_columns(
            seasons.season_evidence(profiles.said, history_days=window.history_days, season_days=days)
        )
        found = ring.to_pyarrow().to_pandas()
        by_slot[:, found.customer_id] = found.drop(columns="customer_id").to_numpy(np.float64).T
    return expected_shares(by_slot, mix, cut_levels(spec.cut), params.interests.kappa)
