"""Each customer's top categories, summed up the tree: of every branch the level that says most.

What a category c says of a customer u is its gain: by how many nats the customer's evidence in it is likelier at the
customer's own rate than at that of a customer who did as much at the same times, and as the shop did,

    gain(u,c) = S(u,c) * log(S(u,c) / E(u,c))        S, E: `features.interests`

It is counted where c is distinctive, with a share and a lift that are high enough, at any level of the tree: `Pets`,
`Pets > Cats` and `Pets > Cats > Food` compete. A category is named when its gain is at least the sum of the two largest
gains of what would be named below it, and above the larger one (an only child says as much); else these are. So
evidence in one kind of food names the food; evidence in food, litter and toys alike names the cats. No more than two of
one parent stand in a list, nothing that lies below a named category, and nothing that is left over
(`Pets > Cats > other Cats`), which is no category: its parent stands for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features.categories import OTHER, SEPARATOR, CategoryCut, is_rest
from features.interests import SHARE_PREFIX
from models.seasons import ExpectedShares
from models.tree import cut_levels

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from features.profile import ProfileSpec
    from models.scorer import Floats, Ints

Bools = NDArray[np.bool_]
MOST_SIBLINGS = 2
"""Categories below one parent that are named at most; the parent says what three or more have in common."""
DIGITS = 7
"""To which lifts and gains are compared: what differs by the last digit of a float is a tie."""


@dataclass(frozen=True)
class Node:
    """A category of the tree at one level; a path that ends early is a node of every level from there on.

    Attributes
    ----------
    level, place : int
        Counted from 0; of `models.tree.Level.parent` and so on.
    name : str
        Path from the root, as the first of its columns spells it.
    columns : tuple of int
        Columns of the cut that it sums up.
    below : tuple of Node
        Of the next level.
    is_category : bool
        May be named: neither what is left over, nor the same path as the node above.
    """

    level: int
    place: int
    name: str
    columns: tuple[int, ...]
    below: tuple[Node, ...]
    is_category: bool


@lru_cache(maxsize=1)
def top_nodes(cut: CategoryCut) -> tuple[Node, ...]:
    """The nodes of the first level, with all that is below them."""
    levels = cut_levels(cut)
    nodes: tuple[Node, ...] = ()
    for level in range(len(levels) - 1, -1, -1):
        found = []
        for place in range(len(levels[level].parent)):
            columns = np.flatnonzero(levels[level].node == place)
            path = cut.categories[columns[0]].split(SEPARATOR)
            name = SEPARATOR.join(path[: level + 1])
            below = tuple(one for one in nodes if levels[level + 1].parent[one.place] == place) if nodes else ()
            is_category = len(path) > level and name != OTHER and not is_rest(name)
            found.append(Node(level, place, name, tuple(columns.tolist()), below, is_category))
        nodes = tuple(found)
    return nodes


def nodes_by_name(cut: CategoryCut) -> dict[str, Node]:
    """All categories of the tree, with what is left over and OTHER; each at the level where its path ends."""
    found: dict[str, Node] = {}
    line = list(top_nodes(cut))
    while line:
        node = line.pop()
        found.setdefault(node.name, node)
        line += node.below
    return found


def top_categories(
    profile: pd.DataFrame, spec: ProfileSpec, expected: ExpectedShares, *, most: int, min_lift: float, min_share: float
) -> pa.ListArray:
    """Each customer's top categories, the highest gain first.

    Parameters
    ----------
    profile : DataFrame
        "interest: <category>" of each column of the cut.
    expected : ExpectedShares
        Of the same customers.
    min_lift, min_share : float
        What a category needs to be distinctive.

    Returns
    -------
    list of strings per customer; empty where no interest stands out.
    """
    search = _Search(len(profile), expected, min_lift, min_share)
    named: list[tuple[Ints, Floats, str]] = []
    above = (np.ones(len(profile)), expected.above)
    # One branch after another, so that the arrays of one are gone before the next comes.
    for node in top_nodes(spec.cut):
        names = {column: SHARE_PREFIX + spec.cut.categories[column] for column in node.columns}
        columns = {column: profile[name].to_numpy(np.float64) for column, name in names.items()}
        branch = search.branch(node, columns, above)
        named += _named(branch, np.flatnonzero(branch.best > 0.0))
    return _lists(named, len(profile), most)


@dataclass(frozen=True)
class _Branch:
    """A node and what says most of it or below it.

    Attributes
    ----------
    gain, best : float arrays of shape (n,)
        Of the node alone, 0 where it is not distinctive; of what is named.
    below : list of _Branch
    """

    node: Node
    gain: Floats
    best: Floats
    below: list[_Branch]


@dataclass(frozen=True)
class _Search:
    """What the branches of ``count`` customers are searched with."""

    count: int
    expected: ExpectedShares
    min_lift: float
    min_share: float

    def branch(self, node: Node, columns: dict[int, Floats], above: tuple[Floats, Floats]) -> _Branch:
        """What says most at ``node`` or below it.

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
        below = [self.branch(one, columns, (share, evidence)) for one in node.below]
        if not below:
            return _Branch(node, gain, gain, [])
        first, second = _two_largest(below)
        return _Branch(node, gain, np.maximum(gain, first + second), below)

    def _evidence(self, node: Node, share: Floats, above: tuple[Floats, Floats]) -> Floats:
        """S(u,c) from the share that the interest formula made of it: its inverse."""
        kappa, spread = self.expected.kappa, self.expected.levels[node.level].spread[node.place]
        part = np.divide(share, above[0], out=np.zeros(self.count), where=above[0] > 0)
        return np.maximum(part * (above[1] + kappa) - kappa * spread, 0.0)

    def _gain(self, node: Node, share: Floats, evidence: Floats) -> Floats:
        """gain(u,c) where the category is distinctive, else 0."""
        rows = np.flatnonzero(share >= self.min_share)
        shop = self.expected.at(node.level, node.place, rows)
        lift = np.divide(share[rows], shop, out=np.zeros(len(rows)), where=shop > 0).round(DIGITS)
        rows = rows[lift >= self.min_lift]
        own, usual = evidence[rows], self.expected.evidence[node.level][node.place][rows]
        is_more = (own > usual) & (usual > 0)
        gain = np.zeros(self.count)
        gain[rows[is_more]] = (own[is_more] * np.log(own[is_more] / usual[is_more])).round(DIGITS)
        return gain


