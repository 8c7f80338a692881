"""Numbers in texts that may be written in another format than the one they are read in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config.params import Params
from pipeline.ingest.columns.column_mapping import map_event_columns
from pipeline.ingest.columns.numbers import SIGN, NumberFormat, as_number, declared_format, is_unreadable_number
from pipeline.ingest.files.raw_tables import RawTable, SourceError
from pipeline.stores.databases.sql import literal, quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

MONEY = ("unit_price", "amount", "order_total")
NUMBERS = (*MONEY, "discount", "order_discount", "refunded", "quantity")
KEYS = "source.events.decimal", "source.events.thousands"
FORMATS = {
    "1234.56": NumberFormat("."),
    "1234,56": NumberFormat(","),
    "1,234.56": NumberFormat(".", ","),
    "1.234,56": NumberFormat(",", "."),
    "1 234,56": NumberFormat(",", " "),
    "1 234.56": NumberFormat(".", " "),
    "1'234.56": NumberFormat(".", "'"),
}
"""Usual formats, simple ones first."""
MAX_GROUPED_SHARE = 0.1
"""Of the prices with a point: if more have three decimals while others have fewer, three are probably usual."""


def format_hint(con: Backend, params: Params, raw: RawTable) -> str:
    """How to declare the format that reads all numbers of the column with most unreadable ones; empty if none does."""
    table = params.source.events
    found, form = map_event_columns(raw, table), declared_format(table)
    texts = [found[name] for name in NUMBERS if name in found and raw.columns[found[name]] == "VARCHAR"]
    if not texts:
        return ""
    counts = _count_unreadable(con, raw, [(column, form) for column in texts])
    worst = texts[counts.index(max(counts))]
    by_format = _count_unreadable(con, raw, [(worst, candidate) for candidate in FORMATS.values()])
    fitting = [example for example, count in zip(FORMATS, by_format, strict=True) if count == 0]
    if not fitting:
        return ""
    sums = ", ".join(f"round(sum({as_number(worst, 'VARCHAR', FORMATS[example])}))" for example in fitting)
    totals = con.con.execute(f"select {sums} from {raw.name}").fetchone()
    different = [example for index, example in enumerate(fitting) if totals[index] not in totals[:index]]
    declared = " or ".join(f"{declaration(FORMATS[example])} for {example}" for example in different)
    return f"Numbers of column {worst!r} can be read with {declared}, also with a currency sign. "


def _count_unreadable(con: Backend, raw: RawTable, ways: list[tuple[str, NumberFormat | None]]) -> list[int]:
    """Values that are not numbers, for each column and format."""
    counts = [f"count(*) filter ({is_unreadable_number(column, 'VARCHAR', form)})" for column, form in ways]
    return list(con.con.execute(f"select {', '.join(counts)} from {raw.name}").fetchone())


def declaration(form: NumberFormat) -> str:
    """The keys of params.yaml that declare a format."""
    thousands = f' and {KEYS[1]}: "{form.thousands}"' if form.thousands else ""
    return f'{KEYS[0]}: "{form.decimal}"{thousands}'


def grouped_price_warnings(con: Backend, params: Params, raw: RawTable) -> list[str]:
    """Warn of prices such as 1.250 that may mean 1250: all with a point have three decimals, or a few unlike the rest.

    A price such as 0.125 or 1250.125 shows that the point is a decimal point.
    """
    table = params.source.events
    found = map_event_columns(raw, table)
    warnings = []
    for column in [found[name] for name in MONEY if name in found]:
        if declared_format(table) is not None or raw.columns[column] != "VARCHAR":
            continue
        decimals = "length(text) - strpos(text, '.')"
        is_grouped = f"{decimals} = 3 and strpos(text, '.') between 2 and 4 and text not like '0%'"
        pointed, grouped, short = con.con.execute(
            f"select count(*), count(*) filter ({is_grouped}), count(*) filter ({decimals} < 3) from "
            f"(select ltrim(trim({quoted(column)}), '-') as text from {raw.name} where {quoted(column)} like '%.%')"
        ).fetchone()
        is_few = grouped <= MAX_GROUPED_SHARE * pointed and grouped + short == pointed
        if grouped and (grouped == pointed or is_few):
            which = "all with a point have three decimals" if grouped == pointed else "the others have fewer decimals"
            warnings.append(
                f"{grouped:,} values of column {column!r} look like 1.250, and {which}: if that means 1250, write "
                f'{KEYS[1]}: "."; if the point is a decimal point, write {KEYS[0]}: "."'
            )
    return warnings


def refuse_mixed_signs(con: Backend, params: Params, raw: RawTable) -> None:
    """Refuse prices with several currency signs in a log without a column ``currency``.

    Raises
    ------
    SourceError
        Names the signs and their shares.
    """
    form, found = declared_format(params.source.events), map_event_columns(raw, params.source.events)
    if form is None or "currency" in found:
        return
    for column in [found[name] for name in MONEY if name in found and raw.columns[found[name]] == "VARCHAR"]:
        rows = con.con.execute(
            f"select sign, count(*) from (select rtrim(regexp_extract({quoted(column)}, {literal(SIGN)}), '.') as sign "
            f"from {raw.name} where ({as_number(column, 'VARCHAR', form)}) is not null) where sign <> '' "
            "group by 1 order by 2 desc, 1"
        ).fetchall()
        if len(rows) > 1:
            total = sum(count for _, count in rows)
            shares = ", ".join(f"{sign} {count / total:.1%}" for sign, count in rows)
            raise SourceError(
                f"source.events: expected amounts in one currency. Column {column!r} has several signs: {shares}. Name "
                "the currency of each row as `currency` in source.events.columns (made in source.events.query, if the "
                "log has no such column), and a table of rates in source.rates."
            )
