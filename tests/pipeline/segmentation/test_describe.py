"""The description of segments: what the model knows of their value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from models.name_continuity import ManualName
from pipeline.config.params import Params
from pipeline.segmentation.describe import _inherit, value_ranks


def test_segments_are_ranked_by_spend_or_else_by_orders() -> None:
    figures = pd.DataFrame(
        {
            "spend_per_customer": [100.0, 300.0, 20.0, 20.0, np.nan],
            "orders_per_customer": [1.0, 0.5, 3.0, 2.0, 1.0],
            "events_per_customer": 1.0,
        },
        index=["shop", "s01", "s02", "s03", "s04"],
    )
    assert value_ranks(figures) == {"s01": 1, "s02": 0, "s03": 0, "s04": 2}
    assert value_ranks(figures.assign(spend_per_customer=0.0)) == {"s01": 0, "s02": 3, "s03": 2, "s04": 1}


def test_a_manual_name_is_inherited_only_if_it_is_clear_by_which_segment(params: Callable[..., Params]) -> None:
    def lost(segment_id: str, name: str, archetype: str) -> ManualName:
        return ManualName(segment_id, name, {"archetype": archetype}, [])

    named: dict[str, dict[str, Any]] = {
        segment_id: {"archetype": archetype, "names": {"en": f"{archetype} {segment_id}"}}
        for segment_id, archetype in (("s07", "vip"), ("s08", "lost"), ("s09", "lost"), ("s10", "new"))
    }
    lost_names = [
        *(lost("s01", "Our gold", "vip"), lost("s02", "Our past", "lost"), lost("s03", "Our dreamers", "glance")),
        *(lost("s04", "Our babies", "new"), lost("s05", "Our sprouts", "new")),  # both would fit s10
    ]
    inherited, notes = _inherit(lost_names, named, set(named), params())
    assert inherited == {"s07": "Our gold"}
    assert notes[0] == "s07 continues s01, so it is called 'Our gold', as given by hand."
    assert "s08 (lost s08), s09 (lost s09) could have it" in notes[1] and "rename s08 'Our past'" in notes[1]
    assert "no new segment is like it" in notes[2] and "rename SEGMENT 'Our dreamers'" in notes[2]
    assert all(note.startswith("Warning: ") for note in notes[1:]) and "s10 (new s10)" in notes[3] and "s10" in notes[4]
