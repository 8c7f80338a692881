"""Counts of what was read from the user's tables, and warnings about tables that look wrongly described."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import ibis.expr.types as ir

from features import checks
from features.events import WITHOUT_PRODUCT, EventType, constant
from pipeline.config.params import Params
from pipeline.ingest.customers.id_warnings import lost_zeros_warning
from pipeline.ingest.customers.known_ids import CustomerIds, LeftOut, count_customers
from pipeline.ingest.files.raw_tables import RawTable
from pipeline.ingest.findings.findings import Findings
from pipeline.ingest.findings.renamed_categories import renamed_category_warnings
from pipeline.stores.databases.sql import literal

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

MAX_TYPES, SHOWN_TYPES, MAX_TYPE_CHARS = 50, 5, 40
"""With more than MAX_TYPES different event types, the column probably holds ids or texts, and none is shown."""
MAX_ROUNDING = 1e-9
"""Share of a price by which a discount may be above it, as one that is a sum of cents may differ in the last digit."""
BY_PRODUCT = "events_by_product"
"""Name of the table `events_by_product`."""


@dataclass(frozen=True)
class ReadingSummary:
    """Counts of what was read, without any customer's data.

    ``unlisted_count`` is the number of events of types in no list of `source.events.event_types`. ``other_event_types``
    has the most frequent of these types, shortened; it is empty if there are more than `MAX_TYPES`. ``read_count`` is
    the sum of accepted, rejected, forgotten and left_out rows; forgotten rows belong to customers who were forgotten.
    ``joined_count`` is the number of ids that others stand for by `source.identities`.
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
    forgotten_count: int = 0
    joined_count: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def has_products(self) -> bool:
        """Whether the source has products or categories: only then is an event without one rejected."""
        return "missing_product_id" in self.rejected_by_rule

    @property
    def has_orders_alone(self) -> bool:
        """Whether all events are purchases or returns."""
        return self.event_types.keys() <= {str(EventType.PURCHASE), str(EventType.RETURN)}

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def summarise(
    con: Backend,
    params: Params,
    findings: Findings,
    rules: tuple[checks.Rule, ...],
    products: ir.Table | None,
    events: ir.Table,
    duplicate_count: int,
    ids: CustomerIds,
) -> ReadingSummary:
    """Count the rows of the tables raw_events, broken_rows, accepted_events and `events_by_product`, which is dropped.

    Parameters
    ----------
    events : table
        The accepted events without the repeats that are dropped, on any engine.
    """
    raw = findings.tables["events"]
    accepted, rejected, by_rule = _count_reasons(con, raw, rules)
    read, forgotten = _count_read(con, raw, ids.left_out), ids.left_out.forgotten_count
    _refuse_lost_rows(read, accepted, rejected, forgotten + sum(findings.left_out.values()))
    kinds = _count_by_kind(con)
    event_types = {kind.name: kind.count for kind in kinds}
    uncategorised = _count_uncategorised(con, products) if "missing_product_id" in by_rule else {}
    findings.warnings += _product_id_warnings(con) if uncategorised.get("unknown_product") else []
    unlisted, others = _unlisted_types(con, params) if "other" in event_types else (0, {})
    findings.warnings += renamed_category_warnings(con, params.source.category_separator)
    con.con.execute(f"drop table temp.main.{BY_PRODUCT}")
    has_prices = any(kind.name == "purchase" and kind.priced_count for kind in kinds)
    findings.warnings += _event_type_warnings(event_types, unlisted, others, has_prices=has_prices)
    return ReadingSummary(
        files={key: len(table.files) for key, table in findings.tables.items()},
        read_count=read,
        accepted_count=accepted,
        rejected_count=rejected,
        rejected_by_rule=by_rule,
        noted_by_rule=uncategorised | _noted_by_kind(kinds),
        duplicate_count=duplicate_count,
        duplicates_dropped=params.source.drop_duplicates is not False,
        physical_line_count=raw.physical_line_count,
        event_types=event_types,
        unlisted_count=unlisted,
        other_event_types=others,
        first_event_at=str(min((kind.first_at for kind in kinds), default="")),
        last_event_at=str(max((kind.last_at for kind in kinds if kind.last_at), default="")),
        customer_count=_count_customers(con, ids, events, is_whole=accepted + forgotten == read),
        product_count=0 if products is None else int(products.count().to_pyarrow().as_py()),
        digest=tables_digest(findings.tables),
        warnings=findings.warnings,
        forgotten_count=forgotten,
        joined_count=ids.joined_count,
        left_out=findings.left_out,
    )


