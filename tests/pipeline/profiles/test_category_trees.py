"""Realistic category trees: from the paths of a log to the columns of a profile."""

from __future__ import annotations

import time
from typing import Any

import ibis
import numpy as np
import pytest

from features.categories import OTHER, SEPARATOR, category_columns
from pipeline.profiles.prepare_events import fit_cut


def cut_of(paths: list[str], max_categories: int = 40) -> Any:
    table = ibis.memtable({"category_path": paths, "evidence": np.arange(len(paths), 0, -1, dtype=np.float64)})
    return table, fit_cut(table, max_categories)


def test_a_tree_with_100_000_leaves_takes_seconds(con: Any) -> None:
    started = time.process_time()
    table, cut = cut_of([f"r{i % 7} > s{i % 300} > leaf {i}" for i in range(100_000)])
    columns = con.to_pandas(category_columns(table, cut))
    assert time.process_time() - started < 20
    assert len(cut.categories) == 40 and len(columns) == 100_000
    assert sum(cut.mix) == pytest.approx(1.0)


def test_a_flat_catalogue_keeps_the_largest_categories() -> None:
    _, cut = cut_of([f"leaf {i:06}" for i in range(100_000)])
    assert cut.categories == (*(f"leaf {i:06}" for i in range(39)), OTHER)


def test_a_single_category_eight_levels_deep() -> None:
    deep = SEPARATOR.join(f"l{level}" for level in range(1, 9))
    assert cut_of([deep])[1].categories == (deep, OTHER)
    assert cut_of([deep, "l1"])[1].categories == (deep, "l1 > other l1", OTHER)


def test_paths_that_differ_only_in_case_share_a_column(con: Any) -> None:
    table, cut = cut_of(["Pets > Cats", "PETS > cats", "pets > Dogs"])
    assert [name.lower() for name in cut.categories] == ["pets > cats", "pets > dogs", OTHER]
    columns = con.to_pandas(category_columns(table, cut)).set_index("category_path").column
    assert columns["Pets > Cats"] == columns["PETS > cats"] == 0
