"""Rows that are left out by the status of their order: cancelled orders, and what was never an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config.sections.source import Statuses
from pipeline.stores.databases.sql import literal

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


def status_group(column: str, statuses: Statuses) -> str:
    """SQL for the list of `source.events.statuses` that has the status, ignoring case; null for rows that count."""
    status = f"lower(trim({column}))"
    lists = {"cancelled": statuses.cancelled, "ignored": statuses.ignored}
    cases = [
        f"when {status} in ({', '.join(f'lower(trim({literal(name)}))' for name in names)}) then '{group}'"
        for group, names in lists.items()
        if names
    ]
    return f"case {' '.join(cases)} end"


def count_left_out(con: Backend, query: str, statuses: Statuses) -> dict[str, int]:
    """Rows of ``query`` (status_group) by group, also for groups without rows."""
    counts = dict(con.con.execute(f"select status_group, count(*) from ({query}) group by 1").fetchall())
    return {group: counts.get(group, 0) for group, names in statuses if names}
