from __future__ import annotations

import re

import pytest

from pipeline.audiences.segment_conditions import SegmentHistory, require_segments, segment_name
from pipeline.audiences.selection import AudienceError

NOW = {"s1": "Best customers", "s5": "Regulars", "s6": "Newcomers"}


def row(as_of: str, segment_id: str, name: str, verdict: str = "survived", related: tuple[str, ...] = ()) -> dict:
    is_here = bool(name)
    return {"as_of": as_of, "segment_id": segment_id, "verdict": verdict, "related": [*related], "is_here": is_here} | (
        {"name": name, "names": {"en": name, "uk": f"{name} (uk)"}} if is_here else {}
    )


HISTORY = SegmentHistory(
    names={**NOW, "s7": "Nobody today", "s1": "VIP"},
    lineage=[
        *(row("2025-01-01", *pair, "new") for pair in [("s1", "VIP"), ("s2", "Big"), ("s3", "Old"), ("s4", "Rare")]),
        row("2025-02-01", "s2", "", "split", ("s5", "s8")),
        row("2025-02-01", "s8", "Half", "split", ("s2",)),
        row("2025-02-01", "s3", "", "merged", ("s5",)),
        row("2025-02-01", "s1", "VIP"),
        row("2025-03-01", "s8", "", "merged", ("s6",)),
        row("2025-03-01", "s4", "", "gone"),
        row("2025-03-01", "s7", "Nobody today", "new"),
    ],
    given_names={"s1": "Best customers", "s6": "Fresh"},
)


def refusal(value: str, column: str = "segment") -> str:
    with pytest.raises(AudienceError) as raised:
        require_segments({column: [value]}, {"segment": NOW}, lambda: HISTORY, labels={column: "--segment"})
    return str(raised.value)


@pytest.mark.parametrize(
    ("value", "fate"),
    [
        ("VIP", "It is s1, which is called 'Best customers' now."),
        ("VIP (uk)", "It is s1, which is called 'Best customers' now."),
        ("Fresh", "s6 was given this name after these scores, which call it 'Newcomers': score again."),
        (
            "Big",
            "s2 (Big) was split into s5 (Regulars) and s8 in the training of 2025-02-01. "
            "s8 (Half) was merged into s6 (Newcomers) in the training of 2025-03-01.",
        ),
        ("Old", "s3 (Old) was merged into s5 (Regulars) in the training of 2025-02-01."),
        ("Rare", "s4 (Rare) has been gone since the training of 2025-03-01."),
        ("Regular", "Did you mean 'Regulars'?"),
        ("REGULARZ", "Did you mean 'Regulars'?"),
    ],
)
def test_a_segment_that_is_not_there_is_refused_with_what_became_of_it(value: str, fate: str) -> None:
    message = refusal(value)
    assert fate in message
    assert message.endswith("Segments now: Best customers (s1), Newcomers (s6), Regulars (s5).")


def test_ids_are_checked_as_names_are() -> None:
    assert "s3 (Old) was merged into s5 (Regulars)" in refusal("s3", "segment_id")


def test_a_segment_without_customers_and_other_conditions_are_let_through() -> None:
    def history() -> SegmentHistory:
        return HISTORY

    where = {"segment": ["Regulars", "Nobody today"], "segment_id": "s7", "spend": 3.0}
    require_segments(where, {"segment": NOW}, history, labels=dict.fromkeys(where, ""))


def test_without_a_run_the_segments_of_today_are_named() -> None:
    with pytest.raises(
        AudienceError, match=re.escape("got 'Big', which is not one. Segments now: Best customers (s1)")
    ):
        require_segments({"segment": "Big"}, {"segment": NOW}, SegmentHistory, labels={"segment": "x"})


@pytest.mark.parametrize(("text", "name"), [("Regulars", "Regulars"), ("s5", "Regulars"), ("regulars", "Regulars")])
def test_segments_are_found_by_name_in_any_case_and_by_id(text: str, name: str) -> None:
    assert segment_name(text, NOW) == name
    assert segment_name("Nobody", NOW) is None
