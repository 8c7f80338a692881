"""Reading summary.json: the same bytes again, and a plain refusal of other versions; one form for each figure."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from pipeline.config.errors import UserError
from pipeline.report.pages.markdown import as_markdown
from pipeline.report.summary import Summary, read_summary
from pipeline.report.texts.wording import wording
from pipeline.report.training_result import facet_text
from pipeline.report.workbook.training_sheets import quality_sheet
from tests.pipeline.report.facet_summaries import as_summary
from tests.pipeline.report.test_report import all_parts_of_a_card, render, segment, summary, text_of


def test_a_summary_is_written_as_it_was_read() -> None:
    report = all_parts_of_a_card()
    assert json.dumps(Summary.model_validate(report).as_json()) == json.dumps(report)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda report: report.pop("interests"), "it has no 'interests'"),
        (lambda report: report["segments"][0].pop("facet"), "it has no 'segments.0.facet'"),
        (lambda report: report["segments"][0].update(staying="Zoe"), "'segments.0.staying' is not one of its keys"),
        (lambda report: report.update(as_of={"Zoe": 1}), "'as_of' is not as expected"),
    ],
)
def test_a_summary_of_another_version_is_refused_in_one_message(change: Any, expected: str) -> None:
    report = summary(segment("s01", "VIP"))
    change(report)
    with pytest.raises(UserError) as raised:
        read_summary("r1", report)
    assert str(raised.value) == (
        f"run r1: expected a summary of this version of Kindred; {expected}. Train again, or use the version of Kindred "
        "that trained it."
    )


def test_a_share_has_the_same_digits_in_terminal_report_and_markdown() -> None:
    report = summary(segment("s01", "VIP", customer_share=0.511, spend_share=0.0312))
    frame = pd.DataFrame(report["segments"])
    for text in (facet_text("behaviour", frame), text_of(render(report, "en")), as_markdown(as_summary(report))):
        assert "51%" in text and "3.1%" in text and "51.1%" not in text


def test_the_quality_of_the_workbook_has_the_forms_of_the_report() -> None:
    sheet = quality_sheet(as_summary(summary(segment("s01", "VIP"))))
    forms = {str(name): cell[1] for name, cell, *_ in sheet.rows if isinstance(cell, tuple)}
    assert forms["stability"] == forms["rules_fidelity"] == forms["smallest_share"] == "share"
    assert (forms["silhouette"], forms["n_segments"]) == ("score", "count")
    assert wording("en").fixed(0.1) == "0.10"
