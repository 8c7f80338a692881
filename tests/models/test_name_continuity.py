from __future__ import annotations

import pandas as pd
import pytest

from models.name_continuity import ManualName, inheritors, keep_names, with_given_names
from models.segment_names import Bounds, Evidence, Naming, SegmentNames
from models.traits import Trait


def segment(name: str, archetype: str | None = None, evidence: Evidence | None = None) -> Naming:
    return Naming(SegmentNames({"en": name}), archetype, evidence=(evidence,) if evidence else ())


def english(named: dict[str, Naming]) -> list[str]:
    return [naming.names.by_figures["en"] for naming in named.values()]


AWAY = Trait("days_since_last_event", above={"en": "away longer"}, below={"en": "seen lately"})


def away(**days: float) -> pd.DataFrame:
    """Days since the last event, for segments and the shop."""
    return pd.DataFrame({"days_since_last_event": {"shop": 20.0, **days}})


def test_segments_of_the_same_kind_keep_their_names() -> None:
    frequent, rare = (
        Evidence("events_per_customer", 9.0, 9.0, condition=bounds)
        for bounds in (Bounds(min_ratio=1.0), Bounds(max_ratio=1.0))
    )
    known = {
        "s01": segment("Regulars, away longer", "regular"),
        "s02": segment("VIP", "vip"),
        "s03": segment("Frequent visitors, away longer", None, frequent),
        "s04": segment("Frequent visitors", None, frequent),
        "s05": segment("Lost 2", "lost"),
    }
    now = {
        "s01": segment("Regulars", "regular"),
        "s02": segment("Lapsed", "lapsed"),
        "s03": segment("Frequent visitors", None, frequent),
        "s04": segment("Rare visitors", None, rare),
        "s05": segment("Lost", "lost"),
        "s06": segment("Lost 2", "lost"),
        "s07": segment("Regulars 2", "regular"),
        "s08": segment("Frequent visitors 2", None, frequent),
    }
    days = away(s01=60.0, s02=5.0, s03=60.0, s04=60.0, s05=90.0, s06=90.0, s07=9.0, s08=9.0)
    kept = keep_names(now, known, days, [AWAY])
    # s02 and s04 changed their kind, and another segment now has the old name of s05.
    assert english(kept) == [
        *("Regulars, away longer", "Lapsed", "Frequent visitors, away longer", "Rare visitors", "Lost", "Lost 2"),
        *("Regulars 2", "Frequent visitors 2"),
    ]


def test_names_that_two_segments_swapped_are_kept() -> None:
    now = {"s01": segment("Lost", "lost"), "s02": segment("Lost 2", "lost")}
    known = {"s01": segment("Lost 2", "lost"), "s02": segment("Lost", "lost")}
    assert english(keep_names(now, known, away(), [])) == ["Lost 2", "Lost"]


@pytest.mark.parametrize(
    ("days", "is_kept"),
    [
        ({"s01": 30.0, "s02": 10.0}, True),
        ({"s01": 30.0, "s02": 40.0}, False),  # another segment of its kind is away longer
        ({"s01": 30.0}, False),  # no other segment of its kind is left to compare with
    ],
)
def test_a_name_with_a_contradicted_trait_is_dropped(days: dict[str, float], *, is_kept: bool) -> None:
    now = {segment_id: segment(f"Browsers {segment_id}", "browser") for segment_id in days}
    kept = keep_names(now, {"s01": segment("Browsers, away longer", "browser")}, away(**days), [AWAY])
    assert kept["s01"].names.by_figures["en"] == ("Browsers, away longer" if is_kept else "Browsers s01")


def test_a_manual_name_goes_to_the_new_segments_of_the_same_kind_else_to_the_successors() -> None:
    now = {"s07": segment("VIP", "vip"), "s08": segment("Lost", "lost"), "s09": segment("Lost, away longer", "lost")}
    lost_names = [
        ManualName("s01", "Our gold", segment("VIP, spending more", "vip"), ("s08",)),
        ManualName("s02", "Our past", segment("Lost", "lost"), ("s09",)),
        ManualName("s03", "Our cats", segment("Regulars", "regular"), ("s09",)),
        ManualName("s04", "Our dogs", segment("Dogs"), ()),
    ]
    found = inheritors(lost_names, now, ["s09", "s08", "s07"])
    assert found == {"s01": ["s07"], "s02": ["s08", "s09"], "s03": ["s09"], "s04": []}
    assert inheritors(lost_names[:1], now, ["s08"]) == {"s01": ["s08"]}  # s07 is an old segment


def test_a_segment_without_an_archetype_is_of_the_same_kind_by_its_name() -> None:
    now = {"i07": segment("Cats"), "i08": segment("Dogs")}
    assert inheritors([ManualName("i01", "Cat people", segment("Cats"), ("i08",))], now, ["i07", "i08"]) == {
        "i01": ["i07"]
    }


def test_a_manual_name_is_not_used_for_another_segment() -> None:
    now = {"s01": segment("Lost", "lost"), "s02": segment("VIP", "vip")}
    named = with_given_names(now, {"s01": "VIP"})
    assert english(named) == ["Lost", "VIP 2"]
    assert [naming.names.shown("en") for naming in named.values()] == ["VIP", "VIP 2"]


def test_a_name_reserved_by_hand_gets_the_next_free_number() -> None:
    now = {"s01": segment("VIP", "vip"), "s02": segment("VIP 2", "vip"), "s03": segment("Lost", "lost")}
    assert english(with_given_names(now, {"s03": "VIP", "s04": "VIP 3"})) == ["VIP 4", "VIP 2", "Lost"]
