"""The description of one segment: its row in the table of segments, its stability and its rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.interests import SHARE_PREFIX
from models.disclosure import drop_small_base_figures
from models.explanations import Rule, is_share
from models.identity import RULE_GROUP_PREFIX
from models.lifts import Interest
from models.naming import in_languages
from models.segmentation import FittedClusters
from pipeline.config.facets import Facet
from pipeline.config.params import Params
from pipeline.report.segment import RULE
from pipeline.report.texts.rules import conditions_text
from pipeline.report.texts.wording import wording


def rule_of(
    segment: dict[str, Any],
    rule: Rule | None,
    labels: dict[str, str],
    noise_policy: str | None,
    params: Params,
    facet: Facet,
) -> dict[str, Any] | None:
    """The rule as data and in words, and how well it fits; None for a small segment, or if no rule describes it."""
    if segment["is_standing"]:
        summary = _rule_of_group(segment["segment_id"].removeprefix(RULE_GROUP_PREFIX), noise_policy, facet)
    elif segment["is_small"] or rule is None or not rule.conditions or np.isnan(rule.precision):
        return None
    else:
        conditions = [
            {**vars(condition), "is_share": is_share(condition.column), "label": _label(condition.column, labels)}
            for condition in rule.conditions
        ]
        summary = {"conditions": conditions, "precision": rule.precision, "coverage": rule.coverage}
    words = wording(params.language, params.currency)
    return {"text": conditions_text(RULE.validate_python(summary), words), **summary}


def _rule_of_group(group: str, noise_policy: str | None, facet: Facet) -> dict[str, Any]:
    """The rule of a rule-based group. It matches all of the group's customers and nobody else."""
    settings = facet.settings
    rule = {"min_events": settings.min_events, "precision": 1.0, "coverage": 1.0}
    if facet.is_named_by_interests:
        return {"min_evidence": settings.min_evidence, **rule}
    return {"stage": group, "with_noise": noise_policy == "standing", **rule}


def _label(column: str, labels: dict[str, str]) -> str:
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


def segment_row(
    segment_id: str,
    figures: dict[str, float],
    named: dict[str, Any] | None,
    interests: list[Interest],
    fitted: FittedClusters,
    params: Params,
    facet: Facet,
) -> dict[str, Any]:
    """Everything shown of a segment except its rule.

    ``named`` holds the name by figures or interests; None for a rule-based group.
    """
    named = named or _rule_group_texts(segment_id.removeprefix(RULE_GROUP_PREFIX), params)
    stability = stability_of(segment_id, fitted)
    return {
        "facet": facet.name,
        "segment_id": segment_id,
        "name": named["names"][params.language],
        "names": named["names"],
        "archetype": named["archetype"],
        "is_standing": segment_id.startswith(RULE_GROUP_PREFIX),
        "customer_count": int(figures["customer_count"]),
        "customer_share": figures["customer_share"],
        "spend_share": figures["spend_share"],
        "top_categories": [vars(interest) for interest in interests],
        "evidence": named["evidence"],
        "stability": stability,
        "is_stable": is_stable(stability, params),
        "stability_word": _stability_word(stability, params),
        "playbook": named["playbook"],
        "avoid": named["avoid"],
        "is_small": figures["customer_count"] < params.naming.min_group,
        "figures": drop_small_base_figures(figures, params.naming.min_group),
    }


def with_given_name(row: dict[str, Any], by_hand: str | None) -> dict[str, Any]:
    """Add the name given by hand, in all languages. The name by figures is kept, so it can be restored."""
    named = {**row, "names_by_figures": row["names"]}
    return {**named, "name": by_hand, "names": dict.fromkeys(row["names"], by_hand)} if by_hand else named


def _rule_group_texts(group: str, params: Params) -> dict[str, Any]:
    """Name and texts of a rule-based group: a lifecycle stage, or customers with unknown interests."""
    texts = params.naming.standing.get(group)
    return {
        "archetype": None,
        "names": texts.name.model_dump() if texts else in_languages("unknown"),
        "playbook": texts.playbook.model_dump() if texts else {},
        "avoid": texts.avoid.model_dump() if texts else {},
        "evidence": [],
    }
