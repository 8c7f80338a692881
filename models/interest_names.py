"""Names of segments by what their customers like: at most two categories, at the level of the tree that says most."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from features.categories import OTHER, SEPARATOR, lowered_parts
from features.interests import SHARE_PREFIX
from models.lifts import category_labels
from models.naming import LANGUAGES, category_in_languages, in_languages
from models.scorer import Floats, Ints

SECOND_GAIN = 0.5
"""A second category is named from this share of the first one's gain on."""
MAJORITY = 0.5
"""So many of the members must have a named category first, or the segment has no name by it."""


@dataclass(frozen=True)
class Node:
    """A category at any level of the tree; ``columns`` are those of the cut that lie in it."""

    path: tuple[str, ...]
    name: str
    columns: Ints
    level: int

    def is_related(self, other: Node) -> bool:
        """Whether one is the other, or lies in it."""
        depth = min(len(self.path), len(other.path))
        return self.path[:depth] == other.path[:depth]


def category_nodes(categories: Sequence[str], depth: int) -> list[Node]:
    """All categories of a cut, at each level once, from the root down; OTHER is none."""
    paths = [lowered_parts(category) for category in categories]
    found: dict[tuple[str, ...], tuple[str, list[int], int]] = {}
    for level in range(1, depth + 1):
        for column, (category, path) in enumerate(zip(categories, paths, strict=True)):
            if path == (OTHER,) or (len(path) < level < depth):
                continue
            own = path if level == depth else path[:level]
            name = category if level == depth else SEPARATOR.join(category.split(SEPARATOR)[:level])
            found.setdefault(own, (name, [], level))[1].append(column)
    # A category that is a column itself stands at the first level that has it, with all its columns once.
    return [
        Node(path, name, np.array(sorted(set(columns)), dtype=np.int64), level)
        for path, (name, columns, level) in found.items()
    ]


