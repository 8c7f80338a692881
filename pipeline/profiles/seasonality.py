"""The shop's category mix by period, and the expected shares that customers' lifts are compared with."""

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
from pipeline.profiles.vectors import dense

MIN_WHOLE_SHARE = 0.5
"""Share of the window that must lie in whole periods; otherwise lifts are compared with the mix at training."""


def period_totals(
    events: ir.Table,
    params: Params,
    window: ObservationWindow,
    *,
    since: datetime | None = None,
    before: ir.Table | None = None,
) -> ir.Table:
    """`features.seasons.weights_by_period` of the periods that lie wholly after the window's start.

    Parameters
    ----------
    since : datetime, optional
        UTC without a zone. Events before it did not change, so periods that ended by then are taken from ``before``.
    before : table, optional
        The totals computed at an earlier time.
    """
    days = params.naming.season_days
    first = first_whole = seasons.first_whole_period(window, days)
    if since is not None:
        first = max(first_whole, seasons.period_at(since, days))
    totals = seasons.weights_by_period(
        # File statistics let the scan skip older times; periods have no such statistics.
        events.filter(events.occurred_at >= seasons.period_start(first, days)),
        window=window,
        signal_weights=params.interests.signal_weights,
        season_days=days,
        first_period=first,
    )
    if before is not None:
        totals = before.filter(before.period >= first_whole, before.period < first).union(totals)
    return totals


def season_mix(
    totals: ir.Table, source: Source, spec: ProfileSpec, params: Params, window: ObservationWindow
) -> Floats:
    """`models.seasons.period_mixes` of ``totals``, with the current categories of products."""
    by_path = categories.with_category_path(totals, source.products)
    by_path = by_path.filter(by_path.category_path.notnull())
    columns = categories.category_columns(by_path.select("category_path").distinct(), spec.cut)
    joined = by_path.join(columns, "category_path")
    by_column = joined.group_by("period", "column").aggregate(weight=exact_sum(by_path.weight))
    days = params.naming.season_days
    first, last = seasons.first_whole_period(window, days), seasons.period_at(window.end, days)
    rows = by_column.to_pyarrow().to_pandas()
    if (last - first) * days < MIN_WHOLE_SHARE * window.history_days:
        # Whole periods cover too little of the window, and a different part of it each night.
        rows = rows.head(0)
    return period_mixes(
        rows,
        np.array(spec.cut.mix),
        first_whole=first,
        last=last,
        slot_count=seasons.slot_count(window.history_days, days),
        prior_evidence=params.naming.min_group * params.interests.kappa,
    )


def full_season_mix(source: Source, spec: ProfileSpec, params: Params, window: ObservationWindow) -> Floats:
    """The mix by period computed from all events of the window."""
    return season_mix(period_totals(source.events, params, window), source, spec, params, window)


def expected_shares_for_batch(profile: pd.DataFrame, spec: ProfileSpec, mix: Floats, *, kappa: float) -> ExpectedShares:
    """Expected shares of the customers in ``profile``, which has their evidence by period as columns."""
    ring = [profile[f"{seasons.SEASON_PREFIX}{slot}"].to_numpy(np.float64) for slot in range(len(mix))]
    return expected_shares(np.array(ring), mix, cut_levels(spec.cut), kappa)


def expected_shares_for_profiles(profiles: Profiles, source: Source, params: Params) -> ExpectedShares:
    """Expected shares of all customers in ``profiles``; their database must still be open."""
    window, days = ObservationWindow(params.as_of, params.history_days), params.naming.season_days
    spec, table = profiles.shop.spec, profiles.table
    mix = full_season_mix(source, spec, params, window)
    by_slot = np.zeros((len(mix), len(table)))
    if profiles.event_evidence is not None:
        ring = seasons.season_evidence(profiles.event_evidence, history_days=window.history_days, season_days=days)
        for batch in ring.to_pyarrow().to_batches():
            lists = (batch.column(name) for name in seasons.SEASON_LISTS)
            by_slot[:, batch.column("customer_id").to_numpy()] = dense(*lists, width=len(mix))
    return expected_shares(by_slot, mix, cut_levels(spec.cut), params.interests.kappa)
