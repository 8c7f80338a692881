"""Warns of categories that seem to have been renamed: one ends, another begins, with the same products."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.ingest.columns.texts import SEPARATOR

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

MIN_PRODUCTS = 3
"""Fewer products that changed their category are no sign of a new name: they may have been moved."""
MIN_MOVED_SHARE = 0.8
"""Of the old category's products seen later, and of the new one's seen earlier, at least this share changed over."""
MIN_KEPT_SHARE = 0.5
"""Of all products of the old category, at least this share is seen later: those of a season are gone after it."""
MAX_NAMES = 10
"""A product in more categories has no category of its own; pairs of its categories would be too many to look at."""
MAX_GAP_DAYS = 7
"""The new name begins at most this long after the last event under the old one."""
MOST_SHOWN = 5


@dataclass(frozen=True)
class Renamed:
    """An old and a new category path, the first event under the new one, and the products that changed over."""

    old: str
    new: str
    since: datetime
    product_count: int


def renamed_category_warnings(con: Backend, separator: str) -> list[str]:
    """A warning for each name that seems to replace another, at most `MOST_SHOWN`.

    Reads the table events_by_product (product_id, category_path, first_at, last_at, ...).

    Parameters
    ----------
    separator : str
        Between the levels of a path in params.yaml.
    """
    swapped = _swapped_paths(con)
    if not swapped:
        return []
    paths: dict[str, datetime] = dict(
        con.con.execute(
            "select category_path, max(last_at) from events_by_product where category_path is not null "
            "and last_at is not null group by 1"
        ).fetchall()
    )
    pairs: dict[tuple[str, str], Renamed] = {}
    for found in swapped:
        old, new = _highest_names(found, paths)
        known = pairs.get((old, new), Renamed(old, new, found.since, 0))
        since = min(known.since, found.since)
        pairs[old, new] = Renamed(old, new, since, known.product_count + found.product_count)
    return [_warning(pair, separator) for pair in list(pairs.values())[:MOST_SHOWN]]


def _warning(pair: Renamed, separator: str) -> str:
    old, new = (path.replace(SEPARATOR, separator) for path in (pair.old, pair.new))
    alias = f"{{{json.dumps(old, ensure_ascii=False)}: {json.dumps(new, ensure_ascii=False)}}}"
    return (
        f"category {old!r} ends and {new!r} begins on {pair.since:%Y-%m-%d}, with {pair.product_count:,} products that "
        "were in the one before and are in the other since. If it is the same category under a new name, add "
        f"source.category_aliases: {alias}"
    )


def _swapped_paths(con: Backend) -> list[Renamed]:
    """Pairs of paths that swap over at a date, with the same products."""
    rows = con.con.execute(
        f"""
        with spans as (
            select product_id, category_path, min(first_at) as first_at, max(last_at) as last_at
            from events_by_product
            where product_id is not null and category_path is not null and last_at is not null group by all
        ), products as (
            select product_id, min(first_at) as first_at, max(last_at) as last_at from spans group by 1
        ), names as (
            select category_path, min(first_at) as first_at, max(last_at) as last_at, count(*) as product_count
            from spans group by 1
        ), renamed as (
            select * from spans qualify count(*) over (partition by product_id) between 2 and {MAX_NAMES}
        ), moved as (
            select o.category_path as old, n.category_path as new, count(*) as moved
            from renamed o join renamed n on o.product_id = n.product_id and o.last_at < n.first_at
            group by all having moved >= {MIN_PRODUCTS}
        ), swapped as (
            select m.*, n.first_at as since from moved m
            join names o on o.category_path = m.old join names n on n.category_path = m.new
            where o.last_at < n.first_at and n.first_at <= o.last_at + interval {MAX_GAP_DAYS} days
            and m.moved >= {MIN_KEPT_SHARE} * o.product_count
        )
        select old, new, since, moved from swapped w where moved >= {MIN_MOVED_SHARE} * greatest(
            (select count(*) from spans s join products p using (product_id)
             where s.category_path = w.old and p.last_at >= w.since),
            (select count(*) from spans s join products p using (product_id)
             where s.category_path = w.new and p.first_at < w.since))
        order by since, old, new
        """
    ).fetchall()
    return [Renamed(*row) for row in rows]


def _highest_names(found: Renamed, paths: dict[str, datetime]) -> tuple[str, str]:
    """The highest names that differ, as long as nothing below the old one goes on after the date."""
    old, new = found.old.split(SEPARATOR), found.new.split(SEPARATOR)
    while len(old) > 1 and len(new) > 1 and old[-1] == new[-1]:
        above = SEPARATOR.join(old[:-1])
        below = [last_at for path, last_at in paths.items() if f"{path}{SEPARATOR}".startswith(f"{above}{SEPARATOR}")]
        if max(below) >= found.since:
            break
        old, new = old[:-1], new[:-1]
    return SEPARATOR.join(old), SEPARATOR.join(new)
