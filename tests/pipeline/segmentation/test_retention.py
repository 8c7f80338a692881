"""Retention of segments, with results computed by hand."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from models.migration_tables import net_flows, stayed_shares
from models.segments import Retention
from pipeline.config.facets import facets_of
from pipeline.config.load import load_params
from pipeline.report.parts.segment import Retention as ReportedRetention
from pipeline.report.texts.cards import retention_text
from pipeline.report.texts.wording import wording
from pipeline.segmentation.describe import Segments
from pipeline.segmentation.retention import add_retention
from tests.conftest import PARAMS
from tests.segments import segment_of


def test_share_of_customers_who_stayed() -> None:
    segments = {"c": "s01", "d": "s02", "e": "s03"}
    then = pd.DataFrame([(f"{letter}{number}", name) for letter, name in segments.items() for number in range(10)][:22])
    then.columns = ["customer_id", "segment_id"]
    now = then.sample(frac=1, random_state=0).set_index("customer_id").segment_id
    now[["c0", "c1", "c2", "c3"]] = ["s02", "s02", "s03", "s04"]
    # Customers who are no longer known have not stayed. New customers do not count.
    now = pd.concat([now.drop(["d0", "d1", "d2"]), pd.Series({f"n{number}": "s01" for number in range(50)})])
    shares = stayed_shares(then, now.rename_axis("customer_id").rename("segment_id").reset_index(), min_group=3)
    # 6 and 7 of 10, in steps of three.
    assert shares == {"s01": 6 / 9, "s02": 6 / 9}


@pytest.mark.parametrize(
    ("count", "stayed", "expected"),
    [
        *((20, 10, {"s01": 0.5}), (20, 9, {}), (20, 11, {}), (20, 20, {"s01": 1.0}), (20, 0, {"s01": 0.0}), (9, 9, {})),
        *((300, 299, {"s01": 1.0}), (300, 1, {"s01": 0.0}), (300, 291, {}), (300, 290, {"s01": 290 / 300})),
    ],
)
def test_a_share_that_reveals_a_few_customers_is_hidden(count: int, stayed: int, expected: dict[str, float]) -> None:
    then = pd.DataFrame({"customer_id": [f"c{number}" for number in range(count)], "segment_id": "s01"})
    now = then.assign(segment_id=["s01"] * stayed + ["s02"] * (count - stayed))
    assert stayed_shares(then, now, min_group=10) == expected


def test_net_flows_are_of_customers_known_at_both_moments_and_add_up_to_nothing() -> None:
    then = pd.DataFrame({"customer_id": range(60), "segment_id": ["a"] * 30 + ["b"] * 20 + ["c"] * 10})
    now = then.assign(segment_id=["a"] * 10 + ["b"] * 20 + ["b"] * 20 + ["a"] * 10)
    new = pd.DataFrame({"customer_id": range(100, 150), "segment_id": "a"})
    flows = net_flows(then, pd.concat([now, new]), min_group=10)
    assert flows == {"a": pytest.approx(-10 / 30), "b": 1.0, "c": -1.0}
    assert flows["a"] * 30 + flows["b"] * 20 + flows["c"] * 10 == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("size", "come", "gone", "expected"),
    [(100, 30, 10, 0.2), (100, 9, 20, None), (100, 20, 1, None), (9, 0, 0, None), (100, 0, 0, 0.0), (1000, 4, 1, 0.0)],
)
def test_a_flow_that_reveals_a_few_customers_is_hidden(size: int, come: int, gone: int, expected: float | None) -> None:
    then = ["a"] * size + ["b"] * 50
    now = ["b"] * gone + ["a"] * (size - gone) + ["a"] * come + ["b"] * (50 - come)
    frames = (pd.DataFrame({"customer_id": range(size + 50), "segment_id": ids}) for ids in (then, now))
    assert net_flows(*frames, min_group=10).get("a") == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(  # the window at the cutoff must hold nearly as much log as the one now
    ("first", "shares"),
    [("2020-01-01", [0.5, None]), ("2025-01-05", [0.5, None]), ("2025-04-23", [None, None])],
)
def test_rows_have_retention_except_for_small_segments_and_short_logs(
    monkeypatch: pytest.MonkeyPatch, first: str, shares: list[float | None]
) -> None:
    params = load_params(PARAMS, ["as_of=2025-11-01T00:00:00Z", "history_days=365"])
    customers = [f"c{number}" for number in range(40)]
    then = pd.DataFrame({"customer_id": customers, "segment_id": ["s01"] * 20 + ["s02"] * 20})
    monkeypatch.setattr("pipeline.segmentation.retention.profiles_at", lambda *_: then)
    monkeypatch.setattr("pipeline.segmentation.retention.segment_columns", lambda profile, model: profile)
    rows = tuple(segment_of(segment_id, is_small=segment_id == "s02") for segment_id in ("s01", "s02"))
    (facet, *_) = facets_of(params)
    unused: dict[str, Any] = {"shop": {}, "labels": {}, "model": {}, "rules_fidelity": 1.0, "language": "en"}
    now = np.array(["s01"] * 10 + ["s02"] * 10 + ["s03"] * 20, dtype=object)
    segments = Segments(facet, rows, lifts=pd.DataFrame(), segment_ids=now, **unused)
    source = cast(Any, SimpleNamespace(summary=SimpleNamespace(first_event_at=first, customer_count=40)))
    cutoffs = cast(Any, [SimpleNamespace(cutoff=params.as_of - timedelta(days=30))])
    profiles = cast(Any, SimpleNamespace(table=pd.DataFrame({"customer_id": customers}), shop=None))
    expected = [
        None if share is None else Retention(30, is_sample=False, share=share, net_share=-0.5) for share in shares
    ]
    (result,) = add_retention(cast(Any, None), source, cutoffs, profiles, [segments], params)
    assert [segment.retention for segment in result.rows] == expected
    (result,) = add_retention(cast(Any, None), source, [], profiles, [segments], params)
    assert [segment.retention for segment in result.rows] == [None, None]


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "62% of those in this segment 30 days earlier are still in it."),
        ("uk", "62% тих, хто був у цьому сегменті за 30 днів до цього, досі в ньому."),
        ("ru", "62% тех, кто был в этом сегменте за 30 дней до этого, по-прежнему в нём."),
        ("sq", "62% e atyre që ishin në këtë segment 30 ditë më parë janë ende në të."),
    ],
)
def test_retention_is_shown_in_each_language(language: str, expected: str) -> None:
    words = wording(language)
    retention = ReportedRetention(days=30, share=0.62, is_sample=False)
    assert retention_text("s01", retention, words) == expected
    of_sample = retention_text("s01", retention.model_copy(update={"is_sample": True}), words)
    assert of_sample.startswith(f"{expected} ") and len(of_sample) > len(expected) + 10
    passing, lasting = (retention_text(f"standing-{stage}", retention, words) for stage in ("first_order", "lost"))
    assert lasting == expected and passing != expected and "62%" in passing
    all_stay = retention.model_copy(update={"share": 0.995})
    assert retention_text("standing-first_order", all_stay, words) == ""  # nobody passed through
    assert "100%" in retention_text("standing-lost", all_stay, words)
    assert retention_text("s01", None, words) == ""
    assert retention_text("s01", retention.model_copy(update={"share": None}), words) == ""
