"""Clusters of a facet -> segments with ids, names and figures, and the model that is saved."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import ibis
import numpy as np
import pandas as pd

from features.events import ObservationWindow
from features.interests import segment_weights
from features.journey import STAGES
from models.crosstabs import funnel
from models.disclosure import significant
from models.explanations import Rule, segment_rules
from models.lifts import Interest, category_labels, segment_lifts, top_interests
from models.name_continuity import ManualName
from models.published_segments import FigureTables, hide_small_shares, published_segment
from models.seasons import segment_seasonal_lift
from models.segment_metrics import published_figures, segment_figures
from models.segment_names import Naming
from models.segmentation import FittedClusters
from models.segments import Segment
from models.what_if import value_ranks
from pipeline.config.facets import Facet
from pipeline.config.params import Params
from pipeline.profiles.build import Profiles
from pipeline.segmentation.cluster import FacetClusters, segment_ids
from pipeline.segmentation.descriptions.facet_model import facet_model
from pipeline.segmentation.descriptions.names import name_segments
from pipeline.segmentation.descriptions.rows import describe_segment


@dataclass(frozen=True)
class Segments:
    """The named segments of a facet.

    Attributes
    ----------
    rows : tuple of Segment
        Sorted by spend, rule-based groups last.
    shop : dict
        The figures of all clustered customers.
    lifts : DataFrame
        segment_id x category; the categories in which segments differ most come first. Null if too few customers show
        the interest.
    model : dict
        The model as `models.scorer.segment_columns` reads it.
    rules_fidelity : float
        Share of customers whom all rules together assign to their own segment.
    language : str
        Language of ``table``.
    inherited_names : mapping
        segment_id -> the name given by hand to the segment that it continues under another id.
    notes : tuple of str
        What became of the names given by hand to segments that are gone.
    """

    facet: Facet
    rows: tuple[Segment, ...]
    shop: dict[str, float]
    lifts: pd.DataFrame
    labels: dict[str, str]
    model: dict[str, Any]
    segment_ids: np.ndarray
    rules_fidelity: float
    language: str
    inherited_names: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> list[dict[str, Any]]:
        """The segments as rows of segments.json."""
        return [segment.as_dict(self.language) for segment in self.rows]

    def frame(self) -> pd.DataFrame:
        """The table, one row per segment."""
        return pd.DataFrame(self.table)


def seasonal_lifts(profiles: Profiles, fitted: FittedClusters, params: Params, facet: Facet) -> pd.DataFrame | None:
    """Segment x category: the shop's seasonal lift while the segment was active; needs the open database."""
    if profiles.event_evidence is None:
        return None
    profile = profiles.table
    customers = pd.DataFrame(
        {
            "customer_id": np.arange(len(profile)),
            "segment_id": segment_ids(profile, fitted, facet),
            "share_per_evidence": 1.0 / (profile.evidence.fillna(0.0) + params.interests.kappa),
        }
    )
    window = ObservationWindow(params.as_of, params.history_days)
    weights = segment_weights(
        profiles.event_evidence, ibis.memtable(customers), window=window, period_days=params.naming.season_days
    )
    categories = profiles.shop.spec.cut.categories
    lifts = segment_seasonal_lift(
        weights.to_pyarrow().to_pandas(), n_categories=len(categories), prior_weight=float(params.naming.min_group)
    )
    return lifts.set_axis(list(categories), axis=1)


def describe_segments(
    profiles: Profiles,
    fitted: FittedClusters,
    params: Params,
    facet: Facet,
    *,
    seasonal_lift: pd.DataFrame | None,
    champion_names: Mapping[str, Naming] = MappingProxyType({}),
    given_names: Mapping[str, str] = MappingProxyType({}),
    lost_names: Sequence[ManualName] = (),
) -> Segments:
    """Name and describe every cluster and every rule-based group of a facet.

    Parameters
    ----------
    seasonal_lift : DataFrame or None
        `seasonal_lifts`. If None, interests are compared with the whole window.
    champion_names : mapping
        segment_id -> the champion's naming of a segment that survived. A segment of the same kind keeps its name.
    given_names : mapping
        segment_id -> the name given by hand, in all languages.
    lost_names : sequence of ManualName
        Names given by hand to segments that are gone. Each goes to the only new segment that could inherit it.
    """
    clusters = FacetClusters(profiles, fitted, params, facet)
    labels = category_labels(profiles.shop.spec.cut.categories)
    lifts, interests = _interests(clusters, seasonal_lift, labels)
    all_figures, figures = _all_figures(clusters), _cluster_figures(clusters)
    named = name_segments(
        clusters, figures, lifts, interests, champion=champion_names, given=given_names, lost=lost_names
    )
    rules, fidelity = _rules(clusters)
    shop = _known_figures(figures, "shop")
    describe = functools.partial(describe_segment, clusters=clusters, shop=shop, labels=labels)
    segments = [
        describe(
            segment_id,
            naming=named.by_segment.get(segment_id),
            figures=_known_figures(all_figures, segment_id),
            interests=top_categories,
            rule=rules.get(segment_id),
        )
        for segment_id, top_categories in interests.items()
    ]
    published_shop, rows = _published(segments, clusters, all_figures, figures)
    return Segments(
        facet=facet,
        rows=tuple(sorted(rows, key=_place)),
        shop=published_shop,
        lifts=lifts["lift"].where(lifts["is_significant"]).map(significant),
        labels=labels,
        model=facet_model(clusters, named.by_segment, value_ranks(figures)),
        segment_ids=clusters.ids,
        rules_fidelity=fidelity,
        language=params.language,
        inherited_names=named.inherited,
        notes=named.notes,
    )


