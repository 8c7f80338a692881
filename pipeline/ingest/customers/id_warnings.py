"""Warnings about ids that have lost something, or in which one customer seems to have several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.config.params import Params
from pipeline.ingest.customers.ids import WHOLE_DECIMAL, normalised
from pipeline.stores.databases.sql import literal

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

MIN_SHARE = 0.01
"""Of ids. Fewer that differ by case alone may be those of different customers, in ids of random letters."""
SHORTENED = r"[+-]?\d(\.\d+)?[eE]\+\d{1,3}"
"""A number as spreadsheets show it, such as 5.26E+12."""
OTHER_DECIMAL = r"^\d+\.(\d{2,}|[1-9])$"
AS_TEXT = (
    "read the column as text: name the file in `path`, or write read_csv(..., all_varchar = true) in the query, and "
    "never save the log in a spreadsheet"
)
IDS = "event_ids"
"""View of the distinct ids of the events, after `source.ids.normalise`: id, row_count."""


@dataclass(frozen=True)
class _Looks:
    """Numbers of distinct ids that look in some way; ``shortened_rows`` are rows of the events."""

    count: int
    shortened: int
    shortened_rows: int
    blanks: int
    capitals: int
    emails: int
    mixed_emails: int
    zeros: int
    whole_decimals: int
    other_decimals: int


def id_warnings(con: Backend, params: Params, *, has_customers: bool) -> list[str]:
    """Warnings about the ids of the events in the table customer_ids, and about those of the table customers."""
    rows = "select own_id as id, row_count from customer_ids where row_count > 0"
    if params.source.ids.normalise != "none":
        rows = f"select id, sum(row_count) as row_count from ({rows}) group by 1"
    con.con.execute(f"create or replace temp view {IDS} as {rows}")
    trimmed, is_shortened = normalised("id", "trim"), f"regexp_full_match(id, {literal(SHORTENED)})"
    is_shortened = f"case when contains(id, '+') then {is_shortened} else false end"
    is_email = "contains(id, '@')"
    looks = _Looks(
        *con.con.execute(
            f"select count(*), count(*) filter ({is_shortened}), coalesce(sum(row_count) filter ({is_shortened}), 0), "
            f"count(*) filter (id <> {trimmed}), count(*) filter (id <> lower(id)), count(*) filter ({is_email}), "
            f"count(*) filter ({is_email} and id <> lower(id)), count(*) filter (starts_with(id, '0')), "
            f"count(*) filter ({_is_decimal(WHOLE_DECIMAL)}), count(*) filter ({_is_decimal(OTHER_DECIMAL)}) from {IDS}"
        ).fetchone()
    )
    warnings = []
    if looks.shortened:
        warnings.append(
            f"{looks.shortened:,} customer ids ({looks.shortened_rows:,} rows) look like 5.26E+12, as a spreadsheet "
            "shortens long numbers, so that several customers became one: export the log again, with ids as text"
        )
    if looks.whole_decimals > looks.count / 2 and not looks.other_decimals:
        warnings.append(
            f"{looks.whole_decimals:,} customer ids are whole numbers that end in .0, as columns of decimals are "
            "exported; other lists of customers have them without it: set source.ids.normalise: whole"
        )
    if looks.blanks or looks.capitals:
        warnings += _spelling_warnings(con, looks)
    if looks.zeros:
        warnings += _length_warnings(con)
    if has_customers:
        ids, registered = f"select id from {IDS} where id is not null", "select customer_id as id from customers"
        warnings += lost_zeros_warning(con, ids, registered, what="customer ids", where="source.customers")
    return warnings


def _is_decimal(pattern: str) -> str:
    return f"case when contains(id, '.') then regexp_matches(id, {literal(pattern)}) else false end"


def _spelling_warnings(con: Backend, looks: _Looks) -> list[str]:
    """Ids that differ by outer blanks or case alone.

    In ids of random letters, case distinguishes customers. Words and addresses, in contrast, are also written in small
    or in capital letters throughout.
    """
    trimmed, plain = normalised("id", "trim"), normalised("id", "email")
    is_word = f"contains(id, '@') or {trimmed} = lower(id) or {trimmed} = upper(id)"
    by_trim, by_case = con.con.execute(
        "select coalesce(sum(id_count - trimmed_count), 0)::bigint, "
        "coalesce(sum(trimmed_count - 1) filter (has_word), 0)::bigint from ("
        f"select {plain} as plain, count(*) as id_count, count(distinct {trimmed}) as trimmed_count, "
        f"bool_or({is_word}) as has_word from {IDS} where {plain} is not null group by 1 having count(*) > 1)"
    ).fetchone()
    is_email = looks.emails > looks.count / 2
    by_case = by_case if is_email or by_case >= MIN_SHARE * looks.count else 0
    if by_trim or by_case:
        rule, ignored = ("trim", "outer blanks are") if not by_case else ("lower", "case and outer blanks are")
        return [
            f"{looks.count:,} customer ids become {looks.count - by_trim - by_case:,} when {ignored} ignored. If these "
            f"are the same customers, set source.ids.normalise: {'email' if is_email and by_case else rule}"
        ]
    if looks.mixed_emails:
        return [
            f"{looks.mixed_emails:,} customer ids are email addresses with capital letters; the same address in "
            "small letters would be another customer. To read both as one, set source.ids.normalise: email"
        ]
    return []


def _length_warnings(con: Backend) -> list[str]:
    """Numbers shorter than most ids, which have one length and in part leading zeros."""
    common, total, length, short = con.con.execute(
        "with numbers as (select id, length(id) as length, starts_with(id, '0') as has_zero from "
        f"{IDS} where regexp_full_match(id, '\\d+')), usual as (select length, count(*) as common from numbers "
        "group by 1 having bool_or(has_zero) order by common desc, length limit 1) "
        "select any_value(common), count(*), any_value(usual.length), "
        "count(*) filter (numbers.length < usual.length and not has_zero) from numbers cross join usual"
    ).fetchone()
    if not short or common <= total / 2:
        return []
    return [
        f"{short:,} customer ids have fewer than the usual {length:,} digits and may have lost their leading zeros, so "
        f"that they are other customers: {AS_TEXT}"
    ]


def lost_zeros_warning(con: Backend, left: str, right: str, *, what: str, where: str) -> list[str]:
    """A warning if ids match those of another table only when leading zeros are ignored.

    Parameters
    ----------
    left, right : str
        SQL for tables of a column id: those of the events, and those of the table ``where``.
    """
    starts = "coalesce(bool_or(starts_with(id, '0')), false)"
    zeros = f"select (select {starts} from ({left})), (select {starts} from ({right}))"
    has_zeros, other_has_zeros = con.con.execute(zeros).fetchone()
    if not (has_zeros or other_has_zeros):
        return []
    count, lost = con.con.execute(_zero_counts(left, right)).fetchone()
    if lost >= max(1.0, MIN_SHARE * count):
        return [
            f"{lost:,} of {count:,} {what} of the events are in {where} only if leading zeros are ignored: {AS_TEXT}"
        ]
    count, lost = (0, 0) if has_zeros else con.con.execute(_zero_counts(right, left)).fetchone()
    if lost >= max(1.0, MIN_SHARE * count):
        return [
            f"{lost:,} of {count:,} {what} in {where} are in the events only if leading zeros are ignored: {AS_TEXT}"
        ]
    return []


def _zero_counts(ids: str, others: str) -> str:
    """SQL for the number of ids, and of those that are among the others without their leading zeros alone."""
    bare = "ltrim(id, '0')"
    is_lost = f"id not in ({others}) and {bare} in (select {bare} from ({others}))"
    return f"select count(*), count(*) filter ({is_lost}) from ({ids})"
