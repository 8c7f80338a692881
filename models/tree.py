"""The category tree in memory: how the interest formula divides evidence down to the columns of a cut."""

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
    """The nodes of a tree at one depth; at the last they are the columns.

    Attributes
    ----------
    node : int array of shape (n_categories,)
        In which node each category lies.
    parent : int array of shape (n_nodes,)
        The node of the level above; of the first level, the root.
    spread : float array of shape (n_nodes,)
        mix(c) / mix(p): what part of what is above the shop turns to.
    """

    node: Ints
    parent: Ints
    spread: Floats

    def sums(self, values: Floats) -> Floats:
        """Values of the categories, shape (n, n_categories), summed by node: shape (n, n_nodes)."""
        belongs = np.eye(len(self.parent))[self.node]
        return np.asarray(values @ belongs)


def tree_levels(paths: Sequence[tuple[str, ...]], depth: int, mix: Floats) -> list[Level]:
    """The levels of the tree of ``paths``, from the root down; a path that ends early is its own only child."""
    levels: list[Level] = []
    node_above: Ints = np.zeros(len(paths), dtype=np.int64)
    mix_above: Floats = np.ones(1)
    for level in range(1, depth + 1):
        names = [path if level == depth else path[:level] for path in paths]
        nodes = {name: place for place, name in enumerate(dict.fromkeys(names))}
        node = np.array([nodes[name] for name in names], dtype=np.int64)
        parent = np.zeros(len(nodes), dtype=np.int64)
        parent[node] = node_above
        node_mix = np.bincount(node, weights=mix, minlength=len(nodes)).astype(np.float64)
        over = mix_above[parent]
        levels.append(Level(node, parent, np.divide(node_mix, over, out=np.zeros(len(nodes)), where=over > 0)))
        node_above, mix_above = node, node_mix
    return levels


@lru_cache(maxsize=1)
def cut_levels(cut: CategoryCut) -> list[Level]:
    """The levels of a cut, as `features.interests.interest_shares` has them."""
    return tree_levels([lowered_parts(name) for name in cut.categories], cut.level, np.array(cut.mix))


def divided(share: Floats, evidence: Floats, above: Floats, spread: Floats | float, kappa: float) -> Floats:
    """share(u,c) from share(u,p): what is above a category divided as the customer does, shrunk toward the shop."""
    return np.asarray(share * (evidence + kappa * spread) / (above + kappa))
