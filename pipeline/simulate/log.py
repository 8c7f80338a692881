"""Write the log: events in the contract's columns, sorted by time, with a counted share of corrupted rows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from pipeline.simulate.customers import ids, moments
from pipeline.simulate.draws import Array, Ints
from pipeline.simulate.events import EVENT_TYPES, Events
from pipeline.simulate.personas import CHANNELS

NO_CUSTOMER = -1
UNKNOWN_PRODUCT = "p99999"
FAR_FUTURE = np.array(["2099-01-01", "2098-12-31"], dtype="datetime64[ms]").astype(np.int64)
NOT_A_DATE = np.array(["1970-01-01", "2199-12-31"], dtype="datetime64[ms]").astype(np.int64)
FLAWS = (
    "missing_customer_id",
    "time_out_of_range",
    "far_future_time",
    "negative_price",
    "unknown_product",
    "duplicate",
)
CSV_FLAWS = (*FLAWS, "unreadable_time", "unreadable_number", "broken_encoding")
"""Possible flaws of a row, numbered as in `Events.flaw`. A row has at most one; duplicates equal their originals."""
BAD_TIMES = ("yesterday", "2025-13-45 10:00:00", "31/31/2025")
BAD_NUMBERS = ("12,50 lei", "n/a", "free")
# A private-use character marks where bytes that are not UTF-8 are inserted after encoding.
MARK, BROKEN_BYTES = "\ue000", "корм".encode("cp1251")


def corrupt_rows(
    generator: np.random.Generator, events: Events, *, flaws: tuple[str, ...], share: float, product_count: int
) -> tuple[Events, dict[str, int]]:
    """Corrupt or duplicate about ``share`` of the events, in equal parts per flaw, and count each flaw.

    Flaws that exist only in text are marked here and written by `write_csv`.
    """
    priced, searches = np.flatnonzero(~np.isnan(events.price)), np.flatnonzero(events.query >= 0)
    each = min(int(len(events.at) * share / len(flaws)), len(priced) // len(flaws), len(searches))
    chosen = generator.choice(priced, each * len(flaws), replace=False).reshape(len(flaws), each).astype(np.int64)
    for number, name in enumerate(flaws):
        rows = generator.choice(searches, each, replace=False) if name == "broken_encoding" else chosen[number]
        events.flaw[rows] = number
    no_customer, invalid_time, future, negative, unknown, duplicated = chosen[: len(FLAWS)]
    events.customer[no_customer] = NO_CUSTOMER
    events.at[invalid_time] = generator.choice(NOT_A_DATE, each)
    events.at[future] = generator.choice(FAR_FUTURE, each)
    events.price[negative] *= -1.0
    events.product[unknown] = product_count
    return events.take(np.concatenate([np.arange(len(events.at)), duplicated])), dict.fromkeys(flaws, each)


def in_order(events: Events) -> Events:
    """Sort by time, then customer, type and product."""
    tie_breaker = (events.customer + 1) * 10_000_000 + events.type * 1_000_000 + events.product + 1
    return events.take(np.lexsort((tie_breaker, events.at)))


def as_table(
    events: Events, *, numbers: Ints, visit_count: int, chunk: int, product_ids: list[str], texts: tuple[str, ...]
) -> pa.Table:
    """Events as a table with the contract's columns; text columns are dictionary-encoded."""
    visit_numbers = np.arange(visit_count)
    sessions, orders = (ids(f"{letter}{chunk:05}-", visit_numbers, 6) for letter in "so")
    customers = pa.concat_arrays([ids("c", numbers, 7)])
    return pa.table(
        {
            "customer_id": _text(customers, events.customer),
            "occurred_at": moments(events.at),
            "event_type": _text(pa.array(EVENT_TYPES), events.type),
            "product_id": _text(pa.array([*product_ids, UNKNOWN_PRODUCT]), events.product),
            "query": _text(pa.array(texts), events.query),
            "quantity": events.quantity,
            "unit_price": _number(events.price),
            "discount": _number(events.discount),
            "order_id": _text(orders, events.order),
            "session_id": _text(sessions, events.visit),
            "channel": _text(pa.array(CHANNELS), events.channel),
        }
    )


def _text(names: pa.Array, chosen: Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(chosen.astype(np.int32), mask=chosen < 0), names)


def _number(values: Array) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write plain columns: the stored schema does not mention dictionary encoding."""
    pyarrow.parquet.write_table(table, path, compression="zstd", store_schema=False)


def write_csv(path: Path, table: pa.Table, flaw: Ints) -> None:
    """Write CSV, with flaws that exist only in text: unreadable times and numbers, and bytes that are not UTF-8."""
    columns = {name: _as_text(table[name].combine_chunks()) for name in table.column_names}
    for column, name, texts in (
        ("occurred_at", "unreadable_time", BAD_TIMES),
        ("unit_price", "unreadable_number", BAD_NUMBERS),
        ("query", "broken_encoding", (MARK,)),
    ):
        is_flawed = flaw == CSV_FLAWS.index(name)
        replacements = pa.array(np.resize(np.array(texts), is_flawed.sum()), pa.string())
        columns[column] = pc.replace_with_mask(columns[column], pa.array(is_flawed), replacements)
    sink = io.BytesIO()
    pyarrow.csv.write_csv(pa.table(columns), sink)
    path.write_bytes(sink.getvalue().replace(MARK.encode(), BROKEN_BYTES))


def _as_text(values: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(values.type):
        return pc.replace_substring(values.cast(pa.timestamp("ms", tz="UTC")).cast(pa.string()), " ", "T")
    return values.cast(pa.string())
