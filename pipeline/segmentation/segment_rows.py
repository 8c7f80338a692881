"""What is told of one segment: its row of the table of segments, its stability and its rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.interests import SHARE_PREFIX
from models.disclosure import well_founded
from models.explanations import Rule, is_share
from models.identity import STANDING
from models.lifts import Interest
from models.naming import in_languages
from models.segmentation import FittedClusters
from pipeline.config.facets import Facet
from pipeline.config.params import Params
from pipeline.report.texts.wording import wording


def rule_of(
    segment: dict[str, Any],
    rule: Rule | None,
    labels: dict[str, str],
    noise_policy: str | None,
    params: Params,
    facet: Facet,
) -> dict[str, Any] | None:
    """The rule as data and in words, and how well it holds; None of a small group, and where none tells it apart."""
    if segment["is_standing"]:
        told = _rule_of_group(segment["segment_id"].removeprefix(STANDING), noise_policy, facet)
    elif segment["is_small"] or rule is None or not rule.conditions or np.isnan(rule.precision):
        return None
    else:
        conditions = [
            {**vars(one), "is_share": is_share(one.column), "label": _label(one.column, labels)}
            for one in rule.conditions
        ]
        told = {"conditions": conditions, "precision": rule.precision, "coverage": rule.coverage}
    return {"text": wording(params.language, params.currency).conditions(told), **told}


def _rule_of_group(group: str, noise_policy: str | None, facet: Facet) -> dict[str, Any]:
    """The rule of a group by rule, which holds of all its customers and of nobody else."""
    given = facet.settings
    found = {"min_events": given.min_events, "precision": 1.0, "coverage": 1.0}
    if facet.names_interests:
        return {"min_evidence": given.min_evidence, **found}
    return {"stage": group, "with_noise": noise_policy == "standing", **found}


def _label(column: str, labels: dict[str, str]) -> str:
    name = column.removeprefix(SHARE_PREFIX)
    return labels.get(name, name)


def stability_of(segment_id: str, fitted: FittedClusters) -> float | None:
    """Mean Jaccard of a segment's cluster; None of a standing and of noise."""
    return {fitted.segment_id(cluster): value for cluster, value in fitted.stability.items()}.get(segment_id)


def is_stable(stability: float | None, params: Params) -> bool:
    """Whether a campaign may rest on a segment; so on one by rule, which has no stability."""
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
    """All that is shown of a segment but its rule; ``named``: by figures or interests, None of a group by rule."""
    named = named or _named_by_rule(segment_id.removeprefix(STANDING), params)
    came_back = stability_of(segment_id, fitted)
    return {
        "facet": facet.name,
        "segment_id": segment_id,
        "name": named["names"][params.language],
        "names": named["names"],
        "archetype": named["archetype"],
        "is_standing": segment_id.startswith(STANDING),
        "customer_count": int(figures["customer_count"]),
        "customer_share": figures["customer_share"],
        "spend_share": figures["spend_share"],
        "top_categories": [vars(interest) for interest in interests],
        "evidence": named["evidence"],
        "stability": came_back,
        "is_stable": is_stable(came_back, params),
        "stability_word": _stability_word(came_back, params),
        "playbook": named["playbook"],
        "avoid": named["avoid"],
        "is_small": figures["customer_count"] < params.naming.min_group,
        "figures": well_founded(figures, params.naming.min_group),
    }


def with_given_name(row: dict[str, Any], by_hand: str | None) -> dict[str, Any]:
    """The row with the name given by hand, in all languages; the name by figures stays with it, as one can go back."""
    named = {**row, "names_by_figures": row["names"]}
    return {**named, "name": by_hand, "names": dict.fromkeys(row["names"], by_hand)} if by_hand else named


def _named_by_rule(group: str, params: Params) -> dict[str, Any]:
    """What a group by rule is called: by its lifecycle stage, or as customers whose interests are not known."""
    texts = params.naming.standing.get(group)
    return {
        "archetype": None,
        "names": texts.name.model_dump() if texts else in_languages("unknown"),
        "playbook": texts.playbook.model_dump() if texts else {},
        "avoid": texts.avoid.model_dump() if texts else {},
        "evidence": [],
    }
