"""How well segments predict the weeks after an earlier cutoff, compared with other groupings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import ibis.expr.types as ir
import numpy as np
from numpy.typing import NDArray

from features import signals, value
from features.events import EventType, ObservationWindow
from features.interests import SHARE_PREFIX
from models.backtest import Figure, customer_weights, often_bought
from models.baselines import baseline_points
from models.clusterers import fit_kmeans, sampled_rows
from models.disclosure import rounded_count, shown_measure
from models.preprocessing import fit_scaling
from models.scorer import Floats, Ints, assign, to_space
from models.validity import (
    Outcomes,
    best_figures,
    figures_of,
    kept_gain,
    predicted_by_groups,
    predicted_by_profile,
)
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of
from pipeline.config.params import Params
from pipeline.config.progress import SILENT, Progress
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.profiles.cutoffs import backtest_cutoffs, sample_of
from pipeline.profiles.prepare_events import with_columns, with_customer_numbers
from pipeline.profiles.shop import Shop
from pipeline.segmentation.cluster import cluster, segment_ids
from pipeline.stores.engines.engine import Engine

BASELINES = ("rfm", "counts", "log_rfm", "log_rfm_activity_shares")
BASELINES_WITHOUT_CATEGORIES = ("rfm", "log_rfm")
NO_QUALITY_METRICS = {"stability_resamples": 0, "hdbscan_resamples": 0, "sample_customers": 1}
"""Settings of `quality` that skip all quality metrics: segments are only fitted."""
SAMPLED_EVENTS = "sampled_events"
SEGMENTS, CEILING = "segments", "ceiling"
TITLES = {
    "buys_auc": "who buys: AUROC",
    "spend_r2": "how much they spend: R² of its log",
    "category_auc": "who buys in a category: AUROC",
}


@dataclass(frozen=True)
class CutoffData:
    """Profiles of a sample of customers at a cutoff, and their outcomes in the horizon after it.

    Attributes
    ----------
    profiles : Profiles
        n rows.
    outcomes : Outcomes
    counts : array of shape (n, c)
        Events in each category that is a column.
    shares : array of shape (n, m)
        Interest in the categories of ``outcomes``.
    seen : bool array of shape (n,)
        Customers with any event in the horizon, but those of type ``other``.
    """

    cutoff: datetime
    profiles: Profiles
    outcomes: Outcomes
    counts: Floats
    shares: Floats
    seen: NDArray[np.bool_]


@dataclass(frozen=True)
class Validity:
    """How well segments fixed at a cutoff predicted the horizon after it.

    Attributes
    ----------
    group_count : int
        Groups in the first facet and in each grouping it is compared with.
    facets : tuple of str
        Names of the facets. ``rows`` has an entry for each, and `SEGMENTS` for all of them together.
    rows : dict
        Grouping or prediction method -> figure of `TITLES` -> `Figure`.
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

    def published(self, min_group: int) -> Validity:
        """The figures as they may be published, by the number of buyers, who are the fewer; without hidden ones."""
        rows = {
            name: {
                key: shown
                for key, figure in row.items()
                if np.isfinite((shown := figure.published(self.buyer_count, min_group)).mean)
            }
            for name, row in self.rows.items()
        }
        sampled = self.buyer_count * self.ceiling_count / self.customer_count
        kept = {name: shown_measure(share, sampled, min_group) for name, share in self.kept.items()}
        return replace(self, rows=rows, kept={name: share for name, share in kept.items() if share is not None})

    def metrics(self) -> dict[str, float]:
        """Metrics for MLflow, named as in `pipeline.stores.run_metrics`."""
        metrics = {
            f"{self._metric_prefix(name)}{key}": figure.mean
            for name, row in self.rows.items()
            for key, figure in row.items()
        }
        return metrics | {f"validity/kept_{name}": share for name, share in self.kept.items()}

    def _metric_prefix(self, name: str) -> str:
        if name in self.facets:
            return f"{name}/validity_"
        return "validity/" if name == SEGMENTS else f"validity/{name}_"

    def as_dict(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {**asdict(self), "cutoff": f"{self.cutoff:%Y-%m-%d %H:%M}"}

    def as_lines(self) -> str:
        """Lines for the terminal."""
        parts = [
            f"         {title} {figure.mean:.2f} ({figure.low:.2f}-{figure.high:.2f}"
            + (f"; {_kept_share(self.kept[name])} the achievable signal)" if name in self.kept else ")")
            for name, title in TITLES.items()
            if (figure := self.rows[SEGMENTS].get(name))
        ]
        return "\n".join(["How well segments predict:", *parts])


def _kept_share(share: float) -> str:
    return f"{share:.0%} of" if share < 0.995 else "all of"


def build_cutoffs(
    engine: Engine, source: Source, params: Params, *, last_only: bool, progress: Progress
) -> tuple[list[CutoffData], str]:
    """Profiles and outcomes at the cutoffs of the backtest, earliest first.

    If the log allows no cutoff, the list is empty and the text explains why.
    """
    if not params.quality.validity or source.summaries is not None:
        return [], ""
    try:
        cutoffs = backtest_cutoffs(source, params)
    except UserError as error:
        return [], f"Predictive validity was not measured: {error}"
    sample = sample_of(source, params.backtest.sample_customers)
    # The log is read once for all cutoffs.
    sample = replace(sample, events=engine.materialise(sample.events, SAMPLED_EVENTS))
    used = cutoffs[-1:] if last_only else cutoffs
    counted = progress.each("building profiles of earlier dates", used, len(used))
    return [build_cutoff_data(engine, sample, params, cutoff) for cutoff in counted], ""


def build_cutoff_data(
    engine: Engine, sample: Source, params: Params, cutoff: datetime, *, shop: Shop | None = None
) -> CutoffData:
    """Profiles from the events before ``cutoff``, and outcomes from the horizon after it.

    Parameters
    ----------
    shop : Shop, optional
        Shop of a model, whose columns the profiles have. Default: learn it from the events.
    """
    profiles = build_profiles(engine, sample, params.model_copy(update={"as_of": cutoff}), shop=shop)
    count, categories = len(profiles.table), profiles.shop.spec.cut.categories
    known_customers, category_columns, observed = (
        engine.table(name) for name in ("known_customers", "category_columns", "observed_events")
    )
    horizon = params.backtest.horizon_days
    after = ObservationWindow(cutoff + timedelta(days=horizon), horizon).of(sample.events)
    numbered = with_customer_numbers(after, known_customers)
    later = engine.materialise(with_columns(numbered, sample, category_columns), "later_events")
    orders = value.order_table(later)
    buyers = _arrays(orders.group_by("customer_id").aggregate(spend=value.exact_large_sum(orders.spend)))
    spend, bought = np.zeros(count), np.zeros(count, dtype=bool)
    spend[buyers["customer_id"]], bought[buyers["customer_id"]] = buyers["spend"], True
    own_events = later.filter(later.event_type != str(EventType.OTHER))
    seen = np.zeros(count, dtype=bool)
    seen[_arrays(own_events.select("customer_id").distinct())["customer_id"]] = True
    purchases = _arrays(signals.purchases_by_category(later))
    in_category = np.zeros((count, len(categories)), dtype=bool)
    in_category[purchases["customer_id"], purchases["column"]] = True
    with_category = observed.filter(observed.column.notnull())
    by_category = with_category.group_by("customer_id", "column").aggregate(event_count=with_category.count())
    event_counts = _arrays(by_category)
    counts = np.zeros((count, len(categories)))
    counts[event_counts["customer_id"], event_counts["column"]] = event_counts["event_count"]
    kept = often_bought(in_category, params.backtest.min_buyers)
    kept[-1] = False  # OTHER is not a category
    return CutoffData(
        cutoff=cutoff,
        profiles=replace(profiles, event_evidence=None),
        outcomes=Outcomes(bought, spend, in_category[:, kept]),
        counts=counts,
        shares=profiles.table[[SHARE_PREFIX + name for name in np.array(categories)[kept]]].to_numpy(np.float64),
        seen=seen,
    )


def _arrays(table: ir.Table) -> dict[str, np.ndarray]:
    """Column -> array."""
    rows = table.to_pyarrow()
    return {name: rows[name].to_numpy() for name in rows.column_names}


def measure_latest_validity(
    cutoffs: Sequence[CutoffData], params: Params, progress: Progress = SILENT
) -> tuple[Validity | None, tuple[str, ...]]:
    """`measure_validity` at the last cutoff; if it cannot be measured, None and a note that explains why."""
    try:
        validity = measure_validity(cutoffs[-1], params, progress) if cutoffs else None
    except UserError as error:
        return None, (f"Predictive validity was not measured: {error}",)
    return validity and validity.published(params.naming.min_group), ()


def measure_validity(data: CutoffData, params: Params, progress: Progress = SILENT) -> Validity:
    """Fit the facets of ``params`` on the profiles at a cutoff, and measure how well the segments predict outcomes.

    Each facet is measured alone, and all facets together. They are compared with the same number of groups from simple
    baselines (`_groupings`), and with the best prediction from the whole profile for a sample of customers
    (`_ceiling`). All groups predict in the same way (`predicted_by_groups`).
    """
    seed, outcomes, facets = params.seed, data.outcomes, facets_of(params)
    _require_outcomes(data, params)
    groups = _groupings(data, params, facets)
    groupings = {
        SEGMENTS: [groups[facet.name] for facet in facets],
        **{name: [labels] for name, labels in groups.items()},
    }
    counted = progress.each("predicting outcomes from each grouping", groupings.items(), len(groupings))
    predicted = {name: predicted_by_groups(labels, outcomes, seed=seed) for name, labels in counted}
    weights = customer_weights(len(outcomes.bought), params.backtest.bootstrap_resamples, seed)
    sample = sampled_rows(len(outcomes.bought), params.quality.ceiling_customers, seed)
    sample_weights = customer_weights(len(sample), params.backtest.bootstrap_resamples, seed)
    ceiling = _ceiling(data, sample, sample_weights, seed)
    return Validity(
        cutoff=data.cutoff,
        horizon_days=params.backtest.horizon_days,
        customer_count=len(outcomes.bought),
        buyer_count=int(outcomes.bought.sum()),
        group_count=len(np.unique(groups[facets[0].name])),
        ceiling_count=len(sample),
        facets=tuple(facet.name for facet in facets),
        rows={**{name: figures_of(made, outcomes, weights) for name, made in predicted.items()}, CEILING: ceiling},
        kept=kept_gain(figures_of(predicted[SEGMENTS][sample], outcomes.of(sample), sample_weights), ceiling),
    )


def _require_outcomes(data: CutoffData, params: Params) -> None:
    """Raise `UserError` if too few customers bought after the cutoff, or too few did not."""
    outcomes = data.outcomes
    if min(outcomes.bought.sum(), (~outcomes.bought).sum()) < params.backtest.min_buyers:
        buyers, customers = (
            rounded_count(count, params.naming.min_group) for count in (outcomes.bought.sum(), len(outcomes.bought))
        )
        raise UserError(
            f"expected at least {params.backtest.min_buyers} customers (backtest.min_buyers) who bought in the "
            f"{params.backtest.horizon_days} days after {data.cutoff:%Y-%m-%d}, and as many who did not; "
            f"found {buyers:,} buyers among {customers:,} customers. Give a longer log, or "
            "lower backtest.min_buyers."
        )


def _groupings(data: CutoffData, params: Params, facets: Sequence[Facet]) -> dict[str, np.ndarray]:
    """Grouping -> the group of each customer, an array of shape (n,). Groupings are the facets and the baselines.

    The baselines are those of `models.baselines`, and raw counts per category; in a log without categories, those that
    need none. They have as many groups as the first facet. Customers with too few events stay in its rule-based groups
    in every baseline; if nobody is clustered, all groupings are the same.
    """
    profile, quality = data.profiles.table, {**params.quality.model_dump(), **NO_QUALITY_METRICS}
    fits = [cluster(data.profiles, params, facet, quality=quality) for facet in facets]
    groups = {facet.name: segment_ids(profile, fitted, facet) for facet, fitted in zip(facets, fits, strict=True)}
    ids, inside = groups[facets[0].name], fits[0].is_clustered
    baselines = BASELINES if len(data.profiles.shop.spec.cut.categories) > 1 else BASELINES_WITHOUT_CATEGORIES
    if not inside.any():
        return groups | dict.fromkeys(baselines, ids)
    points = {**baseline_points(profile[inside], data.profiles.shop.spec.columns()), "counts": data.counts[inside]}
    return groups | {name: _regrouped(ids, points[name], inside, params) for name in baselines}


def _regrouped(ids: np.ndarray, points: Floats, inside: np.ndarray, params: Params) -> np.ndarray:
    """``ids``, where customers ``inside`` are re-clustered by their ``points`` into the same number of groups."""
    count, settings = len(np.unique(ids[inside])), params.clustering.kmeans.model_dump()
    model = fit_kmeans(points, params.seed, n_segments=count, **settings).model
    groups = ids.copy()
    groups[inside] = [f"group {number}" for number in assign(points, model)["cluster_id"]]
    return groups


def _ceiling(data: CutoffData, sample: Ints, weights: Floats, seed: int) -> dict[str, Figure]:
    """Figures of predictions from the whole profile, by the better learner; ``sample`` holds row numbers."""
    profile, columns = data.profiles.table, data.profiles.shop.spec.columns()
    scaling = fit_scaling(profile, columns, block_weights=dict.fromkeys({column.block for column in columns}, 1.0))
    outcomes = data.outcomes.of(sample)
    by_profile = predicted_by_profile(to_space(profile.iloc[sample], scaling), data.shares[sample], outcomes, seed=seed)
    return best_figures({name: figures_of(predicted, outcomes, weights) for name, predicted in by_profile.items()})
