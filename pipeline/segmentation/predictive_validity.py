"""What segments tell of the weeks after a cutoff: profiles and outcomes of the past, and the figures beside others'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import ibis.expr.types as ir
import numpy as np

from features import signals, value
from features.events import ObservationWindow
from features.interests import SHARE_PREFIX
from models.backtest import Figure, customer_weights, often_bought
from models.baselines import baseline_points
from models.clusterers import fit_kmeans, sampled_rows
from models.preprocessing import fit_scaling
from models.scorer import Floats, Ints, assign, to_space
from models.validity import (
    Outcomes,
    better_of,
    figures_of,
    kept_gain,
    predicted_by_groups,
    predicted_by_profile,
)
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles, Progress, build_profiles
from pipeline.profiles.cutoffs import backtest_cutoffs, sample_of
from pipeline.profiles.prepare_events import numbered, with_columns
from pipeline.segmentation.cluster import cluster, segment_ids
from pipeline.stores.database import TEMPORARY, materialise

BASELINES = ("rfm", "counts", "log_rfm", "log_rfm_activity_shares")
UNJUDGED = {"stability_resamples": 0, "hdbscan_resamples": 0, "sample_customers": 1}
"""Settings of `quality` under which segments are fitted and nothing more."""
SAMPLED_EVENTS = "sampled_events"
SEGMENTS, CEILING = "segments", "ceiling"
TITLES = {
    "buys_auc": "who buys at all (AUROC)",
    "spend_r2": "spend (R² of its log)",
    "category_auc": "who buys in a category (AUROC)",
}


@dataclass(frozen=True)
class Past:
    """What was known of a sample of customers at a cutoff, and what they did in the horizon after it.

    Attributes
    ----------
    profiles : Profiles
        n rows.
    outcomes : Outcomes
    counts, shares : arrays of shape (n, c) and (n, m)
        Events in each category that is a column; interest in the categories of ``outcomes``.
    """

    cutoff: datetime
    profiles: Profiles
    outcomes: Outcomes
    counts: Floats
    shares: Floats


@dataclass(frozen=True)
class Validity:
    """What segments fixed at a cutoff predicted of the horizon after it.

    Attributes
    ----------
    group_count : int
        Of the first facet, and of what it is compared with.
    facets : tuple of str
        Their names; ``rows`` has one for each, and `SEGMENTS` for all of them together.
    rows : dict
        Way to group or predict -> figure of `TITLES` -> `Figure`.
    kept : dict
        Figure -> share of the ceiling's gain over chance that segments keep, among ``ceiling_count`` customers.
    """

    cutoff: datetime
    horizon_days: int
    customer_count: int
    buyer_count: int
    group_count: int
    ceiling_count: int
    facets: tuple[str, ...]
    rows: dict[str, dict[str, Figure]]
    kept: dict[str, float]

    def metrics(self) -> dict[str, float]:
        """For MLflow: ``validity_*`` of all facets together, ``<facet>/validity_*``; others under their own names."""
        figures = {
            f"{self._metric_prefix(name)}_{figure}": one.mean
            for name, row in self.rows.items()
            for figure, one in row.items()
        }
        return figures | {f"validity_kept_{name}": share for name, share in self.kept.items()}

    def _metric_prefix(self, name: str) -> str:
        if name in self.facets:
            return f"{name}/validity"
        return "validity" if name == SEGMENTS else name

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "cutoff": f"{self.cutoff:%Y-%m-%d %H:%M}"}

    def as_line(self) -> str:
        """One line for the terminal."""
        told = [
            f"{title} {one.mean:.2f} ({one.low:.2f}-{one.high:.2f}"
            + (f"; {_kept(self.kept[name])} what can be told)" if name in self.kept else ")")
            for name, title in TITLES.items()
            if (one := self.rows[SEGMENTS].get(name))
        ]
        return f"Predicted {'; '.join(told)}"


def _kept(share: float) -> str:
    return f"{share:.0%} of" if share < 0.995 else "all of"


def pasts(con: Any, source: Source, params: Params, *, last_only: bool, progress: Progress) -> tuple[list[Past], str]:
    """Profiles and outcomes at the cutoffs of the backtest, ascending; none, with a note, where there can be none."""
    if not params.quality.validity:
        return [], ""
    try:
        cutoffs = backtest_cutoffs(source, params)
    except UserError as error:
        return [], f"What segments foretell was not measured: {error}"
    sample = sample_of(source, params)
    # The log is read once for all cutoffs.
    sample = replace(sample, events=materialise(con, sample.events, SAMPLED_EVENTS))
    found = []
    for cutoff in cutoffs[-1:] if last_only else cutoffs:
        progress(f"profiles of {cutoff:%Y-%m-%d}")
        found.append(past_at(con, sample, params, cutoff))
    return found, ""


def past_at(con: Any, sample: Source, params: Params, cutoff: datetime) -> Past:
    """Profiles of what was known at ``cutoff``, and what was done in the horizon after it."""
    profiles = build_profiles(con, sample, params.model_copy(update={"as_of": cutoff}))
    count, categories = len(profiles.table), profiles.shop.spec.cut.categories
    customers, columns, observed = (
        con.table(name, database=TEMPORARY) for name in ("known_customers", "category_columns", "observed_events")
    )
    horizon = params.backtest.horizon_days
    after = ObservationWindow(cutoff + timedelta(days=horizon), horizon).of(sample.events)
    later = materialise(con, with_columns(numbered(after, customers), sample, columns), "later_events")
    orders = value.order_table(later)
    spent = orders.group_by("customer_id").aggregate(spend=value.exact_large_sum(orders.spend))
    spend, bought = np.zeros(count), np.zeros(count, dtype=bool)
    told = _rows(spent)
    spend[told["customer_id"]], bought[told["customer_id"]] = told["spend"], True
    in_category = np.zeros((count, len(categories)), dtype=bool)
    told = _rows(signals.purchases_by_category(later))
    in_category[told["customer_id"], told["column"]] = True
    seen = observed.filter(observed.column.notnull())
    counts = np.zeros((count, len(categories)))
    told = _rows(seen.group_by("customer_id", "column").aggregate(event_count=seen.count()))
    counts[told["customer_id"], told["column"]] = told["event_count"]
    kept = often_bought(in_category, params.backtest.min_buyers)
    kept[-1] = False  # the rest of the shop is no category
    return Past(
        cutoff=cutoff,
        profiles=replace(profiles, said=None),
        outcomes=Outcomes(bought, spend, in_category[:, kept]),
        counts=counts,
        shares=profiles.table[[SHARE_PREFIX + name for name in np.array(categories)[kept]]].to_numpy(np.float64),
    )


def _rows(table: ir.Table) -> dict[str, np.ndarray]:
    """Columns as arrays."""
    rows = table.to_pyarrow()
    return {name: rows[name].to_numpy() for name in rows.column_names}


def foretell(past: Sequence[Past], params: Params) -> tuple[Validity | None, tuple[str, ...]]:
    """What segments predicted at the last cutoff; where that cannot be measured, a note why."""
    try:
        return (measure_validity(past[-1], params), ()) if past else (None, ())
    except UserError as error:
        return None, (f"What segments predict was not measured: {error}",)


def measure_validity(past: Past, params: Params) -> Validity:
    """Fit the facets of ``params`` on the profiles of the past, and see what the segments predicted.

    Each facet alone and all together; compared with as many groups of plain baselines (`_grouped`), and with the
    best that the whole profile can predict, of a sample of the customers (`_ceiling`). All groups predict in one way
    (`predicted_by_groups`).
    """
    seed, outcomes, facets = params.seed, past.outcomes, facets_of(params)
    _require_outcomes(past, params)
    groups = _grouped(past, params, facets)
    ways = {SEGMENTS: [groups[facet.name] for facet in facets], **{name: [one] for name, one in groups.items()}}
    predicted = {name: predicted_by_groups(given, outcomes, seed=seed) for name, given in ways.items()}
    weights = customer_weights(len(outcomes.bought), params.backtest.bootstrap_resamples, seed)
    sample = sampled_rows(len(outcomes.bought), params.quality.ceiling_customers, seed)
    of_sample = customer_weights(len(sample), params.backtest.bootstrap_resamples, seed)
    ceiling = _ceiling(past, sample, of_sample, seed)
    return Validity(
        cutoff=past.cutoff,
        horizon_days=params.backtest.horizon_days,
        customer_count=len(outcomes.bought),
        buyer_count=int(outcomes.bought.sum()),
        group_count=len(np.unique(groups[facets[0].name])),
        ceiling_count=len(sample),
        facets=tuple(facet.name for facet in facets),
        rows={**{name: figures_of(one, outcomes, weights) for name, one in predicted.items()}, CEILING: ceiling},
        kept=kept_gain(figures_of(predicted[SEGMENTS][sample], outcomes.of(sample), of_sample), ceiling),
    )


def _require_outcomes(past: Past, params: Params) -> None:
    """Raise `UserError` where too few bought after the cutoff, or too few did not."""
    outcomes = past.outcomes
    if min(outcomes.bought.sum(), (~outcomes.bought).sum()) < params.backtest.min_buyers:
        raise UserError(
            f"expected at least {params.backtest.min_buyers} customers (backtest.min_buyers) who bought in the "
            f"{params.backtest.horizon_days} days after {past.cutoff:%Y-%m-%d}, and as many who did not; of "
            f"{len(outcomes.bought):,} {outcomes.bought.sum():,} did."
        )


def _grouped(past: Past, params: Params, facets: Sequence[Facet]) -> dict[str, np.ndarray]:
    """Way to group -> the group of each customer, array of shape (n,): each facet, and the baselines.

    The baselines are those of `models.baselines`, and raw counts per category; they have as many groups as the first
    facet. Customers with too few events are in its groups by rule, whatever the way; where nobody is clustered, all
    ways are alike.
    """
    profile, quality = past.profiles.table, {**params.quality.model_dump(), **UNJUDGED}
    fits = [cluster(past.profiles, params, facet, quality=quality) for facet in facets]
    groups = {facet.name: segment_ids(profile, fitted, facet) for facet, fitted in zip(facets, fits, strict=True)}
    ids, inside = groups[facets[0].name], fits[0].is_clustered
    if not inside.any():
        return groups | dict.fromkeys(BASELINES, ids)
    points = {**baseline_points(profile[inside], past.profiles.shop.spec.columns()), "counts": past.counts[inside]}
    return groups | {name: _regrouped(ids, points[name], inside, params) for name in BASELINES}


def _regrouped(ids: np.ndarray, points: Floats, inside: np.ndarray, params: Params) -> np.ndarray:
    """``ids`` with those of the customers ``inside`` replaced by clusters of their ``points``, as many."""
    count, settings = len(np.unique(ids[inside])), params.clustering.kmeans.model_dump()
    model = fit_kmeans(points, params.seed, n_segments=count, **settings).model
    groups = ids.copy()
    groups[inside] = [f"group {number}" for number in assign(points, model)["cluster_id"]]
    return groups


def _ceiling(past: Past, sample: Ints, weights: Floats, seed: int) -> dict[str, Figure]:
    """Figures of predictions from the whole profile, by the better learner; ``sample`` holds row numbers."""
    profile, columns = past.profiles.table, past.profiles.shop.spec.columns()
    scaling = fit_scaling(profile, columns, block_weights=dict.fromkeys({one.block for one in columns}, 1.0))
    some = past.outcomes.of(sample)
    by_profile = predicted_by_profile(to_space(profile.iloc[sample], scaling), past.shares[sample], some, seed=seed)
    return better_of({name: figures_of(one, some, weights) for name, one in by_profile.items()})
