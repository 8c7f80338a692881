"""Interest groups by a rule: each customer's most distinctive category. Used where clusters of interests are unstable.

A rule does not depend on the sample: a customer with unchanged interests is in the same group on every resample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class CategoryGroups:
    """The groups of a rule.

    Attributes
    ----------
    columns : int array of shape (c,)
        The group of each interest column; -1 for a column without one.
    mix : float array of shape (n_groups,)
        The shop's share of each group.
    """

    rule: LeadingRule
    columns: Ints
    mix: Floats

    def as_model(self) -> dict[str, Any]:
        """The model as `models.scorer.leading_category` reads it."""
        return {
            "nodes": self.columns,
            "mix": self.mix,
            "kappa": self.rule.kappa,
            "min_lift": self.rule.min_lift,
            "min_errors": self.rule.min_errors,
            "noise": "keep",
        }

    def labels(self, space: Floats) -> Ints:
        """The group of each customer; -1 without a leading category."""
        if not len(self.mix):
            return np.full(len(space), NOISE, dtype=np.int64)
        labels: Ints = leading_category(space, self.as_model())["cluster_id"]
        return labels

    def only(self, order: Ints) -> CategoryGroups:
        """The rule with only the groups in ``order``, in that order."""
        rank = np.full(len(self.mix) + 1, NOISE, dtype=np.int64)  # the last entry serves columns without a group
        rank[order] = np.arange(len(order))
        return replace(self, columns=rank[self.columns], mix=self.mix[order])


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
    candidates = [_without_small_groups(space, groups, rule.min_share * len(space)) for groups in _levels(rule)]
    counts = [int((labels != NOISE).sum()) for _, labels in candidates]
    groups, labels = candidates[int(np.argmax(counts))]  # on a tie, the upper level
    return _numbered(groups, labels)


def _levels(rule: LeadingRule) -> Iterator[CategoryGroups]:
    """The rule at each level of the tree, from the root down; OTHER cannot lead."""
    paths = [lowered_parts(category) for category in rule.cut.categories]
    mix = np.array(rule.cut.mix)
    for level in range(1, rule.cut.level + 1):
        names = [path[:level] for path in paths]
        codes = {name: code for code, name in enumerate(dict.fromkeys(name for name in names if name != (OTHER,)))}
        columns = np.array([codes.get(name, NOISE) for name in names], dtype=np.int64)
        in_group = columns >= 0
        group_mix = np.bincount(columns[in_group], weights=mix[in_group], minlength=int(columns.max(initial=-1)) + 1)
        yield CategoryGroups(rule, columns, group_mix.astype(np.float64))


def _without_small_groups(space: Floats, groups: CategoryGroups, least: float) -> tuple[CategoryGroups, Ints]:
    """The rule without categories that lead for fewer than ``least`` customers, and the group of each customer."""
    while True:
        labels = groups.labels(space)
        counts = np.bincount(labels[labels != NOISE], minlength=len(groups.mix))
        small = np.flatnonzero(counts < least)
        if not len(small):
            return groups, labels
        groups = groups.only(np.setdiff1d(np.arange(len(groups.mix)), small))


def _numbered(groups: CategoryGroups, labels: Ints) -> Clusters:
    """Number the groups by size, in the same way as clusters."""
    grouped = labels[labels != NOISE]
    order = canonical_order(grouped, groups.mix[:, None]) if len(grouped) else np.empty(0, dtype=np.int64)
    rank = np.append(np.argsort(order), NOISE)
    return Clusters(groups.only(order).as_model(), rank[labels])
