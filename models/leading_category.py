"""Interest groups by a rule: each customer's most distinctive category. Used where clusters of interests are unstable.

A rule does not depend on the sample: a customer with unchanged interests is in the same group on every resample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.categories import OTHER, CategoryCut, lowered_parts
from features.interests import SHARE_PREFIX
from models.clusterers import Clusters, canonical_order
from models.scorer import NOISE, Floats, Ints, leading_category

EVIDENCE = "evidence"


@dataclass(frozen=True)
class LeadingRule:
    """When a category leads; `models.scorer.leading_category` has the formula.

    Attributes
    ----------
    cut : CategoryCut
        Interest columns, their tree and the shop's mix.
    kappa : float
        Weight of the shop's mix in shares, in units of evidence.
    min_lift : float
        Minimum share, as a multiple of the shop's.
    min_errors : float
        Minimum number of standard errors by which the share exceeds the shop's.
    min_share : float
        A category that leads for a smaller share of customers forms no group.
    """

    cut: CategoryCut
    kappa: float
    min_lift: float
    min_errors: float
    min_share: float

    def scaling(self) -> dict[str, Any]:
        """The scaling for `models.scorer.to_space`: shares and evidence unchanged."""
        names = [*(SHARE_PREFIX + category for category in self.cut.categories), EVIDENCE]
        return {
            "names": names,
            "transforms": ["none"] * len(names),
            "missing": np.zeros(len(names)),
            "centre": np.zeros(len(names)),
            "scale": np.ones(len(names)),
        }


def fit_leading_category(space: Floats, seed: int, *, rule: LeadingRule) -> Clusters:
    """Group customers by leading category, at the tree level where most customers have one.

    Parameters
    ----------
    space : array of shape (n, c + 1)
        Points by `LeadingRule.scaling`: shares of the interest columns, and the evidence.
    seed : int
        Unused: the rule is deterministic.

    Returns
    -------
    Clusters
        Customers without a leading category are noise.
    """
    candidates = [_without_small_groups(space, model, rule.min_share * len(space)) for model in _levels(rule)]
    counts = [int((labels != NOISE).sum()) for _, labels in candidates]
    model, labels = candidates[int(np.argmax(counts))]  # on a tie, the upper level
    return _numbered(model, labels)


def _levels(rule: LeadingRule) -> Iterator[dict[str, Any]]:
    """The rule at each level of the tree, from the root down; OTHER cannot lead."""
    paths = [lowered_parts(category) for category in rule.cut.categories]
    for level in range(1, rule.cut.level + 1):
        names = [path[:level] for path in paths]
        codes = {name: code for code, name in enumerate(dict.fromkeys(name for name in names if name != (OTHER,)))}
        nodes = np.array([codes.get(name, NOISE) for name in names], dtype=np.int64)
        yield _rule_model(rule, nodes, np.array(rule.cut.mix))


def _rule_model(rule: LeadingRule, nodes: Ints, mix: Floats) -> dict[str, Any]:
    group_mix = np.bincount(nodes[nodes >= 0], weights=mix[nodes >= 0], minlength=int(nodes.max(initial=-1)) + 1)
    return {
        "nodes": nodes,
        "mix": group_mix.astype(np.float64),
        "kappa": rule.kappa,
        "min_lift": rule.min_lift,
        "min_errors": rule.min_errors,
        "noise": "keep",
    }


def _without_small_groups(space: Floats, model: dict[str, Any], least: float) -> tuple[dict[str, Any], Ints]:
    """The rule without categories that lead for fewer than ``least`` customers, and the group of each customer."""
    while True:
        labels = _labels(space, model)
        counts = np.bincount(labels[labels != NOISE], minlength=len(model["mix"]))
        small = np.flatnonzero(counts < least)
        if not len(small):
            return model, labels
        kept = np.setdiff1d(np.arange(len(model["mix"])), small)
        model = _renumbered(model, kept)


def _labels(space: Floats, model: Mapping[str, Any]) -> Ints:
    if not len(model["mix"]):
        return np.full(len(space), NOISE, dtype=np.int64)
    labels: Ints = leading_category(space, model)["cluster_id"]
    return labels


def _renumbered(model: dict[str, Any], order: Ints) -> dict[str, Any]:
    """The rule with only the groups in ``order``, in that order."""
    rank = np.full(len(model["mix"]) + 1, NOISE, dtype=np.int64)  # the last entry serves columns without a group
    rank[order] = np.arange(len(order))
    return {**model, "nodes": rank[model["nodes"]], "mix": model["mix"][order]}


def _numbered(model: dict[str, Any], labels: Ints) -> Clusters:
    """Number the groups by size, in the same way as clusters."""
    grouped = labels[labels != NOISE]
    order = canonical_order(grouped, model["mix"][:, None]) if len(grouped) else np.empty(0, dtype=np.int64)
    rank = np.append(np.argsort(order), NOISE)
    return Clusters(_renumbered(model, order), rank[labels])
