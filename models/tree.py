"""The category tree in memory, down which the interest formula divides shares to the columns of a cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from features.categories import CategoryCut, lowered_parts

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats, Ints


@dataclass(frozen=True)
class Level:
    """The nodes of a tree at one depth; on the last level, they are the columns.

    Attributes
    ----------
    node : int array of shape (n_categories,)
        The node of each category.
    parent : int array of shape (n_nodes,)
        The parent on the level above; on the first level, the root.
    spread : float array of shape (n_nodes,)
        mix(c) / mix(p): the shop's share of a node within its parent.
    """

    node: Ints
    parent: Ints
    spread: Floats

    def sums(self, values: Floats) -> Floats:
        """Values of the categories, shape (n_categories, n), summed by node: shape (n_nodes, n)."""
        sums = np.zeros((len(self.parent), values.shape[1]))
        # Row by row, so that no sum depends on how many customers are in a batch, as it can with BLAS and with `sum`.
        for node, row in zip(self.node, values, strict=True):
            sums[node] += row
        return sums


def tree_levels(paths: Sequence[tuple[str, ...]], depth: int, mix: Floats) -> list[Level]:
    """Levels of the tree of ``paths``, from the root down; a path that ends early becomes its own only child."""
    levels: list[Level] = []
    node_above: Ints = np.zeros(len(paths), dtype=np.int64)
    mix_above: Floats = np.ones(1)
    for level in range(1, depth + 1):
        names = [path if level == depth else path[:level] for path in paths]
        nodes = {name: index for index, name in enumerate(dict.fromkeys(names))}
        node = np.array([nodes[name] for name in names], dtype=np.int64)
        parent = np.zeros(len(nodes), dtype=np.int64)
        parent[node] = node_above
        node_mix = np.bincount(node, weights=mix, minlength=len(nodes)).astype(np.float64)
        parent_mix = mix_above[parent]
        spread = np.divide(node_mix, parent_mix, out=np.zeros(len(nodes)), where=parent_mix > 0)
        levels.append(Level(node, parent, spread))
        node_above, mix_above = node, node_mix
    return levels


@lru_cache(maxsize=1)
def cut_levels(cut: CategoryCut) -> list[Level]:
    """The levels of a cut, as `models.interests.interest_shares` needs them."""
    return tree_levels([lowered_parts(name) for name in cut.categories], cut.level, np.array(cut.mix))


def child_share(share: Floats, evidence: Floats, above: Floats, spread: Floats | float, kappa: float) -> Floats:
    """share(u,c) from share(u,p): the parent's share times the customer's split, shrunk towards the shop's split."""
    return np.asarray(share * (evidence + kappa * spread) / (above + kappa))
