"""`simulate`: write a shop into a folder, chunk by chunk; an old shop is replaced only after success."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from pipeline.config.errors import UserError
from pipeline.config.progress import SILENT, Progress
from pipeline.simulate.calendar import DAY, Calendar, make_calendar
from pipeline.simulate.catalogue import Catalogue, make_catalogue
from pipeline.simulate.customers import CustomerBatch, customers_table, make_customers, truth_table
from pipeline.simulate.draws import Flags, Ints
from pipeline.simulate.events import Events, make_events
from pipeline.simulate.folders import growing, replacing_folder
from pipeline.simulate.log import CSV_FLAWS, FLAWS, as_table, corrupt_rows, in_order, write_csv, write_parquet
from pipeline.simulate.personas import PERSONAS, VISIT_FACTORS
from pipeline.simulate.queries import Queries, make_queries
from pipeline.simulate.visits import make_visits

VERSION = 2
ENDS_AT = datetime(2025, 12, 1, tzinfo=UTC)
DAYS_AFTER_TRAINING = 30
TRAINING_AS_OF = ENDS_AT - timedelta(days=DAYS_AFTER_TRAINING)
MIN_DAYS = 60
CHUNK_CUSTOMERS = 20_000
FORMATS = ("parquet", "csv")
MARKER = "shop.json"
DEMO = Path("demo/shop")
"""The folder that params.yaml reads by default."""
MAX_DIRTY_SHARE = 0.5


@dataclass(frozen=True)
class SimulatedShop:
    """A summary of the written shop. ``dirty`` is the number of corrupted rows per flaw."""

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
        """A summary, and the command to run next."""
        overrides = [f"as_of={self.training_as_of}"]
        if Path(self.folder) != DEMO:
            paths = {"events": "events", "products": "products.parquet", "customers": "customers.parquet"}
            overrides += [f"source.{table}.path={Path(self.folder).resolve() / name}" for table, name in paths.items()]
        next_command = shlex.join(
            ["kindred", "train", *(word for override in overrides for word in ("--set", override))]
        )
        return (
            f"{self.event_count:,} events of {self.customers:,} customers in {self.folder}, "
            f"{self.starts_at[:10]} to {self.ends_at[:10]}.\n"
            f"Next     {next_command}"
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
    progress: Progress = SILENT,
) -> SimulatedShop:
    """Write a shop into ``folder``: events, products, customers, and the ground truth.

    Parameters
    ----------
    folder : Path
        A new folder, an empty one, or one with a simulated shop, which is replaced.
    customers : int, >= 1
        All customers, including one-time visitors and those without events; about 20 events each.
    days : int, >= 60
        Length of the log. It ends at 2025-12-01 UTC, and the training date is 30 days before its end.
    seed : int, >= 0
        The same seed and arguments give the same bytes.
    kind : str
        usual, or busy: returning customers visit five times as often.
    file_format : str
        Format of the events: parquet or csv. CSV has three more flaws: unreadable times, numbers and encoding.
    dirty_share : float, 0 to 0.5
        Share of events with any flaw.

    Raises
    ------
    UserError
        The folder has other files or is not writable, or an argument is out of range.
    """
    _check(customers=customers, days=days, seed=seed, file_format=file_format, dirty_share=dirty_share)
    plan = _plan(seed, days, kind)
    with replacing_folder(folder, marker=MARKER) as work:
        (work / "events").mkdir()
        write_parquet(work / "products.parquet", plan.catalogue.as_table())
        counts = _write_chunks(work, plan, customers, file_format, dirty_share, progress)
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
    for name, value, minimum in (("customers", customers, 1), ("days", days, MIN_DAYS), ("seed", seed, 0)):
        if value < minimum:
            raise UserError(f"The {name} of a simulated shop must be {minimum} or more. Got {value}.")
    if file_format not in FORMATS:
        raise UserError(
            f"The file_format of a simulated shop must be one of {', '.join(FORMATS)}. Got {file_format!r}."
        )
    if not 0.0 <= dirty_share <= MAX_DIRTY_SHARE:
        raise UserError(f"The dirty_share of a simulated shop must be from 0 to {MAX_DIRTY_SHARE}. Got {dirty_share}.")


@dataclass(frozen=True)
class _Plan:
    """Settings and data shared by all chunks."""

    seed: int
    visit_factor: float
    training_day: int
    catalogue: Catalogue
    queries: Queries
    calendar: Calendar


def _plan(seed: int, days: int, kind: str) -> _Plan:
    starts_at = ENDS_AT - timedelta(days=days)
    catalogue = make_catalogue(np.random.default_rng([seed, 0]), starts_at=starts_at, days=days)
    return _Plan(
        seed=seed,
        visit_factor=VISIT_FACTORS[kind],
        training_day=days - DAYS_AFTER_TRAINING,
        catalogue=catalogue,
        queries=make_queries(np.random.default_rng([seed, 1]), catalogue),
        calendar=make_calendar(catalogue.seasons, starts_at=starts_at, days=days),
    )


@dataclass
class _Counts:
    """Totals of what has been written so far."""

    is_used: Flags
    events: int = 0
    registered: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    dirty: dict[str, int] = field(default_factory=dict)


def _write_chunks(
    work: Path, plan: _Plan, customers: int, file_format: str, dirty_share: float, progress: Progress
) -> _Counts:
    counts = _Counts(is_used=np.zeros(len(plan.queries.texts), dtype=np.bool_))
    with growing(work / "customers.parquet") as add_customers, growing(work / "truth_customers.parquet") as add_truth:
        starts = range(0, customers, CHUNK_CUSTOMERS)
        for chunk, start in enumerate(progress.each("simulating customers", starts, len(starts))):
            numbers = np.arange(start, min(start + CHUNK_CUSTOMERS, customers))
            generator = np.random.default_rng([plan.seed, 2, chunk])
            batch, events, visit_count = _draw_chunk(generator, plan, numbers)
            first_seen = _first_seen(generator, batch, events, plan.calendar)
            registered = customers_table(generator, batch, first_seen)
            truth = truth_table(batch, plan.catalogue, first_seen, _milliseconds(TRAINING_AS_OF))
            add_customers(registered)
            add_truth(truth)
            flaws = CSV_FLAWS if file_format == "csv" else FLAWS
            count = len(plan.catalogue.prices)
            events, dirty = corrupt_rows(generator, events, flaws=flaws, share=dirty_share, product_count=count)
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
            _add(counts.kinds, _kind_counts(batch))
            _add(counts.dirty, dirty)
    return counts


def _draw_chunk(generator: np.random.Generator, plan: _Plan, numbers: Ints) -> tuple[CustomerBatch, Events, int]:
    """Customers, their events, and the number of visits."""
    batch = make_customers(
        generator,
        numbers,
        plan.catalogue,
        days=plan.calendar.days,
        training_day=plan.training_day,
        visit_factor=plan.visit_factor,
    )
    visits, steps = make_visits(generator, batch, plan.catalogue, plan.queries, plan.calendar)
    events = make_events(generator, batch, plan.catalogue, plan.calendar, visits, steps)
    return batch, events, len(visits.customer)


def _first_seen(generator: np.random.Generator, batch: CustomerBatch, events: Events, calendar: Calendar) -> Ints:
    """Timestamp of each customer's first event; for customers without events, one on their first day."""
    never = np.iinfo(np.int64).max
    first = np.full(len(batch.numbers), never)
    np.minimum.at(first, events.customer, events.at)
    unseen = calendar.starts_at + batch.first_day * DAY + generator.integers(0, DAY, len(first))
    return np.where(first == never, unseen, first)


def _kind_counts(batch: CustomerBatch) -> dict[str, int]:
    counts = np.bincount(batch.persona, minlength=len(PERSONAS)).tolist()
    return {persona.name: count for persona, count in zip(PERSONAS, counts, strict=True)}


def _add(totals: dict[str, int], counts: dict[str, int]) -> None:
    for name, count in counts.items():
        totals[name] = totals.get(name, 0) + count


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
