"""Each customer's top categories, on the most informative level of each branch of the category tree.

The gain of a category c for a customer u is a log-likelihood ratio in nats. It compares the customer's own rate in the
category with the rate expected of an equally active customer who follows the shop's mix at the same times:

    gain(u,c) = S(u,c) * log(S(u,c) / E(u,c))        S, E: `features.interests`

Only distinctive categories count: those with a sufficient share and lift. All levels of the tree compete: `Pets`,
`Pets > Cats` and `Pets > Cats > Food`. A category is selected if its gain is at least the sum of the two largest gains
selected below it, and above the larger of the two, because an only child has the same gain. Otherwise, these two are
selected. For example, evidence in cat food alone selects the food; equal evidence in cat food, litter and toys selects
the cats. A list has at most two children of one parent, no descendants of a selected category, and no leftover columns
(`Pets > Cats > other Cats`), which are represented by their parent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features.categories import OTHER, SEPARATOR, CategoryCut, is_remainder
from features.interests import SHARE_PREFIX
from models.seasons import ExpectedShares
from models.tree import cut_levels

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from features.profile import ProfileSpec
    from models.scorer import Floats, Ints

Bools = NDArray[np.bool_]
MAX_SIBLINGS = 2
"""Maximum number of selected children of one parent; three or more are represented by the parent."""
DIGITS = 7
"""Decimals to which lifts and gains are compared, so that rounding differences count as ties."""


@dataclass(frozen=True)
class Node:
    """A category of the tree at one level; a path that ends early has a node on every further level.

    Attributes
    ----------
    level, index : int
        Level of the tree, and index into the arrays of its `models.tree.Level`; both from 0.
    name : str
        Path from the root, spelled as in its first column.
    columns : tuple of int
        Columns of the cut below this node.
    children : tuple of Node
        Nodes of the next level.
    is_category : bool
        Whether it may be selected: it is neither a leftover column nor a repetition of its parent.
    """

    level: int
    index: int
    name: str
    columns: tuple[int, ...]
    children: tuple[Node, ...]
    is_category: bool


@lru_cache(maxsize=1)
def top_nodes(cut: CategoryCut) -> tuple[Node, ...]:
    """The nodes of the first level, with all their descendants."""
    levels = cut_levels(cut)
    nodes: tuple[Node, ...] = ()
    for level in range(len(levels) - 1, -1, -1):
        level_nodes = []
        for index in range(len(levels[level].parent)):
            columns = np.flatnonzero(levels[level].node == index)
            path = cut.categories[columns[0]].split(SEPARATOR)
            name = SEPARATOR.join(path[: level + 1])
            children = tuple(node for node in nodes if levels[level + 1].parent[node.index] == index) if nodes else ()
            is_category = len(path) > level and name != OTHER and not is_remainder(name)
            level_nodes.append(Node(level, index, name, tuple(columns.tolist()), children, is_category))
        nodes = tuple(level_nodes)
    return nodes


def nodes_by_name(cut: CategoryCut) -> dict[str, Node]:
    """All categories of the tree, with leftover columns and OTHER, each on the level where its path ends."""
    by_name: dict[str, Node] = {}
    stack = list(top_nodes(cut))
    while stack:
        node = stack.pop()
        by_name.setdefault(node.name, node)
        stack += node.children
    return by_name


def top_categories(
    profile: pd.DataFrame,
    spec: ProfileSpec,
    expected: ExpectedShares,
    *,
    max_count: int,
    min_lift: float,
    min_share: float,
) -> pa.ListArray:
    """Each customer's top categories, highest gain first.

    Parameters
    ----------
    profile : DataFrame
        Has a column "interest: <category>" for each column of the cut.
    expected : ExpectedShares
        Expected shares of the same customers.
    min_lift, min_share : float
        Minimum lift and share of a distinctive category.

    Returns
    -------
    list of strings per customer; empty without a distinctive interest.
    """
    search = _Search(len(profile), expected, min_lift, min_share)
    selected: list[tuple[Ints, Floats, str]] = []
    above = (np.ones(len(profile)), expected.above)
    # One branch at a time, to free its arrays before the next.
    for node in top_nodes(spec.cut):
        names = {column: SHARE_PREFIX + spec.cut.categories[column] for column in node.columns}
        columns = {column: profile[name].to_numpy(np.float64) for column, name in names.items()}
        branch = search.branch(node, columns, above)
        selected += _select(branch, np.flatnonzero(branch.best > 0.0))
    return _lists(selected, len(profile), max_count)


@dataclass(frozen=True)
class _Branch:
    """A node with its gain and the best gain in its branch.

    Attributes
    ----------
    gain, best : float arrays of shape (n,)
        Gain of the node alone (0 if not distinctive), and of the categories selected in the branch.
    children : list of _Branch
    """

    node: Node
    gain: Floats
    best: Floats
    children: list[_Branch]


@dataclass(frozen=True)
class _Search:
    """The settings for searching the branches of ``count`` customers."""

    count: int
    expected: ExpectedShares
    min_lift: float
    min_share: float

    def branch(self, node: Node, columns: dict[int, Floats], above: tuple[Floats, Floats]) -> _Branch:
        """Gains at ``node`` and below it.

        Parameters
        ----------
        columns : dict of int to float array of shape (n,)
            Shares of the columns of the cut.
        above : two float arrays of shape (n,)
            Share and evidence of the node above.
        """
        share = np.add.reduce([columns[column] for column in node.columns])
        evidence = self._evidence(node, share, above)
        gain = self._gain(node, share, evidence) if node.is_category else np.zeros(self.count)
        children = [self.branch(child, columns, (share, evidence)) for child in node.children]
        if not children:
            return _Branch(node, gain, gain, [])
        first, second = _two_largest(children)
        return _Branch(node, gain, np.maximum(gain, first + second), children)

    def _evidence(self, node: Node, share: Floats, above: tuple[Floats, Floats]) -> Floats:
        """S(u,c) from the share, by inverting the interest formula."""
        kappa, spread = self.expected.kappa, self.expected.levels[node.level].spread[node.index]
        part = np.divide(share, above[0], out=np.zeros(self.count), where=above[0] > 0)
        return np.maximum(part * (above[1] + kappa) - kappa * spread, 0.0)

    def _gain(self, node: Node, share: Floats, evidence: Floats) -> Floats:
        """gain(u,c) if the category is distinctive, else 0."""
        rows = np.flatnonzero(share >= self.min_share)
        shop = self.expected.at(node.level, node.index, rows)
        lift = np.divide(share[rows], shop, out=np.zeros(len(rows)), where=shop > 0).round(DIGITS)
        rows = rows[lift >= self.min_lift]
        own, usual = evidence[rows], self.expected.evidence[node.level][node.index][rows]
        is_more = (own > usual) & (usual > 0)
        gain = np.zeros(self.count)
        gain[rows[is_more]] = (own[is_more] * np.log(own[is_more] / usual[is_more])).round(DIGITS)
        return gain


def _two_largest(branches: list[_Branch]) -> tuple[Floats, Floats]:
    """The largest and the second largest gain of the branches, for each customer."""
    first, second = branches[0].best, np.zeros(len(branches[0].best))
    for branch in branches[1:]:
        second = np.maximum(second, np.minimum(first, branch.best))
        first = np.maximum(first, branch.best)
    return first, second


def _select(branch: _Branch, rows: Ints) -> list[tuple[Ints, Floats, str]]:
    """Customers, gains and names of the selected categories, for the customers ``rows`` with any in this branch."""
    if not len(rows):
        return []
    is_own = branch.gain[rows] == branch.best[rows]
    if branch.children:
        first, second = (gains[rows] for gains in _two_largest(branch.children))
        is_own &= branch.gain[rows] > first
    own = rows[is_own]
    selected = [(own, branch.gain[own], branch.node.name)]
    if not branch.children or is_own.all():
        return selected
    rows, first, second = rows[~is_own], first[~is_own], second[~is_own]
    # Of several with the second largest gain, the first in column order is selected.
    places_left = np.where(first > second, MAX_SIBLINGS - 1, MAX_SIBLINGS)
    for child in branch.children:
        best = child.best[rows]
        is_second = (best == second) & (places_left > 0)
        is_selected = (best > 0.0) & ((best > second) | is_second)
        places_left = places_left - (is_second & is_selected)
        selected += _select(child, rows[is_selected])
    return selected


def _lists(selected: list[tuple[Ints, Floats, str]], count: int, max_count: int) -> pa.ListArray:
    """Names for each of ``count`` customers, highest gain first, at most ``max_count``."""
    row = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _, _ in selected)])
    gain = np.concatenate([np.zeros(0), *(gains for _, gains, _ in selected)])
    category = np.repeat(np.arange(len(selected)), [len(rows) for rows, _, _ in selected])
    order = np.lexsort((-gain, row))  # stable: ties keep the order of the tree
    counts = np.bincount(row, minlength=count)
    rank = np.arange(len(row)) - np.repeat(counts.cumsum() - counts, counts)
    best = category[order][rank < max_count]
    offsets = np.concatenate([[0], np.minimum(counts, max_count).cumsum()])
    names = pa.array([name for _, _, name in selected], pa.string())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), names.take(pa.array(best, pa.int64())))
