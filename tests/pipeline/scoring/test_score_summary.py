"""Counts of one scoring, by hand."""

from __future__ import annotations

from typing import Any

import ibis
import pandas as pd
import pytest

from pipeline.config.facets import facets_of
from pipeline.config.load import load_params
from pipeline.profiles.measures import CustomerMeasures
from pipeline.scoring.measurement import MeasurementResult
from pipeline.scoring.score_summary import (
    FacetCounts,
    HeldCustomers,
    ScoringSummary,
    SegmentCount,
    summarise_scores,
)
from tests.conftest import PARAMS


def test_counts_and_drift_by_hand() -> None:
    """Two of four customers are in `a`, where half were at training; `c` had a quarter and is empty now."""
    con = ibis.duckdb.connect()
    scored = ibis.memtable(
        {
            "segment_id": ["b", "a", "a", "new"],
            "segment": ["B", "A", "A", "New"],
            "evidence": ["ok", "low", "noise", "ok"],
            "is_border": [True, False, True, False],
            "what_would_move": ["an order", None, None, None],
            "is_held": [False, False, True, False],
            "known_evidence": [1.0, 0.0, 3.0, None],
            "unknown_evidence": [0.0, 0.0, 1.0, None],
        }
    )
    new: Any = pd.DataFrame({"category": ["Rockets"], "event_count": [3.0]})
    measures = CustomerMeasures(None, None, 4, new, {"learned": 2})  # type: ignore[arg-type]
    facet = facets_of(load_params(PARAMS))[0]
    shares = {"a": 0.5, "b": 0.25, "c": 0.25}
    summary = summarise_scores(con, scored, measures, [facet], shares, 0.1)
    counts = summary.facets[facet.name]
    assert list(counts.segments) == ["a", "b", "new"]
    assert counts.segments["a"] == SegmentCount("A", 2, 0.5, 0.5)
    assert counts.segments["new"] == SegmentCount("New", 1, 0.25, None)
    assert summary.mix_drift == pytest.approx(0.25)
    assert (summary.customer_count, summary.low_evidence_count, summary.noise_count) == (4, 1, 1)
    assert (summary.border_count, summary.movable_count) == (2, 1)
    assert summary.new_categories == {"Rockets": 3} and summary.queries == {"learned": 2}
    assert summary.held == HeldCustomers(1, 0.1) and summary.unknown_share == 0.25
    unknown = summarise_scores(con, scored.drop("what_would_move"), measures, [facet], {}, 0.0)
    assert unknown.mix_drift is None and unknown.held is None and unknown.movable_count == 0


def test_counts_are_published_rounded() -> None:
    segments = {"a": SegmentCount("A", 533, 533 / 1204, 0.4), "b": SegmentCount("B", 3, 3 / 1204, None)}
    counts = FacetCounts(segments, 0.25)
    summary = ScoringSummary(1204, 103, 0, 7, 5, {"behaviour": counts}, {}, {}, HeldCustomers(26, 0.1)).published(10)
    assert (summary.customer_count, summary.low_evidence_count, summary.noise_count) == (1200, 100, 0)
    assert (summary.border_count, summary.movable_count, summary.held) == (10, 10, HeldCustomers(30, 0.1))
    assert summary.facets["behaviour"].segments == {
        "a": SegmentCount("A", 530, 530 / 1200, 0.4),
        "b": SegmentCount("B", 10, 10 / 1200, None, is_small=True),
    }
    assert summary.mix_drift == 0.25


@pytest.mark.parametrize(("changed", "shown"), [(0, "0"), (3, "10"), (52, "50")])
def test_customers_who_were_updated_are_published_rounded(changed: int, shown: str) -> None:
    unused: Any = None
    measured = MeasurementResult(unused, changed, unused, ["a note"], unused, commit=unused)
    updated, note = measured.summary_lines(397, 10)
    assert updated.startswith(f"Updated {shown} of 400 customers;") and note == "a note"
