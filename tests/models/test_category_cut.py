from __future__ import annotations

import math
import time
from itertools import combinations

import numpy as np
import pytest

from features.categories import OTHER, SEPARATOR, category_cut
from models.category_cut import choose_columns

TREE = {"Pets > Cats > Food": 30.0, "Pets > Cats > Litter": 10.0, "Pets > Dogs": 20.0, "Home > Lamps": 40.0}


def nodes(leaves: dict[str, float]) -> dict[str, float]:
    """Evidence of each category with everything below it."""
    evidence: dict[str, float] = {}
    for leaf, own in leaves.items():
        parts = leaf.split(SEPARATOR)
        for depth in range(1, len(parts) + 1):
            name = SEPARATOR.join(parts[:depth])
            evidence[name] = evidence.get(name, 0.0) + own
    return evidence


def columns_of(leaves: dict[str, float], max_categories: int) -> dict[str, float]:
    tree = nodes(leaves)
    return dict(choose_columns(list(tree), list(tree.values()), sum(leaves.values()), max_categories))


@pytest.mark.parametrize(
    ("max_categories", "expected"),
    [
        # -m log m: Home .4 -> .367, Pets .6 -> .306, Cats .4 -> .367, so Home comes first (a tie, by name), then Cats.
        (2, {"Home > Lamps": 40.0}),
        (3, {"Home > Lamps": 40.0, "Pets > Cats": 40.0}),
        (4, {"Home > Lamps": 40.0, "Pets > Cats": 40.0, "Pets > Dogs": 20.0}),
        (9, {"Home > Lamps": 40.0, "Pets > Cats > Food": 30.0, "Pets > Cats > Litter": 10.0, "Pets > Dogs": 20.0}),
    ],
)
def test_the_cut_by_hand(max_categories: int, expected: dict[str, float]) -> None:
    assert columns_of(TREE, max_categories) == pytest.approx(expected)


def test_the_remainder_of_a_column_is_named_other() -> None:
    columns = columns_of({"Home": 50.0, **{f"Pets > p{place}": 5.0 for place in range(10)}}, 4)
    assert columns == pytest.approx({"Home": 50.0, "Pets > other Pets": 45.0, "Pets > p0": 5.0})


def test_products_assigned_to_an_inner_category_are_its_remainder() -> None:
    columns = columns_of({"Home": 40.0, "Pets": 30.0, "Pets > Cats": 30.0}, 10)
    assert columns == pytest.approx({"Home": 40.0, "Pets > Cats": 30.0, "Pets > other Pets": 30.0})


def test_a_category_named_like_a_remainder_is_part_of_it() -> None:
    columns = columns_of({"Home": 40.0, "Pets > Cats": 30.0, "Pets > Other Pets > x": 30.0, "(other) > y": 9.0}, 10)
    assert columns == pytest.approx({"Home": 40.0, "Pets > Cats": 30.0, "Pets > other Pets": 30.0})


def test_one_category_eight_levels_and_no_category() -> None:
    assert columns_of({"A": 3.0}, 5) == {"A": 3.0}
    deep = SEPARATOR.join("abcdefgh")
    assert columns_of({deep: 3.0}, 5) == {deep: 3.0}
    assert columns_of({deep: 3.0, "a > b > c > d > e > f > g > i": 1.0}, 5).keys() == {deep, deep[:-1] + "i"}
    assert choose_columns([], [], 0.0, 5) == []
    assert choose_columns(["A"], [0.0], 0.0, 5) == []


@pytest.mark.parametrize("seed", range(20))
def test_columns_are_unique_within_the_limit_and_hold_all_evidence_exactly_once(seed: int) -> None:
    draw = np.random.default_rng(seed)
    leaves = {
        SEPARATOR.join(f"n{draw.integers(3)}" for _ in range(draw.integers(1, 5))): float(draw.integers(1, 50))
        for _ in range(60)
    }
    max_categories = int(draw.integers(2, 30))
    columns = list(columns_of(leaves, max_categories).items())
    cut = category_cut(columns, sum(leaves.values()))
    assert len({name.lower() for name in cut.categories}) == len(cut.categories) <= max_categories
    tops = cut.tops
    held = dict.fromkeys(range(len(cut.categories)), 0.0)
    for leaf, own in leaves.items():
        parts = leaf.split(SEPARATOR)
        ancestors = [SEPARATOR.join(parts[:depth]) for depth in range(len(parts), 0, -1)]
        held[next((tops[name] for name in ancestors if name in tops), cut.other_index)] += own
    assert [held[column] / sum(leaves.values()) for column in held] == pytest.approx(list(cut.mix), abs=1e-9)
    assert cut.categories[-1] == OTHER
    shuffled = dict(sorted(leaves.items(), key=lambda _: draw.random()))
    assert list(columns_of(shuffled, max_categories).items()) == columns


def test_a_flat_catalogue_keeps_its_largest_categories() -> None:
    leaves = {f"c{place:02}": float(place + 1) for place in range(20)}
    best = max(
        combinations(leaves, 4),
        key=lambda kept: -sum(leaves[name] / 210 * math.log(leaves[name] / 210) for name in kept),
    )
    assert set(columns_of(leaves, 5)) == set(best) == {"c16", "c17", "c18", "c19"}


def test_ten_thousand_nodes_take_seconds_at_most() -> None:
    started = time.process_time()
    choose_columns([f"r{place % 9} > leaf {place}" for place in range(10_000)], [1.0] * 10_000, 10_000.0, 500)
    assert time.process_time() - started < 5
