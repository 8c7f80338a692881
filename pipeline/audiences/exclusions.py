"""Customers that an audience leaves out: a list of ids, without consent, or contacted a short time ago."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import ibis.expr.types as ir
import pyarrow as pa

from pipeline.audiences.build import Excluded
from pipeline.audiences.selection import AudienceError
from pipeline.audiences.storage import recently_contacted
from pipeline.config.params import Params
from pipeline.config.sections.audiences import AudienceParams
from pipeline.ingest.customers.contacts import Contacts
from pipeline.stores.writers import column_names, read_table

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

ID = "customer_id"


def excluded_customers(
    con: Backend,
    scores: ir.Table,
    definition: AudienceParams,
    params: Params,
    *,
    name: str,
    as_of: datetime,
    contacts: Callable[[], Contacts],
) -> list[Excluded]:
    """The customers that ``exclude`` names, apart from other audiences.

    Parameters
    ----------
    contacts : callable
        Called only if consent is asked for.

    Raises
    ------
    AudienceError
        The list of ids, or the consent, is not there.
    """
    exclude, found = definition.exclude, []
    if exclude.ids is not None:
        found.append(Excluded("on the list", read_ids(params.path(exclude.ids), key=f"audiences.{name}.exclude.ids")))
    if exclude.without_consent:
        found.append(_without_consent(con, scores, contacts(), key=f"audiences.{name}.exclude.without_consent"))
    if exclude.contacted_days is not None:
        outputs = params.path(params.outputs.folder)
        found.append(recently_contacted(outputs, as_of, exclude.contacted_days))
    return found


def read_ids(path: Path, *, key: str) -> frozenset[str]:
    """The ids of a list: a CSV or Parquet file with a column customer_id, or a text file with one id per line."""
    try:
        if path.suffix == ".parquet" or (path.suffix == ".csv" and ID in column_names(path)):
            column = read_table(path, {ID: pa.string()})[ID]
            return frozenset(str(text).strip() for text in column.to_pylist() if text is not None)
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(text.strip() for text in row)]
    except FileNotFoundError:
        raise AudienceError(f"{key}: expected a file of customer ids at {path}, found none.") from None
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError):
        raise AudienceError(
            f"{key}: expected in {path.name} a column {ID} (CSV, Parquet), or one customer id per line in UTF-8."
        ) from None
    if any(len(row) > 1 for row in rows):
        raise AudienceError(f"{key}: expected one customer id per line in {path.name}, or a column {ID}.")
    return frozenset(row[0].strip() for row in rows)


def _without_consent(con: Backend, scores: ir.Table, contacts: Contacts, *, key: str) -> Excluded:
    """Customers who have not said yes: who said no, whose answer is not known, and who are not in the contacts."""
    if not contacts.has_consent:
        raise AudienceError(
            f"{key}: expected a column of consent in `contacts`, found none. Name it in contacts.columns, such as "
            "{consent: marketing_ok}, or set without_consent to false."
        )
    consenting = contacts.table.filter(contacts.table.consent).select(ID)
    return Excluded("without consent", frozenset(con.to_pandas(scores.select(ID).anti_join(consenting, ID))[ID]))
