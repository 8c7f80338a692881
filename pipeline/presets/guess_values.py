"""Guesses from the values of a table: the form of times and numbers, and what event types mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from features.events import EventType
from pipeline.ingest.columns.column_mapping import plain_name
from pipeline.ingest.columns.numbers import is_number
from pipeline.ingest.columns.times import as_time, likely_unit, middle_number
from pipeline.presets.export_files import ExportTable
from pipeline.stores.databases.sql import literal, quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

MOST = 0.99
"""Share of the values that a form must fit; the others are for the row checks."""
SAMPLE_ROWS = 10_000
MAX_TYPES = 50
"""More different event types than this are ids or texts."""
TIME_FORMATS = (
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y",
    "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y",
    "%m/%d/%Y %I:%M:%S %p", "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%m-%Y", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d",
    "%Y%m%d",
    "%b %d, %Y %I:%M:%S %p",
)  # fmt: skip
"""Forms of times that are not ISO 8601; where two fit, days come first."""
NUMBER_FORMS: tuple[tuple[str, str | None, str], ...] = (
    (".", None, r"\d+(\.\d+)?"),
    (".", ",", r"\d{1,3}(,\d{3})*(\.\d+)?"),
    (",", ".", r"(\d{1,3}(\.\d{3})*|\d+)(,\d+)?"),
    (",", " ", r"(\d{1,3}([ \x{00A0}\x{202F}]\d{3})*|\d+)(,\d+)?"),
    (".", "'", r"(\d{1,3}('\d{3})*|\d+)(\.\d+)?"),
)
"""Decimal sign, sign between thousands, and what such numbers look like."""
TYPE_WORDS = {
    EventType.VIEW: "view pageview productview viewitem viewproduct viewcontent detailpage productdetail click pv",
    EventType.SEARCH: "search sitesearch viewsearchresults",
    EventType.FAVOURITE: "favourite favorite fav wishlist addtowishlist like",
    EventType.CART: "cart addtocart addtobasket addcart basket cartadd",
    EventType.REMOVE_FROM_CART: "removefromcart removefrombasket cartremove",
    EventType.PURCHASE: "purchase order ord buy bought transaction sale orderpaid ordercompleted invoice",
    EventType.RETURN: "return returned refund refunded creditnote",
    EventType.CONTACT: "contact support ticket",
    EventType.EMAIL_OPEN: "emailopen emailopened",
    EventType.EMAIL_CLICK: "emailclick emailclicked",
    EventType.REDEMPTION: "redemption couponredeemed",
}
"""Event type -> its names in other logs, in lower case and without punctuation."""
STATUS_WORDS = {EventType.PURCHASE: "complete completed paid processing shipped delivered fulfilled partiallyrefunded"}
"""The same for the status of an order. One that was refunded or cancelled was never kept: it is in no list."""


def guess_time_formats(con: Backend, table: ExportTable, column: str) -> list[str]:
    """Values of ``time_format`` that fit most values of ``column``, the likeliest first; none: it has no times."""
    kind = table.columns[column]
    if not (kind == "VARCHAR" or is_number(kind)):
        return ["auto"] if kind == "DATE" or kind.startswith("TIMESTAMP") else []
    number = f"try_cast({quoted(column)} as double)"
    numbers, filled = con.con.execute(
        f"select count({number}), count(*) from {table.name} where trim({quoted(column)}::varchar) <> ''"
    ).fetchone()
    if not filled:
        return []
    middle = middle_number(con, table.name, column)
    if numbers == filled and (unit := likely_unit(middle)):
        return [unit]
    if is_number(kind):
        return _fitting(con, table, column, ["%Y%m%d"])
    sampled = replace(table, name=f"(from {table.name} limit {SAMPLE_ROWS})")
    likely = _fitting(con, sampled, column, ["auto"]) or _fitting(con, sampled, column, TIME_FORMATS)
    return _fitting(con, table, column, likely)


def _fitting(con: Backend, table: ExportTable, column: str, formats: Sequence[str]) -> list[str]:
    """Those of ``formats`` in which most values are moments from 1990 to 2099."""
    kind, text = table.columns[column], f"trim({quoted(column)}::varchar)"
    moments = [as_time(column, kind, time_format=form, timezone="UTC", middle=None) for form in formats]
    valid = [f"coalesce({moment} between '1990-01-01' and '2100-01-01', false)::int" for moment in moments]
    shares = con.con.execute(
        f"select {', '.join(f'avg({is_valid})' for is_valid in valid) or '0'} from {table.name} where {text} <> ''"
    ).fetchone()
    return [form for form, share in zip(formats, shares, strict=False) if (share or 0) >= MOST]


def guess_number_form(con: Backend, table: ExportTable, columns: Sequence[str]) -> tuple[str, str | None] | None:
    """The decimal sign and the sign between thousands of the texts in ``columns``; None if no form fits."""
    texts = [quoted(column) for column in columns if table.columns[column] == "VARCHAR"]
    if not texts:
        return NUMBER_FORMS[0][:2]
    without_signs = [f"regexp_replace(trim({text}), '^[^0-9]+|[^0-9]+$', '', 'g') as value" for text in texts]
    values = " union all ".join(f"select {value} from {table.name}" for value in without_signs)
    fits = ", ".join(f"avg(regexp_full_match(value, {literal(pattern)})::int)" for _, _, pattern in NUMBER_FORMS)
    shares = con.con.execute(f"select {fits} from ({values}) where value <> ''").fetchone()
    fitting = [form[:2] for form, share in zip(NUMBER_FORMS, shares, strict=True) if share is None or share >= MOST]
    return fitting[0] if fitting else None


def guess_event_types(con: Backend, table: ExportTable, column: str, *, is_status: bool) -> dict[str, list[str]] | None:
    """Our event type -> the values of ``column`` that mean it; those with no known meaning are `other`.

    None if no value has a known meaning, or if there are too many of them to be types.
    """
    values = distinct_values(con, table, column, limit=MAX_TYPES + 1)
    meanings = STATUS_WORDS if is_status else TYPE_WORDS
    by_word = {word: str(ours) for ours, words in meanings.items() for word in words.split()}
    types: dict[str, list[str]] = {}
    for value in values:
        types.setdefault(by_word.get(plain_name(value), str(EventType.OTHER)), []).append(value)
    if len(values) > MAX_TYPES or not types.keys() - {str(EventType.OTHER)}:
        return None
    return {str(ours): types[str(ours)] for ours in EventType if str(ours) in types}


def distinct_values(con: Backend, table: ExportTable, column: str, *, limit: int) -> list[str]:
    """Different values of a column that are not empty, in alphabetical order, at most ``limit``."""
    text = f"trim({quoted(column)}::varchar)"
    rows = con.con.execute(
        f"select distinct {text} as value from {table.name} where {text} <> '' order by 1 limit {limit}"
    ).fetchall()
    return [row[0] for row in rows]


def share_where(con: Backend, table: ExportTable, condition: str) -> float:
    """Share of the rows that meet an SQL condition, 0 to 1; 0 without rows."""
    share = con.con.execute(f"select avg(coalesce({condition}, false)::int) from {table.name}").fetchone()[0]
    return float(share or 0.0)
