"""Top categories: of every branch the level that says most, by hand and compared with a plain recursion."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.categories import OTHER, SEPARATOR, CategoryCut
from features.interests import SHARE_PREFIX
from models.scorer import Floats
from models.seasons import expected_shares
from models.top_categories import nodes_by_name, top_categories
from models.tree import cut_levels, divided

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
RULES = {"most": 3, "min_lift": 1.3, "min_share": 0.05}


def profile_of(cut: CategoryCut, own: Floats, kappa: float) -> pd.DataFrame:
    """Shares of customers with the evidence ``own`` (n, n_categories), by the interest formula."""
    share, above, node = np.ones((len(own), 1)), own.sum(axis=1, keepdims=True), np.zeros(0, np.int64)
    for level in cut_levels(cut):
        evidence = level.sums(own)
        share = divided(share[:, level.parent], evidence, above[:, level.parent], level.spread, kappa)
        above, node = evidence, level.node
    return pd.DataFrame(share[:, node], columns=[SHARE_PREFIX + name for name in cut.categories])


def top(cut: CategoryCut, own: Floats, mixes: Floats | None = None, *, kappa: float = 2.0, **rules: Any) -> Any:
    """Top categories of customers of one period each, in which the shop's mix was that of ``mixes``; else the cut's."""
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
        # 10 ln(10/.4) and 10 ln(10/.4) add up to more than 20 ln(20/3): these two are what it is about.
        (seen(Food=10.0, Litter=10.0), ["Pets > Cats > Food", "Pets > Cats > Litter"]),
        # 3 * 4 ln(4/.48) = 25.4 are of three; two of them are 17.0, and the cats are 12 ln(12/1.8) = 22.8.
        (seen(Food=4.0, Litter=4.0, Toys=4.0), ["Pets > Cats"]),
        (seen(other_Cats=6.0), ["Pets > Cats"]),
        (seen(Food=4.0, Litter=4.0, Toys=4.0, Dogs=12.0, Fish=12.0), ["Pets"]),
        # 9 ln(9/1.8) = 14.5 and 36 ln(36/14.4) = 33.0: the garden says more, though its lift is lower.
        (seen(Fish=9.0, Garden=36.0), ["Garden", "Pets > Fish"]),
        (seen(Ceiling=10.0, Desk_lamps=2.0), ["Home > Lamps"]),
        (seen(**{OTHER: 9.0}), []),
        (seen(), []),
    ],
)  # fmt: skip
def test_the_level_that_says_most(own: Floats, expected: list[str]) -> None:
    assert top(CUT, own) == [expected]


def test_what_is_no_higher_than_usual_at_the_time_is_no_interest() -> None:
    """In a rush for gardens a customer who turned to gardens as all did has no top category; in quiet times they have."""
    rush = np.array(CUT.mix) * 0.125
    rush[8] = 1.0 - rush.sum() + rush[8]
    own = seen(Garden=20.0, Dogs=1.0)
    assert top(CUT, own, rush[None]) == [[]]
    assert top(CUT, own) == [["Garden"]]


def test_flat_categories_by_hand() -> None:
    """Shares from a third and lifts from 1.5 on, after two views of the shop's mix; a tie as columns stand."""
    cut = CategoryCut(1, ("A", "B", "C", "D", OTHER), (0.4, 0.2, 0.2, 0.1, 0.1))
    own = np.array(
        [
            [0.0, 9.0, 9.0, 0.0, 0.0],  # B and C alike
            [0.0, 2.0, 6.0, 6.0, 2.0],  # D 6 ln(6/1.6), C 6 ln(6/3.2); of B the share is too low
            [8.0, 4.0, 4.0, 2.0, 2.0],  # as the shop
            [0.0, 0.0, 0.0, 5.0, 15.0],  # of D the share is too low, and what is left over is no category
        ]
    )
    assert top(cut, own, min_lift=1.5, min_share=0.33) == [["B", "C"], ["D", "C"], [], []]
    assert top(cut, own, min_lift=1.5, min_share=0.33, most=1) == [["B"], ["D"], [], []]
    assert top(cut, own[:0]) == []


def test_without_categories_there_are_none() -> None:
    assert top(CategoryCut(1, (OTHER,), (1.0,)), np.ones((2, 1))) == [[], []]


def test_names_of_the_tree() -> None:
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
        seen, usual = total(own, path), evidence * total(mix, path)
        shares = share(own, path), share(evidence * mix, path)
        is_distinctive = shares[0] >= RULES["min_share"] and shares[0] >= RULES["min_lift"] * shares[1]
        is_category = len(path) < 2 or path[-1] != f"other {path[-2]}"
        return seen * math.log(seen / usual) if is_category and is_distinctive and seen > usual else 0.0

    def named(path: tuple[str, ...]) -> list[tuple[float, str]]:
        below = [named(one) for one in sorted(paths) if len(one) == len(path) + 1 and one[: len(path)] == path]
        below = sorted(below, key=lambda one: -sum(gains for gains, _ in one))
        if not path:
            return [one for branch in below for one in branch]
        found, alone = [one for branch in below[:2] for one in branch], gain(path)
        is_own = alone > 0 and alone >= sum(gains for gains, _ in found)
        is_own = is_own and alone > sum(gains for branch in below[:1] for gains, _ in branch)
        return [(alone, SEPARATOR.join(path))] if is_own else found

    return [name for _, name in sorted(named(()), key=lambda one: -one[0])[: RULES["most"]]]  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(3))
def test_the_same_as_a_plain_recursion_and_never_nested(seed: int) -> None:
    draw = np.random.default_rng(seed)
    own = draw.exponential(3.0, (150, len(CUT.categories))) * (draw.random((150, len(CUT.categories))) < 0.4)
    mixes = draw.dirichlet(20.0 * np.array(CUT.mix) + 0.5, size=150)
    found = top(CUT, own, mixes, kappa=3.0)
    assert found == [plain(CUT, one, mix, 3.0) for one, mix in zip(own, mixes, strict=True)]
    depths = {name.count(SEPARATOR) for one in found for name in one}
    assert depths == {0, 1, 2}
    for one in found:
        assert not any(b.startswith(f"{a}{SEPARATOR}") for a in one for b in one)
        parents = [name.rpartition(SEPARATOR)[0] for name in one]
        assert all(parents.count(parent) <= 2 for parent in parents if parent)
