"""The cut through the category tree: which categories become columns, for a limit of columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import xlogy

from features.categories import OTHER, REST, lowered_parts, other_of

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats, Ints

TRACE = 1e-6
"""Share of evidence that OTHER holds beyond what was seen, so that a shop's only category is worth a column."""
TINY = 1e-12


def carve(
    names: Sequence[str], evidence: Sequence[float], total: float, max_categories: int
) -> list[tuple[str, float]]:
    """Columns (category, evidence) of the cut, the largest first; OTHER, which holds the rest, is not among them.

    Categories are kept one by one. Each takes its evidence out of the column it was part of, that of its nearest kept
    ancestor or OTHER, and the one is kept that adds most to the entropy of evidence over columns. What is in OTHER
    says nothing. With shares of the shop's evidence, m what a category takes and r what that column held:

        gain = r log r - m log m - (r - m) log(r - m)      out of a kept ancestor
        gain = - m log m                                   out of OTHER

    Where the rest of a kept category all lies in one category below it, the column has that one's name; where other
    columns lie below it, it is "other X".

    Parameters
    ----------
    names : sequence of str
        Paths, with those of their ancestors (`features.categories.node_evidence`).
    evidence : sequence of float
        Of each, with everything below it.
    max_categories : int
        Columns, OTHER among them.
    """
    nodes = sorted(
        (lowered_parts(name), name, own)
        for name, own in zip(names, evidence, strict=True)
        if own > 0 and not _is_called_other(name)
    )
    if not nodes:
        return []
    paths = [path for path, _, _ in nodes]
    rest = np.array([own for _, _, own in nodes]) / total
    parent, end = _family(paths)
    above = np.ones(len(nodes))  # what the column holds of which each node is part
    owner = np.full(len(nodes), -1)
    kept: list[int] = []
    for _ in range(max_categories - 1):
        left = np.maximum(above - rest, 0.0)
        split = xlogy(above, above) - xlogy(left, left)
        gain = np.where(owner < 0, xlogy(rest, 1.0 + TRACE), split) - xlogy(rest, rest)
        gain[kept] = 0.0
        gain[(rest < TINY) | ((owner >= 0) & (left < TINY))] = 0.0
        best = int(np.argmax(gain))
        if gain[best] <= 0.0:
            break
        _keep(best, rest, above, owner, parent, end)
        kept.append(best)
    columns = [_innermost(node, kept, rest, owner, end, paths) for node in kept]
    # Whoever lies below a column makes it the rest of its category.
    named = [
        (other_of(nodes[node][1]) if _has_column_below(node, columns, end) else nodes[node][1], float(rest[node]))
        for node in columns
    ]
    return sorted(((name, share * total) for name, share in named), key=lambda one: (-one[1], one[0]))


def _is_called_other(name: str) -> bool:
    """A path with a part that is called as what is left over: it is left over."""
    parts = lowered_parts(name)
    return parts[0] == OTHER or any(part == f"{REST}{above}" for above, part in pairwise(parts))


def _family(paths: list[tuple[str, ...]]) -> tuple[Ints, Ints]:
    """Of each of the sorted ``paths``: the place of its parent (-1 for none), and that after its last descendant."""
    parent, end = np.full(len(paths), -1), np.full(len(paths), len(paths))
    line: list[int] = []
    for place, path in enumerate(paths):
        while line and paths[line[-1]] != path[: len(paths[line[-1]])]:
            end[line.pop()] = place
        parent[place] = line[-1] if line else -1
        line.append(place)
    return parent, end


def _keep(node: int, rest: Floats, above: Floats, owner: Ints, parent: Ints, end: Ints) -> None:
    """Make ``node`` a column: what it takes is no more part of its ancestors' columns."""
    was, taken = int(owner[node]), float(rest[node])
    of_same = owner == was
    above[of_same] -= taken
    inside = np.zeros(len(owner), dtype=bool)
    inside[node + 1 : end[node]] = True
    inside &= of_same
    owner[inside], above[inside] = node, taken
    place = int(parent[node])
    while place != was and place >= 0:
        rest[place] -= taken
        place = int(parent[place])
    if was >= 0:
        rest[was] -= taken


def _innermost(node: int, kept: list[int], rest: Floats, owner: Ints, end: Ints, paths: list[tuple[str, ...]]) -> int:
    """The deepest category in which all of the rest of a column lies."""
    below = np.arange(node + 1, end[node])
    below = below[(owner[below] == node) & (np.abs(rest[below] - rest[node]) < TINY) & ~np.isin(below, kept)]
    return max([node, *below.tolist()], key=lambda place: len(paths[place]))


def _has_column_below(node: int, columns: list[int], end: Ints) -> bool:
    return any(node < other < end[node] for other in columns)
