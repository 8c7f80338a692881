"""Which columns of a table are ours: by `columns` in params.yaml, by name, and what is missing or unused."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Sequence

from features.events import EVENT_SCHEMA
from pipeline.config.sections.source import EventsTable
from pipeline.ingest.files.formats import COMPRESSIONS, READERS, file_kind, is_archive
from pipeline.ingest.files.raw_tables import RawTable, SourceError
from pipeline.stores.databases.sql import literal

REQUIRED = ("customer_id", "occurred_at", "event_type")
CHARGES = ("shipping", "tax")
ORDER_COLUMNS = ("amount", "order_total", "order_discount", "refunded", *CHARGES, "currency", "status")
"""Columns that a log may have in place of prices, or about a whole order; events are made from them."""
EVENT_ID = "event_id"
"""Column by which only repeats are recognised."""
EVENT_COLUMNS = (*EVENT_SCHEMA, *ORDER_COLUMNS, EVENT_ID)
NEAR = 0.8
"""Similarity of two names, 0 to 1, above which one may be a misspelling of the other; event_time is not event_type."""
COLUMN_SYNONYMS = {
    "customer_id": ("customer", "userid", "user", "clientid", "client", "visitorid", "memberid", "buyerid",
                    "householdid", "customernumber", "accountid", "customeremail", "billingemail", "email"),
    "occurred_at": ("timestamp", "ts", "eventtime", "datetime", "createdat", "invoicedate", "orderdate", "orderedat",
                    "orderedon", "purchasedate", "transactiontimestamp", "transactiondate", "datecreated",
                    "visitdatetime", "at", "time", "date"),
    "event_type": ("event", "eventname", "action", "actiontype", "activity", "behavior", "behaviortype", "type",
                   "kind", "transactiontype"),
    "product_id": ("itemid", "item", "sku", "stockcode", "productcode", "product"),
    "category_path": ("category", "categorycode", "categoryname", "cat"),
    "quantity": ("qty", "units", "itemcount", "pieces"),
    "unit_price": ("price", "itemprice", "priceperunit"),
    "order_id": ("order", "orderno", "ordernumber", "invoice", "invoiceid", "invoiceno", "basketid", "transactionid"),
    "session_id": ("session", "sessionno", "usersession", "visitid"),
    "channel": ("saleschannel", "trafficsource"),
}  # fmt: skip
"""Column -> its names in other logs, in lower case and without punctuation."""
WITHOUT_COLUMN = {
    "product_id": "products are not known",
    "quantity": "every row counts as one item",
    "unit_price": "spend is 0",
    "order_id": "a customer has at most one order a day",
    "session_id": "visits are distinguished by the time between events",
    "channel": "channels are not known",
}
"""Optional column of the events -> what happens if the source does not have it."""


def map_event_columns(raw: RawTable, table: EventsTable) -> dict[str, str]:
    """`map_columns` of the log. Of the columns of orders, only those that are declared or needed are taken.

    Raises
    ------
    SourceError
        See `map_columns`; or the money of a row is declared twice.
    """
    found = map_columns(raw, table.columns, list(EVENT_COLUMNS), REQUIRED, key="source.events")
    declared = [name for name in ("amount", "order_total", "unit_price") if name in table.columns]
    if {"amount", "order_total"} <= {*declared} or {"amount", "unit_price"} <= {*declared}:
        raise SourceError(
            f"source.events.columns: expected amount (paid for the row), or unit_price, or order_total (paid for the "
            f"whole order, to which unit_price may be added). Found {', '.join(declared)}. Leave out all but one."
        )
    charges = [name for name in CHARGES if name in table.columns]
    if charges and "order_total" not in table.columns:
        raise SourceError(
            f"source.events.columns: {', '.join(charges)}: they are taken off order_total, which is not declared. "
            "Leave them out, as other prices are without them."
        )
    if table.has_statuses and "status" not in found:
        raise SourceError("source.events.statuses: expected a column `status` in source.events.columns, found none.")
    usable = {*table.columns, "currency"} | ({"status"} if table.has_statuses else set())
    if not declared:
        usable.add(next((name for name in ("unit_price", "amount", "order_total") if name in found), ""))
    return {ours: theirs for ours, theirs in found.items() if ours not in ORDER_COLUMNS or ours in usable}


def map_columns(
    raw: RawTable, mapping: dict[str, str], known: list[str], required: tuple[str, ...], *, key: str
) -> dict[str, str]:
    """Our column -> the user's, for the columns that the table has.

    Raises
    ------
    SourceError
        A column is missing; the message names the nearest one in the table.
    """
    for ours in mapping:
        if len(known) > 1 and ours not in known:
            similar = difflib.get_close_matches(ours, known, n=1)
            hint = f" Did you mean {similar[0]}?" if similar else ""
            raise SourceError(
                f"{key}.columns: {ours!r} is not one of Kindred's columns.{hint} They are {', '.join(known)}."
            )
    found = {ours: mapping.get(ours, ours) for ours in [*known, *mapping] if mapping.get(ours, ours) in raw.columns}
    for ours in [*required, *mapping]:
        if ours not in found:
            wanted = mapping.get(ours, ours)
            near = _nearest(ours, wanted, [name for name in raw.columns if name not in found.values()])
            line = f"{{{ours}: {json.dumps(near, ensure_ascii=False)}}}" if near else ""
            hint = f" The nearest is {near!r}: write {key}.columns: {line}." if near else ""
            if len(raw.columns) == 1:
                hint = f" There is one column only: if another sign separates several, declare it in {key}.delimiter."
            elif ours == "event_type" and not near:
                hint = f" {_single_event_type_hint(raw, key)}"
            raise SourceError(f"{key}: expected a column {wanted!r}.{hint} Found: {', '.join(raw.columns)}.")
    return found


def unused_column_warnings(raw: RawTable, found: dict[str, str], *, key: str) -> list[str]:
    """A warning for each optional column that the source seems to have under another name.

    Parameters
    ----------
    found : dict of str to str
        Our column -> the source's, from `map_columns`.
    """
    warnings = []
    for ours, consequence in WITHOUT_COLUMN.items():
        unused = {plain_name(name): name for name in reversed(raw.columns) if name not in found.values()}
        similar = next((unused[name] for name in (plain_name(ours), *COLUMN_SYNONYMS[ours]) if name in unused), None)
        is_priced = ours == "unit_price" and {"amount", "order_total"} & {*found}
        if ours not in found and similar is not None and not is_priced:
            line = f"{{{ours}: {json.dumps(similar, ensure_ascii=False)}}}"
            warnings.append(
                f"column {similar!r} looks like {ours} but is not used, so {consequence}: if it is, add "
                f"{key}.columns: {line}"
            )
    return warnings


def plain_name(name: str) -> str:
    """A column name in lower case and without punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _nearest(ours: str, wanted: str, names: Sequence[str]) -> str | None:
    """The name most similar to ``wanted``, ignoring case and punctuation, or else a synonym of ``ours``."""
    plain = {plain_name(name): name for name in reversed(names)}
    near = difflib.get_close_matches(plain_name(wanted), plain, n=1, cutoff=NEAR)
    candidates = near or [synonym for synonym in COLUMN_SYNONYMS.get(ours, ()) if synonym in plain]
    return plain[candidates[0]] if candidates else None


def _single_event_type_hint(raw: RawTable, key: str) -> str:
    """How to declare that all rows of a log are of one event type."""
    if not raw.sources:
        advice = f"add it in {key}.{raw.select_key}: select ..., 'purchase' as event_type from ..."
    else:
        first = raw.sources[0]
        suffix = "".join(first.suffixes[-2:] if first.suffix in COMPRESSIONS else first.suffixes[-1:])
        above = os.path.commonpath([path.parent for path in raw.sources])
        place = f"{above}/**/*{suffix}" if len(raw.sources) > 1 else str(first)
        reader = "{}" if is_archive(first) else READERS.get(file_kind(first) or "", "{}")
        query = f"select *, 'purchase' as event_type from {reader.format(literal(place))}"
        advice = f"write {key}.path: null and {key}.query: {json.dumps(query, ensure_ascii=False)}"
    return f"If every row is a purchase, {advice}. If another column holds the event type, name it in {key}.columns."
