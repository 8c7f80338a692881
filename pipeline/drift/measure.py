"""How far today's customers have drifted from the training of a model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from models.backtest import Figure, customer_weights
from models.disclosure import rounded_events, rounded_share
from models.drift import CATEGORIES, DriftReading, column_drift, segment_drift
from models.scorer import facet_column
from models.validity import figures_of, predicted_by_groups
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.drift.recent import recent_activity
from pipeline.drift.reference import Reference, shares_of
from pipeline.ingest.source import Source
from pipeline.profiles.build import fetch_profiles
from pipeline.profiles.cutoffs import sample_of
from pipeline.profiles.measures import RawMeasures, measure, to_customer_measures
from pipeline.scoring.hysteresis import keep_previous_near_borders, previous_scores, rows_of
from pipeline.scoring.trained_model import TrainedModel
from pipeline.segmentation.predictive_validity import build_cutoff_data
from pipeline.stores.engines.engine import Engine


@dataclass(frozen=True)
class Measured:
    """The drift of a shop, and what stands behind it.

    Attributes
    ----------
    customer_count : int
        Customers of today.
    horizon_days : int
        ``backtest.horizon_days`` of the training: the days that outcomes and recent activity are measured in.
    scored_at : datetime or None
        Date of the scores that today's segments were compared with; None if there are none of this model.
    buys_auc : Figure or None
        How well the model's segments predicted who bought in the horizon before as_of; None if that is not known.
    """

    reading: DriftReading
    customer_count: int
    horizon_days: int
    scored_at: datetime | None
    buys_auc: Figure | None


def measure_drift(
    engine: Engine, source: Source, params: Params, trained: TrainedModel, reference: Reference, *, progress: Progress
) -> Measured:
    """Compare the customers at ``params.as_of`` with those of the training, by the model's own columns and segments."""
    as_trained = trained.params_at(params.as_of)
    raw = measure(engine, source, as_trained, shop=trained.shop, progress=progress)
    columns = {"customer_id", *trained.model.columns}
    profile = fetch_profiles(engine, to_customer_measures(raw), as_trained, columns=columns)
    predicted = trained.model.predict(profile)
    segments = {facet.name: predicted[facet_column("segment_id", facet.column_prefix)] for facet in trained.facets}
    counts, min_group = (reference.customer_count, len(profile)), as_trained.naming.min_group
    moved_share, scored_at = _moved_share(engine, params, trained, profile["customer_id"], predicted)
    progress("predictive validity")
    buys_auc = _buys_auc(engine, source, as_trained, trained)
    reading = DriftReading(
        columns=column_drift(reference.columns, profile, trained_count=reference.customer_count, min_group=min_group),
        segment_psi={
            facet: segment_drift(reference.segments[facet], shares_of(ids, min_group), counts)
            for facet, ids in segments.items()
        },
        other_segment_share=moved_share,
        new_category_share=_new_category_share(raw, len(profile), min_group),
        validity_loss=_validity_loss(reference.buys_auc, buys_auc),
        recent_psi=_recent_psi(source, as_trained, trained, reference),
    )
    return Measured(reading, len(profile), as_trained.backtest.horizon_days, scored_at, buys_auc)


def _recent_psi(source: Source, as_trained: Params, trained: TrainedModel, reference: Reference) -> dict[str, float]:
    """PSI of what customers did in the last horizon to what they did in the horizon before the training."""
    days, min_group = as_trained.backtest.horizon_days, as_trained.naming.min_group
    now = recent_activity(source, trained.shop.spec, as_trained.as_of, days, min_group)
    by_customer = column_drift(
        reference.recent, now.customers, trained_count=reference.active_count, min_group=min_group
    )
    by_category = segment_drift(
        reference.category_shares, now.category_shares, (reference.active_count, len(now.customers))
    )
    return {**{drift.column: drift.psi for drift in by_customer}, CATEGORIES: by_category}


def _new_category_share(raw: RawMeasures, customer_count: int, min_group: int) -> float:
    """Share of the window's events with a category whose category the model does not know."""
    sums = (to_customer_measures(raw).new_categories.event_count.sum(), raw.categories.event_count.sum())
    new, known = rounded_events(sums, customer_count, min_group)
    return float(new / known) if known else 0.0


def _moved_share(
    engine: Engine, params: Params, trained: TrainedModel, customer_ids: pd.Series, predicted: pd.DataFrame
) -> tuple[float | None, datetime | None]:
    """Share of the scored customers whom a new scoring would put into another segment of the first facet."""
    path, prefixes = params.path(params.outputs.scores), trained.prefixes
    found = previous_scores(engine, path, prefixes, model_uri=trained.model.uri, as_of=params.as_of)
    if found is None:
        return None, None
    previous = found.to_pyarrow().to_pandas()
    if margin := params.score.hysteresis:
        predicted, _ = keep_previous_near_borders(predicted, rows_of(customer_ids, previous), prefixes, margin=margin)
    column = facet_column("segment_id", prefixes[0])
    now = pd.Series(predicted[column].to_numpy(dtype=object), customer_ids.to_numpy(dtype=object))
    before = previous.set_index("customer_id")[column]
    both = now.index.intersection(before.index)
    moved = (now[both].to_numpy() != before[both].to_numpy(dtype=object)).sum()
    share = rounded_share(moved, len(both), params.naming.min_group) if len(both) else None
    return share, previous["as_of"].iloc[0].to_pydatetime()


def _buys_auc(engine: Engine, source: Source, as_trained: Params, trained: TrainedModel) -> Figure | None:
    """How well the segments of a horizon ago predicted who bought since; None before a horizon after the training."""
    backtest = as_trained.backtest
    cutoff = as_trained.as_of - timedelta(days=backtest.horizon_days)
    if cutoff < trained.params.as_of:
        return None
    sample = sample_of(source, backtest.sample_customers)
    data = build_cutoff_data(engine, sample, as_trained, cutoff, shop=trained.shop)
    bought = data.outcomes.bought
    if min(bought.sum(), (~bought).sum()) < backtest.min_buyers:
        return None
    assigned = trained.model.predict(data.profiles.table)
    groups = [
        assigned[facet_column("segment_id", facet.column_prefix)].to_numpy(dtype=np.str_) for facet in trained.facets
    ]
    expected = predicted_by_groups(groups, data.outcomes, seed=as_trained.seed)
    weights = customer_weights(len(bought), backtest.bootstrap_resamples, as_trained.seed)
    figure = figures_of(expected, data.outcomes, weights).get("buys_auc")
    shown = figure and figure.published(int(bought.sum()), as_trained.naming.min_group)
    return shown if shown and np.isfinite(shown.mean) else None


def _validity_loss(at_training: float | None, now: Figure | None) -> float | None:
    """The drop of the AUROC; 0 while chance may explain it, as the interval of today's reaches the training's."""
    if at_training is None or now is None:
        return None
    return at_training - now.mean if now.high < at_training else 0.0
