from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from features.categories import OTHER, CategoryCut
from features.interests import SHARE_PREFIX
from pipeline import beware
from pipeline.params import Params
from pipeline.params_file import load_params

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml", [])


def at(day: str, **changes: Any) -> Params:
    return PARAMS.model_copy(update={"as_of": datetime.fromisoformat(day).replace(tzinfo=UTC), **changes})


def profiles(share_of_other: list[float], *, evidence: list[float], mix: float) -> Any:
    cut = CategoryCut(1, ("Cats", OTHER), (1.0 - mix, mix))
    table = pd.DataFrame({SHARE_PREFIX + OTHER: share_of_other, "evidence": evidence})
    return cast(Any, SimpleNamespace(table=table, shop=SimpleNamespace(spec=SimpleNamespace(cut=cut))))


@pytest.mark.parametrize(("day", "is_told"), [("2025-10-25", False), ("2025-11-01", False), ("2025-11-09", True)])
def test_a_moment_long_after_the_log(day: str, is_told: bool) -> None:
    told = beware.of_moment(at(day), cast(Any, SimpleNamespace(last_event_at="2025-10-31T12:00:00")))
    assert bool(told) == is_told
    assert not is_told or "8 days after the last event (2025-10-31)" in told[0]


def test_interests_outside_the_columns() -> None:
    assert beware.of_categories(profiles([0.5], evidence=[1.0], mix=0.5)) == []
    assert beware.of_categories(profiles([0.9], evidence=[1.0], mix=0.7))[0].startswith(
        "70% of interests lie outside the 1"
    )


def test_a_model_of_another_shop_or_of_a_later_time() -> None:
    like = profiles([0.3, 1.0], evidence=[9.0, np.nan], mix=0.1)
    assert beware.of_model(PARAMS, PARAMS, like) == []  # whoever did nothing says nothing
    (unknown,) = beware.of_model(PARAMS, PARAMS, profiles([0.3, 1.0], evidence=[5.0, 5.0], mix=0.1))
    assert "65% of its customers' interests" in unknown
    (later,) = beware.of_model(at("2025-10-01"), PARAMS, like)
    assert "before the model's training (2025-11-01)" in later
