"""Columns that stand on one row of an order only, as in the exports of Shopify: its other rows take the value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config.params import Params
from pipeline.ingest.columns.column_mapping import EVENT_COLUMNS, map_event_columns
from pipeline.ingest.files.raw_tables import RawTable, SourceError
from pipeline.ingest.findings.summary import ReadingSummary
from pipeline.stores.databases.sql import quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

KEY = "source.events.fill_by_order"
MAX_UNFILLED_SHARE = 0.01
"""Of the rows: if more lack a customer or event type, their orders are looked at, and it is an error if more of them
could take it from another row."""


def fill_by_order(con: Backend, params: Params, raw: RawTable) -> list[str]:
    """Fill the columns of `source.events.fill_by_order` in the raw events, and return warnings.

    An empty value is taken from the other rows of the same order. It stays empty if these have several different
    values, as two orders may have one number.

    Raises
    ------
    SourceError
        A column is not one of Kindred's, or the log lacks it or order_id.
    """
    names = params.source.events.fill_by_order
    if not names:
        return []
    found = map_event_columns(raw, params.source.events)
    for name in ("order_id", *names):
        if name not in found or (name == "order_id" and name in names):
            allowed = ", ".join(column for column in EVENT_COLUMNS if column != "order_id")
            raise SourceError(
                f"{KEY}: expected an order_id, and columns of the log among {allowed}. Got {name}, which is not among "
                "them or not in the log. Map it in source.events.columns."
            )
    warnings = _find_known(con, raw, found["order_id"], {name: found[name] for name in names})
    values = ", ".join(
        f"case when {_text(found[name])} is null then kindred_{name} else {quoted(found[name])} end "
        f"as {quoted(found[name])}"
        for name in names
    )
    db = con.con
    db.execute(
        f"create or replace table filled_events as select raw.* replace ({values}) from {raw.name} raw "
        f"left join known_of_orders on kindred_order = {_text(found['order_id'])}"
    )
    db.execute("drop table known_of_orders")
    # A view stays a view, as later steps rename the raw table by what it is.
    db.execute(f"drop {'view' if raw.is_view else 'table'} {raw.name}")
    if raw.is_view:
        db.execute(f"create view {raw.name} as from filled_events")
    else:
        db.execute(f"alter table filled_events rename to {raw.name}")
    return warnings


def _find_known(con: Backend, raw: RawTable, order: str, columns: dict[str, str]) -> list[str]:
    """Temporary table known_of_orders (kindred_order, kindred_<our column>...); returns warnings."""
    texts = {name: _text(column) for name, column in columns.items()}
    known = ", ".join(
        f"case when min({text}) = max({text}) then min({quoted(columns[name])}) filter ({text} is not null) end as "
        f"kindred_{name}, coalesce(min({text}) <> max({text}), false) and count(*) > count({text}) as unclear_{name}"
        for name, text in texts.items()
    )
    con.con.execute(
        f"create or replace temp table known_of_orders as select {_text(order)} as kindred_order, {known} "
        f"from {raw.name} where {_text(order)} is not null group by 1"
    )
    unclear = con.con.execute(
        f"select {', '.join(f'count(*) filter (unclear_{name})' for name in columns)} from known_of_orders"
    ).fetchone()
    return [
        f"{KEY}: {count:,} orders have rows with several values of {name} and rows without one, which stay empty"
        for name, count in zip(columns, unclear, strict=True)
        if count
    ]


def refuse_unfilled(con: Backend, params: Params, raw: RawTable, summary: ReadingSummary) -> list[str]:
    """Warn of rows without a customer or event type whose order has one; not if `fill_by_order` is declared.

    Raises
    ------
    SourceError
        They are more than `MAX_UNFILLED_SHARE` of the rows.
    """
    found = map_event_columns(raw, params.source.events)
    missing = [
        name
        for name in ("customer_id", "event_type")
        if summary.rejected_by_rule[f"missing_{name}"] > MAX_UNFILLED_SHARE * summary.read_count
    ]
    if params.source.events.fill_by_order is not None or "order_id" not in found or not missing:
        return []
    order = _text(found["order_id"])
    counts = []
    for name in missing:
        value = _text(found[name])
        query = (
            f"select count(*) from {raw.name} where {value} is null and {order} in "
            f"(select {order} from {raw.name} where {order} is not null and {value} is not null)"
        )
        counts.append(con.con.execute(query).fetchone()[0])
    lacking = [(name, unfilled) for name, unfilled in zip(missing, counts, strict=True) if unfilled]
    if not lacking:
        return []
    read = summary.read_count
    rows = "; ".join(
        f"{unfilled:,} of {read:,} rows ({unfilled / read:.1%}) have no {name}, but another row of their order has one"
        for name, unfilled in lacking
    )
    names = ", ".join(name for name, _ in lacking)
    message = f"{rows}. To take it from that row, write {KEY}: [{names}]; to leave these rows out, {KEY}: []"
    if max(unfilled for _, unfilled in lacking) > MAX_UNFILLED_SHARE * read:
        raise SourceError(f"source.events: {message}.")
    return [message]


def _text(column: str) -> str:
    """SQL for a value as text; null if it is blank."""
    return f"nullif(trim({quoted(column)}::varchar), '')"
