"""The text of a params file, and the first rows next to it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

from pipeline.presets.description import Description
from pipeline.presets.params_file import BASE, NOT_YET, PACKAGED, params_text
from pipeline.presets.preview import masked
from pipeline.presets.shapes import chosen_columns, preset_names, shapes_of

AWKWARD = {
    "customer_id": "a: b, # c",
    "occurred_at": "on",
    "product_id": "0017",
    "quantity": "×  items",
    "query": "it's",
}


def test_the_text_is_what_was_described() -> None:
    described = Description(
        "orders",
        events={
            "query": "select *\nfrom 'a.csv'\n",
            "columns": AWKWARD,
            "event_types": {"purchase": ["no", "1e3"], "other": [f"type, number {at}" for at in range(30)]},
            "decimal": ",",
            "fill_by_order": [],
        },
        source={"products": None, "identities": {"query": "select 1\n", "rule": "last"}, "ids": {"normalise": "email"}},
        currency="EUR",
        comments={"event_types": "what they mean", "ids": "one customer"},
        notes=["A long note. " * 20],
    )
    text = params_text(described, out=Path("/shop/my shop.yaml"), as_of="2025-01-02T00:00:00Z")
    values = yaml.safe_load(text)
    assert values["source"] == {"events": described.events, **described.source}
    assert values["base"] == str(BASE)
    assert values["currency"] == "EUR"
    assert values["tracking"] == {"model_name": "my_shop"}
    assert "# what they mean\n" in text
    assert "  ids: {normalise: email}" in text and "# one customer" in text
    assert max(map(len, text.splitlines())) <= 118
    assert text == params_text(described, out=Path("/shop/my shop.yaml"), as_of="2025-01-02T00:00:00Z")


def test_the_base_is_named_from_the_folder_of_the_file() -> None:
    described = Description("orders", {"path": "a.csv"})
    text = params_text(described, out=BASE.parent / "shop.yaml", as_of=NOT_YET)
    assert text.splitlines()[1].split("#")[0].strip() == "base: params.yaml"
    assert "not known yet" in text


def test_no_shape_has_a_misspelt_part() -> None:
    for preset in preset_names():
        for shape in shapes_of(preset):
            written = {*shape.events, *shape.source, "fill_by_order", "identities"}
            assert shape.comments.keys() <= written, shape.title
            assert shape.recognised_by and bool(shape.columns) != bool(shape.query), shape.title


def test_each_column_is_taken_once() -> None:
    choices = {"product_id": ["sku", "name"], "category_path": ["Name"], "unit_price": ["price"], "amount": ["total"]}
    found = chosen_columns(choices, ["NAME", "Total", "x"])
    assert found == {"product_id": "NAME", "amount": "Total"}
    assert "amount" not in chosen_columns(choices, ["sku", "price", "total"])


@pytest.mark.parametrize("text", ["", "7", "42", "K409", "person196@example.org"])
def test_masked_texts_show_a_third_at_most(text: str) -> None:
    shown = masked(text).removesuffix("…")
    assert text.startswith(shown)
    assert len(shown) <= min(2, len(text) / 3)


def test_an_installed_package_has_the_base() -> None:
    build = tomllib.loads((BASE.parent / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert BASE.parent / "pipeline" / "config" / "params.yaml" == PACKAGED
    assert build["force-include"] == {"params.yaml": "pipeline/config/params.yaml"}