def _two_largest(branches: list[_Branch]) -> tuple[Floats, Floats]:
    """The largest and the second largest best gain, of each customer."""
    first, second = branches[0].best, np.zeros(len(branches[0].best))
    for branch in branches[1:]:
        second = np.maximum(second, np.minimum(first, branch.best))
        first = np.maximum(first, branch.best)
    return first, second


def _named(branch: _Branch, rows: Ints) -> list[tuple[Ints, Floats, str]]:
    """Customers, gains and names of the categories that are named, of the customers ``rows`` who have any here."""
    if not len(rows):
        return []
    is_own = branch.gain[rows] == branch.best[rows]
    if branch.below:
        first, second = (one[rows] for one in _two_largest(branch.below))
        is_own &= branch.gain[rows] > first
    own = rows[is_own]
    found = [(own, branch.gain[own], branch.node.name)]
    if not branch.below or is_own.all():
        return found
    rows, first, second = rows[~is_own], first[~is_own], second[~is_own]
    # Of several that are second largest, the first as columns stand.
    places_left = np.where(first > second, MOST_SIBLINGS - 1, MOST_SIBLINGS)
    for below in branch.below:
        best = below.best[rows]
        is_second = (best == second) & (places_left > 0)
        is_named = (best > 0.0) & ((best > second) | is_second)
        places_left = places_left - (is_second & is_named)
        found += _named(below, rows[is_named])
    return found


def _lists(named: list[tuple[Ints, Floats, str]], count: int, most: int) -> pa.ListArray:
    """The names of each of ``count`` customers, the highest gain first, and no more than ``most``."""
    row = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _, _ in named)])
    gain = np.concatenate([np.zeros(0), *(gains for _, gains, _ in named)])
    place = np.repeat(np.arange(len(named)), [len(rows) for rows, _, _ in named])
    order = np.lexsort((-gain, row))  # which leaves ties in the order of the tree
    counts = np.bincount(row, minlength=count)
    rank = np.arange(len(row)) - np.repeat(counts.cumsum() - counts, counts)
    best = place[order][rank < most]
    offsets = np.concatenate([[0], np.minimum(counts, most).cumsum()])
    names = pa.array([name for _, _, name in named], pa.string())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), names.take(pa.array(best, pa.int64())))
