"""Describes a log by guesses from the names and values of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from babel.numbers import is_currency

from pipeline.ingest.columns.column_mapping import COLUMN_SYNONYMS
from pipeline.presets.description import Description, located
from pipeline.presets.export_files import ExportError, ExportTable
from pipeline.presets.guess_values import (
    distinct_values,
    guess_event_types,
    guess_number_form,
    guess_time_formats,
    share_where,
)
from pipeline.presets.shapes import chosen_columns
from pipeline.stores.databases.sql import literal, quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

MORE_SYNONYMS = {
    "query": ("searchquery", "searchterm", "keyword"),
    "amount": ("total", "ordertotal", "linetotal", "rowtotal", "salesvalue", "totalprice"),
    "discount": ("discountamount",),
    "currency": ("currencycode", "ordercurrency"),
    "status": ("orderstatus",),
}
GUESSED = ("customer_id", "occurred_at", "event_type", "product_id", "category_path", "query", "amount", "quantity",
           "unit_price", "discount", "currency", "order_id", "session_id", "channel", "status")  # fmt: skip
"""Columns that are looked for by name, in this order: an `amount` is a total rather than a price."""
NUMBERS = ("quantity", "unit_price", "amount", "discount")
MAJORITY = 0.5


def columns_by_name(table: ExportTable) -> dict[str, str]:
    """Our column -> the table's that has its name or a synonym."""
    synonyms = {**COLUMN_SYNONYMS, **MORE_SYNONYMS}
    return chosen_columns({ours: (ours, *synonyms.get(ours, ())) for ours in GUESSED}, table.columns)


def describe_by_guess(con: Backend, table: ExportTable, folder: Path) -> Description:
    """A description by names and values: of a log with event types, or of orders alone."""
    columns, place = columns_by_name(table), located(table.files, folder)
    types = _guess_types(con, table, columns)
    signs = _return_signs(con, table, columns, has_types=types is not None)
    orders = "orders: every row is a purchase" + (" or a return" if signs.conditions else "")
    described = Description("events" if types else orders, {"path": place})
    if types is None or signs.conditions:
        kind = quoted(columns.pop("event_type")) if types else "'purchase'"
        described.events = {"query": _with_event_type(table, place, kind, signs)}
        if types and signs.conditions:
            types["return"] = [*dict.fromkeys(["return", *types.get("return", [])])]
    if signs.conditions:
        described.comments["query"] = "rows below zero and invoices that begin with C are returns"
    described.events["columns"] = {ours: name for ours, name in columns.items() if ours != name}
    if types and any(names != [ours] for ours, names in types.items()):
        described.events["event_types"] = types
        described.comments["event_types"] = "those in `other` have no weight" if "other" in types else ""
    add_values(con, table, columns, described)
    if "amount" in columns:
        described.notes.append(
            f"Column {columns['amount']} is taken as the total of a row. If it is the price of one unit, write "
            "unit_price instead of amount."
        )
    return described


def _guess_types(con: Backend, table: ExportTable, columns: dict[str, str]) -> dict[str, list[str]] | None:
    """Event types of the column for them, or else of that for an order's status; ``columns`` keeps the one in use."""
    status = columns.pop("status", None)
    if "event_type" in columns:
        types = guess_event_types(con, table, columns["event_type"], is_status=False)
        if types is not None:
            return types
        del columns["event_type"]
    types = guess_event_types(con, table, status, is_status=True) if status else None
    if status and types is not None:
        columns["event_type"] = status
    return types


@dataclass(frozen=True)
class _ReturnSigns:
    """How returns look in a log without a type for them.

    Attributes
    ----------
    negative : list of str
        Quoted columns that are below zero in some rows.
    conditions : list of str
        SQL, of which one holds for a return.
    """

    negative: list[str]
    conditions: list[str]


def _return_signs(con: Backend, table: ExportTable, columns: dict[str, str], *, has_types: bool) -> _ReturnSigns:
    numbers = [quoted(columns[ours]) for ours in ("quantity", "amount") if ours in columns]
    negative = [name for name in numbers if share_where(con, table, f"{name}::varchar like '-%'")]
    conditions = [f"{name}::varchar like '-%'" for name in negative]
    if not has_types and "order_id" in columns:
        order = f"{quoted(columns['order_id'])}::varchar"
        are_numbers = share_where(con, table, f"regexp_full_match({order}, 'C?\\d+')") > MAJORITY
        if are_numbers and share_where(con, table, f"{order} like 'C%'"):
            conditions.append(f"{order} like 'C%'")
    return _ReturnSigns(negative, conditions)


def _with_event_type(table: ExportTable, place: str | list[str], kind: str, signs: _ReturnSigns) -> str:
    """SQL for the rows of the files with a column event_type and without minus signs.

    Parameters
    ----------
    kind : str
        SQL for the type of a row that is no return.
    """
    everything = "* exclude (event_type)" if "event_type" in table.columns else "*"
    if signs.negative:
        unsigned = ", ".join(f"ltrim({name}::varchar, '-') as {name}" for name in signs.negative)
        everything += f" replace ({unsigned})"
    if signs.conditions:
        kind = f"case when {' or '.join(signs.conditions)} then 'return' else {kind} end"
    names = [place] if isinstance(place, str) else place
    files = " union all by name from ".join(literal(name) for name in names)
    rows = files if len(names) == 1 else f"(from {files})"
    return f"select {everything},\n  {kind} as event_type\nfrom {rows}\n"


def add_values(con: Backend, table: ExportTable, columns: dict[str, str], described: Description) -> None:
    """Add what the values show: the form of times and numbers, e-mail addresses as ids, and the currency."""
    at, customer = columns["occurred_at"], quoted(columns["customer_id"])
    formats = guess_time_formats(con, table, at)
    if not formats:
        raise ExportError(
            f"{table.files[0].name}: expected times in column {at!r}, found none that can be read, such as "
            "2025-10-31 18:05:00, 31.10.2025 or seconds since 1970. A date needs its year."
        )
    if formats[0] != "auto":
        described.events["time_format"] = formats[0]
    if len(formats) > 1 and {form[:2] for form in formats} >= {"%d", "%m"}:
        described.comments["time_format"] = f"days come first; if months do, {formats[-1]}"
        described.notes.append(f"Column {at}: no date shows whether days or months come first. Days are assumed.")
    decimal, thousands = guess_number_form(con, table, [columns[n] for n in NUMBERS if n in columns]) or (".", None)
    if decimal != ".":
        described.events["decimal"] = decimal
    if thousands:
        described.events["thousands"] = thousands
    if "ids" not in described.source and share_where(con, table, f"{customer}::varchar like '%_@_%'") > MAJORITY:
        described.source["ids"] = {"normalise": "email"}
        described.comments["ids"] = "A@x.com and a@x.com are one customer"
    if "currency" in columns:
        codes = distinct_values(con, table, columns["currency"], limit=2)
        code = codes[0].upper() if len(codes) == 1 else ""
        described.currency = code if is_currency(code) else None
