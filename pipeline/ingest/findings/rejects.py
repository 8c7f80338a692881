"""Rejected rows: they are counted and written to a file, and too many of them stop the run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from features import checks
from pipeline.config.params import Params
from pipeline.ingest.columns.numbers import is_number
from pipeline.ingest.columns.times import likely_unit, middle_number
from pipeline.ingest.files.raw_tables import RawTable, SourceError
from pipeline.ingest.files.text_files import with_lines
from pipeline.ingest.findings.number_formats import format_hint
from pipeline.ingest.findings.summary import ReadingSummary
from pipeline.ingest.sql import FILE, ROW
from pipeline.stores import files
from pipeline.stores.databases.sql import literal, quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

EXAMPLES = 5
EXPECTATIONS = {
    "unreadable_row": "as many values as the header has columns, or a JSON object",
    "broken_encoding": "text in UTF-8, or in the encoding that is declared",
    "unknown_product": "a product of the catalogue",
    "without_category": "a category of the product, or of the event",
    "discount_above_price": "a discount of at most quantity * unit_price, the price before it",
    "after_as_of": "an event before as_of",
}
"""What was expected, for the checks that are not row rules."""
DATE = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d\d(:\d\d(\.\d+)?)?( ?([AP]M|Z|UTC|[+-]\d\d(:?\d\d)?))?)?"
"""The only values shown: anything else in a column of times could be personal data of a wrongly mapped column."""
HINTS = {
    "not_a_customer": "; source.ids.not_customers lists their ids, such as 0 or guest; take out one that is a customer",
    "discount_above_price": "; unit_price may already be net of the discount: then leave out the column discount. If "
    "the discount is of the whole order, map it as order_discount",
}
"""What to do about a warning, by rule."""
RETURNS_HINT = (
    "Purchases with a negative quantity or price may be returns: then write source.events.negative_rows: return. "
)


def enforce_thresholds(
    con: Backend,
    params: Params,
    raw: RawTable,
    summary: ReadingSummary,
    rules: tuple[checks.Rule, ...],
    rejected_path: Path | None,
) -> None:
    """Warn of rules broken more often than their `warn`, and stop if one is broken more often than its `error`.

    Raises
    ------
    SourceError
        A table of reasons, with what was expected and where to look; never the values themselves, except a date.
    """
    read, nothing_left = summary.read_count, summary.accepted_count == 0
    broken: list[tuple[str, int, float]] = []
    for name, count in (summary.rejected_by_rule | summary.noted_by_rule).items():
        threshold = getattr(params.checks, name)
        if count / read > threshold.error or (nothing_left and count):
            broken.append((name, count, threshold.error))
        elif count / read > threshold.warn and not (name == "without_category" and _has_no_categories(params, raw)):
            outcome = "kept" if name in summary.noted_by_rule else "rejected"
            advice = HINTS.get(name, "")
            if name == "unreadable_number":
                advice = f". {format_hint(con, params, raw)}".rstrip(". ")
            summary.warnings.append(f"{name}: {count:,} of {read:,} rows ({count / read:.2%}), {outcome}{advice}")
    if broken:
        expectations = {rule.name: rule.expectation for rule in rules} | EXPECTATIONS
        lines = [
            f"  {name:<22}{count:>12,} rows {count / read:>8.2%} (allowed {allowed:.2%})  "
            f"expected {expectations[name]}{_examples(con, params, raw, name, rules)}"
            for name, count, allowed in broken
        ]
        where = f" All rejected rows, with reasons: {rejected_path}." if rejected_path else ""
        names = [name for name, _, _ in broken]
        hint = _hints(con, params, raw, rules, names)
        unusable = f"none of the {read:,} rows can" if nothing_left else f"too many of the {read:,} rows cannot"
        raise SourceError(
            f"source.events: {unusable} be used.\n"
            + "\n".join(lines)
            + f"\n{hint}Fix the log or its description in {params.file_name}, or raise the threshold under "
            f"`checks`.{where}"
        )


def _hints(con: Backend, params: Params, raw: RawTable, rules: tuple[checks.Rule, ...], names: list[str]) -> str:
    """What to do about the rules that are broken too often."""
    hint = _epoch_hint(con, params, raw) if any("time" in name for name in names) else ""
    if "unreadable_time" in names and not hint:
        hint = _format_hint(con, params, raw, rules)
    hint += format_hint(con, params, raw) if "unreadable_number" in names else ""
    return hint + (RETURNS_HINT if {"negative_quantity", "negative_price"} & {*names} else "")


def _has_no_categories(params: Params, raw: RawTable) -> bool:
    """Whether the source is described as one without categories."""
    column = params.source.events.columns.get("category_path", "category_path")
    return params.source.products is None and column not in raw.columns


def _examples(con: Backend, params: Params, raw: RawTable, name: str, rules: tuple[checks.Rule, ...]) -> str:
    """Where to look: lines of text files, rows of other files; never the values themselves."""
    bits = [bit for bit, rule in enumerate(rules) if rule.name == name]
    if name in ("unreadable_row", "broken_encoding"):
        places = [(row.file, row.line) for row in raw.unreadable if row.reason == name][:EXAMPLES]
    elif bits:
        rows = f"select {FILE}, {ROW} from broken_rows where ({checks.REASONS} & {2 ** bits[0]}) <> 0"
        number, rows = ("line", with_lines(raw.name, rows)) if raw.has_lines else (ROW, rows)
        places = con.con.execute(f"select {FILE}, {number} from ({rows}) order by all limit {EXAMPLES}").fetchall()
    else:
        return ""
    word = "line" if raw.has_lines or not bits else "row"
    return "; see " + ", ".join(f"{raw.file_name(file, params.folder)} {word} {number:,}" for file, number in places)


def _epoch_hint(con: Backend, params: Params, raw: RawTable) -> str:
    """The time_format to try if the unreadable times are numbers."""
    table = params.source.events
    column = table.columns.get("occurred_at", "occurred_at")
    if not (table.time_format == "auto" or table.time_format.startswith("epoch_")) or (
        raw.columns[column] != "VARCHAR" and not is_number(raw.columns[column])
    ):
        return ""
    unit = likely_unit(middle_number(con, "raw_events", column))
    return f"The times look like numbers: try time_format: {unit}. " if unit not in (None, table.time_format) else ""


def _format_hint(con: Backend, params: Params, raw: RawTable, rules: tuple[checks.Rule, ...]) -> str:
    """A time that could not be read, and the time_format to try; empty if no such value looks like a date."""
    table = params.source.events
    bit = [rule.name for rule in rules].index("unreadable_time")
    value = f"trim(raw.{quoted(table.columns.get('occurred_at', 'occurred_at'))}::varchar)"
    [found] = con.con.execute(
        f"select min({value}) from raw_events raw join broken_rows broken on raw.{FILE} is not distinct from "
        f"broken.{FILE} and raw.{ROW} = broken.{ROW} where (broken.{checks.REASONS} & {2**bit}) <> 0 "
        f"and regexp_full_match({value}, {literal(DATE)})"
    ).fetchone()
    if found is None:
        return ""
    is_iso = re.match(r"\d{4}-\d\d-\d\d", found) and table.time_format != "auto"
    return f"Got {found!r}: try time_format: {'auto' if is_iso else 'a strptime format, such as %d.%m.%Y %H:%M'}. "


def write_rejected(con: Backend, params: Params, raw: RawTable, rules: tuple[checks.Rule, ...], path: Path) -> None:
    """Write rejected rows: file, line (text files) or row (others), reasons, detail, and the raw row as text."""
    texts = ", ".join(f"{quoted(column)} := raw.{quoted(column)}::varchar" for column in raw.columns)
    places = f"select {FILE}, {ROW}, {checks.REASONS} from broken_rows"
    if raw.has_lines:
        places = with_lines(raw.name, places)
    reason = f"places.{checks.REASONS} & "
    named = ", ".join(
        f"case when ({reason}{2**bit}) <> 0 then {literal(rule.name)} end" for bit, rule in enumerate(rules)
    )
    unreadable = pa.table(
        {
            "file": pa.array([row.file for row in raw.unreadable], pa.int32()),
            "line": pa.array([row.line for row in raw.unreadable], pa.int64()),
            "reasons": pa.array([[row.reason] for row in raw.unreadable], pa.list_(pa.string())),
            "detail": pa.array([row.detail for row in raw.unreadable], pa.string()),
            "raw": pa.array([row.raw for row in raw.unreadable], pa.string()),
        }
    )
    file_names = [raw.file_name(index, params.folder) for index in range(len(raw.files))]
    names = pa.table({"index": pa.array(range(len(file_names)), pa.int32()), "name": pa.array(file_names, pa.string())})
    for name, table in (("unreadable_rows", unreadable), ("file_names", names)):
        con.con.register(name, table)
    query = (
        f"select places.{FILE} as file, {'places.line' if raw.has_lines else 'null::bigint'} as line, "
        f"{'null::bigint' if raw.has_lines else f'places.{ROW}'} as row, "
        f"list_filter([{named}], lambda name: name is not null) as reasons, null::varchar as detail, "
        f"to_json(struct_pack({texts}))::varchar as raw from ({places}) places "
        f"join raw_events raw on places.{FILE} is not distinct from raw.{FILE} and places.{ROW} = raw.{ROW} "
        "union all by name select *, null::bigint as row from unreadable_rows"
    )
    files.copy_query(
        con,
        f"select coalesce(name, 'query') as file, * exclude (file, index, name) from ({query}) rejected "
        "left join file_names on rejected.file = file_names.index order by all",
        path,
        mode=files.PRIVATE,
    )
    for name in ("unreadable_rows", "file_names"):
        con.con.unregister(name)
