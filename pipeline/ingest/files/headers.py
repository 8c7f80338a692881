"""The names of columns: from the first line of a file, or from params.yaml; and what separates the columns of CSV."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.config.sections.source import Table
from pipeline.ingest.files.formats import FileError
from pipeline.ingest.sql import FILE, ROW
from pipeline.stores.databases.sql import literal

DELIMITERS = ",;\t|"
MAX_COLUMNS = 1_000
SEPARATOR_LINE = re.compile(r"sep=(.)", re.IGNORECASE)
"""A first line that Excel understands."""
NUMBER, TIME = (
    re.compile(r"[-+]?\d+([.,]\d+)?"),
    re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d.*)?|\d\d?[./]\d\d?[./]\d{4}.*|\d{8,}"),
)
"""Values that are no names of columns: also seconds since 1970, and dates without signs."""


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written.

    Attributes
    ----------
    has_separator_line : bool
        Whether the first line is `sep=;`, before any header.
    """

    columns: list[str]
    delimiter: str
    has_separator_line: bool
    has_header: bool

    @property
    def lines_before(self) -> int:
        """Lines before the first row."""
        return self.has_separator_line + self.has_header

    def options(self) -> str:
        """Arguments of read_csv."""
        declared = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in self.columns)
        return (
            f"header = {str(self.has_header).lower()}, skip = {int(self.has_separator_line)}, "
            f"delim = {literal(self.delimiter)}, quote = '\"', escape = '\"', columns = {{{declared}}}"
        )


def find_dialect(handle: BinaryIO, table: Table, *, name: str) -> Dialect:
    """The dialect of a CSV file in UTF-8, from its first lines.

    Raises
    ------
    FileError
        The header is invalid, or the names that are declared are more or fewer than the columns.
    """
    first = _next_line(handle).lstrip("\ufeff")
    separator = SEPARATOR_LINE.fullmatch(first)
    if separator is not None:
        first = _next_line(handle)
    names = table.header if isinstance(table.header, list) else None
    delimiter = table.delimiter
    if delimiter == "auto":
        delimiter = separator[1] if separator else _find_delimiter(first, names)
    if "\r" in re.sub(r'"[^"]*"', "", first):
        raise FileError(
            f"{name}: expected lines that end in LF or CRLF, found CR alone, as on very old systems. Save it as text "
            "with other line ends."
        )
    try:
        found = next(csv.reader([first], delimiter=delimiter), [])
    except csv.Error:
        raise FileError(
            f"{name}: expected names of columns of at most {csv.field_size_limit():,} characters in the first line.",
            setting="header",
        ) from None
    if names is None:
        check_header(found, table, name=name)
    elif len(names) != len(found):
        raise FileError(
            f"expected one name for each column. Got {len(names)} names; the first line of {name} has {len(found)} "
            "values.",
            setting="header",
        )
    refuse_reserved(names or found)
    return Dialect(names or found, delimiter, separator is not None, names is None)


def check_header(names: Sequence[str], table: Table, *, name: str) -> None:
    """Refuse a header that does not name each column once.

    Raises
    ------
    FileError
        It does not, or it seems to be a row: values of a row are not shown.
    """
    remedy = (
        "If the file has no header, write the names of its columns, in their order: [customer_id, occurred_at, ...]."
    )
    numbers = sum(bool(NUMBER.fullmatch(text.strip())) for text in names)
    is_row = any(TIME.fullmatch(text.strip()) for text in names) or numbers > len(names) / 2
    if is_row and not set(names) & set(table.columns.values()):
        raise FileError(
            f"expected the names of the columns in the first line of {name}. Found numbers or dates. {remedy}",
            setting="header",
        )
    refuse_reserved(names)
    counts = Counter(text.lower() for text in names)
    repeated = sorted({text for text in names if counts[text.lower()] > 1})
    if repeated or not all(names) or not names:
        problem = f"more than once: {', '.join(repeated)}" if all(repeated) and repeated else "one without a name"
        raise FileError(
            f"{name}: expected a header that names each column once. Found {problem}. Fix the first line. {remedy}",
            setting="header",
        )


def refuse_reserved(names: Iterable[str]) -> None:
    """Refuse columns with the names of those that Kindred adds or that SQL cannot hold, and too many for a log.

    Raises
    ------
    FileError
        There are such.
    """
    listed = [*names]
    taken = sorted({name for name in listed if name.lower() in (FILE, ROW)})
    if taken:
        raise FileError(
            f"expected other names than {' and '.join(taken)}, which Kindred gives to columns of its own. Rename them.",
            setting="columns",
        )
    if zero := [number for number, name in enumerate(listed, 1) if "\0" in name]:
        raise FileError(
            f"expected names of columns without zero bytes, found one in the name of column {zero[0]}. Rename it."
        )
    if len(listed) > MAX_COLUMNS:
        raise FileError(
            f"expected at most {MAX_COLUMNS:,} columns, found {len(listed):,}. Select those of the log in a `query`."
        )


def _next_line(handle: BinaryIO) -> str:
    return handle.readline().decode("utf-8", errors="replace").rstrip("\r\n")


def _find_delimiter(line: str, names: list[str] | None) -> str:
    """The most frequent delimiter outside quotes, of those that give as many columns as there are names."""
    unquoted = re.sub(r'"[^"]*"', "", line)
    fitting = [sign for sign in DELIMITERS if names and unquoted.count(sign) == len(names) - 1]
    return max(fitting or DELIMITERS, key=unquoted.count)
