"""Names interest segments by at most two categories, each at the most distinctive level of the category tree."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.categories import OTHER, OTHER_PREFIX, SEPARATOR, lowered_parts
from features.interests import SHARE_PREFIX
from models.lifts import category_labels
from models.naming import LANGUAGES, category_in_languages, in_languages
from models.scorer import Floats, Ints
from models.segment_names import Evidence, Naming, SegmentNames

SECOND_GAIN = 0.5
"""A second category is named if its gain is at least this share of the first one's."""
PEOPLE = frozenset(
    [
        *("women", "men", "ladies", "gentlemen", "girls", "boys", "kids", "children", "baby", "babies", "teens"),
        *("women's", "men's", "girls'", "boys'", "kids'", "children's", "adults", "unisex"),
        *("жінки", "жінок", "чоловіки", "чоловіків", "діти", "дітей", "дівчатка", "дівчаток", "хлопчики", "хлопчиків"),
        *("женщины", "женщин", "мужчины", "мужчин", "дети", "детей", "девочки", "девочек", "мальчики", "мальчиков"),
        *("gra", "femra", "burra", "meshkuj", "fëmijë", "vajza", "djem"),
    ]
)
"""Category names, without "for", that say whom the goods are for but not what they are."""
FOR_WORDS = ("for ", "для ", "për ")
MAJORITY = 0.5
"""At least this share of the members must have a named category as their top one, or the segment is called broad."""


@dataclass(frozen=True)
class Node:
    """A category at any level of the tree; ``columns`` are the columns of the cut that belong to it."""

    path: tuple[str, ...]
    name: str
    columns: Ints
    level: int

    def is_related(self, other: Node) -> bool:
        """Whether the two are the same category, or one contains the other."""
        depth = min(len(self.path), len(other.path))
        return self.path[:depth] == other.path[:depth]


def category_nodes(categories: Sequence[str], depth: int) -> list[Node]:
    """All categories of a cut, once at each level, from the root down; OTHER is not a category."""
    paths = [lowered_parts(category) for category in categories]
    by_path: dict[tuple[str, ...], tuple[str, list[int], int]] = {}
    for level in range(1, depth + 1):
        for column, (category, path) in enumerate(zip(categories, paths, strict=True)):
            if path == (OTHER,) or (len(path) < level < depth):
                continue
            node_path = path if level == depth else path[:level]
            name = category if level == depth else SEPARATOR.join(category.split(SEPARATOR)[:level])
            by_path.setdefault(node_path, (name, [], level))[1].append(column)
    # A category that is itself a column appears at several levels: keep the first, with each of its columns once.
    return [
        Node(path, name, np.array(sorted(set(columns)), dtype=np.int64), level)
        for path, (name, columns, level) in by_path.items()
    ]