def _count_read(con: Backend, raw: RawTable, left_out: LeftOut) -> int:
    """All rows, counted and not summed up, so that a lost row is noticed."""
    split: int = con.con.execute("select count(*) from raw_events").fetchone()[0]
    return split + len(raw.unreadable) + left_out.forgotten_line_count


def _refuse_lost_rows(read: int, accepted: int, rejected: int, left_out: int) -> None:
    if read != accepted + rejected + left_out:
        raise AssertionError(f"read {read:,}, accepted {accepted:,}, rejected {rejected:,}, left out {left_out:,}")


def _count_customers(con: Backend, ids: CustomerIds, events: ir.Table, *, is_whole: bool) -> int:
    """Customers with an accepted event; if all rows were accepted, they are known without a scan."""
    if is_whole:
        return count_customers(con, ids)
    return int(events.customer_id.nunique().to_pyarrow().as_py())


def events_by_product(events: ir.Table, as_of: datetime) -> ir.Table:
    """Counts and times by event type, product and own category, from one scan of the events.

       events
    -> (event_type, product_id, category_path, rows, priced, first_at, last_at, late, above_price)
    """
    is_late = events.occurred_at >= as_of.astimezone(UTC).replace(tzinfo=None)
    price = events.quantity * events.unit_price
    return events.group_by("event_type", "product_id", "category_path").aggregate(
        rows=events.count(),
        priced=events.unit_price.count(),
        first_at=events.occurred_at.min(),
        last_at=events.occurred_at.max(where=~is_late),
        late=events.count(where=is_late),
        above_price=events.count(where=events.discount > price * constant(1 + MAX_ROUNDING)),
    )


@dataclass(frozen=True)
class _KindCounts:
    """Events of one type.

    Attributes
    ----------
    last_at : datetime or None
        The last before as_of, if any.
    late_count : int
        Events from as_of on.
    """

    name: str
    count: int
    priced_count: int
    first_at: datetime
    last_at: datetime | None
    late_count: int
    above_price_count: int


def _count_by_kind(con: Backend) -> list[_KindCounts]:
    """Sums of the table events_by_product by event type, most frequent first."""
    rows = con.con.execute(
        "select event_type, sum(rows)::bigint, sum(priced)::bigint, min(first_at), max(last_at), sum(late)::bigint, "
        "sum(above_price)::bigint from events_by_product group by 1 order by 2 desc, 1"
    ).fetchall()
    return [_KindCounts(*row) for row in rows]


def _noted_by_kind(kinds: list[_KindCounts]) -> dict[str, int]:
    """Rows that are kept, but pointed out, by rule."""
    return {
        "discount_above_price": sum(kind.above_price_count for kind in kinds if kind.name == "purchase"),
        "after_as_of": sum(kind.late_count for kind in kinds),
    }


def _count_uncategorised(con: Backend, products: ir.Table | None) -> dict[str, int]:
    """Events of products that are not in the catalogue, and other events that lack a category they need, by rule."""
    kinds = ", ".join(literal(str(kind)) for kind in WITHOUT_PRODUCT)
    # A refund of an amount has no product, and needs no category.
    is_refund = f"(event_type = '{EventType.RETURN}' and e.product_id is null)"
    lacks_category = f"e.category_path is null and event_type not in ({kinds}) and not {is_refund}"
    if products is None:
        without = con.con.execute(f"select sum(rows) from events_by_product e where {lacks_category}").fetchone()[0]
        return {"unknown_product": 0, "without_category": int(without or 0)}
    is_unknown = "e.product_id is not null and p.product_id is null"
    unknown, without = con.con.execute(
        f"select sum(rows) filter ({is_unknown}), sum(rows) filter (not ({is_unknown}) and p.category_path is null and "
        f"{lacks_category}) from events_by_product e left join products p on e.product_id = p.product_id"
    ).fetchone()
    return {"unknown_product": int(unknown or 0), "without_category": int(without or 0)}


