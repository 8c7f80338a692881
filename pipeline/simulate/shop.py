"""`simulate`: a whole shop into a folder, chunk by chunk; the old folder is replaced only when the new one is whole."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from pipeline.config.errors import UserError
from pipeline.simulate.calendar import DAY, Calendar, make_calendar
from pipeline.simulate.catalogue import Catalogue, make_catalogue
from pipeline.simulate.customers import Crowd, customers_table, make_crowd, truth_table
from pipeline.simulate.draws import Flags, Ints
from pipeline.simulate.events import Events, make_events
from pipeline.simulate.folders import growing, replacing_folder
from pipeline.simulate.log import CSV_DIRT, DIRT, as_table, in_order, spoil, write_csv, write_parquet
from pipeline.simulate.personas import KINDS, VISITS_TIMES
from pipeline.simulate.queries import Queries, make_queries
from pipeline.simulate.visits import make_visits

VERSION = 2
ENDS_AT = datetime(2025, 12, 1, tzinfo=UTC)
DAYS_AFTER_TRAINING = 30
TRAINING_AS_OF = ENDS_AT - timedelta(days=DAYS_AFTER_TRAINING)
LEAST_DAYS = 60
CHUNK_CUSTOMERS = 20_000
FORMATS = ("parquet", "csv")
MARKER = "shop.json"
DEMO = Path("demo/shop")
"""Where params.yaml looks for one."""
MOST_DIRTY = 0.5


@dataclass(frozen=True)
class SimulatedShop:
    """What was written, and where. ``dirty`` says how many rows were spoilt, by what is wrong with them."""

    folder: str
    seed: int
    kind: str
    customers: int
    days: int
    file_format: str
    starts_at: str
    training_as_of: str
    ends_at: str
    product_count: int
    event_count: int
    registered_count: int
    query_count: int
    kinds: dict[str, int]
    dirty: dict[str, int]
    version: int = VERSION

    def as_text(self) -> str:
        """What was written, and what to do next."""
        sets = [f"as_of={self.training_as_of}"]
        if Path(self.folder) != DEMO:
            paths = {"events": "events", "products": "products.parquet", "customers": "customers.parquet"}
            sets += [f"source.{table}.path={Path(self.folder).resolve() / name}" for table, name in paths.items()]
        following = shlex.join(["kindred", "train", *(word for one in sets for word in ("--set", one))])
        return (
            f"{self.event_count:,} events of {self.customers:,} customers in {self.folder}, "
            f"{self.starts_at[:10]} to {self.ends_at[:10]}.\n"
            f"Next     {following}"
        )


def simulate(
    folder: Path,
    *,
    customers: int,
    days: int,
    seed: int,
    kind: str = "usual",
    file_format: str = "parquet",
    dirty_share: float = 0.002,
    progress: Callable[[str], None] | None = None,
) -> SimulatedShop:
    """Write a shop into ``folder``: events, products, customers, and the truth about them.

    Parameters
    ----------
    folder : Path
        A new one, an empty one, or one with a simulated shop, which is replaced.
    customers : int, >= 1
        Everybody, passers-by and those who never come included; about 20 events each.
    days : int, >= 60
        Length of the log. It ends at 2025-12-01 UTC, and the training date is 30 days before its end.
    seed : int, >= 0
        Same seed and arguments, same bytes.
    kind : str
        usual, or busy: customers who come again visit five times as often.
    file_format : str
        Of the events: parquet or csv. CSV is dirty in three ways more: times, numbers, and bytes that are not UTF-8.
    dirty_share : float, 0 to 0.5
        Of the events, in all.

    Raises
    ------
    UserError
        The folder holds something else or cannot be written, or an argument is out of its range.
    """
    _check(customers=customers, days=days, seed=seed, file_format=file_format, dirty_share=dirty_share)
    report = progress or (lambda step: None)
    plan = _plan(seed, days, kind)
    with replacing_folder(folder, marker=MARKER) as work:
        (work / "events").mkdir()
        write_parquet(work / "products.parquet", plan.catalogue.as_table())
        counts = _write_chunks(work, plan, customers, file_format, dirty_share, report)
        write_parquet(work / "truth_queries.parquet", plan.queries.as_table(counts.is_used))
        shop = SimulatedShop(
            folder=str(folder),
            seed=seed,
            kind=kind,
            customers=customers,
            days=days,
            file_format=file_format,
            starts_at=_iso(ENDS_AT - timedelta(days=days)),
            training_as_of=_iso(TRAINING_AS_OF),
            ends_at=_iso(ENDS_AT),
            product_count=len(plan.catalogue.prices),
            event_count=counts.events,
            registered_count=counts.registered,
            query_count=int(counts.is_used.sum()),
            kinds=counts.kinds,
            dirty=counts.dirty,
        )
        text = json.dumps({**asdict(shop), "folder": folder.name}, indent=2, sort_keys=True)
        (work / MARKER).write_text(text + "\n", encoding="utf-8")
    return shop


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _check(*, customers: int, days: int, seed: int, file_format: str, dirty_share: float) -> None:
    for name, value, least in (("customers", customers, 1), ("days", days, LEAST_DAYS), ("seed", seed, 0)):
        if value < least:
            raise UserError(f"The {name} of a simulated shop must be {least} or more. Got {value}.")
    if file_format not in FORMATS:
        raise UserError(
            f"The file_format of a simulated shop must be one of {', '.join(FORMATS)}. Got {file_format!r}."
        )
    if not 0.0 <= dirty_share <= MOST_DIRTY:
        raise UserError(f"The dirty_share of a simulated shop must be from 0 to {MOST_DIRTY}. Got {dirty_share}.")


@dataclass(frozen=True)
class _Plan:
    """What all chunks share."""

    seed: int
    visits_times: float
    training_day: int
    catalogue: Catalogue
    queries: Queries
    calendar: Calendar


def _plan(seed: int, days: int, kind: str) -> _Plan:
    starts_at = ENDS_AT - timedelta(days=days)
    catalogue = make_catalogue(np.random.default_rng([seed, 0]), starts_at=starts_at, days=days)
    return _Plan(
        seed=seed,
        visits_times=VISITS_TIMES[kind],
        training_day=days - DAYS_AFTER_TRAINING,
        catalogue=catalogue,
        queries=make_queries(np.random.default_rng([seed, 1]), catalogue),
        calendar=make_calendar(catalogue.seasons, starts_at=starts_at, days=days),
    )


@dataclass
class _Counts:
    """What was written so far."""

    is_used: Flags
    events: int = 0
    registered: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    dirty: dict[str, int] = field(default_factory=dict)


def _write_chunks(
    work: Path, plan: _Plan, customers: int, file_format: str, dirty_share: float, report: Callable[[str], None]
) -> _Counts:
    counts = _Counts(is_used=np.zeros(len(plan.queries.texts), dtype=np.bool_))
    with growing(work / "customers.parquet") as add_customers, growing(work / "truth_customers.parquet") as add_truth:
        for chunk, start in enumerate(range(0, customers, CHUNK_CUSTOMERS)):
            numbers = np.arange(start, min(start + CHUNK_CUSTOMERS, customers))
            generator = np.random.default_rng([plan.seed, 2, chunk])
            crowd, events, visit_count = _draw_chunk(generator, plan, numbers)
            first_seen = _first_seen(generator, crowd, events, plan.calendar)
            registered = customers_table(generator, crowd, first_seen)
            truth = truth_table(crowd, plan.catalogue, first_seen, _milliseconds(TRAINING_AS_OF))
            add_customers(registered)
            add_truth(truth)
            dirt = CSV_DIRT if file_format == "csv" else DIRT
            count = len(plan.catalogue.prices)
            events, dirty = spoil(generator, events, dirt=dirt, share=dirty_share, product_count=count)
            events = in_order(events)
            table = as_table(
                events,
                numbers=numbers,
                visit_count=visit_count,
                chunk=chunk,
                product_ids=plan.catalogue.product_ids(),
                texts=plan.queries.texts,
            )
            path = work / "events" / f"part-{chunk:05}.{file_format}"
            if file_format == "csv":
                write_csv(path, table, events.flaw)
            else:
                write_parquet(path, table)
            counts.is_used[events.query[events.query >= 0]] = True
            counts.events += table.num_rows
            counts.registered += registered.num_rows
            _add(counts.kinds, _kind_counts(crowd))
            _add(counts.dirty, dirty)
            report(f"{counts.events:,} events of {numbers[-1] + 1:,} customers")
    return counts


def _draw_chunk(generator: np.random.Generator, plan: _Plan, numbers: Ints) -> tuple[Crowd, Events, int]:
    """Customers, their events, and the number of their visits."""
    crowd = make_crowd(
        generator,
        numbers,
        plan.catalogue,
        days=plan.calendar.days,
        training_day=plan.training_day,
        visits_times=plan.visits_times,
    )
    visits, steps = make_visits(generator, crowd, plan.catalogue, plan.queries, plan.calendar)
    events = make_events(generator, crowd, plan.catalogue, plan.calendar, visits, steps)
    return crowd, events, len(visits.who)


def _first_seen(generator: np.random.Generator, crowd: Crowd, events: Events, calendar: Calendar) -> Ints:
    """The moment of each customer's first event; of those who have none, a moment of their first day."""
    never = np.iinfo(np.int64).max
    first = np.full(len(crowd.numbers), never)
    np.minimum.at(first, events.who, events.at)
    unseen = calendar.starts_at + crowd.first_day * DAY + generator.integers(0, DAY, len(first))
    return np.where(first == never, unseen, first)


def _kind_counts(crowd: Crowd) -> dict[str, int]:
    found = np.bincount(crowd.kind, minlength=len(KINDS)).tolist()
    return {kind.name: count for kind, count in zip(KINDS, found, strict=True)}


def _add(totals: dict[str, int], counts: dict[str, int]) -> None:
    for name, count in counts.items():
        totals[name] = totals.get(name, 0) + count


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
