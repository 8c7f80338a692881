"""Clusters of a facet -> segments: identities, names, figures; and the model that is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ibis
import numpy as np
import pandas as pd

from features.events import EventType, ObservationWindow
from features.interests import voices
from features.journey import STAGES
from models import naming
from models.crosstabs import funnel
from models.disclosure import hide_shares_of_few, hide_spend_of_few
from models.explanations import segment_rules
from models.identity import STANDING
from models.interest_names import Node, category_nodes, name_by_interests, node_figures
from models.lifts import Interest, category_labels, segment_lifts, top_interests
from models.name_continuity import keep_names, leave_names
from models.scorer import NOISE
from models.seasons import seasonal_lean
from models.segment_metrics import member_figures, segment_figures
from models.segmentation import FittedClusters
from models.what_if import moves_as_changes, possible_moves
from pipeline.config.facets import BROAD_ID, UNKNOWN_ID, Facet
from pipeline.config.params import Params
from pipeline.profiles.build import Profiles
from pipeline.segmentation.cluster import noise_policy, segment_ids
from pipeline.segmentation.segment_rows import is_stable, rule_of, segment_row, stability_of, with_given_name

SHOWN_OF_STANDINGS = ("events_per_customer", "days_since_last_event")
"""The figures that show how little a group by rule has done."""


@dataclass(frozen=True)
class Segments:
    """The named segments of a facet.

    Attributes
    ----------
    table : list of dict
        One segment each, in order of spend; the contract of design: segment_id, name, names, archetype, ...
    shop : dict
        The figures of all customers who were clustered.
    lifts : DataFrame
        segment_id x category, those first in which segments differ most. Null: too few customers show it.
    model : dict
        What `models.scorer.segment_columns` reads.
    rules_fidelity : float
        Share of customers whom all rules together put where they are.
    """

    facet: Facet
    table: list[dict[str, Any]]
    shop: dict[str, float]
    lifts: pd.DataFrame
    labels: dict[str, str]
    model: dict[str, Any]
    segment_ids: np.ndarray
    rules_fidelity: float

    def frame(self) -> pd.DataFrame:
        """The table, one row a segment."""
        return pd.DataFrame(self.table)


def seasonal_leaning(profiles: Profiles, fitted: FittedClusters, params: Params, facet: Facet) -> pd.DataFrame | None:
    """Segment x category: how the shop leaned while the segment was there; needs the open database."""
    if profiles.said is None:
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
    said = voices(profiles.said, ibis.memtable(customers), window=window, period_days=params.naming.season_days)
    categories = profiles.shop.spec.cut.categories
    lean = seasonal_lean(
        said.to_pyarrow().to_pandas(), n_categories=len(categories), thin_voices=float(params.naming.min_group)
    )
    return lean.set_axis(list(categories), axis=1)


def describe_segments(
    profiles: Profiles,
    fitted: FittedClusters,
    params: Params,
    facet: Facet,
    *,
    leaning: pd.DataFrame | None,
    known_names: Mapping[str, Mapping[str, Any]] | None = None,
    given_names: Mapping[str, str] | None = None,
) -> Segments:
    """Name every cluster and every group by rule of a facet, and gather what is to be said of them.

    Parameters
    ----------
    leaning : DataFrame or None
        `seasonal_leaning`; None: lifts are compared with the whole window.
    known_names : mapping, optional
        segment_id -> the champion's row of ``table``, whose name a segment of the same kind keeps.
    given_names : mapping, optional
        segment_id -> the name that was given by hand, in all languages.
    """
    profile = profiles.table
    ids = segment_ids(profile, fitted, facet)
    labels = category_labels(profiles.shop.spec.cut.categories)
    settings, given = params.naming, given_names or {}
    lifts, interests = _interests(profiles, ids, leaning, labels, params)
    one_share = settings.max_one_customer_share
    everybody = segment_figures(profile, ids, max_one_customer_share=one_share)
    inside = np.array([not one.startswith(STANDING) for one in ids], dtype=bool)
    # Where nobody was clustered, the shop is everybody.
    figures = everybody.loc[["shop"]]
    if inside.any():
        figures = segment_figures(profile[inside], ids[inside], max_one_customer_share=one_share)
    if facet.names_interests:
        named = _named_by_interests(profiles, ids, lifts, fitted, params)
    else:
        named = _named_by_archetypes(figures, interests, member_figures(profile[inside]), ids[inside], fitted, params)
    keep_names(named, known_names or {}, figures, [one.model_dump() for one in settings.traits])
    leave_names(named, given)
    rules, fidelity = segment_rules(
        profile[inside],
        ids[inside],
        facet.columns(profiles.shop.spec.columns()),
        **params.rules.model_dump(),
        min_customers=settings.min_group,
        seed=params.seed,
    )
    shop = _plain(figures.loc["shop"])
    table = []
    for segment_id, own in interests.items():
        numbers = _plain(everybody.loc[segment_id])
        row = segment_row(segment_id, numbers, named.get(segment_id), own, fitted, params, facet)
        row = with_given_name(row, given.get(segment_id))
        row["rule"] = rule_of(row, rules.get(segment_id), labels, noise_policy(fitted), params, facet)
        table.append(_with_activity(row, shop))
    table.sort(key=lambda one: (one["is_standing"], -one["spend_share"], -one["customer_count"], one["segment_id"]))
    hide_spend_of_few(table, settings.min_group)
    steps = funnel(profile, ids, min_group=settings.min_group)
    hide_shares_of_few(table, _stages(profile, ids, table), steps, settings.min_group)
    return Segments(
        facet=facet,
        table=table,
        shop=shop,
        lifts=lifts["lift"].where(lifts["is_sure"]),
        labels=labels,
        model=_facet_model(facet, fitted, named, _moves(profile[inside], params), params),
        segment_ids=ids,
        rules_fidelity=fidelity,
    )


def _with_activity(row: dict[str, Any], shop: Mapping[str, float]) -> dict[str, Any]:
    """The row of a group by rule, with the figures that show how little it has done as evidence; others as they are."""
    if not row["is_standing"]:
        return row
    known = [name for name in SHOWN_OF_STANDINGS if name in row["figures"] and name in shop]
    return {**row, "evidence": [naming.proof(name, row["figures"], shop, {}) for name in known]}


def _named_by_archetypes(
    figures: pd.DataFrame,
    interests: Mapping[str, list[Interest]],
    members: pd.DataFrame,
    ids: np.ndarray,
    fitted: FittedClusters,
    params: Params,
) -> dict[str, dict[str, Any]]:
    """`models.naming.name_segments` as the parameters say."""
    settings = params.naming
    return naming.name_segments(
        figures,
        interests,
        [one.model_dump() for one in settings.archetypes],
        traits=[one.model_dump() for one in settings.traits],
        min_contrast=settings.min_contrast,
        min_gap=settings.min_gap,
        min_share_gap=settings.min_share_gap,
        members=members.set_axis(ids, axis=0),
        min_held_share=settings.min_held_share,
        unstable=[one for one in interests if not is_stable(stability_of(one, fitted), params)],
    )


def _named_by_interests(
    profiles: Profiles, ids: np.ndarray, lifts: Mapping[str, pd.DataFrame], fitted: FittedClusters, params: Params
) -> dict[str, dict[str, Any]]:
    """`models.interest_names.name_by_interests` as the parameters say, of the segments that are not by rule."""
    settings, cut = params.naming, profiles.shop.spec.cut
    known = sorted({str(one) for one in ids if not one.startswith(STANDING)})
    if not known:
        return {}
    nodes = category_nodes(cut.categories, cut.level)
    inside = np.array([not one.startswith(STANDING) for one in ids], dtype=bool)
    expected = (lifts["share"] / lifts["lift"].where(lifts["lift"] > 0)).reindex(columns=list(cut.categories))
    figures = node_figures(
        profiles.table[inside],
        pd.Index(known).get_indexer(pd.Index(ids[inside])).astype(np.int64),
        expected.loc[known].fillna(0.0),
        nodes,
        cut.categories,
        lift_errors=settings.lift_errors,
        min_lift=settings.min_lift,
    )
    return name_by_interests(
        figures,
        known,
        nodes,
        min_lift=settings.min_lift,
        min_share=settings.min_interest_share,
        playbook=settings.interest_playbook.model_dump(),
        broad=[BROAD_ID],
        leading=_leading_nodes(fitted, nodes),
    )


def _leading_nodes(fitted: FittedClusters, nodes: Sequence[Node]) -> dict[str, int]:
    """segment_id -> place of its category, of customers grouped by leading category; empty for clusters."""
    groups = fitted.clusters.model.get("nodes")
    if groups is None:
        return {}
    places = {tuple(node.columns.tolist()): place for place, node in enumerate(nodes)}
    columns = {group: tuple(np.flatnonzero(groups == group).tolist()) for group in fitted.model_clusters}
    return {fitted.segment_id(group): places[own] for group, own in columns.items() if own in places}


def _interests(
    profiles: Profiles, ids: np.ndarray, leaning: pd.DataFrame | None, labels: dict[str, str], params: Params
) -> tuple[dict[str, pd.DataFrame], dict[str, list[Interest]]]:
    """`models.lifts.segment_lifts`, and of each segment those interests that are told."""
    settings = params.naming
    lifts = segment_lifts(
        profiles.table,
        ids,
        list(profiles.shop.spec.cut.categories),
        leaning,
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
    """Customers by segment and lifecycle stage, of the segments that the report crosses with stages."""
    crossed = [one["segment_id"] for one in table if not one["is_standing"] and not one["is_small"]]
    inside = np.isin(ids.astype(str), crossed)
    return pd.crosstab(pd.Categorical(ids[inside], crossed), pd.Categorical(profile.lifecycle_stage[inside], STAGES))


def _plain(figures: Any) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if not np.isnan(value)}


def _facet_model(
    facet: Facet,
    fitted: FittedClusters,
    named: Mapping[str, Mapping[str, Any]],
    moves: list[dict[str, Any]],
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
            {"cluster_id": int(cluster), **_model_segment(int(cluster), fitted, named, params)} for cluster in clusters
        ],
        "standing": _groups_by_rule(facet, params),
        "grouped_by": None if facet.names_interests else "lifecycle_stage",
        "evidence_words": ["ok", "low", "broad" if facet.names_interests else "noise"],
        "min_events": facet.settings.min_events,
        "min_evidence": facet.settings.min_evidence,
        "border_margin": params.clustering.border_margin,
        **({} if facet.names_interests else {"moves": moves}),
    }


def _groups_by_rule(facet: Facet, params: Params) -> dict[str, dict[str, str]]:
    """Value of the column that customers are grouped by -> the group."""
    if facet.names_interests:
        name = naming.in_languages("unknown")[params.language]
        return {UNKNOWN_ID: {"segment_id": STANDING + UNKNOWN_ID, "name": name}}
    return {
        stage: {"segment_id": STANDING + stage, "name": getattr(one.name, params.language)}
        for stage, one in params.naming.standing.items()
    }


def _model_segment(
    cluster: int, fitted: FittedClusters, named: Mapping[str, Mapping[str, Any]], params: Params
) -> dict[str, Any]:
    """What the model says of a cluster; nulls where its customers get the segment of their lifecycle stage."""
    if cluster == NOISE and noise_policy(fitted) == "standing":
        return {"segment_id": None, "name": None, "is_stable": True}
    segment_id = fitted.segment_id(cluster)
    own = named.get(segment_id, {"names": naming.in_languages("broad" if segment_id == BROAD_ID else "noise")})
    return {
        "segment_id": segment_id,
        "name": own["names"][params.language],
        "is_stable": is_stable(fitted.stability.get(cluster), params),
        "is_broad": bool(own.get("is_broad", False)),
    }


def _moves(clustered: pd.DataFrame, params: Params) -> list[dict[str, Any]]:
    texts = [getattr(one.text, params.language).format(days=f"{one.days:g}") for one in params.moves]
    told = [{**one.model_dump(), "text": text} for one, text in zip(params.moves, texts, strict=True)]
    event_counts = {kind: float(clustered[f"{kind}_count"].sum()) for kind in EventType}
    spend_per_order = (clustered.spend / clustered.order_count.where(clustered.order_count > 0)).median()
    activity = params.interests.activity
    return moves_as_changes(
        possible_moves(told, event_counts),
        spend_per_order=float(np.nan_to_num(spend_per_order)),
        half_life_days=activity.half_life_days,
        signal_weights=activity.signal_weights,
    )
