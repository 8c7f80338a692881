"""Choose which categories of the tree become columns, up to a maximum number of columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import xlogy

from features.categories import OTHER, OTHER_PREFIX, lowered_parts, remainder_of

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats, Ints

TRACE = 1e-6
"""Extra share of evidence assumed in OTHER, so that a shop's only category still gets a column."""
TINY = 1e-12


def choose_columns(
    names: Sequence[str], evidence: Sequence[float], total: float, max_categories: int
) -> list[tuple[str, float]]:
    """Columns (category, evidence) of the cut, largest first, without OTHER, which holds the remaining evidence.

    Categories are added one by one. A new column takes its evidence from the column that held it: its nearest ancestor
    with a column, or OTHER. At each step, the category is added that most increases the entropy of evidence over
    columns; evidence in OTHER has no entropy. With shares of the shop's evidence, where m is the share that a category
    takes and r the share that the column held before:

        gain = r log r - m log m - (r - m) log(r - m)      taken from an ancestor
        gain = - m log m                                   taken from OTHER

    If all remaining evidence of a column lies in one descendant category, the column gets its name. If other columns
    lie below a column, it is named "other X".

    Parameters
    ----------
    names : sequence of str
        Category paths, with all their ancestors (`features.categories.node_evidence`).
    evidence : sequence of float
        Evidence of each category, including its descendants.
    max_categories : int
        Maximum number of columns, including OTHER.
    """
    nodes = sorted(
        (lowered_parts(name), name, own)
        for name, own in zip(names, evidence, strict=True)
        if own > 0 and not _is_called_other(name)
    )
    if not nodes:
        return []
    paths = [path for path, _, _ in nodes]
    remaining = np.array([own for _, _, own in nodes]) / total
    parent, end = _family(paths)
    above = np.ones(len(nodes))  # evidence in the column that currently holds each node
    owner = np.full(len(nodes), -1)
    kept: list[int] = []
    for _ in range(max_categories - 1):
        left = np.maximum(above - remaining, 0.0)
        split = xlogy(above, above) - xlogy(left, left)
        gain = np.where(owner < 0, xlogy(remaining, 1.0 + TRACE), split) - xlogy(remaining, remaining)
        gain[kept] = 0.0
        gain[(remaining < TINY) | ((owner >= 0) & (left < TINY))] = 0.0
        best = int(np.argmax(gain))
        if gain[best] <= 0.0:
            break
        _add_column(best, remaining, above, owner, parent, end)
        kept.append(best)
    columns = [_innermost(node, kept, remaining, owner, end, paths) for node in kept]
    # A column with other columns below it is the remainder of its category.
    named = [
        (
            remainder_of(nodes[node][1]) if _has_column_below(node, columns, end) else nodes[node][1],
            float(remaining[node]),
        )
        for node in columns
    ]
    return sorted(((name, share * total) for name, share in named), key=lambda column: (-column[1], column[0]))


def _is_called_other(name: str) -> bool:
    """Whether a part of the path is named like a leftover column; such a path counts as leftover."""
    parts = lowered_parts(name)
    return parts[0] == OTHER or any(part == f"{OTHER_PREFIX}{above}" for above, part in pairwise(parts))


def _family(paths: list[tuple[str, ...]]) -> tuple[Ints, Ints]:
    """For each of the sorted ``paths``: the index of its parent (-1: none), and the index after its last descendant."""
    parent, end = np.full(len(paths), -1), np.full(len(paths), len(paths))
    ancestors: list[int] = []
    for index, path in enumerate(paths):
        while ancestors and paths[ancestors[-1]] != path[: len(paths[ancestors[-1]])]:
            end[ancestors.pop()] = index
        parent[index] = ancestors[-1] if ancestors else -1
        ancestors.append(index)
    return parent, end


def _add_column(node: int, remaining: Floats, above: Floats, owner: Ints, parent: Ints, end: Ints) -> None:
    """Make ``node`` a column and subtract its evidence from its ancestors' columns, in place."""
    previous, taken = int(owner[node]), float(remaining[node])
    is_same_column = owner == previous
    above[is_same_column] -= taken
    inside = np.zeros(len(owner), dtype=bool)
    inside[node + 1 : end[node]] = True
    inside &= is_same_column
    owner[inside], above[inside] = node, taken
    ancestor = int(parent[node])
    while ancestor != previous and ancestor >= 0:
        remaining[ancestor] -= taken
        ancestor = int(parent[ancestor])
    if previous >= 0:
        remaining[previous] -= taken


def _innermost(
    node: int, kept: list[int], remaining: Floats, owner: Ints, end: Ints, paths: list[tuple[str, ...]]
) -> int:
    """The deepest category that holds all remaining evidence of a column."""
    below = np.arange(node + 1, end[node])
    below = below[(owner[below] == node) & (np.abs(remaining[below] - remaining[node]) < TINY) & ~np.isin(below, kept)]
    return max([node, *below.tolist()], key=lambda index: len(paths[index]))


def _has_column_below(node: int, columns: list[int], end: Ints) -> bool:
    return any(node < other < end[node] for other in columns)
