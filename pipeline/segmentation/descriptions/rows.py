"""The description of one segment: its figures, name, stability and rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from features.interests import SHARE_PREFIX
from models.disclosure import significant
from models.explanations import Rule, is_share
from models.identity import RULE_GROUP_PREFIX
from models.lifts import Interest
from models.naming import in_languages
from models.scorer import UNUSUAL_STAGE
from models.segment_names import Evidence, Naming, SegmentNames
from models.segmentation import FittedClusters
from models.segments import RuleCondition, Segment, SegmentRule
from pipeline.config.params import Params
from pipeline.report.parts.segment import RULE
from pipeline.report.texts.rules import conditions_text
from pipeline.report.texts.wording import wording
from pipeline.segmentation.cluster import FacetClusters, noise_policy

RULE_GROUP_FIGURES = ("events_per_customer", "days_since_last_event")
"""The figures that show how inactive a rule-based group is."""


def describe_segment(
    segment_id: str,
    *,
    clusters: FacetClusters,
    naming: Naming | None,
    figures: Mapping[str, float],
    shop: Mapping[str, float],
    interests: Sequence[Interest],
    rule: Rule | None,
    labels: Mapping[str, str],
) -> Segment:
    """One segment with exact figures, before small cells are hidden and all others are rounded.

    Parameters
    ----------
    naming : Naming or None
        None for a rule-based group.
    figures, shop : mapping
        The known figures of the segment and of the shop.
    rule : Rule or None
        `models.explanations.segment_rules`.
    labels : mapping
        Category -> label.
    """
    params, min_group = clusters.params, clusters.params.naming.min_group
    stability = stability_of(segment_id, clusters.fitted)
    segment = Segment(
        facet=clusters.facet.name,
        segment_id=segment_id,
        naming=naming or _rule_group_naming(segment_id.removeprefix(RULE_GROUP_PREFIX), params),
        customer_count=int(figures["customer_count"]),
        customer_share=figures["customer_share"],
        spend_share=figures["spend_share"],
        top_categories=tuple(interests),
        stability=stability,
        is_stable=is_stable(stability, params),
        stability_word=_stability_word(stability, params),
        is_small=figures["customer_count"] < min_group,
        figures=figures,
    )
    if segment.is_rule_based:
        known = [name for name in RULE_GROUP_FIGURES if name in figures and name in shop]
        segment = segment.with_evidence(tuple(Evidence(name, figures[name], shop[name]) for name in known))
    return replace(segment, rule=_rule_of(segment, rule, labels, clusters))


def _rule_of(
    segment: Segment, rule: Rule | None, labels: Mapping[str, str], clusters: FacetClusters
) -> SegmentRule | None:
    """The rule as data and in words, and how well it fits; None for a small segment, or if no rule describes it."""
    if segment.is_rule_based:
        described = _rule_of_group(segment.segment_id.removeprefix(RULE_GROUP_PREFIX), clusters)
    elif segment.is_small or rule is None or not rule.conditions or np.isnan(rule.precision):
        return None
    else:
        conditions = tuple(
            RuleCondition(
                condition.column,
                condition.is_above,
                significant(condition.bound),  # an exact bound lies between the values of two customers
                is_share=is_share(condition.column),
                label=_label(condition.column, labels),
            )
            for condition in rule.conditions
        )
        described = SegmentRule("", conditions, precision=rule.precision, coverage=rule.coverage)
    words = wording(clusters.params.language, clusters.params.currency)
    return replace(described, text=conditions_text(RULE.validate_python(described.as_dict()), words))


def _rule_of_group(group: str, clusters: FacetClusters) -> SegmentRule:
    """The rule of a rule-based group. It matches all of the group's customers and nobody else."""
    settings = clusters.facet.settings
    if group == UNUSUAL_STAGE:
        return SegmentRule("", is_unusual=True)
    if clusters.facet.is_named_by_interests:
        return SegmentRule("", min_evidence=settings.min_evidence, min_events=settings.min_events)
    with_noise = noise_policy(clusters.fitted) == "standing"
    least = SegmentRule("", min_events=settings.min_events, min_orders=settings.min_orders)
    return replace(least, stage=group, with_noise=with_noise)


def _label(column: str, labels: Mapping[str, str]) -> str:
    name = column.removeprefix(SHARE_PREFIX)
    return labels.get(name, name)


def stability_of(segment_id: str, fitted: FittedClusters) -> float | None:
    """Mean Jaccard similarity of a segment's cluster over resamples; None for a rule-based group and for noise."""
    return {fitted.segment_id(cluster): value for cluster, value in fitted.stability.items()}.get(segment_id)


def is_stable(stability: float | None, params: Params) -> bool:
    """Whether a segment is stable enough for a campaign. A rule-based group, which has no stability, always is."""
    return stability is None or stability >= params.quality.min_stability


def _stability_word(stability: float | None, params: Params) -> str | None:
    bounds = params.quality
    if stability is None:
        return None
    if stability < bounds.good_stability:
        return "fairly stable" if stability >= bounds.min_stability else "unstable"
    return "very stable" if stability >= bounds.high_stability else "stable"


def _rule_group_naming(group: str, params: Params) -> Naming:
    """Name and texts of a rule-based group: a lifecycle stage, or customers with unknown interests."""
    texts = params.naming.standing.get(group)
    if texts is None:
        return Naming(SegmentNames(in_languages("unknown")))
    return Naming(
        SegmentNames(texts.name.model_dump()), playbook=texts.playbook.model_dump(), avoid=texts.avoid.model_dump()
    )
