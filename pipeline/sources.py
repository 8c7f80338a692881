"""The user's tables -> checked events, products, customers; and a summary of what was read and set aside."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import ibis.expr.types as ir

from features import checks
from features.events import EVENT_SCHEMA, WITHOUT_PRODUCT, EventType
from pipeline import catalogue
from pipeline.engines import TEMPORARY, create_view, materialise
from pipeline.files import RawTable, SourceError, map_columns, read_raw
from pipeline.params import Params
from pipeline.parsing import (
    FILE,
    ROW,
    as_category_path,
    as_event_type,
    as_number,
    as_text,
    as_time,
    has_long_text,
    is_number,
    is_unreadable_number,
    literal,
    quoted,
)
from pipeline.rejects import enforce_thresholds, write_rejected

log = logging.getLogger("kindred")

REQUIRED = ("customer_id", "occurred_at", "event_type")
NUMBERS = ("quantity", "unit_price", "discount")
HASH = "kindred_hash"
MAX_TYPES, SHOWN_TYPES, MAX_TYPE_CHARS = 50, 5, 40
"""More different types than that are none, but ids or texts: they are not told."""
ABOVE_PRICE = "discount > quantity * unit_price * (1 + 1e-9)"
"""A discount that is a sum of cents may be above the price in the last digit."""
SORTED_AT_ONCE = 2**25
"""Hashes, of eight bytes each, in memory at once."""


@dataclass(frozen=True)
class ReadingSummary:
    """What was read: counts that add up, and nothing of anybody.

    ``unlisted_count`` are events of types in no list of `source.events.event_types`; ``other_event_types`` the most
    frequent of these types, cut, and none where so many differ that they may be no types.
    """

    files: dict[str, int]
    read_count: int
    accepted_count: int
    rejected_count: int
    rejected_by_rule: dict[str, int]
    noted_by_rule: dict[str, int]
    duplicate_count: int
    duplicates_dropped: bool
    physical_line_count: int | None
    event_types: dict[str, int]
    unlisted_count: int
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
        product_id, category_path, brand (may be null); one row per product.
    customers : table or None
        customer_id, registered_at (UTC, may be null) and attributes; one row per customer.
    """

    events: ir.Table
    products: ir.Table | None
    customers: ir.Table | None
    summary: ReadingSummary

    def of_customer(self, customer_id: str) -> Source:
        """The same shop, with the events of one customer alone."""
        customers = self.customers
        if customers is not None:
            customers = customers.filter(customers.customer_id == customer_id)
        return replace(self, events=self.events.filter(self.events.customer_id == customer_id), customers=customers)


def read_source(con: Any, params: Params, *, rejected_path: Path | None, since: datetime | None = None) -> Source:
    """Read and check the tables of ``params.source``.

    Parameters
    ----------
    rejected_path : Path or None
        Parquet for the rows set aside, with file, line or row, reasons and raw values; readable by its owner only.
    since : datetime, optional
        UTC without a zone. Events before it or from ``params.as_of`` on, and rows whose time cannot be read, are not
        looked at and not counted.

    Raises
    ------
    SourceError
        A table cannot be read, lacks a column, or breaks a rule more often than `checks` allow.
    """
    source = params.source
    findings = catalogue.Findings()
    raw = read_raw(con, source.events, params, name="raw_events", key="source.events")
    if since is not None:
        _only_since(con, params, raw, since)
    findings.tables["events"] = raw
    rules = checks.rules(max_text_chars=source.max_text_chars)
    _check_events(con, params, raw, rules)
    products = catalogue.read_products(con, params, findings)
    customers = catalogue.read_customers(con, params, findings)
    events, duplicate_count = _distinct_events(con, drop_duplicates=source.drop_duplicates)
    summary = _summarise(con, params, findings, rules, events, products, duplicate_count)
    if rejected_path is not None:
        write_rejected(con, params, raw, rules, rejected_path)
    if summary.read_count == 0:
        if since is None:
            raise SourceError("source.events: expected rows, found a table without any.")
        return Source(events, products, customers, summary)
    _refuse_a_log_of_the_future(params, summary)
    enforce_thresholds(con, params, raw, summary, rules, rejected_path)
    for warning in summary.warnings:
        log.warning("Warning: %s", warning)
    return Source(events, products, customers, summary)


