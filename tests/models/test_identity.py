"""Matching of new segments with old ones."""

from __future__ import annotations

import numpy as np
import pytest

from models.identity import first_identities, last_number, match_segments, with_unused


def memberships(*groups: tuple[str | None, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(old segment, new cluster, customers) -> old segments and new clusters, one row per customer."""
    old = [name for name, _, count in groups for _ in range(count)]
    new = [cluster for _, cluster, count in groups for _ in range(count)]
    return np.array(old, dtype=object), np.array(new, dtype=np.int64)


def matched(*groups: tuple[str | None, int, int], used: tuple[str, ...] = ()) -> dict[str, tuple[str, list[str]]]:
    old, new = memberships(*groups)
    old_ids = {name for name, _, _ in groups if name}
    used_ids = {*old_ids, *used}
    result = match_segments(old, new, old_ids=old_ids, used_ids=used_ids, prefix="s", min_jaccard=0.4, min_part=0.5)
    matched.ids = result.ids  # type: ignore[attr-defined]
    return {row.segment_id: (row.verdict, list(row.related)) for row in result.transitions}


def test_first_training_numbers_segments_in_order() -> None:
    result = first_identities([0, 1, 2], prefix="s")
    assert result.ids == {0: "s01", 1: "s02", 2: "s03"}
    assert {row.verdict for row in result.transitions} == {"new"}


def test_numbering_continues_after_the_last_used_number() -> None:
    assert last_number(["s02", "s11", "i40", "standing-lost", "noise", "s3x"], "s") == 11
    assert last_number([], "s") == 0
    assert first_identities([0, 1], prefix="i", after=11).ids == {0: "i12", 1: "i13"}


def test_empty_clusters_get_new_ids() -> None:
    assert with_unused({0: "s01", 2: "s02"}, [0, 1, 2, 3], prefix="s", after=2) == {
        0: "s01",
        1: "s03",
        2: "s02",
        3: "s04",
    }
    assert with_unused({0: "s04"}, [0, 1], prefix="s", after=9) == {0: "s04", 1: "s10"}
    assert with_unused({}, [], prefix="s", after=3) == {}


def test_a_valid_pair_is_not_outweighed_by_pairs_below_the_minimum() -> None:
    # Jaccard indexes: s01 and cluster 0: 60 / 150; s01 and 1: 40 / 140; s02 and 0: 50 / 160.
    verdicts = matched(("s01", 0, 60), ("s01", 1, 40), ("s02", 0, 50), ("s02", -1, 50), (None, 1, 40))
    assert verdicts["s01"][0] == "survived"
    assert matched.ids == {0: "s01", 1: "s03"}  # type: ignore[attr-defined]


def test_renumbered_clusters_keep_their_ids() -> None:
    old, new = memberships(("s01", 1, 10), ("s02", 0, 20), ("s02", 1, 2), (None, 0, 3), (None, -1, 9))
    result = match_segments(old, new, old_ids=["s01", "s02"], used_ids=[], prefix="s", min_jaccard=0.4, min_part=0.5)
    assert result.ids == {1: "s01", 0: "s02"}
    rows = {row.segment_id: row for row in result.transitions}
    assert rows["s01"].jaccard == pytest.approx(10 / 12)
    assert rows["s02"].jaccard == pytest.approx(20 / 25)
    assert {row.verdict for row in result.transitions} == {"survived"}


def test_pairs_maximise_the_total_not_each_pair() -> None:
    result = matched(("s01", 0, 60), ("s01", 1, 50), ("s02", 0, 55))
    # s01 also has most in common with cluster 0, but s02 has no other candidate.
    assert matched.ids == {0: "s02", 1: "s01"}  # type: ignore[attr-defined]
    assert result["s02"][0] == result["s01"][0] == "survived"


def test_a_split_keeps_the_id_in_one_part() -> None:
    result = matched(("s01", 0, 50), ("s01", 1, 50), ("s02", 2, 40), used=("s07",))
    assert result["s01"] == ("survived", ["s01"])
    assert result["s08"] == ("split", ["s01"])


def test_a_split_into_small_parts_leaves_no_survivor() -> None:
    result = matched(("s01", 0, 30), ("s01", 1, 30), ("s01", 2, 30), ("s02", 3, 40))
    assert result["s01"] == ("split", ["s03", "s04", "s05"])
    assert result["s03"] == result["s05"] == ("split", ["s01"])


def test_a_merger_without_a_dominant_segment_gets_a_new_id() -> None:
    result = matched(("s01", 0, 100), ("s02", 0, 100), ("s03", 0, 100))
    assert result["s01"] == result["s02"] == result["s03"] == ("merged", ["s04"])
    assert result["s04"] == ("merged", ["s01", "s02", "s03"])


def test_an_empty_segment_is_gone_and_new_customers_form_a_new_one() -> None:
    old, new = memberships(("s01", 0, 50), (None, 1, 30))
    result = match_segments(
        old, new, old_ids=["s01", "s02"], used_ids=["s09"], prefix="s", min_jaccard=0.4, min_part=0.5
    )
    verdicts = {row.segment_id: row.verdict for row in result.transitions}
    assert verdicts == {"s01": "survived", "s10": "new", "s02": "gone"}


def test_the_order_of_customers_is_irrelevant() -> None:
    old, new = memberships(("s01", 0, 60), ("s01", 1, 50), ("s02", 0, 55), ("s03", 2, 5), (None, 2, 4))
    order = np.random.default_rng(0).permutation(len(old))
    kept = {"old_ids": ["s01", "s02", "s03"], "used_ids": [], "prefix": "s", "min_jaccard": 0.4, "min_part": 0.5}
    assert match_segments(old, new, **kept) == match_segments(old[order], new[order], **kept)
