"""Which cells of the crossing are coloured, and the order of changes."""

from __future__ import annotations

import pandas as pd

from pipeline.page.views import Crossing, crossing, moves


def crossed(counts: dict[tuple[str, str], int], left_out: tuple[str, ...] = ()) -> Crossing:
    rows = [{"interest": row, "behaviour": column, "customer_count": count} for (row, column), count in counts.items()]
    return crossing(pd.DataFrame(rows), "interest", "behaviour", min_group=10, left_out=left_out)


def styles(table: Crossing) -> dict[tuple[str, str], str]:
    return {
        (row, column): cell.style
        for row, cells in zip(table.rows, table.cells, strict=True)
        for column, cell in zip(table.columns, cells, strict=True)
    }


def test_only_cells_that_differ_clearly_from_chance_are_coloured() -> None:
    chance = {("Cats", "VIP"): 20, ("Cats", "Lapsed"): 30, ("Dogs", "VIP"): 30, ("Dogs", "Lapsed"): 25}
    table = crossed(chance)
    assert set(styles(table).values()) == {""} and not table.has_colours
    table = crossed({pair: 20 * count for pair, count in chance.items()} | {("Dogs", "VIP"): 2000})
    assert table.has_colours and styles(table)["Cats", "VIP"].startswith("less")


def test_groups_by_rule_say_nothing_of_chance() -> None:
    pairs = {("Cats", "VIP"): 100, ("Cats", "Lapsed"): 100, ("Dogs", "VIP"): 100, ("Dogs", "Lapsed"): 100}
    by_rule = {("Not known", "Gone"): 5000, ("Cats", "Gone"): 20, ("Not known", "VIP"): 20}
    assert set(styles(crossed(pairs | by_rule, ("Not known", "Gone"))).values()) == {""}


def test_a_ratio_does_not_give_a_hidden_count_away() -> None:
    counts = {(row, column): 100 for row in "abcde" for column in "vwxyz"}
    counts |= {("a", "v"): 900}
    hidden, others = (3, 5, 6, 4), (4, 4, 5, 5)  # with the same totals
    places = [("b", "y"), ("b", "x"), ("d", "y"), ("d", "x")]
    first, second = (crossed(counts | dict(zip(places, cells, strict=True))) for cells in (hidden, others))
    assert [[cell.ratio for cell in row] for row in first.cells] == [
        [cell.ratio for cell in row] for row in second.cells
    ]
    assert any(cell.ratio for row in first.cells for cell in row)
    assert sum(cell.customer_count is None for row in first.cells for cell in row) >= 4


def test_changes_of_segments_come_before_those_of_audiences() -> None:
    rows = [("audience:all", 900), ("lifecycle_stage", 500), ("segment_id", 50), ("audience:a", 20), ("value_tier", 30)]
    frame = pd.DataFrame(
        [{"column": name, "before": None, "after": "x", "customer_count": size} for name, size in rows]
    )
    shown = moves(frame, min_group=10, max_rows=5)
    assert list(shown) == ["segment_id", "value_tier", "lifecycle_stage", "audience:a", "audience:all"]
