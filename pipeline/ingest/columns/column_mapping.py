"""Which columns of a table are ours: by `columns` in params.yaml, by name, and what is missing or unused."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Sequence

from pipeline.ingest.files.raw_tables import COMPRESSIONS, READERS, RawTable, SourceError, file_kind
from pipeline.ingest.sql import literal

NEAR = 0.8
"""Similarity of two names, 0 to 1, above which one may be a misspelling of the other; event_time is not event_type."""
COLUMN_SYNONYMS = {
    "customer_id": ("userid", "user", "clientid", "client", "visitorid", "memberid", "buyerid"),
    "occurred_at": ("timestamp", "ts", "eventtime", "datetime", "createdat", "invoicedate", "time", "date"),
    "event_type": ("event", "eventname", "action", "actiontype", "activity", "behavior", "behaviortype", "type"),
    "product_id": ("itemid", "item", "sku", "stockcode", "productcode", "product"),
    "quantity": ("qty", "units", "itemcount", "pieces"),
    "unit_price": ("price", "itemprice", "priceperunit", "amount"),
    "order_id": ("order", "orderno", "ordernumber", "invoice", "invoiceid", "invoiceno", "basketid", "transactionid"),
    "session_id": ("session", "sessionno", "usersession", "visitid"),
    "channel": ("saleschannel", "trafficsource"),
}
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
            if ours == "event_type" and not near:
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
        unused = {_plain(name): name for name in reversed(raw.columns) if name not in found.values()}
        similar = next((unused[name] for name in (_plain(ours), *COLUMN_SYNONYMS[ours]) if name in unused), None)
        if ours not in found and similar is not None:
            line = f"{{{ours}: {json.dumps(similar, ensure_ascii=False)}}}"
            warnings.append(
                f"column {similar!r} looks like {ours} but is not used, so {consequence}: if it is, add "
                f"{key}.columns: {line}"
            )
    return warnings


def _plain(name: str) -> str:
    """A column name in lower case and without punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _nearest(ours: str, wanted: str, names: Sequence[str]) -> str | None:
    """The name most similar to ``wanted``, ignoring case and punctuation, or else a synonym of ``ours``."""
    plain = {_plain(name): name for name in reversed(names)}
    near = difflib.get_close_matches(_plain(wanted), plain, n=1, cutoff=NEAR)
    candidates = near or [synonym for synonym in COLUMN_SYNONYMS.get(ours, ()) if synonym in plain]
    return plain[candidates[0]] if candidates else None


def _single_event_type_hint(raw: RawTable, key: str) -> str:
    """How to declare that all rows of a log are of one event type."""
    if not raw.files:
        advice = f"add it in {key}.query: select ..., 'purchase' as event_type from ..."
    else:
        first = raw.files[0]
        suffix = "".join(first.suffixes[-2:] if first.suffix in COMPRESSIONS else first.suffixes[-1:])
        above = os.path.commonpath([path.parent for path in raw.files])
        place = f"{above}/**/*{suffix}" if len(raw.files) > 1 else str(first)
        query = f"select *, 'purchase' as event_type from {READERS[file_kind(first) or 'csv'].format(literal(place))}"
        advice = f"write {key}.path: null and {key}.query: {json.dumps(query, ensure_ascii=False)}"
    return f"If every row is a purchase, {advice}. If another column holds the event type, name it in {key}.columns."
