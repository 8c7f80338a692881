from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from models.name_continuity import keep_names, leave_names


def called(name: str, archetype: str | None = None, **evidence: Any) -> dict[str, Any]:
    return {
        "names": {"en": name},
        "names_by_figures": {"en": name},
        "archetype": archetype,
        "evidence": [evidence] if evidence else [],
    }


AWAY = {
    "figure": "days_since_last_event",
    "above": {"en": "away longer"},
    "below": {"en": "seen lately"},
    "between": None,
}


def away(**days: float) -> pd.DataFrame:
    """Figures of segments, and of the shop."""
    return pd.DataFrame({"days_since_last_event": {"shop": 20.0, **days}})


def test_segments_of_the_same_kind_keep_their_names() -> None:
    visits: dict[str, Any] = {"figure": "events_per_customer"}
    frequent, rare = {**visits, "condition": {"min_ratio": 1.0}}, {**visits, "condition": {"max_ratio": 1.0}}
    known = {
        "s01": called("Regulars, away longer", "regular"),
        "s02": called("VIP", "vip"),
        "s03": called("Frequent visitors, away longer", **frequent),
        "s04": called("Frequent visitors", **frequent),
        "s05": called("Lost 2", "lost"),
    }
    now = {
        "s01": called("Regulars", "regular"),
        "s02": called("Lapsed", "lapsed"),
        "s03": called("Frequent visitors", **frequent),
        "s04": called("Rare visitors", **rare),
        "s05": called("Lost", "lost"),
        "s06": called("Lost 2", "lost"),
        "s07": called("Regulars 2", "regular"),
        "s08": called("Frequent visitors 2", **frequent),
    }
    days = away(s01=60.0, s02=5.0, s03=60.0, s04=60.0, s05=90.0, s06=90.0, s07=9.0, s08=9.0)
    keep_names(now, known, days, [AWAY])
    # s02 and s04 are of another kind now; the old name of s05 is another one's.
    assert [one["names"]["en"] for one in now.values()] == [
        *("Regulars, away longer", "Lapsed", "Frequent visitors, away longer", "Rare visitors", "Lost", "Lost 2"),
        *("Regulars 2", "Frequent visitors 2"),
    ]


def test_names_that_two_segments_swapped_are_kept() -> None:
    now = {"s01": called("Lost", "lost"), "s02": called("Lost 2", "lost")}
    keep_names(now, {"s01": called("Lost 2", "lost"), "s02": called("Lost", "lost")}, away(), [])
    assert [one["names"]["en"] for one in now.values()] == ["Lost 2", "Lost"]


@pytest.mark.parametrize(
    ("days", "is_kept"),
    [
        ({"s01": 30.0, "s02": 10.0}, True),
        ({"s01": 30.0, "s02": 40.0}, False),  # another one of its like is away longer
        ({"s01": 30.0}, False),  # there is no other of its kind now: it is away longer than nobody
    ],
)
def test_a_trait_that_figures_contradict_is_given_up(days: dict[str, float], *, is_kept: bool) -> None:
    now = {one: called(f"Browsers {one}", "browser") for one in days}
    keep_names(now, {"s01": called("Browsers, away longer", "browser")}, away(**days), [AWAY])
    assert now["s01"]["names"]["en"] == ("Browsers, away longer" if is_kept else "Browsers s01")


def test_a_name_given_by_hand_is_nobody_elses() -> None:
    now = {"s01": called("Lost", "lost"), "s02": called("VIP", "vip")}
    leave_names(now, {"s01": "VIP"})
    assert [one["names"]["en"] for one in now.values()] == ["Lost", "VIP 2"]


def test_a_name_left_is_numbered_past_those_that_others_have() -> None:
    now = {"s01": called("VIP", "vip"), "s02": called("VIP 2", "vip"), "s03": called("Lost", "lost")}
    leave_names(now, {"s03": "VIP", "s04": "VIP 3"})
    assert [one["names"]["en"] for one in now.values()] == ["VIP 4", "VIP 2", "Lost"]