def _only_since(con: Any, params: Params, raw: RawTable, since: datetime) -> None:
    """Keeps of the raw events those of a span, by a filter that the scan of Parquet can use.

    They are few, and read several times: a table of their own spares a scan of all the log each time.
    """
    at = map_columns(raw, params.source.events.columns, list(EVENT_SCHEMA), REQUIRED, key="source.events")[
        "occurred_at"
    ]
    con.con.execute("drop view if exists all_raw_events; drop table if exists all_raw_events")
    kind = "view" if raw.files and not raw.has_lines else "table"
    con.con.execute(f"alter {kind} raw_events rename to all_raw_events")
    until, day = params.as_of.replace(tzinfo=None), timedelta(days=1)
    conditions = [_between(_time_of(con, params, raw, at, rows="all_raw_events"), since, until)]
    if raw.columns[at] == "TIMESTAMP WITH TIME ZONE":
        conditions = [_between(quoted(at), since, until, kind="timestamptz", suffix="+00")]
    elif raw.columns[at] == "DATE" or raw.columns[at].startswith("TIMESTAMP"):
        # Local time is less than a day from UTC, and unlike the exact condition this one is met by statistics.
        conditions.append(_between(quoted(at), since - day, until + day))
    con.con.execute(f"create table raw_events as select * from all_raw_events where {' and '.join(conditions)}")


def count_before(con: Any, params: Params, moments: list[datetime]) -> list[int]:
    """Raw rows of the whole log from before each moment (UTC without a zone), good or not: one scan of times alone."""
    tables = {row[0] for row in con.con.execute("show tables").fetchall()}
    rows = "all_raw_events" if "all_raw_events" in tables else "raw_events"
    columns = {row[0]: row[1] for row in con.con.execute(f"describe {rows}").fetchall()}
    raw = RawTable(rows, columns, [], "")
    at = params.source.events.columns.get("occurred_at", "occurred_at")
    moment_of = _time_of(con, params, raw, at, rows=rows)
    counts = ", ".join(f"count(*) filter (moment < timestamp {literal(str(moment))})" for moment in moments)
    return list(con.con.execute(f"select {counts} from (select {moment_of} as moment from {rows})").fetchone())


def _between(moment: str, since: datetime, until: datetime, *, kind: str = "timestamp", suffix: str = "") -> str:
    bounds = [f"{kind} {literal(f'{bound}{suffix}')}" for bound in (since, until)]
    return f"{moment} >= {bounds[0]} and {moment} < {bounds[1]}"


def _time_of(con: Any, params: Params, raw: RawTable, at: str, *, rows: str) -> str:
    """SQL for the moment of an event of ``rows``."""
    table, largest = params.source.events, None
    if is_number(raw.columns[at]):
        largest = con.con.execute(f"select max({quoted(at)})::double from {rows}").fetchone()[0]
    return as_time(at, raw.columns[at], time_format=table.time_format, timezone=table.timezone, largest=largest)


def _check_events(con: Any, params: Params, raw: RawTable, rules: tuple[checks.Rule, ...]) -> None:
    """Table broken_rows (file, row, reasons) and view accepted_events, which has our columns.

    Rows are not copied: twenty million of them take three gigabytes, and longer to write than to read again from
    Parquet, where each later step fetches only the columns it needs. Only texts that must be read as times are kept.
    """
    parsed = con.sql(_parse_events(con, raw, params))
    at = params.source.events.columns.get("occurred_at", "occurred_at")
    if raw.columns[at] == "VARCHAR":
        parsed = materialise(con, parsed, "parsed_events")
    reasons = checks.with_reasons(parsed, rules)
    checked = materialise(con, reasons.select(FILE, ROW, HASH, checks.REASONS), "checked_rows")
    broken = materialise(con, checks.rejected(checked).drop(HASH), "broken_rows")
    create_view(con, checks.accepted(parsed, broken, place=(FILE, ROW)), "accepted_events")


