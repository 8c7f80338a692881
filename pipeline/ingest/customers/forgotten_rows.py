"""Finds forgotten customers in a source, to leave them out of a reading."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.config.params import Params
from pipeline.ingest.customers.identities import ALIASES, resolve_ids
from pipeline.ingest.files.raw_tables import RawTable
from pipeline.stores.forgotten import ForgottenList

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

NARROW, WIDE = re.compile(r"[\s,;|:{}\[\]\"']+"), re.compile(r"[,;|\t]")
"""What separates the values of a line that could not be read; an id may contain the signs of the one or the other."""


def find_forgotten(con: Backend, forgotten: ForgottenList) -> list[str]:
    """The customers of the table customer_ids of whom any id is on the list; each distinct id is hashed once."""
    rows = con.con.execute(
        "select distinct customer_id, unnest([source_id, own_id, customer_id]) as id from customer_ids "
        f"where customer_id is not null union select kindred_person, kindred_alias from {ALIASES}"
    ).fetchnumpy()
    return sorted(
        {person for person, each in zip(rows["customer_id"], rows["id"], strict=True) if forgotten.holds(each)}
    )


def without_forgotten_lines(
    con: Backend, params: Params, forgotten: ForgottenList, customer_ids: list[str], raw: RawTable
) -> RawTable:
    """``raw`` without the unreadable lines that hold an id of a forgotten customer.

    Parameters
    ----------
    customer_ids : list of str
        From `find_forgotten`.
    """
    parts = [possible_ids(row.raw) for row in raw.unreadable]
    persons = resolve_ids(con, params, set().union(*parts))
    left_out = {*customer_ids}
    held = {part for part, person in persons.items() if person in left_out or any(map(forgotten.holds, (part, person)))}
    return replace(raw, unreadable=[row for row, ids in zip(raw.unreadable, parts, strict=True) if not ids & held])


def possible_ids(line: str) -> set[str]:
    """Parts of an unreadable line that may be an id."""
    return {*NARROW.split(line), *(part.strip().strip("\"'") for part in WIDE.split(line))} - {""}