@dataclass(frozen=True)
class NodeFigures:
    """Interest of each segment in each category; arrays of shape (n_segments, n_nodes).

    Attributes
    ----------
    share, expected : float
        Mean share, and the share expected of customers with the shop's average interests over the same period.
    low : float
        The share minus some standard errors over the segment's customers.
    first_share : float
        Share of the members whose largest share at the level of the category is this category's.
    member_count : int
        Members whose own lift is at least the minimum.
    """

    share: Floats
    expected: Floats
    low: Floats
    first_share: Floats
    member_count: Ints

    def gain(self) -> Floats:
        """Share * log(share / expected): the category's part of the Kullback-Leibler divergence from the shop."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(
                (self.share > 0) & (self.expected > 0), self.share * np.log(self.share / self.expected), 0.0
            )

    def is_distinctive(self, min_lift: float, min_share: float) -> NDArray[np.bool_]:
        """Categories of at least ``min_share`` whose share is significantly and ``min_lift`` times the expected one."""
        is_high = (self.share >= min_lift * self.expected) & (self.low > self.expected)
        return is_high & (self.share >= min_share)


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
    """Figures for every category in every segment.

    Parameters
    ----------
    profile : DataFrame, n rows
        Shares of the interest columns.
    segment : array of int, shape (n,)
        Position of each customer's segment in ``expected``.
    expected : DataFrame, segment x category
        Expected shares over the same period.
    """
    count = len(expected)
    sizes = np.maximum(np.bincount(segment, minlength=count), 1).astype(np.float64)
    shares = [profile[SHARE_PREFIX + category].to_numpy(np.float64) for category in categories]
    expected_shares = expected[list(categories)].to_numpy(np.float64)
    shape = (count, len(nodes))
    share, error, first_share, interested = (np.zeros(shape) for _ in range(4))
    best: dict[int, tuple[Floats, Ints]] = {}
    for position, node in enumerate(nodes):
        node_share = np.sum([shares[column] for column in node.columns], axis=0)
        share[:, position] = np.bincount(segment, weights=node_share, minlength=count) / sizes
        squares = np.bincount(segment, weights=node_share**2, minlength=count) / sizes
        spread = np.maximum(squares - share[:, position] ** 2, 0.0)
        error[:, position] = np.where(sizes > 1, lift_errors * np.sqrt(spread / np.maximum(sizes - 1, 1)), np.inf)
        node_expected = expected_shares[:, node.columns].sum(axis=1)
        is_interested = node_share >= min_lift * node_expected[segment]
        interested[:, position] = np.bincount(segment, weights=is_interested, minlength=count)
        highest, leader = best.get(node.level, (np.zeros(len(node_share)), np.full(len(node_share), -1)))
        best[node.level] = np.maximum(highest, node_share), np.where(node_share > highest, position, leader)
    for _, leader in best.values():
        has_leader = leader >= 0
        np.add.at(first_share, (segment[has_leader], leader[has_leader]), 1.0)
    return NodeFigures(
        share=share,
        expected=np.column_stack([expected_shares[:, node.columns].sum(axis=1) for node in nodes]).reshape(shape),
        low=share - error,
        first_share=first_share / sizes[:, None],
        member_count=interested.astype(np.int64),
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
) -> dict[str, Naming]:
    """A unique name in each language for every segment, its playbook, and the evidence.

    Candidates are the categories, at any level of the tree, whose share is significantly above the expected one and at
    least ``min_lift`` times it. A segment is named after the candidate that adds most to its divergence from the
    shop. A second category is added if it is unrelated to the first and adds at least half as much. If these are the
    top categories of fewer than half of the members, the segment has broad interests.

    Parameters
    ----------
    playbook : mapping
        The playbook per language, with {categories} to be filled in.
    broad : collection of str
        segment_ids that are called broad whatever their figures: customers between the clusters.
    leading : mapping
        segment_id -> position of its category in ``nodes``, for groups formed by the leading-category rule.
    """
    gain, is_distinctive = figures.gain(), figures.is_distinctive(min_lift, min_share)
    label_of = labels_with_parents([node.name for node in nodes])
    labels = [label_of[node.name] for node in nodes]
    named: dict[str, Naming] = {}
    spare: dict[str, list[str]] = {}
    for row, segment_id in enumerate(segment_ids):
        order = [
            position for position in np.argsort(-gain[row], kind="stable").tolist() if is_distinctive[row, position]
        ]
        chosen = [] if segment_id in broad else _named_nodes(order, gain[row], nodes)
        is_broad = not chosen or figures.first_share[row, chosen].sum() < MAJORITY
        if segment_id in leading:
            chosen, is_broad = [leading[segment_id]], False
        names = _joined([labels[position] for position in chosen])
        named[segment_id] = Naming(
            SegmentNames(in_languages("broad") if is_broad else names),
            playbook={} if is_broad else filled_playbook(playbook, [labels[position] for position in chosen]),
            evidence=tuple(_evidence(figures, row, position, labels[position]) for position in chosen),
            is_broad=bool(is_broad),
        )
        unused = chosen if is_broad else [position for position in order if position not in chosen]
        spare[segment_id] = [labels[position] for position in unused]
    return _made_unique(named, spare)


def labels_with_parents(names: Sequence[str]) -> dict[str, str]:
    """`category_labels`, with the category above where the label names people rather than goods.

    Examples
    --------
    >>> labels_with_parents(["Clothing > Women", "Books > For children", "Pets > Cats"])
    {'Clothing > Women': 'Clothing › Women', 'Books > For children': 'Books › For children', 'Pets > Cats': 'Cats'}
    """
    labels = category_labels(names)
    for name, label in labels.items():
        parts = name.split(SEPARATOR)
        if len(parts) > 1 and label == parts[-1] and _names_people(label):
            labels[name] = " › ".join(parts[-2:])
    return labels


def _names_people(label: str) -> bool:
    text = label.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    for word in FOR_WORDS:
        text = text.removeprefix(word)
    return text in PEOPLE


def _named_nodes(order: Sequence[int], gain: Floats, nodes: Sequence[Node]) -> list[int]:
    """At most two positions from ``order``, the second unrelated to the first."""
    if not order:
        return []
    first = order[0]
    second = next((position for position in order[1:] if not nodes[position].is_related(nodes[first])), None)
    is_large = second is not None and gain[second] >= SECOND_GAIN * gain[first]
    return [first, second] if is_large and second is not None else [first]


def _joined(labels: Sequence[str]) -> dict[str, str]:
    texts = [category_in_languages(label) for label in labels]
    return {language: " & ".join(text[language] for text in texts) for language in LANGUAGES}


def filled_playbook(template: Mapping[str, str], labels: Sequence[str]) -> dict[str, str]:
    """The template with the categories; in English, the remainder of a category is "Cats (other)" within a sentence."""
    names = _joined(labels)
    names["en"] = " & ".join(re.sub(rf"^(.* [›>] )?{OTHER_PREFIX}(.+)$", r"\1\2 (other)", label) for label in labels)
    return {language: template[language].format(categories=names[language]) for language in LANGUAGES}


def _evidence(figures: NodeFigures, row: int, position: int, label: str) -> Evidence:
    return Evidence(
        figure=f"interest: {label}",
        value=float(figures.share[row, position]),
        shop=float(figures.expected[row, position]),
        customer_count=int(figures.member_count[row, position]),
        first_share=float(figures.first_share[row, position]),
    )


def _made_unique(named: Mapping[str, Naming], spare: Mapping[str, Sequence[str]]) -> dict[str, Naming]:
    """Add the next distinctive category to a name already taken, else a number; the first segment keeps its name.

    ``spare`` holds the labels of categories that the name of a segment does not use, by segment_id.
    """
    unique: dict[str, Naming] = {}
    taken: set[str] = set()
    for segment_id, naming in named.items():
        base = naming.names
        longer = (base.with_addition(" · ", category_in_languages(label)) for label in spare[segment_id])
        numbered = (base.with_number(number) for number in count(2))
        names = next(names for names in chain([base], longer, numbered) if names.by_figures["en"] not in taken)
        unique[segment_id] = replace(naming, names=names)
        taken.add(names.by_figures["en"])
    return unique
