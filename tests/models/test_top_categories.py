"""Top categories: the most informative level of every branch, by hand and compared with a plain recursion."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.categories import OTHER, SEPARATOR, CategoryCut
from features.interests import SHARE_PREFIX
from models.interests import interest_shares
from models.scorer import Floats
from models.seasons import expected_shares
from models.top_categories import nodes_by_name, top_categories
from models.tree import cut_levels

LEAVES = {
    "Pets > Cats > Food": 0.04,
    "Pets > Cats > Litter": 0.04,
    "Pets > Cats > Toys": 0.04,
    "Pets > Cats > other Cats": 0.03,
    "Pets > Dogs": 0.05,
    "Pets > Fish": 0.05,
    "Home > Lamps > Desk lamps": 0.05,
    "Home > Lamps > Ceiling": 0.25,
    "Garden": 0.4,
    OTHER: 0.05,
}
CUT = CategoryCut(3, tuple(LEAVES), tuple(LEAVES.values()))
RULES = {"max_count": 3, "min_lift": 1.3, "min_share": 0.05}


def profile_of(cut: CategoryCut, own: Floats, kappa: float) -> pd.DataFrame:
    """Shares of customers with the evidence ``own`` (n, n_categories), by the interest formula."""
    shares = interest_shares(own.T, cut_levels(cut), kappa=kappa)
    return pd.DataFrame(shares.T, columns=[SHARE_PREFIX + name for name in cut.categories])


def top(cut: CategoryCut, own: Floats, mixes: Floats | None = None, *, kappa: float = 2.0, **rules: Any) -> Any:
    """Top categories of customers active in one period each, with the shop mix of ``mixes`` (default: the cut's)."""
    mixes = np.tile(cut.mix, (len(own), 1)) if mixes is None else mixes
    expected = expected_shares(np.diag(own.sum(axis=1)), mixes, cut_levels(cut), kappa)
    spec = SimpleNamespace(cut=cut)
    return top_categories(profile_of(cut, own, kappa), spec, expected, **{**RULES, **rules}).to_pylist()  # type: ignore[arg-type]


def seen(**counts: float) -> Floats:
    """One customer's evidence, by the last part of the path."""
    last = {name.rsplit(SEPARATOR, 1)[-1].replace(" ", "_"): place for place, name in enumerate(CUT.categories)}
    own = np.zeros((1, len(CUT.categories)))
    for name, count in counts.items():
        own[0, last[name]] = count
    return own


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (seen(Food=9.0), ["Pets > Cats > Food"]),
        # 10 ln(10/.4) and 10 ln(10/.4) sum to more than 20 ln(20/3), so both children are selected.
        (seen(Food=10.0, Litter=10.0), ["Pets > Cats > Food", "Pets > Cats > Litter"]),
        # Each child gains 4 ln(4/.48) = 8.5; two of them gain 17.0, but the cats gain 12 ln(12/1.8) = 22.8.
        (seen(Food=4.0, Litter=4.0, Toys=4.0), ["Pets > Cats"]),
        (seen(other_Cats=6.0), ["Pets > Cats"]),
        (seen(Food=4.0, Litter=4.0, Toys=4.0, Dogs=12.0, Fish=12.0), ["Pets"]),
        # 9 ln(9/1.8) = 14.5 and 36 ln(36/14.4) = 33.0: the garden gains more, although its lift is lower.
        (seen(Fish=9.0, Garden=36.0), ["Garden", "Pets > Fish"]),
        (seen(Ceiling=10.0, Desk_lamps=2.0), ["Home > Lamps"]),
        (seen(**{OTHER: 9.0}), []),
        (seen(), []),
    ],
)  # fmt: skip
def test_the_most_informative_level_is_selected(own: Floats, expected: list[str]) -> None:
    assert top(CUT, own) == [expected]


def test_a_seasonal_rush_is_not_an_interest() -> None:
    """Garden evidence counts as an interest in a normal period, but not during a general rush for garden products."""
    rush = np.array(CUT.mix) * 0.125
    rush[8] = 1.0 - rush.sum() + rush[8]
    own = seen(Garden=20.0, Dogs=1.0)
    assert top(CUT, own, rush[None]) == [[]]
    assert top(CUT, own) == [["Garden"]]