def _rules(clusters: FacetClusters) -> tuple[dict[str, Rule], float]:
    """`models.explanations.segment_rules` with the configured parameters."""
    params, columns = clusters.params, clusters.profiles.shop.spec.columns()
    return segment_rules(
        clusters.clustered,
        clusters.clustered_ids,
        clusters.facet.columns(columns),
        **params.rules.model_dump(),
        min_customers=params.naming.min_group,
        seed=params.seed,
    )


def name_clusters(profiles: Profiles, fitted: FittedClusters, params: Params, facet: Facet) -> dict[str, Naming]:
    """segment_id -> name, as in `describe_segments` without a champion, and with interests of the whole window."""
    clusters = FacetClusters(profiles, fitted, params, facet)
    lifts, interests = _interests(clusters, None, category_labels(profiles.shop.spec.cut.categories))
    figures = _cluster_figures(clusters)
    return name_segments(clusters, figures, lifts, interests, champion={}, given={}, lost=()).by_segment


def _all_figures(clusters: FacetClusters) -> pd.DataFrame:
    """`segment_figures` of all segments."""
    one_share = clusters.params.naming.max_one_customer_share
    return segment_figures(clusters.profiles.table, clusters.ids, max_one_customer_share=one_share)


def _cluster_figures(clusters: FacetClusters) -> pd.DataFrame:
    """`segment_figures` of the segments that are not rule-based groups, compared with all of their customers.

    If nobody was clustered, only the shop's figures, for all customers.
    """
    if not clusters.is_clustered.any():
        return _all_figures(clusters).loc[["shop"]]
    one_share = clusters.params.naming.max_one_customer_share
    return segment_figures(clusters.clustered, clusters.clustered_ids, max_one_customer_share=one_share)


def _place(segment: Segment) -> tuple[bool, float, int, str]:
    """The order of segments: by spend, rule-based groups last.

    It is of published figures: the place of a segment whose spend is hidden would bound it.
    """
    return segment.is_rule_based, -(segment.spend_share or 0.0), -segment.customer_count, segment.segment_id


def _published(
    segments: Sequence[Segment], clusters: FacetClusters, exact: pd.DataFrame, figures: pd.DataFrame
) -> tuple[dict[str, float], list[Segment]]:
    """The figures of the shop and the segments as they may be published (`models.disclosure`).

    exact, figures (segment_id x figure): the result of `_figures`
    """
    profile, params = clusters.profiles.table, clusters.params
    min_group = params.naming.min_group
    publish = functools.partial(published_figures, min_group=min_group, history_days=params.history_days)
    published = all_published = publish(profile, clusters.ids, exact)
    if clusters.is_clustered.any():
        published = publish(clusters.clustered, clusters.clustered_ids, figures)
    shop = _known_figures(published, "shop")
    steps = funnel(profile, clusters.ids, min_group=min_group)
    safe = hide_small_shares(segments, _stages(profile, clusters.ids, segments), steps, min_group)
    tables = FigureTables(exact, all_published, shop)
    return shop, [published_segment(segment, tables, min_group) for segment in safe]


def _interests(
    clusters: FacetClusters, seasonal_lift: pd.DataFrame | None, labels: Mapping[str, str]
) -> tuple[dict[str, pd.DataFrame], dict[str, list[Interest]]]:
    """`models.lifts.segment_lifts`, and the interests to show for each segment."""
    settings, profiles = clusters.params.naming, clusters.profiles
    lifts = segment_lifts(
        profiles.table,
        clusters.ids,
        list(profiles.shop.spec.cut.categories),
        seasonal_lift,
        min_lift=settings.min_lift,
        lift_errors=settings.lift_errors,
        min_group=settings.min_group,
    )
    sizes = pd.Series(clusters.ids).value_counts()
    interests = {
        segment_id: top_interests(
            pd.DataFrame({name: table.loc[segment_id] for name, table in lifts.items()}),
            min_lift=settings.min_lift,
            min_share=settings.min_interest_share,
            min_count=max(settings.min_group, settings.min_interest_customers * sizes[segment_id]),
            most=settings.top_categories,
            labels=labels,
        )
        for segment_id in map(str, lifts["share"].index)
    }
    return lifts, interests


def _stages(profile: pd.DataFrame, ids: np.ndarray, segments: Sequence[Segment]) -> pd.DataFrame:
    """Customers by segment and lifecycle stage, for the segments shown in that chart of the report."""
    shown = [segment.segment_id for segment in segments if segment.is_shown_in_detail]
    inside = np.isin(ids.astype(str), shown)
    return pd.crosstab(pd.Categorical(ids[inside], shown), pd.Categorical(profile.lifecycle_stage[inside], STAGES))


def _known_figures(figures: pd.DataFrame, segment_id: str) -> dict[str, float]:
    return {str(name): float(value) for name, value in figures.T[segment_id].items() if not np.isnan(value)}
