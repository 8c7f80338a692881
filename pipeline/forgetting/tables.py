"""Rows of customers in the files of the outputs folder: found, and left out of a new file."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config.params import Params
from pipeline.scoring import state
from pipeline.stores import files, writers
from pipeline.stores.local.file_names import parquet_files, rejected_file

RAW = "raw"
"""Column of rejected rows that holds the row as text."""
SUFFIXES = (".parquet", ".csv", ".xlsx")
REJECTED, WORKBOOKS, STATE = "rejected rows", "workbooks", "state"


@dataclass(frozen=True)
class Forgotten:
    """The customers to remove.

    Attributes
    ----------
    ids : frozenset of str
        All of their ids.
    ignores_case : bool
        Whether raw rows may have the ids in other case.
    """

    ids: frozenset[str]
    ignores_case: bool = False

    @cached_property
    def as_array(self) -> pa.Array:
        """The ids, to look up."""
        return pa.array(sorted(self.ids), pa.string())

    @cached_property
    def in_text(self) -> re.Pattern[str]:
        """The ids as whole words of a text, also as JSON writes them."""
        forms = {form for each in self.ids for form in (each, json.dumps(each)[1:-1])}
        listed = "|".join(re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form)))
        return re.compile(rf"(?<!\w)(?:{listed})(?!\w)", re.IGNORECASE if self.ignores_case else 0)

    def named_in(self, text: str | None) -> set[str]:
        """The ids that a text holds."""
        found = {self._in_case(match[0]) for match in self.in_text.finditer(text or "")}
        forms = {each: {self._in_case(form) for form in (each, json.dumps(each)[1:-1])} for each in self.ids if found}
        return {each for each, written in forms.items() if written & found}

    def _in_case(self, text: str) -> str:
        return text.lower() if self.ignores_case else text


@dataclass(frozen=True)
class HeldRows:
    """Rows of the customers in a file.

    Attributes
    ----------
    place : str
        What the file is, for the receipt.
    row_count : int
        Rows that hold one of the ids; 1 for a workbook.
    ids : frozenset of str
        The ids found.
    """

    path: Path
    place: str
    row_count: int
    ids: frozenset[str]


def find_rows(params: Params, customers: Forgotten) -> list[HeldRows]:
    """The files that hold rows of the customers, with their counts; by path.

    Raises
    ------
    OutputError
        A file is damaged, so that nobody can know what it holds.
    """
    found = []
    for path in customer_files(params):
        try:
            count, ids = count_rows(path, customers)
        except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error, zipfile.BadZipFile):
            raise files.OutputError(
                f"{path}: expected a table, but it cannot be read, so nobody can be removed from it. Delete the file, "
                "and run the command again. Nothing was changed."
            ) from None
        if count:
            found.append(HeldRows(path, place_of(path, params), count, frozenset(ids)))
    return found


def customer_files(params: Params) -> list[Path]:
    """Tables and workbooks below the outputs folder, the scores, and their rejected rows."""
    next_to = [*parquet_files(params.path(params.outputs.scores)), rejected_file(params.scores_path)]
    return sorted({path for path in (*_below_outputs(params, SUFFIXES), *next_to) if path.is_file()})


def unreached_files(params: Params) -> list[Path]:
    """Files and folders with customer ids that nobody is removed from: databases, and all outside the outputs folder.

    The scores are none of them, wherever they are. What killed commands left next to the others is.
    """
    noted = files.files_elsewhere(params.path(params.outputs.folder))
    elsewhere = {found for path in noted for found in (path, *files.leftovers(path))}
    reached = {*customer_files(params), params.scores_path}
    named = {*elsewhere, *_below_outputs(params, writers.DATABASES)} - reached
    return sorted(path for path in named if path.exists())


def _below_outputs(params: Params, suffixes: Collection[str]) -> list[Path]:
    """Paths below the outputs folder with one of the suffixes; none that are hidden."""
    folder = params.path(params.outputs.folder)
    return [
        path
        for path in folder.rglob("*")
        if path.suffix in suffixes and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def place_of(path: Path, params: Params) -> str:
    """What a file is: scores, rejected rows, workbooks, the folder below outputs, or the name of the file."""
    folder = params.path(params.outputs.folder)
    parts = path.relative_to(folder).parts if path.is_relative_to(folder) else (path.name,)
    if path.suffix == ".xlsx":
        return WORKBOOKS
    if path.stem.endswith("rejected"):
        return REJECTED
    if parts[0] == state.FOLDER:
        return f"{STATE}: {path.name.partition('-')[0]}"
    if path in parquet_files(params.path(params.outputs.scores)):
        return "scores"
    return parts[0] if len(parts) > 1 else path.stem


def id_columns(names: Collection[str]) -> list[str]:
    """Columns of a table that hold customer ids, or the raw rows that may hold them."""
    return ["customer_id"] if "customer_id" in names else [name for name in names if name == RAW]


def count_rows(path: Path, customers: Forgotten) -> tuple[int, set[str]]:
    """Number of rows of a file that hold one of the ids, and these ids."""
    if path.suffix == ".xlsx":
        ids = _in_workbook(path, customers)
        return int(bool(ids)), ids
    if path.suffix == ".csv":
        hits = [found for _, found in _csv_rows(path, customers) if found]
        return len(hits), set().union(*hits)
    with pq.ParquetFile(path) as file:
        columns, count, ids = id_columns(file.schema_arrow.names), 0, set()
        for batch in file.iter_batches(columns=columns) if columns else ():
            is_held, found = _held(pa.Table.from_batches([batch]), columns, customers)
            count, ids = count + int(pc.sum(is_held).as_py() or 0), ids | found
        return count, ids


def row_count(path: Path) -> int:
    """Number of rows of a table."""
    if path.suffix == ".csv":
        return sum(1 for _ in _csv_rows(path, Forgotten(frozenset()))) - 1
    return writers.row_count(path)


def write_without(path: Path, customers: Forgotten, target: Path) -> None:
    """Write a table without the rows that hold one of the ids; all others stay as they are, in their order."""
    if path.suffix == ".csv":
        with target.open("w", newline="", encoding="utf-8") as written:
            written.writelines(text for text, found in _csv_rows(path, customers) if not found)
        return
    with pq.ParquetFile(path) as file:
        columns = id_columns(file.schema_arrow.names)
        with pq.ParquetWriter(target, file.schema_arrow, compression=_compression(file)) as writer:
            for number in range(file.num_row_groups):
                rows = file.read_row_group(number)
                writer.write_table(rows.filter(pc.invert(_held(rows, columns, customers)[0])))


def _compression(file: pq.ParquetFile) -> str:
    name = file.metadata.row_group(0).column(0).compression if file.num_row_groups else "ZSTD"
    return str(name).lower().removesuffix("_raw").replace("uncompressed", "none")


def _held(rows: pa.Table, columns: list[str], customers: Forgotten) -> tuple[pa.Array, set[str]]:
    """Whether each row holds one of the ids, and the ids found."""
    if columns == [RAW]:
        named = [customers.named_in(text) for text in rows[RAW].to_pylist()]
        return pa.array([bool(found) for found in named], pa.bool_()), set().union(*named)
    ids = rows[columns[0]].cast(pa.string())
    is_held = pc.is_in(ids, value_set=customers.as_array)
    return is_held, set(ids.filter(is_held).unique().to_pylist())


def _csv_rows(path: Path, customers: Forgotten) -> Iterator[tuple[str, set[str]]]:
    """Each record of a CSV file as it was written, and the ids that its id columns hold."""
    taken: list[str] = []
    with path.open(newline="", encoding="utf-8") as handle:

        def lines() -> Iterator[str]:
            for line in handle:
                taken.append(line)
                yield line

        positions: list[int] | None = None
        for record in csv.reader(lines()):
            text = "".join(taken)
            taken.clear()
            if positions is None:
                positions, names = [], id_columns(record)
                positions = [index for index, name in enumerate(record) if name in names and name != RAW]
                yield text, set()
            else:
                values = {writers.without_apostrophe(record[index]) for index in positions if index < len(record)}
                yield text, values & customers.ids


def _in_workbook(path: Path, customers: Forgotten) -> set[str]:
    """The ids that are the whole text of a cell."""
    with zipfile.ZipFile(path) as book:
        texts = [book.read(name).decode("utf-8") for name in book.namelist() if name.endswith(".xml")]
    cells = {cell for text in texts for cell in re.findall(r"<t[^>]*>([^<]*)</t>", text)}
    return {each for each in customers.ids if escape(each) in cells}