def test_flat_categories_by_hand() -> None:
    """Shares of at least a third and lifts of at least 1.5, with kappa 2; ties in column order."""
    cut = CategoryCut(1, ("A", "B", "C", "D", OTHER), (0.4, 0.2, 0.2, 0.1, 0.1))
    own = np.array(
        [
            [0.0, 9.0, 9.0, 0.0, 0.0],  # B and C equally
            [0.0, 2.0, 6.0, 6.0, 2.0],  # D 6 ln(6/1.6), C 6 ln(6/3.2); B's share is too low
            [8.0, 4.0, 4.0, 2.0, 2.0],  # the shop's mix
            [0.0, 0.0, 0.0, 5.0, 15.0],  # D's share is too low, and OTHER is not a category
        ]
    )
    assert top(cut, own, min_lift=1.5, min_share=0.33) == [["B", "C"], ["D", "C"], [], []]
    assert top(cut, own, min_lift=1.5, min_share=0.33, max_count=1) == [["B"], ["D"], [], []]
    assert top(cut, own[:0]) == []


def test_without_categories_the_lists_are_empty() -> None:
    assert top(CategoryCut(1, (OTHER,), (1.0,)), np.ones((2, 1))) == [[], []]


def test_nodes_by_name() -> None:
    names = nodes_by_name(CUT)
    assert {*names} == {*CUT.categories, "Pets", "Pets > Cats", "Home", "Home > Lamps"}
    assert names["Pets"].columns == (0, 1, 2, 3, 4, 5)
    assert {name for name, node in names.items() if not node.is_category} == {"Pets > Cats > other Cats", OTHER}


def plain(cut: CategoryCut, own: Floats, mix: Floats, kappa: float) -> list[str]:
    """One customer's top categories by recursion over paths, from the definition."""
    names, evidence = [name for name in cut.categories if name != OTHER], own.sum()
    paths = {tuple(name.split(SEPARATOR)[: level + 1]) for name in names for level in range(8)}

    def total(values: Any, path: tuple[str, ...]) -> float:
        inside = [tuple(name.split(SEPARATOR))[: len(path)] == path for name in cut.categories]
        return float(sum(value for value, is_in in zip(values, inside, strict=True) if is_in))

    def share(values: Floats, path: tuple[str, ...]) -> float:
        found = 1.0
        for level in range(1, len(path) + 1):
            node, above = path[:level], path[: level - 1]
            spread = total(cut.mix, node) / total(cut.mix, above)
            found *= (total(values, node) + kappa * spread) / (total(values, above) + kappa)
        return found

    def gain(path: tuple[str, ...]) -> float:
        observed, usual = total(own, path), evidence * total(mix, path)
        shares = share(own, path), share(evidence * mix, path)
        is_distinctive = shares[0] >= RULES["min_share"] and shares[0] >= RULES["min_lift"] * shares[1]
        is_category = len(path) < 2 or path[-1] != f"other {path[-2]}"
        return observed * math.log(observed / usual) if is_category and is_distinctive and observed > usual else 0.0

    def select(path: tuple[str, ...]) -> list[tuple[float, str]]:
        children = [child for child in sorted(paths) if len(child) == len(path) + 1 and child[: len(path)] == path]
        branches = sorted(map(select, children), key=lambda branch: -sum(gains for gains, _ in branch))
        if not path:
            return [category for branch in branches for category in branch]
        found, alone = [category for branch in branches[:2] for category in branch], gain(path)
        is_own = alone > 0 and alone >= sum(gains for gains, _ in found)
        is_own = is_own and alone > sum(gains for branch in branches[:1] for gains, _ in branch)
        return [(alone, SEPARATOR.join(path))] if is_own else found

    return [name for _, name in sorted(select(()), key=lambda category: -category[0])[: RULES["max_count"]]]  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(3))
def test_results_equal_a_plain_recursion_and_are_never_nested(seed: int) -> None:
    draw = np.random.default_rng(seed)
    own = draw.exponential(3.0, (150, len(CUT.categories))) * (draw.random((150, len(CUT.categories))) < 0.4)
    mixes = draw.dirichlet(20.0 * np.array(CUT.mix) + 0.5, size=150)
    found = top(CUT, own, mixes, kappa=3.0)
    assert found == [plain(CUT, row, mix, 3.0) for row, mix in zip(own, mixes, strict=True)]
    depths = {name.count(SEPARATOR) for names in found for name in names}
    assert depths == {0, 1, 2}
    for names in found:
        assert not any(b.startswith(f"{a}{SEPARATOR}") for a in names for b in names)
        parents = [name.rpartition(SEPARATOR)[0] for name in names]
        assert all(parents.count(parent) <= 2 for parent in parents if parent)
