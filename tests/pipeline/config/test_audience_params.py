"""Audiences in params.yaml: changed by name, dropped by null, and no part of what a model is trained with."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.errors import ParamsError
from pipeline.config.load import load_params
from tests.conftest import PARAMS


def own(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(f"base: {PARAMS}\n{text}", encoding="utf-8")
    return path


def test_a_file_over_its_base_changes_audiences_by_name_and_null_drops_one(tmp_path: Path) -> None:
    text = "audiences: {carts_this_week: null, lapsing_vips: {where: {lifecycle_stage: null}, limit: 9}, mine: {where: {}}}"
    audiences = load_params(own(tmp_path, text)).audiences
    assert [*audiences] == ["lapsing_vips", "mine"]
    assert audiences["lapsing_vips"].where == {"value_tier": "vip"}
    assert audiences["lapsing_vips"].limit == 9
    assert audiences["lapsing_vips"].holdout_share == 0.1


def test_audiences_and_contacts_are_no_part_of_a_model() -> None:
    plain = load_params(PARAMS)
    changed = load_params(PARAMS, ["audiences.lapsing_vips=null", "contacts={path: contacts.csv}"])
    assert [*changed.audiences] == ["carts_this_week"]
    assert plain.digest() == changed.digest()
    assert not {"audiences", "contacts"} & set(changed.model_dump())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("audiences: {../a: {where: {}}}", "should match pattern"),
        ("audiences: {a: {where: {}, holdout_share: 1}}", r"`audiences\.a\.holdout_share`.*less than 1"),
        ("audiences: {a: {where: {spend: {min: 2, max: 1}}}}", "expected min at most max"),
        ("audiences: {a: {were: {}}}", r"`audiences\.a\.were` is not a key.*Did you mean `where`"),
        ("contacts: {columns: {}}", "expected exactly one of `path`, `table`, `query` and `sql`"),
    ],
)
def test_what_is_no_audience_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message) as raised:
        load_params(own(tmp_path, text))
    assert "own.yaml, line 2" in str(raised.value)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("{min: 5, max: 1}", "expected min at most max, got min 5 and max 1."),
        ("{}", "expected min, max or known."),
        ("{mn: 5}", "spend.mn` is not a key that Kindred knows."),
        ("{min: x}", "spend.min`: Input should be a valid number"),
        ("[1, {x: 2}]", "expected a value, a list of values, or bounds such as {min: 1}."),
    ],
)
def test_a_condition_that_cannot_be_met_has_one_message(tmp_path: Path, condition: str, message: str) -> None:
    with pytest.raises(ParamsError) as raised:
        load_params(own(tmp_path, f"audiences: {{mine: {{where: {{spend: {condition}}}}}}}"))
    assert message in str(raised.value) and len(str(raised.value).splitlines()) == 1
    assert "line 2" in str(raised.value) and "audiences.mine.where.spend" in str(raised.value)


@pytest.mark.parametrize(
    "condition", ["true", "3", "vip", "[vip, 2, false]", "{min: 1, known: true}", "{known: false}"]
)
def test_a_condition_of_each_kind(tmp_path: Path, condition: str) -> None:
    assert load_params(own(tmp_path, f"audiences: {{mine: {{where: {{spend: {condition}}}}}}}")).audiences["mine"].where
