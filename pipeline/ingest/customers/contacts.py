"""Reads addresses and consent of customers, for one export; they stay in the working database and are never stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from pipeline.config.params import Params
from pipeline.config.sections.audiences import ContactsTable
from pipeline.ingest.columns.column_mapping import map_columns
from pipeline.ingest.columns.texts import as_text
from pipeline.ingest.customers.identities import id_distance, require_identities, resolved
from pipeline.ingest.files.raw_tables import SourceError, read_raw
from pipeline.stores.database import TEMPORARY

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

COLUMNS = ("customer_id", "email", "phone", "consent")
YES = ("true", "t", "yes", "y", "1", "subscribed", "opted_in", "opt_in", "opt-in", "так", "да", "po")
NO = ("false", "f", "no", "n", "0", "unsubscribed", "opted_out", "opt_out", "opt-out", "ні", "нет", "jo")


@dataclass(frozen=True)
class Contacts:
    """Addresses and consent.

    Attributes
    ----------
    table : Table
        customer_id (unique), email, phone, consent (boolean); null where not known.
    has_consent : bool
        Whether the source has a column of consent.
    unclear_count : int
        Customers whose consent could not be read; they count as without consent.
    repeated_count : int
        Rows that repeat a customer; the first in alphabetical order was taken.
    warnings : list of str
        About the files, in plain words.
    """

    table: ir.Table
    has_consent: bool
    unclear_count: int
    repeated_count: int
    warnings: list[str]


def read_contacts(con: Backend, table: ContactsTable, params: Params) -> Contacts:
    """The contacts that ``table`` describes.

    Raises
    ------
    SourceError
        The file or a column is missing.
    """
    raw = read_raw(con, table, params, name="raw_contacts", key="contacts")
    found = map_columns(raw, table.columns, list(COLUMNS), ("customer_id",), key="contacts")
    if not {"email", "phone"} & set(found):
        raise SourceError(
            f"contacts: expected a column of email or phone, found {', '.join(raw.columns)}. Name one in "
            "contacts.columns, such as {email: mail_address}."
        )
    texts = {
        ours: f"trim({as_text(found[ours], raw.columns[found[ours]])})" if ours in found else "null::varchar"
        for ours in COLUMNS
    }
    require_identities(con, params)
    customer = resolved(texts["customer_id"], params)
    answers = ", ".join(f"'{answer}'" for answer in YES)
    refusals = ", ".join(f"'{answer}'" for answer in NO)
    consent = f"lower({texts['consent']})"
    db = con.con
    db.execute(
        f"create or replace temp table contacts as select * exclude (distance) from "
        "(select distinct on (customer_id) * from (select "
        f"{customer} as customer_id, {id_distance(texts['customer_id'], params)} as distance, "
        f"nullif({texts['email']}, '') as email, nullif({texts['phone']}, '') as phone, "
        f"case when {consent} in ({answers}) then true when {consent} in ({refusals}) then false end as consent, "
        f"{consent} is not null and {consent} not in ({answers}, {refusals}, '') as is_unclear from raw_contacts) "
        "where customer_id <> '' order by all)"
    )
    count, unclear = db.execute("select count(*), count(*) filter (where is_unclear) from contacts").fetchone()
    read = db.execute("select count(*) from raw_contacts").fetchone()[0]
    contacts = con.table("contacts", database=TEMPORARY).select(*COLUMNS)
    return Contacts(contacts, "consent" in found, unclear, read - count, raw.warnings)
