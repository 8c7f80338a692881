"""Which new segment is which old one."""

from __future__ import annotations

import numpy as np
import pytest

from models.identity import first_identities, last_number, match_segments, with_unused


def people(*groups: tuple[str | None, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(old segment, new cluster, customers) -> both, a row per customer."""
    old = [name for name, _, count in groups for _ in range(count)]
    new = [cluster for _, cluster, count in groups for _ in range(count)]
    return np.array(old, dtype=object), np.array(new, dtype=np.int64)


def matched(*groups: tuple[str | None, int, int], used: tuple[str, ...] = ()) -> dict[str, tuple[str, list[str]]]:
    old, new = people(*groups)
    olds = {name for name, _, _ in groups if name}
    found = match_segments(old, new, old_ids=olds, used_ids={*olds, *used}, prefix="s", min_jaccard=0.4, min_part=0.5)
    matched.ids = found.ids  # type: ignore[attr-defined]
    return {str(row["segment_id"]): (str(row["verdict"]), list(row["akin"])) for row in found.lineage}  # type: ignore[call-overload]


def test_the_first_training() -> None:
    found = first_identities([0, 1, 2], prefix="s")
    assert found.ids == {0: "s01", 1: "s02", 2: "s03"}
    assert {row["verdict"] for row in found.lineage} == {"new"}


def test_numbers_go_on_after_the_last() -> None:
    assert last_number(["s02", "s11", "i40", "standing-lost", "noise", "s3x"], "s") == 11
    assert last_number([], "s") == 0
    assert first_identities([0, 1], prefix="i", after=11).ids == {0: "i12", 1: "i13"}


def test_clusters_of_nobody_have_ids_of_their_own() -> None:
    assert with_unused({0: "s01", 2: "s02"}, [0, 1, 2, 3], prefix="s", after=2) == {
        0: "s01",
        1: "s03",
        2: "s02",
        3: "s04",
    }
    assert with_unused({0: "s04"}, [0, 1], prefix="s", after=9) == {0: "s04", 1: "s10"}
    assert with_unused({}, [], prefix="s", after=3) == {}


def test_a_segment_that_continues_does_not_lose_its_id_to_pairs_that_do_not() -> None:
    # Jaccards 60 / 150 of s01 and cluster 0, 40 / 140 of s01 and 1, 50 / 160 of s02 and 0.
    told = matched(("s01", 0, 60), ("s01", 1, 40), ("s02", 0, 50), ("s02", -1, 50), (None, 1, 40))
    assert told["s01"][0] == "survived"
    assert matched.ids == {0: "s01", 1: "s03"}  # type: ignore[attr-defined]


def test_other_numbers_are_the_same_segments() -> None:
    old, new = people(("s01", 1, 10), ("s02", 0, 20), ("s02", 1, 2), (None, 0, 3), (None, -1, 9))
    found = match_segments(old, new, old_ids=["s01", "s02"], used_ids=[], prefix="s", min_jaccard=0.4, min_part=0.5)
    assert found.ids == {1: "s01", 0: "s02"}
    rows = {row["segment_id"]: row for row in found.lineage}
    assert rows["s01"]["jaccard"] == pytest.approx(10 / 12)
    assert rows["s02"]["jaccard"] == pytest.approx(20 / 25)
    assert {row["verdict"] for row in found.lineage} == {"survived"}


def test_the_pairs_are_the_best_together_not_one_by_one() -> None:
    found = matched(("s01", 0, 60), ("s01", 1, 50), ("s02", 0, 55))
    # s01 is most like cluster 0 as well, but s02 has nothing else.
    assert matched.ids == {0: "s02", 1: "s01"}  # type: ignore[attr-defined]
    assert found["s02"][0] == found["s01"][0] == "survived"


def test_a_split() -> None:
    found = matched(("s01", 0, 50), ("s01", 1, 50), ("s02", 2, 40), used=("s07",))
    assert found["s01"] == ("survived", ["s01"])
    assert found["s08"] == ("split", ["s01"])


def test_a_split_into_small_parts_leaves_no_survivor() -> None:
    found = matched(("s01", 0, 30), ("s01", 1, 30), ("s01", 2, 30), ("s02", 3, 40))
    assert found["s01"] == ("split", ["s03", "s04", "s05"])
    assert found["s03"] == found["s05"] == ("split", ["s01"])


def test_a_merger() -> None:
    found = matched(("s01", 0, 100), ("s02", 0, 100), ("s03", 0, 100))
    assert found["s01"] == found["s02"] == found["s03"] == ("merged", ["s04"])
    assert found["s04"] == ("merged", ["s01", "s02", "s03"])


def test_gone_and_new() -> None:
    old, new = people(("s01", 0, 50), (None, 1, 30))
    found = match_segments(
        old, new, old_ids=["s01", "s02"], used_ids=["s09"], prefix="s", min_jaccard=0.4, min_part=0.5
    )
    verdicts = {row["segment_id"]: row["verdict"] for row in found.lineage}
    assert verdicts == {"s01": "survived", "s10": "new", "s02": "gone"}


def test_the_order_of_customers_is_irrelevant() -> None:
    old, new = people(("s01", 0, 60), ("s01", 1, 50), ("s02", 0, 55), ("s03", 2, 5), (None, 2, 4))
    order = np.random.default_rng(0).permutation(len(old))
    kept = {"old_ids": ["s01", "s02", "s03"], "used_ids": [], "prefix": "s", "min_jaccard": 0.4, "min_part": 0.5}
    assert match_segments(old, new, **kept) == match_segments(old[order], new[order], **kept)
