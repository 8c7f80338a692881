from __future__ import annotations

from typing import Any

import ibis
import pytest

from features.categories import (
    OTHER,
    category_columns,
    category_cut,
    lowered,
    node_evidence,
    remainder_of,
    roll_up,
    with_column,
)


def test_upper_case_in_any_script_finds_its_column(con: Any) -> None:
    names = ["ΣΚΥΛΟΣ", "İSTANBUL", "КОТИ"]
    columns = category_columns(
        ibis.memtable({"category_path": names}), category_cut([(name, 1.0) for name in names], 3.0)
    )
    assert dict(con.to_pandas(columns).itertuples(index=False)) == {"ΣΚΥΛΟΣ": 0, "İSTANBUL": 1, "КОТИ": 2}


def test_lower_case_matches_the_database(con: Any) -> None:
    letters = [chr(code) for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
    table = con.to_pandas(ibis.memtable({"letter": letters}).mutate(lower=lambda t: t.letter.lower()))
    assert table.lower.tolist() == [lowered(letter) for letter in table.letter]


@pytest.fixture
def paths() -> Any:
    return ibis.memtable(
        {
            "category_path": ["A > x > 1", "A > x > 2", "A > y", "B", "C > 'q\"u' <b>🐈</b>"],
            "evidence": [4.0, 3.0, 2.0, 1.0, 0.5],
        }
    )


def test_each_category_includes_its_descendants(con: Any, paths: Any) -> None:
    nodes = con.to_pandas(node_evidence(paths))
    assert nodes.category.tolist()[:5] == ["A", "A > x", "A > x > 1", "A > x > 2", "A > y"]
    assert nodes.evidence.tolist()[:6] == [9.0, 7.0, 4.0, 3.0, 2.0, 1.0]
    assert len(nodes) == 8


def test_roll_up_sums_and_sorts(con: Any, paths: Any) -> None:
    rolled = con.to_pandas(roll_up(paths, 2, count="evidence"))
    assert rolled.category.tolist() == ["A > x", "A > y", "B", "C > 'q\"u' <b>🐈</b>"]
    assert rolled.evidence.tolist() == [7.0, 2.0, 1.0, 0.5]


def test_the_cut_gives_the_remainder_to_other() -> None:
    cut = category_cut([("A", 6.0), ("B", 3.0)], 12.0)
    assert cut.categories == ("A", "B", OTHER)
    assert cut.mix == (0.5, 0.25, 0.25)


def test_a_shop_without_categories_has_only_other() -> None:
    cut = category_cut([], 0.0)
    assert cut.categories == (OTHER,)
    assert cut.mix == (1.0,)


def test_new_and_rare_categories_roll_up_to_other(con: Any, paths: Any) -> None:
    cut = category_cut([("A > x", 7.0), ("B", 1.0)], 10.5)
    columns = con.to_pandas(category_columns(paths, cut)).set_index("category_path").column.to_dict()
    assert columns == {"A > x > 1": 0, "A > x > 2": 0, "A > y": 2, "B": 1, "C > 'q\"u' <b>🐈</b>": 2}


def test_the_catalogue_takes_precedence_over_the_events_own_category(con: Any) -> None:
    events = ibis.memtable({"product_id": ["p", "q", "r"], "category_path": ["B", "B", None]})
    products = ibis.memtable({"product_id": ["p"], "category_path": ["A"]})
    columns = ibis.memtable({"category_path": ["A", "B"], "column": [0, 1]})
    mapped = con.to_pandas(with_column(events, products, columns, has_own_paths=True)).set_index("product_id")
    assert mapped.column["p"] == 0
    assert mapped.column["q"] == 1
    assert mapped.column.isna()["r"]


def test_paths_that_differ_only_in_case_are_one_category(con: Any) -> None:
    paths = ibis.memtable({"category_path": ["Pets > Cats", "pets > cats", "PETS > Dogs"], "evidence": [1.0, 2.0, 4.0]})
    nodes = con.to_pandas(node_evidence(paths))
    assert nodes.category.tolist() == ["PETS", "PETS > Dogs", "Pets > Cats"]
    rolled = con.to_pandas(roll_up(paths, 2, count="evidence"))
    assert list(zip(rolled.category, rolled.evidence, strict=True)) == [("PETS > Dogs", 4.0), ("Pets > Cats", 3.0)]
    cut = category_cut([("PETS > Dogs", 4.0), ("Pets > Cats", 3.0)], 7.0)
    columns = con.to_pandas(category_columns(paths, cut)).set_index("category_path").column.to_dict()
    assert columns == {"Pets > Cats": 1, "pets > cats": 1, "PETS > Dogs": 0}


def test_a_category_named_like_other_belongs_to_other(con: Any) -> None:
    cut = category_cut([("A", 6.0)], 9.0)
    columns = con.to_pandas(category_columns(ibis.memtable({"category_path": ["(Other)", "A"]}), cut))
    assert columns.set_index("category_path").column.to_dict() == {"(Other)": 1, "A": 0}


def test_a_path_goes_to_its_longest_prefix_with_a_column(con: Any) -> None:
    cut = category_cut([(remainder_of("Pets"), 5.0), ("Pets > Cats > Litter", 3.0), ("Home", 1.0)], 10.0)
    assert cut.categories == ("Pets > other Pets", "Pets > Cats > Litter", "Home", OTHER)
    assert cut.level == 3
    expected = {
        "pets > cats > LITTER > Clumping > 10 kg": 1,
        "Pets > Cats > new": 0,
        "Pets > Cats": 0,
        "Pets > other Pets": 0,
        "Pets": 0,
        "Petshop": 3,
        "Home > new > newer": 2,
        "new": 3,
    }
    columns = con.to_pandas(category_columns(ibis.memtable({"category_path": [*expected, None]}), cut))
    assert columns.set_index("category_path").column.to_dict() == expected