def _product_id_warnings(con: Backend) -> list[str]:
    """A warning if products of the events are in the catalogue with leading zeros, or without."""
    ids = "select distinct product_id as id from events_by_product where product_id is not null"
    products = "select product_id as id from products"
    return lost_zeros_warning(con, ids, products, what="product ids", where="source.products")


def _unlisted_types(con: Backend, params: Params) -> tuple[int, dict[str, int]]:
    """Number of events of types in no list, and counts of the most frequent of these types."""
    listed = ", ".join(literal(name) for name in params.source.events.event_types.get(EventType.OTHER, ()))
    is_unlisted = "event_type = 'other'" + (f" and source_event_type not in ({listed})" if listed else "")
    types = con.con.execute(
        f"select source_event_type, count(*), sum(count(*)) over (), count(*) over () from accepted_events "
        f"where {is_unlisted} group by 1 order by 2 desc, 1 limit {SHOWN_TYPES}"
    ).fetchall()
    if not types:
        return 0, {}
    counts: Counter[str] = Counter()
    if types[0][3] <= MAX_TYPES:
        for name, count, *_ in types:
            counts[" ".join(name.split())[:MAX_TYPE_CHARS]] += count
    return int(types[0][2]), dict(counts)


def unlisted_text(unlisted: int, others: dict[str, int], event_count: int) -> str:
    """A sentence on the events of types in no list; empty if there are none."""
    if not unlisted:
        return ""
    remaining = unlisted - sum(others.values())
    named = [f"{name} ({count:,})" for name, count in others.items()] + [f"others ({remaining:,})"] * (remaining > 0)
    which = ", ".join(named) if others else f"more than {MAX_TYPES} different types; is event_type the right column?"
    return (
        f"{unlisted:,} of {event_count:,} events have types in no list of source.events.event_types. They are kept as "
        f"`other`, with weight 0 and outside visits: {which}"
    )


def _event_type_warnings(
    kinds: dict[str, int], unlisted: int, others: dict[str, int], *, has_prices: bool
) -> list[str]:
    """Warnings about event types or prices that look wrongly described."""
    warnings = [unlisted_text(unlisted, others, sum(kinds.values()))] if unlisted else []
    if not kinds.get("purchase"):
        warnings.append("no event is a purchase: check source.events.event_types if the shop sells anything")
    elif not has_prices:
        warnings.append(
            "no purchase has a unit_price: spend is 0 for everybody; value tiers and RFM groups do not use it"
        )
    return warnings


def _count_reasons(con: Backend, raw: RawTable, rules: tuple[checks.Rule, ...]) -> tuple[int, int, dict[str, int]]:
    """Numbers of accepted rows, of rejected rows, and of rows that broke each rule."""
    accepted = con.con.execute("select count(*) from accepted_events").fetchone()[0]
    bits = "".join(f", count(*) filter (({checks.REASONS} & {2**bit}) <> 0)" for bit in range(len(rules)))
    rejected, *counts = con.con.execute(f"select count(*){bits} from broken_rows").fetchone()
    by_rule = count_unsplit(raw) | {rule.name: count for rule, count in zip(rules, counts, strict=True)}
    return accepted, rejected + len(raw.unreadable), by_rule


def count_unsplit(raw: RawTable) -> dict[str, int]:
    """Rows that could not be split into columns, by rule: found while files are split into rows."""
    return {name: sum(row.reason == name for row in raw.unreadable) for name in ("unreadable_row", "broken_encoding")}


def tables_digest(tables: dict[str, RawTable]) -> str:
    """SHA-256 of all tables; of a single one, its own."""
    if len(tables) == 1:
        return next(iter(tables.values())).digest
    return hashlib.sha256("".join(f"{key}\0{table.digest}\0" for key, table in tables.items()).encode()).hexdigest()
