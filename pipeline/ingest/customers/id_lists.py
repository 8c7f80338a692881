"""Lists of customer ids in files."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa

from pipeline.config.errors import UserError
from pipeline.stores.writers import column_names, read_table

ID = "customer_id"


def read_ids(path: Path, *, key: str) -> list[str]:
    """The ids of a list: a CSV or Parquet file with a column customer_id, or a text file with one id per line.

    Parameters
    ----------
    key : str
        Where the file is named, for errors.

    Raises
    ------
    UserError
        There is no such file, or it is no such list.
    """
    try:
        if path.suffix == ".parquet" or (path.suffix == ".csv" and ID in column_names(path)):
            column = read_table(path, {ID: pa.string()})[ID]
            return [text.strip() for text in column.to_pylist() if text is not None and text.strip()]
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(text.strip() for text in row)]
    except FileNotFoundError:
        raise UserError(f"{key}: expected a file of customer ids at {path}, found none.") from None
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError):
        raise UserError(
            f"{key}: expected in {path.name} a column {ID} (CSV, Parquet), or one customer id per line in UTF-8."
        ) from None
    if any(len(row) > 1 for row in rows):
        raise UserError(f"{key}: expected one customer id per line in {path.name}, or a column {ID}.")
    return [row[0].strip() for row in rows]
