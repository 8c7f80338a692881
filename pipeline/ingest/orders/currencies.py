"""Amounts in several currencies: converted by a table of rates, or refused. They are never added up as they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from features.events import EventType
from pipeline.config.params import Params
from pipeline.ingest.columns.column_mapping import map_columns, map_event_columns
from pipeline.ingest.columns.numbers import as_number
from pipeline.ingest.columns.texts import as_event_type, as_text
from pipeline.ingest.columns.times import as_time, time_sql
from pipeline.ingest.files.raw_tables import RawTable, SourceError, read_raw
from pipeline.ingest.findings.findings import Findings
from pipeline.stores.databases.sql import literal

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

RATE_COLUMNS = ("currency", "date", "rate")
SHOWN, MAX_CHARS = 10, 10
"""Currencies in a message, and characters of each."""
NAME_RATES = (
    "Name a table of rates (currency, date, rate) in source.rates, and the currency to convert to in `currency`."
)
IS_TRADE = f"event_type in ('{EventType.PURCHASE}', '{EventType.RETURN}')"


def currency_code(text: str) -> str:
    """SQL for a currency in capital letters; null if it is blank."""
    return f"nullif(upper(trim({text})), '')"


def read_rates(con: Backend, params: Params, findings: Findings) -> None:
    """Table exchange_rates (rate_currency, valid_from, rate): units of `currency` for one of the other currency.

    Raises
    ------
    SourceError
        `currency` is not set, or a rate cannot be read, is not positive, or is there twice.
    """
    table = params.source.rates
    if table is None:
        return
    if params.currency is None:
        raise SourceError("source.rates: expected the currency to convert to. Set `currency`, such as EUR.")
    raw = findings.add("rates", read_raw(con, table, params, name="raw_rates", key="source.rates"))
    found = map_columns(raw, table.columns, list(RATE_COLUMNS), RATE_COLUMNS, key="source.rates")
    kinds = {name: raw.columns[column] for name, column in found.items()}
    day = as_time(found["date"], kinds["date"], time_format="auto", timezone="UTC", middle=None)
    con.con.execute(
        f"create or replace table exchange_rates as select distinct "
        f"{currency_code(as_text(found['currency'], kinds['currency']))} as rate_currency, {day} as valid_from, "
        f"{as_number(found['rate'], kinds['rate'])} as rate from raw_rates"
    )
    bad, repeated = con.con.execute(
        "select (select count(*) from exchange_rates where rate_currency is null or valid_from is null or "
        "not coalesce(rate > 0, false)), (select count(*) from (select 1 from exchange_rates group by rate_currency, "
        "valid_from having count(*) > 1))"
    ).fetchone()
    if bad or repeated:
        raise SourceError(
            "source.rates: expected one rate above 0 for each currency and date (YYYY-MM-DD), as many units of "
            f"{params.currency} as one unit of the currency is worth. Found {bad:,} rows without them, and "
            f"{repeated:,} dates with several rates."
        )


def converted(query: str, params: Params, money_columns: Sequence[str]) -> str:
    """SQL for the same rows with money in `currency`, by the latest rate at or before the time of the event."""
    rate = f"case when currency is null or currency = {literal(str(params.currency))} then 1.0 else rate end"
    money = ", ".join(f"{name} * ({rate}) as {name}" for name in money_columns)
    return (
        f"select row.* replace ({money}), {rate} as conversion, row.unit_price is not null as is_priced "
        f"from ({query}) row asof left join exchange_rates "
        "on row.currency = rate_currency and row.occurred_at >= valid_from"
    )


def refuse_changed_currency(con: Backend, params: Params, raw: RawTable, since: datetime) -> None:
    """Refuse purchases and returns in a currency that those before ``since`` do not have; unless there are rates.

    Whether the earlier rows mix currencies was checked when they were read.

    Raises
    ------
    SourceError
        Names the new and the old currency.
    """
    table = params.source.events
    found = map_event_columns(raw, table)
    if "currency" not in found or params.source.rates is not None:
        return
    kinds = {name: raw.columns[found[name]] for name in ("currency", "event_type", "occurred_at")}
    code = currency_code(as_text(found["currency"], kinds["currency"]))
    kind = as_event_type(found["event_type"], kinds["event_type"], table)
    moment = time_sql(con, "all_raw_events", found["occurred_at"], kinds["occurred_at"], table)
    new = (
        f"select distinct currency as code from accepted_events where {IS_TRADE} and unit_price is not null "
        "and occurred_at >= $since"
    )
    earlier = (
        f"select distinct code from (select {code} as code, {kind} as event_type, {moment} as moment "
        f"from all_raw_events) where {IS_TRADE} and moment < $since and code is not null"
    )
    changed, before = con.con.execute(
        f"with new as ({new}), earlier as ({earlier}) "
        "select (select min(code) from (from new except from earlier)), (select min(code) from earlier)",
        {"since": since},
    ).fetchone()
    if changed is not None and before is not None:
        raise SourceError(
            f"source.events: expected amounts in one currency. Earlier purchases and returns have "
            f"{before[:MAX_CHARS]}, and the new ones have {changed[:MAX_CHARS]}. {NAME_RATES}"
        )


def refuse_mixed_currencies(con: Backend, params: Params, raw: RawTable) -> list[str]:
    """Refuse several currencies without rates, and currencies without a rate; warn of one that is not `currency`.

    Raises
    ------
    SourceError
        Lists the currencies, with their share of the purchases and returns.
    """
    if "currency" not in map_event_columns(raw, params.source.events):
        return []
    # Without a rate, the converted price is null.
    lacks_rate, is_priced = (
        ("conversion is null", "is_priced") if params.source.rates else ("false", "unit_price is not null")
    )
    rows = con.con.execute(
        f"select coalesce(currency, ''), count(*), count(*) filter ({lacks_rate}) from accepted_events "
        f"where {IS_TRADE} and {is_priced} group by 1 order by 2 desc, 1"
    ).fetchall()
    total = sum(count for _, count, _ in rows)
    shares = [(name[:MAX_CHARS] or "none given", count / total, missing) for name, count, missing in rows]
    lacking = [f"{name} ({missing:,} rows)" for name, _, missing in shares if missing]
    if lacking:
        raise SourceError(
            f"source.rates: expected a rate at or before each purchase and return. Without one: "
            f"{', '.join(lacking[:SHOWN])}. Add earlier rates, or the missing currencies."
        )
    named = [name for name, _, _ in rows if name]
    is_mixed = len(named) > 1 or (params.source.rates and named not in ([], [params.currency]))
    if is_mixed and (params.source.rates is None or len(named) < len(rows)):
        listed = ", ".join(f"{name} {share:.1%}" for name, share, _ in shares[:SHOWN])
        advice = (
            "Fill the empty ones with source.events.fill_by_order: [currency], or leave these rows out."
            if params.source.rates
            else NAME_RATES
        )
        raise SourceError(
            "source.events: expected amounts in one currency, or each with its currency and source.rates. The "
            f"purchases and returns have: {listed}. {advice}"
        )
    if params.source.rates or not named or params.currency in (None, named[0]):
        return []
    found = named[0][:MAX_CHARS]
    return [f"amounts are in {found}, but `currency` is {params.currency}: set currency: {found}, or name source.rates"]
