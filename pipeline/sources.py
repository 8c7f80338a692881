"""The user's tables -> checked events, products, customers; and a summary of what was read and set aside."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa

from features import checks
from features.events import EVENT_SCHEMA
from pipeline import catalogue, outputs
from pipeline.engines import materialise
from pipeline.files import FILE, ROW, RawTable, SourceError, map_columns, read_raw
from pipeline.params import Params
from pipeline.parsing import (
    as_event_type,
    as_number,
    as_text,
    as_time,
    is_long_text,
    is_number,
    is_unreadable_number,
    literal,
    quoted,
)

log = logging.getLogger("kindred")

REQUIRED = ("customer_id", "occurred_at", "event_type")
NUMBERS = ("quantity", "unit_price", "discount")
MAX_REJECTED_ROWS = 1_000_000
EXAMPLES = 5


@dataclass(frozen=True)
class ReadingSummary:
    """What was read: counts that add up, and nothing of anybody."""

    files: dict[str, int]
    read_count: int
    accepted_count: int
    rejected_count: int
    rejected_by_rule: dict[str, int]
    noted_by_rule: dict[str, int]
    duplicate_count: int
    duplicates_dropped: bool
    physical_line_count: int | None
    other_event_types: dict[str, int]
    first_event_at: str
    last_event_at: str
    customer_count: int
    product_count: int
    digest: str
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Source:
    """Checked tables in the database.

    Attributes
    ----------
    events : table
        `EVENT_SCHEMA`, accepted rows of all times.
    products : table or None
        product_id, category_path; one row per product.
    customers : table or None
        customer_id, registered_at (UTC, may be null) and attributes; one row per customer.
    """

    events: ir.Table
    products: ir.Table | None
    customers: ir.Table | None
    summary: ReadingSummary


def read_source(con: Any, params: Params, *, rejected_path: Path | None) -> Source:
    """Read and check the tables of ``params.source``.

    Parameters
    ----------
    rejected_path : Path or None
        Parquet for the rows set aside, with file, row, reasons and raw values; readable by its owner only.

    Raises
    ------
    SourceError
        A table cannot be read, lacks a column, or breaks a rule more often than `checks` allow.
    """
    source = params.source
    raw = read_raw(con, source.events, params, name="raw_events", key="source.events")
    rules = checks.rules(max_text_chars=source.max_text_chars)
    parsed = con.sql(_parse_events(con, raw, params))
    staged = materialise(con, checks.with_reasons(parsed, rules), "staged_events")
    warnings: list[str] = []
    products = catalogue.read_products(con, params, warnings)
    customers = catalogue.read_customers(con, params, warnings)
    events, duplicate_count = _accepted_events(con, staged, drop_duplicates=source.drop_duplicates)
    summary = _summarise(con, params, raw, rules, events, products, duplicate_count, warnings)
    if rejected_path is not None:
        _write_rejected(con, raw, rules, rejected_path)
    _enforce_thresholds(con, params, summary, rules, rejected_path)
    _refuse_emptiness(params, summary)
    for warning in summary.warnings:
        log.warning("Warning: %s", warning)
    return Source(events, products, customers, summary)


def _parse_events(con: Any, raw: RawTable, params: Params) -> str:
    """SQL that gives the raw events our columns and types, and the flags that the rules need."""
    table = params.source.events
    theirs = map_columns(raw, table.columns, list(EVENT_SCHEMA), REQUIRED, key="source.events")
    at, kind_column = theirs["occurred_at"], theirs["event_type"]
    largest = None
    if is_number(raw.columns[at]):
        largest = con.con.execute(f"select max({quoted(at)})::double from raw_events").fetchone()[0]
    picked = {
        "occurred_at": as_time(
            at, raw.columns[at], time_format=table.time_format, timezone=table.timezone, largest=largest
        ),
        "event_type": as_event_type(kind_column, raw.columns[kind_column], table),
        "source_event_type": as_text(kind_column, raw.columns[kind_column]),
    }
    for name in EVENT_SCHEMA:
        if name in picked:
            continue
        if name not in theirs:
            picked[name] = "null::double" if name in NUMBERS else "null::varchar"
        elif name in NUMBERS:
            picked[name] = as_number(theirs[name], raw.columns[theirs[name]])
        else:
            picked[name] = as_text(theirs[name], raw.columns[theirs[name]])
    picked["quantity"] = f"coalesce({picked['quantity']}, 1.0)"
    if params.source.category_separator != " > ":
        picked["category_path"] = (
            f"replace({picked['category_path']}, {literal(params.source.category_separator)}, ' > ')"
        )
    unreadable = [is_unreadable_number(theirs[n], raw.columns[theirs[n]]) for n in NUMBERS if n in theirs]
    texts = [quoted(theirs[n]) for n in EVENT_SCHEMA if n in theirs and raw.columns[theirs[n]] == "VARCHAR"]
    picked["has_long_text"] = " or ".join(is_long_text(text, params.source.max_text_chars) for text in texts) or "false"
    picked["has_unreadable_number"] = " or ".join(unreadable) or "false"
    listed = ", ".join(f"{value} as {name}" for name, value in picked.items())
    return f"select {listed}, {FILE}, {ROW} from raw_events"


def _accepted_events(con: Any, staged: ir.Table, *, drop_duplicates: bool) -> tuple[ir.Table, int]:
    """The accepted rows, and how many of them repeat another in every column."""
    listed = ", ".join(EVENT_SCHEMA)
    total, distinct = con.con.execute(
        f"select count(*), count(distinct hash({listed})) from staged_events where {checks.REASONS} = 0"
    ).fetchone()
    if drop_duplicates and distinct < total:
        good = checks.accepted(staged).select(*EVENT_SCHEMA)
        return materialise(con, good.distinct(), "events"), total - distinct
    con.con.execute(
        f"create or replace temp view events as select {listed} from staged_events where {checks.REASONS} = 0"
    )
    return con.table("events", database=("temp", "main")), total - distinct


def _summarise(
    con: Any,
    params: Params,
    raw: RawTable,
    rules: tuple[checks.Rule, ...],
    events: ir.Table,
    products: ir.Table | None,
    duplicate_count: int,
    warnings: list[str],
) -> ReadingSummary:
    bits = ", ".join(f"count(*) filter (({checks.REASONS} & {2**bit}) <> 0)" for bit in range(len(rules)))
    staged, rejected, *counts = con.con.execute(
        f"select count(*), count(*) filter ({checks.REASONS} <> 0), {bits} from staged_events"
    ).fetchone()
    encoding = sum("INVALID ENCODING" in kind or "UNICODE" in kind for _, _, kind in raw.unreadable)
    by_rule = {rule.name: count for rule, count in zip(rules, counts, strict=True)}
    # Found while the files are split into rows, as no row with bytes that are not UTF-8 comes out of that.
    by_rule = {"unreadable_row": len(raw.unreadable) - encoding, "broken_encoding": encoding, **by_rule}
    as_of = params.as_of.strftime("%Y-%m-%d %H:%M:%S.%f")
    first, last, late, customers = con.con.execute(
        f"select min(occurred_at), max(occurred_at) filter (occurred_at < timestamp '{as_of}'), "
        f"count(*) filter (occurred_at >= timestamp '{as_of}'), count(distinct customer_id) from events"
    ).fetchone()
    unknown = 0
    if products is not None:
        unknown = con.con.execute(
            "select count(*) from events anti join products using (product_id) where events.product_id is not null"
        ).fetchone()[0]
    others = con.con.execute(
        f"select source_event_type, count(*) from staged_events where event_type = 'other' and {checks.REASONS} = 0 "
        "group by 1 order by 2 desc, 1 limit 20"
    ).fetchall()
    read = staged + len(raw.unreadable)
    accepted = staged - rejected
    if read != accepted + rejected + len(raw.unreadable):
        raise AssertionError("rows read must be rows accepted and rows rejected")
    return ReadingSummary(
        files={"events": len(raw.files)},
        read_count=read,
        accepted_count=accepted,
        rejected_count=rejected + len(raw.unreadable),
        rejected_by_rule=by_rule,
        noted_by_rule={"unknown_product": unknown, "after_as_of": late},
        duplicate_count=duplicate_count,
        duplicates_dropped=params.source.drop_duplicates,
        physical_line_count=raw.physical_line_count,
        other_event_types=dict(others),
        first_event_at=str(first) if first else "",
        last_event_at=str(last) if last else "",
        customer_count=customers,
        product_count=0 if products is None else int(products.count().to_pyarrow().as_py()),
        digest=raw.digest,
        warnings=warnings,
    )


def _enforce_thresholds(
    con: Any, params: Params, summary: ReadingSummary, rules: tuple[checks.Rule, ...], rejected_path: Path | None
) -> None:
    read = max(summary.read_count, 1)
    broken: list[tuple[str, int, float]] = []
    for name, count in (summary.rejected_by_rule | summary.noted_by_rule).items():
        threshold = getattr(params.checks, name)
        if count / read > threshold.error:
            broken.append((name, count, threshold.error))
        elif count / read > threshold.warn:
            kept = "kept" if name in summary.noted_by_rule else "set aside"
            summary.warnings.append(f"{name}: {count:,} of {read:,} rows ({count / read:.2%}), {kept}")
    if broken:
        expectations = {rule.name: rule.expectation for rule in rules}
        lines = [
            f"  {name:<22}{count:>12,} rows {count / read:>8.2%} (allowed {allowed:.2%})  "
            f"expected {expectations.get(name, 'rows that can be read')}{_example_rows(con, name, rules)}"
            for name, count, allowed in broken
        ]
        where = f" All of them, with their reasons: {rejected_path}." if rejected_path else ""
        raise SourceError(
            f"source.events: too many of the {read:,} rows cannot be used.\n"
            + "\n".join(lines)
            + f"\nMend the log or its description in params.yaml, or raise the threshold under `checks`.{where}"
        )


def _example_rows(con: Any, name: str, rules: tuple[checks.Rule, ...]) -> str:
    bits = [bit for bit, rule in enumerate(rules) if rule.name == name]
    if not bits:
        return ""
    rows = con.con.execute(
        f"select {FILE}, {ROW} from staged_events where ({checks.REASONS} & {2 ** bits[0]}) <> 0 "
        f"order by all limit {EXAMPLES}"
    ).fetchall()
    told = ", ".join(f"{row:,}" for _, row in rows)
    return f"; {Path(rows[0][0]).name}, for example rows {told}" if rows else ""


def _write_rejected(con: Any, raw: RawTable, rules: tuple[checks.Rule, ...], path: Path) -> None:
    names = "[" + ", ".join(literal(rule.name) for rule in rules) + "]"
    bits = f"list_filter(range({len(rules)}), lambda bit: (reasons & (1 << bit)) <> 0)"
    raws = ", ".join(f"{quoted(column)} := raw.{quoted(column)}::varchar" for column in raw.columns)
    rejected = con.con.execute(
        f"select staged.{FILE} as file, staged.{ROW} as row, "
        f"list_transform({bits}, lambda bit: ({names})[bit + 1]) as reasons, "
        f"to_json(struct_pack({raws}))::varchar as raw "
        f"from (select {FILE}, {ROW}, reasons from staged_events where reasons <> 0) staged "
        f"join raw_events raw on staged.{FILE} = raw.{FILE} and staged.{ROW} = raw.{ROW} "
        f"order by 1, 2 limit {MAX_REJECTED_ROWS}"
    ).to_arrow_table()
    lines = pa.table(
        {
            "file": pa.array([file for file, _, _ in raw.unreadable], pa.string()),
            "row": pa.array([line for _, line, _ in raw.unreadable], pa.int64()),
            "reasons": pa.array([[f"unreadable_row: {kind}"] for _, _, kind in raw.unreadable], pa.list_(pa.string())),
            "raw": pa.array([None] * len(raw.unreadable), pa.string()),
        }
    )
    outputs.write_table(path, pa.concat_tables([rejected.cast(lines.schema), lines]), mode=outputs.PRIVATE)


def _refuse_emptiness(params: Params, summary: ReadingSummary) -> None:
    if summary.read_count == 0:
        raise SourceError("source.events: expected rows, found a table without any.")
    if summary.accepted_count == 0:
        raise SourceError("source.events: expected rows that can be used; all of them were set aside.")
    if not summary.last_event_at:
        raise SourceError(
            f"as_of: expected a moment after the first event ({summary.first_event_at}). "
            f"Got {params.as_of:%Y-%m-%d %H:%M:%S}, when nothing had happened yet."
        )
