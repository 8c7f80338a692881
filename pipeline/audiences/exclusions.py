"""Customers that an audience leaves out: a list of ids, without consent, or contacted a short time ago."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from pipeline.audiences.build import Excluded
from pipeline.audiences.selection import AudienceError
from pipeline.audiences.storage import recently_contacted
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.sections.audiences import AudienceParams
from pipeline.ingest.customers.contacts import Contacts
from pipeline.ingest.customers.id_lists import ID, read_ids
from pipeline.ingest.customers.identities import resolve_ids

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


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
        try:
            listed = read_ids(params.path(exclude.ids), key=f"audiences.{name}.exclude.ids")
        except UserError as error:
            raise AudienceError(str(error)) from None
        found.append(Excluded("on the list", frozenset(resolve_ids(con, params, listed).values())))
    if exclude.without_consent:
        found.append(_without_consent(con, scores, contacts(), key=f"audiences.{name}.exclude.without_consent"))
    if exclude.contacted_days is not None:
        outputs = params.path(params.outputs.folder)
        found.append(recently_contacted(outputs, as_of, exclude.contacted_days))
    return found


def _without_consent(con: Backend, scores: ir.Table, contacts: Contacts, *, key: str) -> Excluded:
    """Customers who have not said yes: who said no, whose answer is not known, and who are not in the contacts."""
    if not contacts.has_consent:
        raise AudienceError(
            f"{key}: expected a column of consent in `contacts`, found none. Name it in contacts.columns, such as "
            "{consent: marketing_ok}, or set without_consent to false."
        )
    consenting = contacts.table.filter(contacts.table.consent).select(ID)
    return Excluded("without consent", frozenset(con.to_pandas(scores.select(ID).anti_join(consenting, ID))[ID]))
