"""Clusters of a facet -> segments with ids, names and figures, and the model that is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ibis
import numpy as np
import pandas as pd

from features.events import EventType, ObservationWindow
from features.interests import segment_weights
from features.journey import STAGES
from models import naming
from models.crosstabs import funnel
from models.disclosure import hide_small_shares, hide_small_spend
from models.explanations import segment_rules
from models.identity import RULE_GROUP_PREFIX
from models.interest_names import Node, category_nodes, name_by_interests, node_figures
from models.lifts import Interest, category_labels, segment_lifts, top_interests
from models.name_continuity import ManualName, avoid_manual_names, keep_names
from models.scorer import NOISE
from models.seasons import segment_seasonal_lift
from models.segment_metrics import member_figures, segment_figures
from models.segmentation import FittedClusters
from models.what_if import moves_as_changes, possible_moves, value_ranks
from pipeline.config.facets import BROAD_ID, UNKNOWN_ID, Facet
from pipeline.config.params import Params
from pipeline.profiles.build import Profiles
from pipeline.segmentation.cluster import noise_policy, segment_ids
from pipeline.segmentation.lineage import inherit_names
from pipeline.segmentation.segment_rows import is_stable, rule_of, segment_row, stability_of, with_given_name

RULE_GROUP_FIGURES = ("events_per_customer", "days_since_last_event")
"""The figures that show how inactive a rule-based group is."""


@dataclass(frozen=True)
class Segments:
    """The named segments of a facet.

    Attributes
    ----------
    table : list of dict
        One row per segment, sorted by spend: segment_id, name, names, archetype, ...
    shop : dict
        The figures of all clustered customers.
    lifts : DataFrame
        segment_id x category; the categories in which segments differ most come first. Null if too few customers show
        the interest.
    model : dict
        The model as `models.scorer.segment_columns` reads it.
    rules_fidelity : float
        Share of customers whom all rules together assign to their own segment.
    inherited_names : dict of str to str
        segment_id -> the name given by hand to the segment that it continues under another id.
    notes : tuple of str
        What became of the names given by hand to segments that are gone.
    """

    facet: Facet
    table: list[dict[str, Any]]
    shop: dict[str, float]
    lifts: pd.DataFrame
    labels: dict[str, str]
    model: dict[str, Any]
    segment_ids: np.ndarray
    rules_fidelity: float
    inherited_names: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
    known_names: Mapping[str, Mapping[str, Any]] | None = None,
    given_names: Mapping[str, str] | None = None,
    lost_names: Sequence[ManualName] = (),
) -> Segments:
    """Name and describe every cluster and every rule-based group of a facet.

    Parameters
    ----------
    seasonal_lift : DataFrame or None
        `seasonal_lifts`. If None, interests are compared with the whole window.
    known_names : mapping, optional
        segment_id -> the champion's row of ``table``. A segment of the same kind keeps its name.
    given_names : mapping, optional
        segment_id -> the name given by hand, in all languages.
    lost_names : sequence of ManualName
        Names given by hand to segments that are gone. Each goes to the only new segment that could inherit it.
    """
    profile = profiles.table
    ids = segment_ids(profile, fitted, facet)
    labels = category_labels(profiles.shop.spec.cut.categories)
    settings, by_hand = params.naming, given_names or {}
    lifts, interests = _interests(profiles, ids, seasonal_lift, labels, params)
    one_share = settings.max_one_customer_share
    all_figures = segment_figures(profile, ids, max_one_customer_share=one_share)
    inside = np.array([not segment_id.startswith(RULE_GROUP_PREFIX) for segment_id in ids], dtype=bool)
    # If nobody was clustered, the shop's figures include all customers.
    figures = all_figures.loc[["shop"]]
    if inside.any():
        figures = segment_figures(profile[inside], ids[inside], max_one_customer_share=one_share)
    if facet.is_named_by_interests:
        named = _named_by_interests(profiles, ids, lifts, fitted, params)
    else:
        named = _named_by_archetypes(figures, interests, member_figures(profile[inside]), ids[inside], fitted, params)
    keep_names(named, known_names or {}, figures, [trait.model_dump() for trait in settings.traits])
    inherited, notes = inherit_names(lost_names, named, {*named} - {*(known_names or {}), *by_hand}, params)
    by_hand = {**by_hand, **inherited}
    avoid_manual_names(named, by_hand)
    rules, fidelity = segment_rules(
        profile[inside],
        ids[inside],
        facet.columns(profiles.shop.spec.columns()),
        **params.rules.model_dump(),
        min_customers=settings.min_group,
        seed=params.seed,
    )
    shop = _without_nulls(figures.loc["shop"])
    table = []
    for segment_id, top_categories in interests.items():
        figures_of_segment = _without_nulls(all_figures.loc[segment_id])
        row = segment_row(segment_id, figures_of_segment, named.get(segment_id), top_categories, fitted, params, facet)
        row = with_given_name(row, by_hand.get(segment_id))
        row["rule"] = rule_of(row, rules.get(segment_id), labels, noise_policy(fitted), params, facet)
        table.append(_with_activity(row, shop))
    table.sort(key=lambda row: (row["is_standing"], -row["spend_share"], -row["customer_count"], row["segment_id"]))
    hide_small_spend(table, settings.min_group)
    steps = funnel(profile, ids, min_group=settings.min_group)
    hide_small_shares(table, _stages(profile, ids, table), steps, settings.min_group)
    return Segments(
        facet=facet,
        table=table,
        shop=shop,
        lifts=lifts["lift"].where(lifts["is_significant"]),
        labels=labels,
        model=_facet_model(facet, fitted, named, _moves(profile[inside], params), value_ranks(figures), params),
        segment_ids=ids,
        rules_fidelity=fidelity,
        inherited_names=inherited,
        notes=notes,
    )


def _with_activity(row: dict[str, Any], shop: Mapping[str, float]) -> dict[str, Any]:
    """Add the figures that show how inactive a rule-based group is, as its evidence; other rows are unchanged."""
    if not row["is_standing"]:
        return row
    known = [name for name in RULE_GROUP_FIGURES if name in row["figures"] and name in shop]
    return {**row, "evidence": [naming.evidence_item(name, row["figures"], shop, {}) for name in known]}


def _named_by_archetypes(
    figures: pd.DataFrame,
    interests: Mapping[str, list[Interest]],
    members: pd.DataFrame,
    ids: np.ndarray,
    fitted: FittedClusters,
    params: Params,
) -> dict[str, dict[str, Any]]:
    """`models.naming.name_segments` with the configured parameters."""
    settings = params.naming
    return naming.name_segments(
        figures,
        interests,
        [archetype.model_dump() for archetype in settings.archetypes],
        traits=[trait.model_dump() for trait in settings.traits],
        min_contrast=settings.min_contrast,
        min_gap=settings.min_gap,
        min_share_gap=settings.min_share_gap,
        members=members.set_axis(ids, axis=0),
        min_held_share=settings.min_held_share,
        unstable=[segment_id for segment_id in interests if not is_stable(stability_of(segment_id, fitted), params)],
    )


def _named_by_interests(
    profiles: Profiles, ids: np.ndarray, lifts: Mapping[str, pd.DataFrame], fitted: FittedClusters, params: Params
) -> dict[str, dict[str, Any]]:
    """`models.interest_names.name_by_interests` with the configured parameters, for all but the rule-based groups."""
    settings, cut = params.naming, profiles.shop.spec.cut
    clustered_ids = sorted({str(segment_id) for segment_id in ids if not segment_id.startswith(RULE_GROUP_PREFIX)})
    if not clustered_ids:
        return {}
    nodes = category_nodes(cut.categories, cut.level)
    inside = np.array([not segment_id.startswith(RULE_GROUP_PREFIX) for segment_id in ids], dtype=bool)
    expected = (lifts["share"] / lifts["lift"].where(lifts["lift"] > 0)).reindex(columns=list(cut.categories))
    figures = node_figures(
        profiles.table[inside],
        pd.Index(clustered_ids).get_indexer(pd.Index(ids[inside])).astype(np.int64),
        expected.loc[clustered_ids].fillna(0.0),
        nodes,
        cut.categories,
        lift_errors=settings.lift_errors,
        min_lift=settings.min_lift,
    )
    return name_by_interests(
        figures,
        clustered_ids,
        nodes,
        min_lift=settings.min_lift,
        min_share=settings.min_interest_share,
        playbook=settings.interest_playbook.model_dump(),
        broad=[BROAD_ID],
        leading=_leading_nodes(fitted, nodes),
    )


def _leading_nodes(fitted: FittedClusters, nodes: Sequence[Node]) -> dict[str, int]:
    """segment_id -> index of its category node, if customers are grouped by leading category; else empty."""
    groups = fitted.clusters.model.get("nodes")
    if groups is None:
        return {}
    node_index = {tuple(node.columns.tolist()): index for index, node in enumerate(nodes)}
    columns = {group: tuple(np.flatnonzero(groups == group).tolist()) for group in fitted.model_clusters}
    return {fitted.segment_id(group): node_index[key] for group, key in columns.items() if key in node_index}


def _interests(
    profiles: Profiles, ids: np.ndarray, seasonal_lift: pd.DataFrame | None, labels: dict[str, str], params: Params
) -> tuple[dict[str, pd.DataFrame], dict[str, list[Interest]]]:
    """`models.lifts.segment_lifts`, and the interests to show for each segment."""
    settings = params.naming
    lifts = segment_lifts(
        profiles.table,
        ids,
        list(profiles.shop.spec.cut.categories),
        seasonal_lift,
        min_lift=settings.min_lift,
        lift_errors=settings.lift_errors,
        min_group=settings.min_group,
    )
    sizes = pd.Series(ids).value_counts()
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


def _stages(profile: pd.DataFrame, ids: np.ndarray, table: list[dict[str, Any]]) -> pd.DataFrame:
    """Customers by segment and lifecycle stage, for the segments shown in that chart of the report."""
    shown = [row["segment_id"] for row in table if not row["is_standing"] and not row["is_small"]]
    inside = np.isin(ids.astype(str), shown)
    return pd.crosstab(pd.Categorical(ids[inside], shown), pd.Categorical(profile.lifecycle_stage[inside], STAGES))


def _without_nulls(figures: Any) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if not np.isnan(value)}


def _facet_model(
    facet: Facet,
    fitted: FittedClusters,
    named: Mapping[str, Mapping[str, Any]],
    moves: list[dict[str, Any]],
    ranks: Mapping[str, int],
    params: Params,
) -> dict[str, Any]:
    clusters = fitted.model_clusters
    has_noise = NOISE in fitted.labels or NOISE in fitted.clusters.model.get("labels", ())
    if (has_noise and noise_policy(fitted) != "nearest") or fitted.algorithm == "rule":
        clusters = [NOISE, *clusters] if clusters else []
    return {
        "name": facet.name,
        "prefix": facet.column_prefix,
        "scaling": fitted.scaling,
        "clusters": fitted.clusters.model,
        "segments": [
            {"cluster_id": int(cluster), **_model_segment(int(cluster), fitted, named, ranks, params)}
            for cluster in clusters
        ],
        "standing": _rule_based_groups(facet, params),
        "grouped_by": None if facet.is_named_by_interests else "lifecycle_stage",
        "evidence_words": ["ok", "low", "broad" if facet.is_named_by_interests else "noise"],
        "min_events": facet.settings.min_events,
        "min_evidence": facet.settings.min_evidence,
        "border_margin": params.clustering.border_margin,
        **({} if facet.is_named_by_interests else {"moves": moves}),
    }


def _rule_based_groups(facet: Facet, params: Params) -> dict[str, dict[str, str]]:
    """Value of the grouping column -> the rule-based group."""
    if facet.is_named_by_interests:
        name = naming.in_languages("unknown")[params.language]
        return {UNKNOWN_ID: {"segment_id": RULE_GROUP_PREFIX + UNKNOWN_ID, "name": name}}
    return {
        stage: {"segment_id": RULE_GROUP_PREFIX + stage, "name": getattr(group.name, params.language)}
        for stage, group in params.naming.standing.items()
    }


def _model_segment(
    cluster: int,
    fitted: FittedClusters,
    named: Mapping[str, Mapping[str, Any]],
    ranks: Mapping[str, int],
    params: Params,
) -> dict[str, Any]:
    """A cluster's segment in the model; nulls if its customers are grouped by their lifecycle stage."""
    if cluster == NOISE and noise_policy(fitted) == "standing":
        return {"segment_id": None, "name": None, "is_stable": True}
    segment_id = fitted.segment_id(cluster)
    naming_result = named.get(
        segment_id, {"names": naming.in_languages("broad" if segment_id == BROAD_ID else "noise")}
    )
    return {
        "segment_id": segment_id,
        "name": naming_result["names"][params.language],
        "is_stable": is_stable(fitted.stability.get(cluster), params),
        "is_broad": bool(naming_result.get("is_broad", False)),
        # A segment that nobody was in is not known to be worth less than any other.
        "value_rank": ranks.get(segment_id, len(ranks)),
    }


def _moves(clustered: pd.DataFrame, params: Params) -> list[dict[str, Any]]:
    texts = [getattr(move.text, params.language).format(days=f"{move.days:g}") for move in params.moves]
    moves = [{**move.model_dump(), "text": text} for move, text in zip(params.moves, texts, strict=True)]
    event_counts = {kind: float(clustered[f"{kind}_count"].sum()) for kind in EventType}
    spend_per_order = (clustered.spend / clustered.order_count.where(clustered.order_count > 0)).median()
    activity = params.interests.activity
    return moves_as_changes(
        possible_moves(moves, event_counts),
        spend_per_order=float(np.nan_to_num(spend_per_order)),
        half_life_days=activity.half_life_days,
        signal_weights=activity.signal_weights,
    )
