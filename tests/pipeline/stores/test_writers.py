"""Tables as files: each suffix is written, read again, and safe in spreadsheets."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from pipeline.stores.files import OutputError
from pipeline.stores.writers import FORMATS, column_names, read_table, require_known_suffix, write_table


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_is_read_as_it_was_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"scores{suffix}"
    table = pa.table({"customer_id": ["007", "NA", "=1+1", "-A"], "segment": ["@home", None, "=x", "it's"]})
    write_table(path, table)
    assert column_names(path) == ["customer_id", "segment"]
    assert read_table(path, {"segment": pa.string()}).to_pydict() == {"segment": table["segment"].to_pylist()}
    assert read_table(path, {"customer_id": pa.string()})["customer_id"].to_pylist() == ["007", "NA", "=1+1", "-A"]
    with pytest.raises((KeyError, pa.ArrowException)):
        read_table(path, {"cluster_id": pa.string()})


@pytest.mark.parametrize("name", ["scores", "scores.txt", "scores.CSV"])
def test_an_unknown_suffix_is_refused_with_those_there_are(name: str, tmp_path: Path) -> None:
    message = f"--out {name}: expected a file name ending in .parquet or .csv."
    with pytest.raises(OutputError, match=re.escape(message)):
        require_known_suffix(tmp_path / name, key="--out")
    with pytest.raises(OutputError, match=r"\.parquet or \.csv"):
        write_table(tmp_path / name, pa.table({"x": [1]}))
    assert not list(tmp_path.iterdir())


def test_csv_is_safe_in_a_spreadsheet(tmp_path: Path) -> None:
    table = pa.table({"name": ["=1+1", "plain", None], "top": [["@x", "b"], [], ["c"]], "spend": [-1.5, 2.0, None]})
    write_table(tmp_path / "scores.csv", table)
    assert (tmp_path / "scores.csv").read_text().splitlines()[1:] == [
        '"\'=1+1","\'@x; b",-1.5',
        '"plain","",2',
        ',"c",',
    ]


def test_signed_numbers_stay_and_formulas_get_an_apostrophe(tmp_path: Path) -> None:
    ids = ["+380441234567", "-17", "+1+1", "-A1", "=1", "@x", "plain", "+"]
    write_table(tmp_path / "ids.csv", pa.table({"customer_id": ids}))
    written = pd.read_csv(tmp_path / "ids.csv", dtype=str).customer_id.tolist()
    assert written == ["+380441234567", "-17", "'+1+1", "'-A1", "'=1", "'@x", "plain", "'+"]