@dataclass(frozen=True)
class NodeFigures:
    """How the segments turn to each category; arrays of shape (n_segments, n_nodes).

    Attributes
    ----------
    share, expected : float
        Mean share, and that of customers who did as the whole shop did at the same times.
    low : float
        The share less some standard errors over the segment's customers.
    first_share : float
        Members whose largest share at the level of the category is the category's.
    member_count : int
        Members who show it, by the least lift.
    """

    share: Floats
    expected: Floats
    low: Floats
    first_share: Floats
    member_count: Ints

    def gain(self) -> Floats:
        """Share * log(share / expected): what the category adds to the divergence from the shop (Kullback, Leibler)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(
                (self.share > 0) & (self.expected > 0), self.share * np.log(self.share / self.expected), 0.0
            )


def node_figures(
    profile: pd.DataFrame,
    segment: Ints,
    expected: pd.DataFrame,
    nodes: Sequence[Node],
    categories: Sequence[str],
    *,
    lift_errors: float,
    min_lift: float,
) -> NodeFigures:
    """Figures of every category in every segment.

    Parameters
    ----------
    profile : DataFrame, n rows
        Shares of the interest columns.
    segment : array of int, shape (n,)
        Place of each customer's segment.
    expected : DataFrame, segment x category
        Shares of the same times.
    """
    count = len(expected)
    sizes = np.maximum(np.bincount(segment, minlength=count), 1).astype(np.float64)
    shares = [profile[SHARE_PREFIX + category].to_numpy(np.float64) for category in categories]
    of_columns = expected[list(categories)].to_numpy(np.float64)
    shape = (count, len(nodes))
    share, error, first_share, shown = (np.zeros(shape) for _ in range(4))
    best: dict[int, tuple[Floats, Ints]] = {}
    for place, node in enumerate(nodes):
        own = np.sum([shares[column] for column in node.columns], axis=0)
        share[:, place] = np.bincount(segment, weights=own, minlength=count) / sizes
        squares = np.bincount(segment, weights=own**2, minlength=count) / sizes
        spread = np.maximum(squares - share[:, place] ** 2, 0.0)
        error[:, place] = np.where(sizes > 1, lift_errors * np.sqrt(spread / np.maximum(sizes - 1, 1)), np.inf)
        node_expected = of_columns[:, node.columns].sum(axis=1)
        shown[:, place] = np.bincount(segment, weights=own >= min_lift * node_expected[segment], minlength=count)
        high, leader = best.get(node.level, (np.zeros(len(own)), np.full(len(own), -1)))
        best[node.level] = np.maximum(high, own), np.where(own > high, place, leader)
    for _, leader in best.values():
        led = leader >= 0
        np.add.at(first_share, (segment[led], leader[led]), 1.0)
    return NodeFigures(
        share=share,
        expected=np.column_stack([of_columns[:, node.columns].sum(axis=1) for node in nodes]).reshape(shape),
        low=share - error,
        first_share=first_share / sizes[:, None],
        member_count=shown.astype(np.int64),
    )


def name_by_interests(
    figures: NodeFigures,
    segment_ids: Sequence[str],
    nodes: Sequence[Node],
    *,
    min_lift: float,
    min_share: float,
    playbook: Mapping[str, str],
    broad: Collection[str] = (),
    leading: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, dict[str, Any]]:
    """A unique name in each language for every segment, what to do, and the evidence.

    A segment is named by the category that adds most to its divergence from the shop, of those it has ``min_lift``
    times of with certainty, at whatever level of the tree; and by a second one that is not related to the first and
    adds half as much. Where these come first for less than half of the members, it has broad interests.

    Parameters
    ----------
    playbook : mapping
        What to do, per language, with {categories} in it.
    broad : collection of str
        Groups that have broad interests, whatever their figures: customers between the clusters.
    leading : mapping
        segment_id -> place of its category in ``nodes``, of groups that are one by rule.

    Returns
    -------
    dict
        segment_id -> archetype (None), names, playbook, avoid, evidence, is_broad.
    """
    gain = figures.gain()
    is_distinctive = (
        (figures.share >= min_lift * figures.expected) & (figures.low > figures.expected) & (figures.share >= min_share)
    )
    labels = category_labels([node.name for node in nodes])
    found: dict[str, dict[str, Any]] = {}
    spare: dict[str, list[int]] = {}
    for row, segment_id in enumerate(segment_ids):
        order = [place for place in np.argsort(-gain[row], kind="stable").tolist() if is_distinctive[row, place]]
        named = [] if segment_id in broad else _named_nodes(order, gain[row], nodes)
        is_broad = not named or figures.first_share[row, named].sum() < MAJORITY
        if segment_id in leading:
            named, is_broad = [leading[segment_id]], False
        found[segment_id] = {
            "archetype": None,
            "names": in_languages("broad") if is_broad else _joined([labels[nodes[place].name] for place in named]),
            "playbook": {} if is_broad else _playbook(playbook, [labels[nodes[place].name] for place in named]),
            "avoid": {},
            "evidence": [_evidence(figures, row, place, labels[nodes[place].name]) for place in named],
            "is_broad": is_broad,
        }
        spare[segment_id] = named if is_broad else [place for place in order if place not in named]
    _tell_apart(found, spare, nodes, labels)
    return found


def _named_nodes(order: Sequence[int], gain: Floats, nodes: Sequence[Node]) -> list[int]:
    """At most two places of ``order``, the second unrelated to the first."""
    if not order:
        return []
    first = order[0]
    second = next((place for place in order[1:] if not nodes[place].is_related(nodes[first])), None)
    is_worth = second is not None and gain[second] >= SECOND_GAIN * gain[first]
    return [first, second] if is_worth and second is not None else [first]


def _joined(labels: Sequence[str]) -> dict[str, str]:
    texts = [category_in_languages(label) for label in labels]
    return {language: " & ".join(text[language] for text in texts) for language in LANGUAGES}


def _playbook(template: Mapping[str, str], labels: Sequence[str]) -> dict[str, str]:
    joined = _joined(labels)
    return {language: template[language].format(categories=joined[language]) for language in LANGUAGES}


def _evidence(figures: NodeFigures, row: int, place: int, label: str) -> dict[str, Any]:
    return {
        "figure": f"interest: {label}",
        "value": float(figures.share[row, place]),
        "shop": float(figures.expected[row, place]),
        "customer_count": int(figures.member_count[row, place]),
        "first_share": float(figures.first_share[row, place]),
        "condition": {},
    }


def _tell_apart(
    found: dict[str, dict[str, Any]],
    spare: Mapping[str, Sequence[int]],
    nodes: Sequence[Node],
    labels: Mapping[str, str],
) -> None:
    """Give segments of one name the next category that they turn to, else a number; the first keeps its name."""
    taken: set[str] = set()
    for segment_id, one in found.items():
        base = one["names"]
        choices = (_added(base, category_in_languages(labels[nodes[place].name])) for place in spare[segment_id])
        numbered = ({language: f"{name} {number}" for language, name in base.items()} for number in count(2))
        options = [base, *choices]
        one["names"] = next((names for names in options if names["en"] not in taken), None) or next(
            names for names in numbered if names["en"] not in taken
        )
        taken.add(one["names"]["en"])


def _added(names: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    return {language: f"{name} · {more[language]}" for language, name in names.items()}
