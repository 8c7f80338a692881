"""How many of a segment's customers are in it still: by hand."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from models.migration_tables import stayed_shares
from pipeline.config.facets import facets_of
from pipeline.config.load import load_params
from pipeline.report.texts.wording import wording
from pipeline.segmentation.describe import Segments
from pipeline.segmentation.retention import _is_as_full, with_staying
from tests.conftest import PARAMS


def test_who_stayed() -> None:
    segments = {"c": "s01", "d": "s02", "e": "s03"}
    then = pd.DataFrame([(f"{kind}{one}", name) for kind, name in segments.items() for one in range(10)][:22])
    then.columns = ["customer_id", "segment_id"]
    now = then.sample(frac=1, random_state=0).set_index("customer_id").segment_id
    now[["c0", "c1", "c2", "c3"]] = ["s02", "s02", "s03", "s04"]
    # Whoever is known no more has not stayed, and newcomers do not count.
    now = pd.concat([now.drop(["d0", "d1", "d2"]), pd.Series({f"n{one}": "s01" for one in range(50)})])
    told = stayed_shares(then, now.rename_axis("customer_id").rename("segment_id").reset_index(), min_group=3)
    assert told == {"s01": pytest.approx(0.6), "s02": pytest.approx(0.7)}


@pytest.mark.parametrize(
    ("count", "stayed", "told"),
    [
        *((20, 10, {"s01": 0.5}), (20, 9, {}), (20, 11, {}), (20, 20, {"s01": 1.0}), (20, 0, {"s01": 0.0}), (9, 9, {})),
        *((300, 299, {"s01": 1.0}), (300, 1, {"s01": 0.0}), (300, 291, {}), (300, 290, {"s01": 290 / 300})),
    ],
)
def test_no_share_tells_of_few_who_stayed_or_left(count: int, stayed: int, told: dict[str, float]) -> None:
    then = pd.DataFrame({"customer_id": [f"c{one}" for one in range(count)], "segment_id": "s01"})
    now = then.assign(segment_id=["s01"] * stayed + ["s02"] * (count - stayed))
    assert stayed_shares(then, now, min_group=10) == told


@pytest.mark.parametrize(("first", "is_told"), [("2025-04-23", False), ("2025-01-05", True), ("2020-01-01", True)])
def test_nothing_is_told_where_the_window_then_was_emptier_than_now(first: str, is_told: bool) -> None:
    params = load_params(PARAMS, ["as_of=2025-11-01T00:00:00Z", "history_days=365"])
    source = cast(Any, SimpleNamespace(summary=SimpleNamespace(first_event_at=first)))
    assert _is_as_full(source, params.as_of - timedelta(days=30), params) == is_told


@pytest.mark.parametrize(("first", "told"), [("2020-01-01", [0.5, None]), ("2025-04-23", [None, None])])
def test_the_rows_have_it_but_of_small_segments_and_young_logs(
    monkeypatch: pytest.MonkeyPatch, first: str, told: list[float | None]
) -> None:
    params = load_params(PARAMS, ["as_of=2025-11-01T00:00:00Z", "history_days=365"])
    customers = [f"c{one}" for one in range(40)]
    then = pd.DataFrame({"customer_id": customers, "segment_id": ["s01"] * 20 + ["s02"] * 20})
    monkeypatch.setattr("pipeline.segmentation.retention._profiles_at", lambda *_: then)
    monkeypatch.setattr("pipeline.segmentation.retention.segment_columns", lambda profile, model: profile)
    rows = [{"segment_id": one, "is_small": one == "s02"} for one in ("s01", "s02")]
    (facet, *_) = facets_of(params)
    nothing: dict[str, Any] = {"shop": {}, "labels": {}, "model": {}, "rules_fidelity": 1.0}
    now = np.array(["s01"] * 10 + ["s02"] * 10 + ["s03"] * 20, dtype=object)
    segments = Segments(facet, rows, lifts=pd.DataFrame(), segment_ids=now, **nothing)
    source = cast(Any, SimpleNamespace(summary=SimpleNamespace(first_event_at=first, customer_count=40)))
    past = cast(Any, [SimpleNamespace(cutoff=params.as_of - timedelta(days=30))])
    profiles = cast(Any, SimpleNamespace(table=pd.DataFrame({"customer_id": customers}), shop=None))
    expected = [None if one is None else {"days": 30, "share": one, "is_sample": False} for one in told]
    (found,) = with_staying(None, source, past, profiles, [segments], params)
    assert [one["staying"] for one in found.table] == expected
    (found,) = with_staying(None, source, [], profiles, [segments], params)
    assert [one["staying"] for one in found.table] == [None, None]


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "62% of those in this segment 30 days earlier are still in it."),
        ("uk", "62% тих, хто був у цьому сегменті за 30 днів до цього, досі в ньому."),
        ("ru", "62% тех, кто был в этом сегменте за 30 дней до этого, по-прежнему в нём."),
        ("sq", "62% e atyre që ishin në këtë segment 30 ditë më parë janë ende në të."),
    ],
)
def test_it_is_told_in_each_language(language: str, expected: str) -> None:
    words = wording(language)
    segment = {"segment_id": "s01", "staying": {"days": 30, "share": 0.62, "is_sample": False}}
    assert words.staying(segment) == expected
    of_sample = words.staying({**segment, "staying": {**segment["staying"], "is_sample": True}})  # type: ignore[dict-item]
    assert of_sample.startswith(f"{expected} ") and len(of_sample) > len(expected) + 10
    passing, lasting = (words.staying({**segment, "segment_id": f"standing-{one}"}) for one in ("first_order", "lost"))
    assert lasting == expected and passing != expected and "62%" in passing
    all_stay = {**segment, "staying": {**segment["staying"], "share": 0.995}}  # type: ignore[dict-item]
    assert words.staying({**all_stay, "segment_id": "standing-first_order"}) == ""  # nobody passed through
    assert "100%" in words.staying({**all_stay, "segment_id": "standing-lost"})
    assert words.staying({"staying": None}) == words.staying({}) == ""  # as of trainings of before
