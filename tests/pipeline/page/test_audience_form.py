from __future__ import annotations

from urllib.parse import parse_qs

import pytest
import yaml

from pipeline.audiences.monday import CANDIDATES
from pipeline.config.sections.audiences import AudienceParams
from pipeline.page.audience_form import definition_text, query_text, read_form

COLUMNS = [
    "segment",
    "lifecycle_stage",
    "value_tier",
    "journey_events",
    "is_border",
    "order_count",
    "next_tier",
    "spend",
]


@pytest.mark.parametrize("name", CANDIDATES)
def test_each_monday_audience_can_be_asked_for_in_the_form(name: str) -> None:
    def listed(condition: object) -> object:
        return [condition] if isinstance(condition, str) else condition

    form = read_form(parse_qs(query_text(CANDIDATES[name], "-spend")), COLUMNS)
    assert {column: listed(value) for column, value in form.where.items()} == {
        column: listed(value) for column, value in CANDIDATES[name].items()
    }
    assert form.order_by == "-spend" and not form.problems


def test_lines_for_the_params_file_stand_for_the_same_audience() -> None:
    form = read_form(parse_qs("segment=A%2C+b&spend.min=1.5&category=Pets+%3E+Cats&is_border=True&limit=9"), COLUMNS)
    sections = yaml.safe_load(definition_text(form.definition, "mine"))
    assert AudienceParams.model_validate(sections["audiences"]["mine"]).model_dump() == {
        **form.definition.model_dump(),
        "where": {**form.definition.model_dump()["where"], "segment": "A, b"},
    }


def test_columns_that_the_scores_lack_and_other_fields_are_ignored() -> None:
    form = read_form(parse_qs("expected_spend.min=1&order_by=-expected_spend&form_token=x&customer_id=c1"), COLUMNS)
    assert (
        not form.where
        and form.order_by is None
        and "customer_id" not in form.values
        and "form_token" not in form.values
    )
