"""Ids that belong to one person: which id stands for all of them, by the links of `source.identities`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.config.params import Params
from pipeline.ingest.columns.column_mapping import map_columns
from pipeline.ingest.columns.texts import as_text
from pipeline.ingest.columns.times import whole_time_sql
from pipeline.ingest.customers.ids import is_not_a_customer, normalised
from pipeline.ingest.files.raw_tables import RawTable, SourceError, read_raw
from pipeline.stores.database import TEMPORARY
from pipeline.stores.databases.sql import literal, quoted

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

KEY = "source.identities"
ALIASES = "kindred_aliases"
"""Table (kindred_alias, kindred_person): each id that another id stands for. No table of a user has such columns."""


def resolved(text: str, params: Params) -> str:
    """SQL for the customer that an id stands for: normalised, and by `source.identities` if there are any."""
    own = normalised(text, params.source.ids.normalise)
    if params.source.identities is None:
        return own
    return f"coalesce((select kindred_person from {ALIASES} where kindred_alias = {own}), {own})"


def id_distance(text: str, params: Params) -> str:
    """SQL for how far an id is from that of its customer: 0 the same, 1 in another form, 2 another id.

    Of several rows of a customer, the one with the smallest distance is taken.
    """
    own = normalised(text, params.source.ids.normalise)
    return f"case when {resolved(text, params)} <> {own} then 2 when {own} <> {text} then 1 else 0 end"


def resolve_ids(con: Backend, params: Params, customer_ids: Iterable[str]) -> dict[str, str]:
    """Given id -> the id that the customer has in all tables and scores; without blank ids."""
    require_identities(con, params)
    given = "(select distinct unnest(?::varchar[]) as given)"
    query = f"select given, {resolved('given', params)} as customer_id from {given} where customer_id <> ''"
    return dict(con.con.execute(query, [list(customer_ids)]).fetchall())


def person_ids(con: Backend, customer_ids: Iterable[str]) -> frozenset[str]:
    """All ids of the customers, by the table `ALIASES`."""
    listed = sorted(customer_ids)
    aliases = f"select kindred_alias from {ALIASES} where list_contains(?::varchar[], kindred_person)"
    return frozenset(listed) | {row[0] for row in con.con.execute(aliases, [listed]).fetchall()}


def require_identities(con: Backend, params: Params) -> None:
    """Create the table `ALIASES` for a command that does not read the whole source."""
    if ALIASES not in con.list_tables(database=TEMPORARY):
        read_identities(con, params, [])


def read_identities(con: Backend, params: Params, warnings: list[str]) -> RawTable | None:
    """Create the table `ALIASES`; without rows if the source has no identities, for which None is returned.

    Parameters
    ----------
    warnings : list of str
        Warnings are added to it.

    Raises
    ------
    SourceError
        Links lead in a circle, or join more ids than `largest_group`, and `on_large_group` is error.
    """
    db, table = con.con, params.source.identities
    create_aliases = f"create or replace temp table {ALIASES} (kindred_alias varchar, kindred_person varchar)"
    if table is None:
        db.execute(create_aliases)
        return None
    raw = read_raw(con, table, params, name="raw_identities", key=KEY)
    _create_links(con, params, raw, warnings)
    db.execute(
        "create or replace temp table identity_nodes as select id, row_number() over (order by id) - 1 as node "
        "from (select customer_id as id from identity_links union select alias_id from identity_links)"
    )
    edges = db.execute(
        "select c.node as customer, a.node as alias from identity_links join identity_nodes c on c.id = customer_id "
        "join identity_nodes a on a.id = alias_id order by all"
    ).fetchnumpy()
    persons = _persons(edges["customer"], edges["alias"], params, warnings)
    # Not before: the table shows `require_identities` that the links could be read.
    db.execute(create_aliases)
    found = pa.table({"node": np.arange(len(persons)), "person": persons})
    db.register("identity_persons", found)
    db.execute(
        f"insert into {ALIASES} select own.id, other.id from identity_persons p join identity_nodes own using (node) "
        "join identity_nodes other on other.node = p.person where p.node <> p.person"
    )
    db.unregister("identity_persons")
    db.execute("drop table identity_links; drop table identity_nodes")
    return raw


def _create_links(con: Backend, params: Params, raw: RawTable, warnings: list[str]) -> None:
    """Table identity_links (customer_id, alias_id): the links that count, each alias once under the rule `last`."""
    table = params.source.identities
    assert table is not None
    known = ["customer_id", "alias_id", "linked_at"]
    found = map_columns(raw, table.columns, known, ("customer_id", "alias_id"), key=KEY)
    customer, alias = (
        normalised(as_text(found[name], raw.columns[found[name]]), params.source.ids.normalise) for name in known[:2]
    )
    at = "null::timestamp"
    if "linked_at" in found:
        column, kind = found["linked_at"], raw.columns[found["linked_at"]]
        at = whole_time_sql(con, raw.name, column, kind, table, key=KEY)
    names = params.source.ids.not_customers
    is_link = " and ".join(
        f"trim({column}) <> '' and not {is_not_a_customer(column, names)}" for column in ("customer_id", "alias_id")
    )
    moment = literal(params.as_of.strftime("%Y-%m-%d %H:%M:%S.%f"))
    has_time = f"trim({quoted(found['linked_at'])}::varchar) <> ''" if "linked_at" in found else "false"
    rows = (
        f"(select {customer} as customer_id, {alias} as alias_id, {at} as linked_at, {has_time} as has_time "
        f"from {raw.name})"
    )
    con.con.execute(
        f"create or replace temp table identity_links as select * from {rows} "
        f"where {is_link} and customer_id <> alias_id and (linked_at is null or linked_at < timestamp {moment})"
    )
    read, without_id, unreadable = con.con.execute(
        f"select count(*), count(*) filter (not coalesce({is_link}, false)), "
        f"count(*) filter (has_time and linked_at is null) from {rows}"
    ).fetchone()
    if without_id:
        warnings.append(
            f"identities: {without_id:,} of {read:,} rows have no id, or one of source.ids.not_customers; left out"
        )
    if unreadable:
        warnings.append(
            f"identities: {unreadable:,} of {read:,} values of linked_at could not be read and count as the earliest"
        )
    if table.rule == "last":
        _keep_last_links(con, has_times="linked_at" in found)


def _keep_last_links(con: Backend, *, has_times: bool) -> None:
    """Keep the latest link of each alias; of two at the same moment, that to the larger customer_id."""
    unclear = con.con.execute(
        "select count(*) from (select alias_id from identity_links group by 1 having count(distinct customer_id) > 1)"
    ).fetchone()[0]
    if unclear and not has_times:
        raise SourceError(
            f"{KEY}: {unclear:,} ids are linked to several customers, and no column linked_at says which link is the "
            f"last. Name that column in {KEY}.columns, or set {KEY}.rule: components."
        )
    con.con.execute(
        "create or replace temp table identity_links as select distinct on (alias_id) customer_id, alias_id "
        "from identity_links order by alias_id, linked_at desc nulls last, customer_id desc"
    )


def _persons(customers: np.ndarray, aliases: np.ndarray, params: Params, warnings: list[str]) -> np.ndarray:
    """The node that stands for each node: itself, unless it belongs to a group that can be joined.

    Nodes are numbered in the order of their ids. Of a group, the smallest id that is a customer_id and, under the rule
    `last`, no alias; under that rule a group has exactly one such id, or its links lead in a circle.

    Parameters
    ----------
    customers, aliases : array of int, shape (n_links,)
        The nodes that each link joins.
    """
    table = params.source.identities
    assert table is not None
    count = int(max(customers.max(initial=-1), aliases.max(initial=-1))) + 1
    persons = np.arange(count)
    if not count:
        return persons
    links = coo_array((np.ones(len(customers), np.int8), (customers, aliases)), shape=(count, count))
    group_count, groups = connected_components(links, directed=False)
    can_stand = np.zeros(count, np.bool_)
    can_stand[customers] = True
    if table.rule == "last":
        can_stand[aliases] = False
    standing = np.full(group_count, count)
    np.minimum.at(standing, groups[can_stand], persons[can_stand])
    is_circle, is_large = standing == count, np.bincount(groups) > table.largest_group
    _report_groups(int(is_circle.sum()), int(is_large.sum()), params, warnings)
    return np.where((is_circle | is_large)[groups], persons, standing[groups])


def _report_groups(circle_count: int, large_count: int, params: Params, warnings: list[str]) -> None:
    """Refuse or report groups of ids that are not joined."""
    table = params.source.identities
    assert table is not None
    problems = [f"{circle_count:,} groups of ids are linked in a circle"] if circle_count else []
    if large_count:
        problems.append(
            f"{large_count:,} groups have more than {table.largest_group:,} ids ({KEY}.largest_group), as when many "
            "people share a device"
        )
    if problems and table.on_large_group == "error":
        raise SourceError(
            f"{KEY}: {'; '.join(problems)}. Remove these links, or set {KEY}.on_large_group: warn to leave such ids "
            "as they are."
        )
    warnings += [f"identities: {problem}; their ids were not joined" for problem in problems]
