"""Names of interest segments."""

from __future__ import annotations

import numpy as np
import pandas as pd

from features.interests import SHARE_PREFIX
from models.interest_names import category_nodes, filled_playbook, labels_with_parents, name_by_interests, node_figures
from models.segment_names import Naming

CATEGORIES = ["Pets > Cats > Food", "Pets > Cats > Litter", "Pets > Dogs > Food", "Home > Lamps", "(other)"]
MIX = np.array([0.1, 0.1, 0.2, 0.3, 0.3])
PLAYBOOK = dict.fromkeys(("en", "uk", "ru", "sq"), "News of {categories}.")


def named(*groups: tuple[list[float], int], broad: tuple[str, ...] = ()) -> dict[str, Naming]:
    """(shares, customers) of each segment -> names; shares vary slightly between customers."""
    generator = np.random.default_rng(0)
    rows = np.vstack([np.tile(shares, (count, 1)) for shares, count in groups])
    rows = np.abs(rows + generator.normal(0, 0.005, rows.shape))
    rows /= rows.sum(axis=1, keepdims=True)
    profile = pd.DataFrame(rows, columns=[SHARE_PREFIX + name for name in CATEGORIES])
    segment = np.repeat(np.arange(len(groups)), [count for _, count in groups])
    ids = [f"i{place + 1:02}" for place in range(len(groups))]
    nodes = category_nodes(CATEGORIES, 3)
    expected = pd.DataFrame(np.tile(MIX, (len(groups), 1)), ids, CATEGORIES)
    figures = node_figures(profile, segment, expected, nodes, CATEGORIES, lift_errors=3.0, min_lift=1.3)
    return name_by_interests(figures, ids, nodes, min_lift=1.3, min_share=0.05, playbook=PLAYBOOK, broad=broad)


def test_each_category_is_a_node_once() -> None:
    nodes = category_nodes(CATEGORIES, 3)
    assert [(node.name, node.columns.tolist()) for node in nodes] == [
        ("Pets", [0, 1, 2]),
        ("Home", [3]),
        ("Pets > Cats", [0, 1]),
        ("Pets > Dogs", [2]),
        ("Home > Lamps", [3]),
        ("Pets > Cats > Food", [0]),
        ("Pets > Cats > Litter", [1]),
        ("Pets > Dogs > Food", [2]),
    ]


def test_children_that_all_stand_out_are_named_by_their_parent() -> None:
    found = named(([0.4, 0.35, 0.05, 0.1, 0.1], 40), ([0.02, 0.02, 0.06, 0.8, 0.1], 40))
    assert found["i01"].names.by_figures["en"] == "Cats"
    assert found["i02"].names.by_figures["en"] in ("Home", "Lamps")  # the same set of columns
    (evidence,) = found["i01"].evidence
    assert evidence.figure == "interest: Cats"
    assert evidence.first_share == 1.0 and evidence.customer_count == 40
    assert abs(evidence.value - 0.74) < 0.02 and evidence.shop == 0.2
    assert found["i01"].playbook["uk"] == "News of Cats."


def test_a_playbook_names_the_remainder_of_a_category_after_the_category() -> None:
    filled = filled_playbook(PLAYBOOK, ["other Cats", "Pets › other Dogs", "Lamps"])
    assert filled["en"] == "News of Cats (other) & Pets › Dogs (other) & Lamps."
    assert filled["uk"] == "News of Cats (інше) & Pets › Dogs (інше) & Lamps."


def test_a_label_that_names_people_has_the_category_above_it() -> None:
    names = [
        *("Clothing > Women", "Books > For children", "Одяг > Для жінок", "Clothing > Women > Shoes", "Home > Shoes"),
        *("Men", "Pets > Cats"),
    ]
    assert list(labels_with_parents(names).values()) == [
        *("Clothing › Women", "Books › For children", "Одяг › Для жінок", "Women › Shoes", "Home › Shoes"),
        *("Men", "Cats"),
    ]


def test_the_name_of_a_segment_has_the_category_above_people() -> None:
    categories = ["Clothing > Women", "Clothing > Men"]
    nodes = category_nodes(categories, 2)
    profile = pd.DataFrame({SHARE_PREFIX + categories[0]: [0.9] * 20 + [0.4] * 20}).assign(
        **{SHARE_PREFIX + categories[1]: [0.1] * 20 + [0.6] * 20}
    )
    expected = pd.DataFrame([[0.65, 0.35]] * 2, ["i01", "i02"], categories)
    segment = np.repeat(np.array([0, 1]), 20)
    figures = node_figures(profile, segment, expected, nodes, categories, lift_errors=3.0, min_lift=1.3)
    found = name_by_interests(figures, ["i01", "i02"], nodes, min_lift=1.3, min_share=0.05, playbook=PLAYBOOK)
    assert [naming.names.by_figures["en"] for naming in found.values()] == ["Clothing › Women", "Clothing › Men"]


def test_a_single_child_that_stands_out_is_named() -> None:
    found = named(([0.75, 0.03, 0.05, 0.07, 0.1], 40))
    assert found["i01"].names.by_figures["en"] == "Cats › Food"


def test_two_unrelated_categories_are_both_named() -> None:
    assert named(([0.2, 0.2, 0.02, 0.55, 0.03], 40))["i01"].names.by_figures["en"] in ("Home & Cats", "Lamps & Cats")


def test_a_segment_without_a_distinctive_category_is_broad_in_every_language() -> None:
    found = named((MIX.tolist(), 40))
    assert found["i01"].is_broad and found["i01"].evidence == ()
    assert found["i01"].names.by_figures == {
        "en": "Broad interests",
        "uk": "Широкі інтереси",
        "ru": "Широкие интересы",
        "sq": "Interesa të gjera",
    }


def test_a_category_that_few_members_prefer_does_not_name_the_segment() -> None:
    # Three in ten like only lamps, the others are close to the shop: the mean stands out, most members do not.
    lamps, usual = [0.02, 0.02, 0.03, 0.9, 0.03], [0.14, 0.14, 0.32, 0.2, 0.2]
    generator = np.random.default_rng(1)
    rows = np.vstack([np.tile(lamps, (30, 1)), np.tile(usual, (70, 1))]) + generator.normal(0, 0.002, (100, 5))
    profile = pd.DataFrame(np.abs(rows), columns=[SHARE_PREFIX + name for name in CATEGORIES])
    nodes = category_nodes(CATEGORIES, 3)
    expected = pd.DataFrame([MIX], ["i01"], CATEGORIES)
    figures = node_figures(profile, np.zeros(100, int), expected, nodes, CATEGORIES, lift_errors=1.0, min_lift=1.3)
    found = name_by_interests(figures, ["i01"], nodes, min_lift=1.3, min_share=0.05, playbook=PLAYBOOK)
    assert found["i01"].is_broad


def test_names_are_unique_and_groups_between_clusters_are_broad() -> None:
    cats = ([0.4, 0.35, 0.05, 0.1, 0.1], 40)
    found = named(cats, cats, (MIX.tolist(), 40), cats, broad=("i04",))
    names = [segment.names.by_figures["en"] for segment in found.values()]
    assert len(set(names)) == 4
    assert names[0] == "Cats" and names[1].startswith("Cats")
    assert names[2] == "Broad interests" and names[3].startswith("Broad interests")
