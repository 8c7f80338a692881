"""Every plot is drawn, whatever the names of segments and categories are."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from pipeline.report.pages.facet_table import Cell, FacetTable
from pipeline.report.parts.segment import Segment
from pipeline.report.plots import backtest_figure, choice_figure, crossing_figure, figures
from tests.pipeline.report.facet_summaries import as_summary
from tests.pipeline.report.test_report import segment, summary

HOSTILE = ["$x^$ $", r"\frac{$", "<b>&amp;", "Cats 🐈", "_hidden", "a\nb", "%s {0}", "$" * 40]
"""Names that Matplotlib could read as mathematics, as a format or as a label without a legend."""
HAS_NO_GLYPH = pytest.mark.filterwarnings("ignore:Glyph .* missing from font:UserWarning")


def drawn(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, dpi=40)
    return file.getvalue()


@pytest.fixture(scope="module")
def segments() -> list[Segment]:
    parts = [segment(f"s{place:02}", name) for place, name in enumerate(HOSTILE)]
    return list(as_summary(summary(*parts)).segments)


@HAS_NO_GLYPH
@pytest.mark.parametrize("by_interest", [False, True])
def test_plots_of_a_facet(segments: list[Segment], by_interest: bool) -> None:
    ids = [segment.segment_id for segment in segments]
    lifts = pd.DataFrame(1.0 + 3.0 * np.eye(len(ids)), index=ids, columns=HOSTILE)
    points = np.random.default_rng(1).normal(size=(20 * len(ids), 3))
    made = figures(
        segments,
        lifts,
        points,
        np.repeat(np.array(ids, dtype=object), 20),
        by_interest=by_interest,
        min_group=10,
        seed=1,
    )
    names = {"segment_sizes", "value_by_segment", "interests_by_segment"}
    assert set(made) == (names if by_interest else names | {"map"})
    assert all(drawn(figure).startswith(b"\x89PNG") for figure in made.values())


@HAS_NO_GLYPH
def test_plots_of_a_training(segments: list[Segment]) -> None:
    row = [Cell(count=20, lift=2.0, is_significant=True), Cell(), *[Cell(count=1_000, lift=0.1)] * (len(segments) - 2)]
    assert drawn(crossing_figure(FacetTable(segments, segments, [row] * len(segments), [])))
    candidates = [
        {"algorithm": "kmeans", "balance_name": name, "n_segments": count, "score": 0.1 * count, "stability": 0.9}
        | {"is_chosen": count == 3}
        for name in HOSTILE
        for count in (2, 3)
    ]
    assert drawn(choice_figure(candidates))
    ways = pd.DataFrame({"scores": ["weights", "last 30 days"], "auc_low": 0.1, "auc_mean": 0.2, "auc_high": 0.3})
    assert drawn(backtest_figure(ways, ways[:1], {"auc": "AUC"}))
