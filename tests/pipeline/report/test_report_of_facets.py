"""The report of two facets: the crosstab first, then cards of each; hidden cells stay hidden, names are escaped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.naming import LANGUAGES
from pipeline.report.pages.facet_table import facet_table, visible_lifts
from pipeline.report.pages.markdown import as_markdown
from pipeline.report.parts.quality import Validity
from pipeline.report.plots import crossing_figure
from pipeline.report.summary import Summary
from pipeline.report.texts.languages import read_texts
from pipeline.report.texts.predictions import predictions
from pipeline.report.texts.wording import wording
from tests.pipeline.report.axe import barriers, needs_axe
from tests.pipeline.report.facet_summaries import as_summary, candidate, interest_segment, quality, with_interests
from tests.pipeline.report.test_report import everything, render, segment, summary, text_of, words_of

BAD = "<b>Cats</b>"


def two_facets(*, first: dict[str, Any] | None = None, cats: str = "Cats", **changes: Any) -> dict[str, Any]:
    """VIP and Browsers by Cats and Dogs; 5,000 customers with unknown interests."""
    by_rule = {"stage": "browsing", "min_events": 3, "with_noise": False, "precision": 1.0, "coverage": 1.0}
    report = summary(
        first or segment("s01", "VIP"),
        segment("s02", "Browsers"),
        segment("standing-browsing", "Passers-by", rule=by_rule, stability=None, customer_count=5_000),
    )
    made = segment("i01", "", figures={"customer_count": 100.0, "spend_per_customer": 300.0})
    unknown: dict[str, Any] = {"evidence": [], "top_categories": [], "stability": None, "rule": None, "playbook": {}}
    return with_interests(
        report,
        interest_segment(made, "i01", cats),
        interest_segment(made, "i02", "Dogs"),
        interest_segment(made, "standing-unknown", "Interests not known", customer_count=5_003, **unknown),
        **changes,
    )


def as_two_facets(**changes: Any) -> Summary:
    return as_summary(two_facets(**changes))


def section(page: str, key: str) -> str:
    match = re.search(rf'<section>\s*<h2 id="{key}">.*?</section>', page, flags=re.DOTALL)
    return match[0] if match else ""


def test_the_report_opens_with_the_table_of_both_facets() -> None:
    page = render(two_facets(), "en")
    places = [page.index(f'<h2 id="{key}">') for key in ("crossing", "segments", "interest", "changes")]
    assert places == sorted(places)
    assert [page.index(f'<a href="#{key}">') for key in ("crossing", "segments", "interest")]
    text = text_of(section(page, "crossing"))
    assert "VIP · Cats: 1.6×, 80 customers Browsers · Dogs: 1.6×, 80 customers" in text
    assert "Cats 1.6× 80 · 8.0% 0.4× 20 · 2.0% 100 50%" in text


def test_a_single_facet_has_no_crosstab_and_no_interest_cards() -> None:
    page = render(summary(segment("s01", "VIP")), "en")
    assert 'id="crossing"' not in page and 'id="interest"' not in page
    assert 'href="#crossing"' not in page and 'href="#interest"' not in page
    assert "Two ways to segment" not in page


def test_hidden_cells_stay_hidden() -> None:
    table = facet_table(as_two_facets())
    assert table is not None
    assert [column.name for column in table.columns] == ["VIP", "Browsers"]
    assert [segment.name for segment in table.left_out] == ["Passers-by"]
    hidden = table.cells[2][0]
    assert (hidden.count, hidden.spend_share, hidden.lift, hidden.is_significant) == (None, None, None, False)
    text = text_of(section(render(two_facets(), "en"), "crossing"))
    assert "Interests not known – 0 5,003" in text


def test_a_lift_is_relative_to_the_totals_and_does_not_depend_on_hidden_cells() -> None:
    """A small row of which one cell is visible: 10 of 50 customers in a column of 7% are 2.7 times as many."""
    totals = np.array([50.0, 2_360.0]), np.array([180.0, 2_230.0])
    lifts, is_significant = visible_lifts(np.array([[10.0, np.nan], [np.nan, 2_190.0]]), *totals)
    assert lifts[0, 0] == pytest.approx(10 * 2_410 / (50 * 180))
    assert np.isnan(lifts[0, 1]) and not is_significant[0, 1]
    everything, _ = visible_lifts(np.array([[10.0, 40.0], [170.0, 2_190.0]]), *totals)
    assert everything[0, 0] == lifts[0, 0] and everything[1, 1] == lifts[1, 1]


def test_lifts_are_relative_to_independence() -> None:
    counts = np.array([[80.0, 20.0, 100.0], [20.0, 80.0, 100.0]])
    lifts, is_significant = visible_lifts(counts, counts.sum(axis=1), counts.sum(axis=0))
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    assert lifts == pytest.approx(counts / expected)
    assert is_significant.tolist() == [[True, True, False], [True, True, False]]
    nothing, none = visible_lifts(np.full((2, 2), np.nan), np.zeros(2), np.zeros(2))
    assert np.isnan(nothing).all() and not none.any()


def test_combinations_that_chance_explains_are_labelled_so() -> None:
    report = two_facets()
    assert 'class="significant"' in render(report, "en")
    report["crossing"]["counts"] = [[52, 48, None], [48, 52, 0], [0, 0, 5_000]]
    page = section(render(report, "en"), "crossing")
    assert 'class="significant"' not in page
    assert "None of them is statistically significant" in page


def test_cells_of_a_segment_with_hidden_revenue_show_none() -> None:
    table = facet_table(as_two_facets(first=segment("s01", "VIP", spend_share=None)))
    assert table is not None
    assert [[cell.spend_share for cell in row] for row in table.cells[:2]] == [[None, 0.02], [None, 0.08]]


def test_lifts_by_hand_and_none_for_rule_based_groups() -> None:
    report = two_facets()
    report["crossing"]["counts"] = [[60, 40, 7], [40, 60, None], [0, 0, 5_000]]
    table = facet_table(as_summary(report))
    assert table is not None
    assert [row.segment_id for row in table.rows] == ["i01", "i02", "standing-unknown"]
    lifts = [[cell.lift for cell in row] for row in table.cells]
    assert lifts == [pytest.approx([1.2, 0.8]), pytest.approx([0.8, 1.2]), [None, None]]


def test_a_large_rule_based_group_has_a_column_if_its_interests_are_known() -> None:
    report = two_facets()
    report["crossing"]["counts"][2] = [40, 60, 4_900]
    table = facet_table(as_summary(report))
    assert table is not None
    assert [column.name for column in table.columns] == ["VIP", "Browsers", "Passers-by"]
    report["segments"][2]["customer_share"] = 0.01
    table = facet_table(as_summary(report))
    assert table is not None and len(table.columns) == 2


def test_names_are_escaped() -> None:
    page = render(two_facets(cats=BAD), "en")
    assert BAD not in page
    assert "VIP · &lt;b&gt;Cats&lt;/b&gt;" in section(page, "crossing")


def test_cards_of_interest_segments() -> None:
    page = render(two_facets(), "en")
    cards = section(page, "interest")
    text = text_of(cards)
    assert "Cats: 52% of their interest (6.0% on average); top category for 81% of them" in text
    assert "What they turn to" not in text  # it would repeat the same interests
    assert "Revenue per customer 300 100" in text  # compared with the facet's own customers
    assert cards.count('<details class="card">') == 2 and 'svg class="bar"' not in cards
    assert "Interests not known: 5,003 customers (50% of all), with fewer than 3 actions" in text
    assert "not clusters" not in text
    assert "Spent per customer" not in section(page, "segments")


def test_groups_by_top_category_are_labelled_as_a_rule() -> None:
    tried = [candidate("kmeans", 4, separation=0.21), candidate("hdbscan", 3, separation=None), candidate("rule", 2)]
    page = render(two_facets(algorithm="rule", silhouette=0.1, candidates=tried), "en")
    assert "These are groups by rule, not clusters" in section(page, "interest")
    trust = text_of(section(page, "trust"))
    assert "This is a rule, not a clustering. A rule was used because none of the 2 clusterings tried" in trust
    assert "the best silhouette was 0.21, and at most 70% of segmented customers" in trust
    for least, expected in (((0.25, 0.6), "was clearly separated: the best silhouette was 0.21."),
                            ((0.2, 0.8), "was stable: at most 70% of segmented customers")):  # fmt: skip
        report = two_facets(algorithm="rule", silhouette=0.1, candidates=tried)
        report["method"] |= dict(zip(("min_separation", "min_stable_share"), least, strict=True))
        assert expected in text_of(section(render(report, "en"), "trust"))
    chosen = text_of(section(render(two_facets(algorithm="rule"), "en"), "trust"))
    assert "This is a rule, not a clustering." in chosen and "A rule was used" not in chosen


@pytest.mark.parametrize(
    ("silhouette", "expected"), [(0.51, "clearly separated"), (0.26, "with some"), (0.25, "overlapping")]
)
def test_the_continuum_is_mentioned_only_if_segments_overlap(silhouette: float, expected: str) -> None:
    report = two_facets(silhouette=silhouette)
    report["facets"][0]["quality"] = report["facets"][0]["quality"] | {"silhouette": 0.4}
    trust = text_of(section(render(report, "en"), "trust"))
    assert expected in trust
    assert ("Customers form a continuum" in trust) == (silhouette <= 0.25)


def test_why_a_clustering_was_chosen_with_its_figures() -> None:
    tried = [candidate("kmeans", 2, separation=0.41, stable_share=0.95), candidate("kmeans", 4)]
    trust = text_of(section(render(two_facets(candidates=tried), "en"), "trust"))
    assert (
        "2 settings were tried. Among those with stable and clearly separated segments, Kindred took the best one"
        in trust
    )
    assert "It has 2 segments; 95% of segmented customers are in segments that reappear" in trust
    assert "silhouette in this trial is 0.41" in trust
    doubtful = render(two_facets(candidates=[*tried, candidate("kmeans", 2)]), "en")
    assert "3 settings were tried" in doubtful and "in this trial" not in doubtful


def test_the_interest_map_shows_above_average_interests_or_is_left_out() -> None:
    report = two_facets()
    report["heat_map"]["lifts"] = [[0.7, None], [None, 0.8]]
    interests = text_of(section(render(report, "en"), "interests"))
    assert "Only above-average interests are shown" in interests
    assert "Cats 8.7 – Dogs 1.2 9.1" in interests and "0.7" not in interests and "0.3" not in interests
    report["interests"] = [{**interest, "lifts": {"i01": 0.7, "i02": 1.1}} for interest in report["interests"]]
    page = render(report, "en")
    assert 'id="interests"' not in page and "#interests" not in page


def test_how_well_each_facet_predicts() -> None:
    figure = {"mean": 0.7, "low": 0.6, "high": 0.8}
    report = two_facets()
    report["quality"]["validity"] = {
        **{
            "cutoff": "2025-10-02 00:00",
            "horizon_days": 30,
            "customer_count": 9,
            "buyer_count": 3,
            "group_count": 4,
            "ceiling_count": 9,
        },
        "facets": ["behaviour", "interest"],
        "rows": {name: {"buys_auc": figure} for name in ("segments", "behaviour", "interest", "rfm")},
        "kept": {"buys_auc": 0.98},
    }
    trust = text_of(section(render(report, "en"), "trust"))
    rows = (
        "Segments by behaviour and interest together",
        "Segments by behaviour alone",
        "Segments by interest alone",
        "RFM quintiles",
    )
    assert [trust.index(row) for row in rows] == sorted(trust.index(row) for row in rows)
    alone = report["quality"]["validity"] | {"facets": ["behaviour"]}
    shown = predictions(Validity.model_validate(alone), wording("en"))
    assert shown is not None and next(name for name, _ in shown.rows) == "Segments"


def all_parts() -> dict[str, Any]:
    """`everything` with two facets: names that are not English words, and content in each section."""
    report = everything()
    made = segment("i01", "VIP")
    validity: dict[str, Any] = {
        **{
            "cutoff": "2025-10-02 00:00",
            "horizon_days": 30,
            "customer_count": 9,
            "buyer_count": 3,
            "group_count": 4,
            "ceiling_count": 9,
        },
        "rows": {name: {} for name in ("segments", "behaviour", "interest", "rfm", "counts", "ceiling")},
        **{"facets": ["behaviour", "interest"], "kept": {}},
    }
    validity["rows"]["segments"] = {"buys_auc": {"mean": 0.7, "low": 0.6, "high": 0.8}}
    report["quality"]["validity"] = validity
    tried = [candidate("kmeans", 2), candidate("kmeans", 4)]
    unknown: dict[str, Any] = {"evidence": [], "top_categories": [], "stability": None, "rule": None, "playbook": {}}
    return with_interests(
        report,
        interest_segment(made, "i01", "Cats"),
        interest_segment(made, "i02", "Dogs"),
        interest_segment(made, "standing-unknown", "Lost", customer_count=5_000, **unknown),
        **{"candidates": tried, "noise_share": 0.1, "silhouette": 0.1},
    )


@pytest.mark.parametrize("language", LANGUAGES[1:])
@pytest.mark.parametrize("algorithm", ["kmeans", "rule"])
def test_no_english_is_left_in_the_facet_sections(language: str, algorithm: str) -> None:
    report = all_parts()
    report["facets"][1]["quality"] = quality(algorithm=algorithm, candidates=[candidate("kmeans", 2)] * 2)
    english, own = (words_of(json.dumps(read_texts(name), ensure_ascii=False)) for name in ("en", language))
    names = words_of("VIP Lost Best Lapsed Cats Dogs")  # names from the shop and the log
    left = words_of(text_of(render(report, language))) & ((english | {"other"}) - own - names)
    assert not left


def test_the_markdown_has_a_table_per_facet() -> None:
    markdown = as_markdown(as_two_facets(cats=BAD))
    behaviour, interest = markdown.split("### Interests")
    assert behaviour.startswith("### Behaviour") and "| VIP | 100 |" in behaviour and "Dogs" not in behaviour
    assert "| &lt;b>Cats&lt;/b> | 100 |" in interest and "| VIP |" not in interest
    assert "###" not in as_markdown(as_summary(summary(segment("s01", "VIP"))))


def test_the_crosstab_plot_has_a_dash_for_hidden_cells() -> None:
    table = facet_table(as_two_facets())
    assert table is not None
    axes = crossing_figure(table).axes[0]
    assert [text.get_text() for text in axes.texts] == ["80", "20", "20", "80", "–", "0"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["Cats", "Dogs", "Interests not known"]


@needs_axe
@pytest.mark.parametrize("width", [400, 1300])
def test_axe_finds_no_barrier_in_the_report_of_two_facets(width: int, tmp_path: Path) -> None:
    page = render(all_parts(), "en").replace("<details", "<details open")
    assert barriers(page, tmp_path, width=width) == []
