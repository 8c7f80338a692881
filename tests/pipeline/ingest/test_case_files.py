"""Encodings, workbooks and leading zeros: files as shops exported them, in shared/cases next to the project."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.config.load import load_params
from pipeline.ingest.files.raw_tables import SourceError
from pipeline.ingest.source import read_source
from pipeline.stores.database import connect

ROOT = Path(__file__).parents[3]
CASES = ROOT.parent / "shared" / "cases"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not CASES.is_dir(), reason="expected the cases in shared/cases/ next to the project"),
]


def read_case(folder: Path, case: str, yaml: str, *overrides: str) -> Any:
    """Summary and events of a case."""
    place = folder / case
    if not place.exists():
        shutil.copytree(CASES / case, place)
        place.chmod(0o700)
    params_file = place / f"based-{yaml}"
    params_file.write_text(f"base: {ROOT / 'params.yaml'}\n{(place / yaml).read_text()}", encoding="utf-8")
    params = load_params(params_file, overrides)
    with connect(params.engine, folder=folder / "work") as con:
        source = read_source(con, params, rejected_path=folder / "rejected.parquet")
        return source.summary, con.to_pandas(source.events)


ENCODED = {
    "a_latin1": {"sep": ";", "encoding": "latin-1"},
    "b_bom": {"sep": ";", "encoding": "utf-8-sig"},
    "c_sep_line": {"sep": ";", "encoding": "utf-8-sig", "skiprows": 1},
    "d_utf16": {"sep": "\t", "encoding": "utf-16"},
    "e_few_accents": {"encoding": "latin-1"},
}
ASSUMED = ("a_latin1", "e_few_accents")


@pytest.mark.parametrize("name", [*ENCODED, "f"])
def test_every_encoding_and_the_workbook_are_read_as_pandas_reads_them(name: str, tmp_path: Path) -> None:
    summary, events = read_case(tmp_path, "08-encodings", f"{name}.yaml")
    place = CASES / "08-encodings"
    if name in ENCODED:
        expected = pd.read_csv(place / f"{name}.csv", dtype=str, **ENCODED[name])
    else:
        expected = pd.read_excel(place / "f.xlsx", dtype=str, engine="openpyxl")
    assert (summary.read_count, summary.rejected_count) == (len(expected), 0)
    names = {"customer_id": "customer", "product_id": "sku", "category_path": "cat", "unit_price": "price"}
    found = events[[*names]].astype({"unit_price": float}).sort_values([*names], ignore_index=True)
    other = expected[[*names.values()]].set_axis([*names], axis=1).astype({"unit_price": float})
    pd.testing.assert_frame_equal(
        found, other.sort_values([*names], ignore_index=True), check_dtype=False, check_column_type=False
    )
    warned = [warning for warning in summary.warnings if "not in UTF-8" in warning]
    assert len(warned) == (name in ASSUMED)
    assert all("declare" in text.lower() and "source.events.encoding: cp1252" in text for text in warned)


def test_a_declared_encoding_is_not_warned_of(tmp_path: Path) -> None:
    summary, events = read_case(tmp_path, "08-encodings", "a_latin1.yaml", "source.events.encoding=latin-1")
    assert "Küche" in set(events.category_path)
    assert not [warning for warning in summary.warnings if "UTF-8" in warning]


@pytest.mark.parametrize(
    ("yaml", "key"), [("a_query2.yaml", r"source\.events\.encoding"), ("f_query.yaml", r"source\.events\.sheet")]
)
def test_a_query_that_the_database_cannot_run_names_what_can(yaml: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=rf"write from 'file\.\w+', .* in {key}"):
        read_case(tmp_path, "08-encodings", yaml)


@pytest.mark.parametrize("file", ["a_latin1.csv", "d_utf16.csv", "f.xlsx"])
def test_a_file_in_a_query_is_read_as_one_in_path_is(file: str, tmp_path: Path) -> None:
    query = f"source.events.query=select * from '{file}'"
    summary, events = read_case(tmp_path, "08-encodings", "a_query.yaml", query)
    assert (summary.accepted_count, summary.rejected_count, "Küche" in set(events.category_path)) == (3516, 0, True)


def with_casts(yaml: str) -> str:
    """The query as the error for it asks for."""
    text = (CASES / "04-leading-zeros" / yaml).read_text(encoding="utf-8")
    query = " ".join(text[text.index(">") + 1 : text.index("columns: {customer_id")].split())
    return f"source.events.query={query.replace('abs(quantity)', 'abs(quantity::double)')}"


@pytest.mark.parametrize("yaml", ["params.yaml", "no_returns.yaml", "sku_e.yaml"])
def test_arithmetic_on_texts_names_the_cast(yaml: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"source\.events\.query: .* text, .* write quantity::double"):
        read_case(tmp_path, "04-leading-zeros", yaml)


@pytest.mark.parametrize(
    ("yaml", "file", "products"),
    [
        ("params.yaml", "orders.csv", "products.csv"),
        ("fixed.yaml", "orders.csv", "products.csv"),
        ("no_returns.yaml", "orders_no_returns.csv", "products.csv"),
        ("sku_e.yaml", "orders_e.csv", "products_e.csv"),
    ],
)
def test_ids_are_the_same_by_a_query(yaml: str, file: str, products: str, tmp_path: Path) -> None:
    summary, events = read_case(tmp_path, "04-leading-zeros", yaml, with_casts(yaml))
    orders = pd.read_csv(CASES / "04-leading-zeros" / file, dtype=str)
    assert summary.customer_count == orders.client.nunique()
    assert set(events.product_id) == set(orders.sku)
    known = set(pd.read_csv(CASES / "04-leading-zeros" / products, dtype=str).product_id)
    assert summary.noted_by_rule["unknown_product"] == int((~orders.sku.isin(known)).sum()) == 0
    assert (events.event_type == "return").sum() == orders.invoice.str.startswith("C").sum()
    assert events.quantity.sum() == orders.quantity.astype(float).abs().sum()
    if file == "orders.csv":
        assert summary.customer_count == 2975
