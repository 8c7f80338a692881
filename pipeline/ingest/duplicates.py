"""Rows that repeat another one: in every column, by their event_id, or within seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir

from features import checks
from features.events import EVENT_SCHEMA, EventType, epoch_seconds
from pipeline.config.params import Params
from pipeline.ingest.columns.column_mapping import EVENT_ID
from pipeline.ingest.files.raw_tables import RawTable, SourceError
from pipeline.stores.database import TEMPORARY
from pipeline.stores.databases.sql import quoted
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.engines.engine import Engine

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


HASH = "kindred_hash"
"""Column of `checked_rows`: a hash of what repeats have in common."""
IN_ORDER = ("occurred_at", *(name for name in EVENT_SCHEMA if name != "occurred_at"))
"""Columns by which the first of several repeats is found. A later repeat never takes the place of an earlier one."""
MAX_SORTED_HASHES = 2**25
"""Hashes in memory at once, of eight bytes each."""
RETRY_SECONDS = 10.0
MAX_PURCHASES = 4_000_000
MIN_RETRIES, MAX_RETRY_SHARE = 10, 0.001
"""More purchases than these that repeat another within `RETRY_SECONDS`, and a larger share, cause a warning."""


def distinct_events(con: Backend, params: Params) -> tuple[ir.Table, int]:
    """The accepted rows, and the number of rows that repeat another one (by a 64-bit hash).

    Without the repeats if `source.drop_duplicates` says so.

    Returns
    -------
    table
        Columns of `EVENT_SCHEMA`, and row_refund if the log has ``refunded``.
    int
    """
    accepted = con.table("accepted_events", database=TEMPORARY)
    return drop_repeats(DuckDB(con), params, accepted, _repeated_count(con))


def drop_repeats(engine: Engine, params: Params, accepted: ir.Table, repeated: int) -> tuple[ir.Table, int]:
    """`distinct_events` of the table ``accepted``, of which some rows are ``repeated`` by their hash."""
    how = params.source.drop_duplicates
    columns = [name for name in (*EVENT_SCHEMA, "row_refund") if name in accepted.columns]
    rows = accepted.select(*columns)
    if how is not False and repeated:
        kept = engine.materialise(_without_repeats(accepted, how, columns), "distinct_events")
        repeated = int(rows.count().to_pyarrow().as_py()) - int(kept.count().to_pyarrow().as_py())
        rows = kept
    return rows, repeated


def _repeated_count(con: Backend) -> int:
    """Accepted rows that repeat another one. Sorting their hashes takes half the time of a distinct count."""
    rows = con.con.execute(f"select count(*) from checked_rows where {checks.REASONS} = 0").fetchone()[0]
    parts, repeated = 1 + rows // MAX_SORTED_HASHES, 0
    for part in range(parts):
        in_part = f"{checks.REASONS} = 0 and {HASH} % {parts} = {part}"
        hashes = con.con.sql(f"select {HASH} from checked_rows where {in_part}").fetchnumpy()[HASH]
        hashes.sort()
        repeated += int((hashes[1:] == hashes[:-1]).sum())
    con.con.execute("drop table temp.main.checked_rows")
    return repeated


def _without_repeats(accepted: ir.Table, how: bool | str | float, columns: list[str]) -> ir.Table:
    """The first of the rows that repeat each other."""
    if how is True:
        return accepted.select(*columns).distinct()
    in_order = ibis.window(group_by=HASH, order_by=[*IN_ORDER, *columns[len(IN_ORDER) :]])
    if how == "event_id":
        first = accepted.mutate(place=ibis.row_number().over(in_order))
        return first.filter(first.place == 0).select(*columns)
    timed = accepted.mutate(gap=_seconds_since_last(accepted, HASH))
    return timed.filter((timed.gap > float(how)).fill_null(True)).select(*columns)


def _seconds_since_last(events: ir.Table, key: str | list[str]) -> ir.FloatingValue:
    """Seconds since the last event with the same ``key``; null for the first."""
    in_order = ibis.window(group_by=key, order_by="occurred_at")
    return epoch_seconds(events.occurred_at) - epoch_seconds(events.occurred_at.lag().over(in_order))


def duplicate_key(raw: RawTable, user_columns: dict[str, str], params: Params) -> str:
    """SQL for what repeats have in common: by default the whole event.

    Rows without an event_id are compared as a whole.

    Raises
    ------
    SourceError
        The source has no event_id, but repeats are to be recognised by it.
    """
    columns = [*EVENT_SCHEMA, *(["row_refund"] if "refunded" in user_columns else [])]
    how, whole = params.source.drop_duplicates, f"hash({', '.join(columns)})"
    if isinstance(how, bool):
        return whole
    if how != EVENT_ID:
        return f"hash({', '.join(name for name in columns if name != 'occurred_at')})"
    if EVENT_ID not in user_columns:
        raise SourceError(
            "source.events: expected a column event_id, as source.drop_duplicates is event_id. Name it in "
            f"source.events.columns: {{event_id: ...}}. Found: {', '.join(raw.columns)}."
        )
    return f"case when {EVENT_ID} is null then {whole} else hash({EVENT_ID}) end"


def is_first(params: Params, *, weight: str) -> str:
    """SQL for whether a row (is_usable) is not a repeat that will be dropped, before rows have prices of their own.

    Parameters
    ----------
    weight : str
        SQL for what the price of a row depends on.
    """
    how = params.source.drop_duplicates
    moment, *others = [weight if name == "unit_price" else name for name in IN_ORDER]
    whole, order = f"{moment}, {', '.join(others)}", ""
    if how is False:
        return "true"
    if how is True:
        key = whole
    elif how == EVENT_ID:
        key, order = f"case when {EVENT_ID} is null then hash({whole}) else hash({EVENT_ID}) end", f"order by {whole}"
    else:
        key, order = ", ".join(others), f"order by {moment}"
        gap = f"epoch({moment}) - epoch(lag({moment}) over (partition by is_usable, {key} {order}))"
        return f"coalesce({gap} > {how}, true)"
    return f"row_number() over (partition by is_usable, {key} {order}) = 1"


def rows_before(rows: str, user_columns: dict[str, str], params: Params, period: str) -> str:
    """SQL for the rows before a ``period`` whose event_id is repeated in it, as another condition; may be empty."""
    column = quoted(user_columns.get(EVENT_ID, EVENT_ID))
    is_needed = params.source.drop_duplicates == EVENT_ID and EVENT_ID in user_columns
    return f" or {column} in (select {column} from {rows} where {period})" if is_needed else ""


def repeat_seconds(params: Params) -> float:
    """Seconds before a period in which an event of it may be repeated; 0 unless repeats are dropped by time."""
    how = params.source.drop_duplicates
    return 0.0 if isinstance(how, bool | str) else how


def retry_warnings(events: ir.Table, params: Params) -> list[str]:
    """Warn of purchases that repeat one of a few seconds before in all but the time, as a retried request does.

    Purchases at the same moment are not counted, as many logs have no seconds. Of a log with millions of purchases, a
    sample of customers is checked.

    events (customer_id, occurred_at, event_type, product_id, order_id, quantity, unit_price, discount)
    """
    if not isinstance(params.source.drop_duplicates, bool):
        return []
    bought = events.filter(events.event_type == str(EventType.PURCHASE))
    parts = 1 + int(bought.count().to_pyarrow().as_py()) // MAX_PURCHASES
    if parts > 1:
        bought = bought.filter(bought.customer_id.hash().abs() % parts == 0)
    what = ["customer_id", "product_id", "order_id", "quantity", "unit_price", "discount"]
    gaps = bought.select(gap=_seconds_since_last(bought, what))
    is_retry = (gaps.gap > 0.0) & (gaps.gap <= RETRY_SECONDS)
    totals = gaps.aggregate(purchases=gaps.count(), retries=gaps.count(where=is_retry))
    purchases, retries = totals.to_pyarrow().to_pylist()[0].values()
    if retries < MIN_RETRIES or retries <= MAX_RETRY_SHARE * purchases:
        return []
    return [
        f"{retries / purchases:.1%} of purchases repeat one of the {RETRY_SECONDS:g} seconds before in everything but "
        "the time: they may be retried requests. If so, set source.drop_duplicates to a number of seconds, such as "
        f"{RETRY_SECONDS:g}, or to event_id if each event has one in a column event_id"
    ]