def _parse_events(con: Any, raw: RawTable, params: Params) -> str:
    """SQL that gives the raw events our columns and types, and the flags that the rules need."""
    table = params.source.events
    theirs = map_columns(raw, table.columns, list(EVENT_SCHEMA), REQUIRED, key="source.events")
    at, kind_column = theirs["occurred_at"], theirs["event_type"]

    def text_of(column: str) -> str:
        kind = raw.columns[column]
        return as_text(column, kind, has_empty=kind == "VARCHAR" and _has_empty(con, raw, column))

    picked = {
        "occurred_at": _time_of(con, params, raw, at, rows="raw_events"),
        "event_type": as_event_type(kind_column, raw.columns[kind_column], table),
        "source_event_type": text_of(kind_column),
    }
    for name in EVENT_SCHEMA:
        if name in picked:
            continue
        if name not in theirs:
            picked[name] = "null::double" if name in NUMBERS else "null::varchar"
        elif name in NUMBERS:
            picked[name] = as_number(theirs[name], raw.columns[theirs[name]])
        else:
            picked[name] = text_of(theirs[name])
    picked["quantity"] = f"coalesce({picked['quantity']}, 1.0)"
    if "category_path" in theirs:
        catalogue.refuse_decimals(con, raw, theirs["category_path"], key="source.events.columns.category_path")
        picked["category_path"] = as_category_path(picked["category_path"], params.source.category_separator)
    unreadable = [is_unreadable_number(theirs[n], raw.columns[theirs[n]]) for n in NUMBERS if n in theirs]
    texts = [quoted(theirs[n]) for n in EVENT_SCHEMA if n in theirs and raw.columns[theirs[n]] == "VARCHAR"]
    picked["has_long_text"] = has_long_text(texts, params.source.max_text_chars)
    picked["has_unreadable_number"] = " or ".join(unreadable) or "false"
    listed = ", ".join(f"{value} as {name}" for name, value in picked.items())
    same = ", ".join(EVENT_SCHEMA)
    return f"select *, hash({same}) as {HASH} from (select {listed}, {FILE}, {ROW} from raw_events)"


def _has_empty(con: Any, raw: RawTable, column: str) -> bool:
    """Whether an empty text stands in a column; where none does, the least text that Parquet names of it tells."""
    return bool(con.con.execute(f"select exists (from {raw.name} where {quoted(column)} = '')").fetchone()[0])


def _distinct_events(con: Any, *, drop_duplicates: bool) -> tuple[ir.Table, int]:
    """View events of the accepted rows, and how many repeat another in every column (by a hash of 64 bits)."""
    events = create_view(con, con.table("accepted_events", database=TEMPORARY).select(*EVENT_SCHEMA), "events")
    repeated = _repeated_count(con)
    if drop_duplicates and repeated:
        kept = materialise(con, events.distinct(), "distinct_events")
        repeated = int(events.count().to_pyarrow().as_py()) - int(kept.count().to_pyarrow().as_py())
        events = create_view(con, kept, "events")
    return events, repeated


def _repeated_count(con: Any) -> int:
    """Accepted rows that are the same as another; sorting their hashes takes half the time of a distinct count."""
    rows = con.con.execute(f"select count(*) from checked_rows where {checks.REASONS} = 0").fetchone()[0]
    parts, repeated = 1 + rows // SORTED_AT_ONCE, 0
    for part in range(parts):
        is_mine = f"{checks.REASONS} = 0 and {HASH} % {parts} = {part}"
        hashes = con.con.sql(f"select {HASH} from checked_rows where {is_mine}").fetchnumpy()[HASH]
        hashes.sort()
        repeated += int((hashes[1:] == hashes[:-1]).sum())
    con.con.execute("drop table temp.main.checked_rows")
    return repeated


def _summarise(
    con: Any,
    params: Params,
    findings: catalogue.Findings,
    rules: tuple[checks.Rule, ...],
    events: ir.Table,
    products: ir.Table | None,
    duplicate_count: int,
) -> ReadingSummary:
    raw = findings.tables["events"]
    accepted, rejected, by_rule = _count_reasons(con, raw, rules)
    # Counted anew, not summed up, so that a row lost on the way is found.
    read = con.con.execute("select count(*) from raw_events").fetchone()[0] + len(raw.unreadable)
    if read != accepted + rejected:
        raise AssertionError(f"of {read:,} rows read, {accepted:,} were accepted and {rejected:,} rejected")
    _count_by_product(con, params.as_of)
    by_kind = con.con.execute(
        "select event_type, sum(rows)::bigint, sum(priced)::bigint, min(first_at), max(last_at), sum(late)::bigint, "
        "sum(above_price)::bigint from events_by_product group by 1 order by 2 desc, 1"
    ).fetchall()
    kinds = {kind: count for kind, count, *_ in by_kind}
    has_prices = any(kind == "purchase" and priced for kind, _, priced, *_ in by_kind)
    first = min((row[3] for row in by_kind), default=None)
    last = max((row[4] for row in by_kind if row[4]), default=None)
    late = sum(row[5] for row in by_kind)
    customers = con.con.execute("select count(distinct customer_id) from events").fetchone()[0]
    unknown, without_category = _count_uncategorised(con, products)
    unlisted, others = _unlisted_types(con, params) if "other" in kinds else (0, {})
    con.con.execute("drop table temp.main.events_by_product")
    findings.warnings += _odd_kinds(kinds, unlisted, others, has_prices=has_prices)
    return ReadingSummary(
        files={key: len(table.files) for key, table in findings.tables.items()},
        read_count=read,
        accepted_count=accepted,
        rejected_count=rejected,
        rejected_by_rule=by_rule,
        noted_by_rule={
            "unknown_product": unknown,
            "without_category": without_category,
            "discount_above_price": sum(row[6] for row in by_kind if row[0] == "purchase"),
            "after_as_of": late,
        },
        duplicate_count=duplicate_count,
        duplicates_dropped=params.source.drop_duplicates,
        physical_line_count=raw.physical_line_count,
        event_types=kinds,
        unlisted_count=unlisted,
        other_event_types=others,
        first_event_at=str(first) if first else "",
        last_event_at=str(last) if last else "",
        customer_count=customers,
        product_count=0 if products is None else int(products.count().to_pyarrow().as_py()),
        digest=_digest(findings.tables),
        warnings=findings.warnings,
    )


def _count_by_product(con: Any, as_of: datetime) -> None:
    """Table events_by_product: one row per event type and product, from one look at the events."""
    moment = f"timestamp {literal(as_of.strftime('%Y-%m-%d %H:%M:%S.%f'))}"
    con.con.execute(
        "create or replace temp table events_by_product as select event_type, product_id, category_path is null as "
        "has_no_path, count(*) as rows, count(unit_price) as priced, min(occurred_at) as first_at, "
        f"max(occurred_at) filter (occurred_at < {moment}) as last_at, "
        f"count(*) filter (occurred_at >= {moment}) as late, count(*) filter ({ABOVE_PRICE}) as above_price "
        "from events group by all"
    )


def _count_uncategorised(con: Any, products: ir.Table | None) -> tuple[int, int]:
    """Events on products that the catalogue does not know, and other events that need a category and have none."""
    kinds = ", ".join(literal(str(kind)) for kind in WITHOUT_PRODUCT)
    is_bare = f"has_no_path and event_type not in ({kinds})"
    if products is None:
        bare = con.con.execute(f"select sum(rows) from events_by_product where {is_bare}").fetchone()[0]
        return 0, int(bare or 0)
    is_unknown = "e.product_id is not null and p.product_id is null"
    unknown, without = con.con.execute(
        f"select sum(rows) filter ({is_unknown}), sum(rows) filter (not ({is_unknown}) and p.category_path is null and "
        f"{is_bare}) from events_by_product e left join products p on e.product_id = p.product_id"
    ).fetchone()
    return int(unknown or 0), int(without or 0)


def _unlisted_types(con: Any, params: Params) -> tuple[int, dict[str, int]]:
    """Events of types that are in no list, and how often the most frequent of these types came."""
    listed = ", ".join(literal(name) for name in params.source.events.event_types.get(EventType.OTHER, ()))
    is_unlisted = "event_type = 'other'" + (f" and source_event_type not in ({listed})" if listed else "")
    found = con.con.execute(
        f"select source_event_type, count(*), sum(count(*)) over (), count(*) over () from accepted_events "
        f"where {is_unlisted} group by 1 order by 2 desc, 1 limit {SHOWN_TYPES}"
    ).fetchall()
    if not found:
        return 0, {}
    counts: Counter[str] = Counter()
    if found[0][3] <= MAX_TYPES:
        for name, count, *_ in found:
            counts[" ".join(name.split())[:MAX_TYPE_CHARS]] += count
    return int(found[0][2]), dict(counts)


def unlisted_text(unlisted: int, others: dict[str, int], event_count: int) -> str:
    """How many events are of types in no list, and which; empty where there are none."""
    if not unlisted:
        return ""
    rest = unlisted - sum(others.values())
    named = [f"{name} ({count:,})" for name, count in others.items()] + [f"others ({rest:,})"] * (rest > 0)
    which = ", ".join(named) if others else f"more than {MAX_TYPES} different ones; is event_type the right column?"
    return (
        f"{unlisted:,} of {event_count:,} events are of types in no list of source.events.event_types; kept as "
        f"`other`, weight 0, and no visits: {which}"
    )


def _odd_kinds(kinds: dict[str, int], unlisted: int, others: dict[str, int], *, has_prices: bool) -> list[str]:
    """What a wrong description of event types or prices looks like."""
    told = [unlisted_text(unlisted, others, sum(kinds.values()))] if unlisted else []
    if not kinds.get("purchase"):
        told.append("no event is a purchase: check source.events.event_types if the shop sells anything")
    elif not has_prices:
        told.append("no purchase has a unit_price: spend is 0 for everybody; value tiers and RFM groups go without it")
    return told


def _count_reasons(con: Any, raw: RawTable, rules: tuple[checks.Rule, ...]) -> tuple[int, int, dict[str, int]]:
    """Rows accepted, rows set aside, and how many broke which rule."""
    accepted = con.con.execute("select count(*) from accepted_events").fetchone()[0]
    bits = "".join(f", count(*) filter (({checks.REASONS} & {2**bit}) <> 0)" for bit in range(len(rules)))
    rejected, *counts = con.con.execute(f"select count(*){bits} from broken_rows").fetchone()
    # These two are found while files are split into rows.
    unsplit = {
        name: sum(row.reason == name for row in raw.unreadable) for name in ("unreadable_row", "broken_encoding")
    }
    by_rule = unsplit | {rule.name: count for rule, count in zip(rules, counts, strict=True)}
    return accepted, rejected + len(raw.unreadable), by_rule


def _digest(tables: dict[str, RawTable]) -> str:
    """SHA-256 of all tables; of the events alone where there are no others."""
    if len(tables) == 1:
        return tables["events"].digest
    return hashlib.sha256("".join(f"{key}\0{table.digest}\0" for key, table in tables.items()).encode()).hexdigest()


def _refuse_a_log_of_the_future(params: Params, summary: ReadingSummary) -> None:
    if summary.first_event_at and not summary.last_event_at:
        raise SourceError(
            f"as_of: expected a moment after the first event ({summary.first_event_at}). "
            f"Got {params.as_of:%Y-%m-%d %H:%M:%S}, when nothing had happened yet."
        )
