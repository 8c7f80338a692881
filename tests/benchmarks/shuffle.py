"""Bytes that Spark moves between its tasks, and stores, to build the profiles of a simulated shop, by table.

    python tests/benchmarks/shuffle.py 1 5 20

Each size, in millions of events, is read and measured on local Spark, which writes a log of its tasks. Joins broadcast
no table, as a table that a cluster can broadcast here no longer can at a billion events. Needs Java and `.[spark]`.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import run

from pipeline.config.progress import SILENT
from pipeline.ingest.summaries import read_shop
from pipeline.profiles.build import profile_batches
from pipeline.profiles.measures import measure, to_customer_measures
from pipeline.stores.workspace import workspace

CONF = {
    "spark.driver.memory": "3g",
    "spark.eventLog.compress": "false",
    "spark.eventLog.enabled": "true",
    "spark.eventLog.rolling.enabled": "false",  # one file
    "spark.sql.autoBroadcastJoinThreshold": "-1",
    "spark.sql.shuffle.partitions": "8",
    "spark.ui.enabled": "false",
}
TABLE = re.compile(r"Arguments: file:\S*/([a-z_]+)-\d+, ")
EXECUTION = "spark.sql.execution.id"
READING = "reading"
"""Tasks without a table: DuckDB reads and checks a file in each."""


@dataclass
class Moved:
    """What the tasks of one run moved, in bytes and seconds, by table."""

    shuffled: Counter[str] = field(default_factory=Counter)
    spilled: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    cpu_seconds: Counter[str] = field(default_factory=Counter)


def moved(log: Iterator[str]) -> Moved:
    """Sums over the tasks of an event log of Spark."""
    result = Moved()
    tables: dict[str, str] = {}
    stages: dict[int, str] = {}
    for line in log:
        event = json.loads(line)
        match event["Event"].rpartition(".")[2]:
            case "SparkListenerSQLExecutionStart":
                found = TABLE.search(event["physicalPlanDescription"])
                tables[str(event["executionId"])] = found[1] if found else "fetched"
            case "SparkListenerJobStart":
                table = tables.get(event["Properties"].get(EXECUTION), READING)
                stages |= dict.fromkeys(event["Stage IDs"], table)
            case "SparkListenerTaskEnd" if "Task Metrics" in event:
                table, metrics = stages[event["Stage ID"]], event["Task Metrics"]
                result.shuffled[table] += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
                result.spilled[table] += metrics["Disk Bytes Spilled"]
                result.written[table] += metrics["Output Metrics"]["Bytes Written"]
                result.cpu_seconds[table] += metrics["Executor CPU Time"] / 1e9
    return result


def profiles_on_spark(millions: float, log: Path) -> int:
    """Build the profiles of a shop, with an event log in folder ``log``; returns how many."""
    folder = run.shop(millions)
    conf = json.dumps(CONF | {"spark.eventLog.dir": log.as_uri()})
    params = run.params(folder, "engine.kind=spark", f"engine.spark.conf={conf}", "engine.spark.master=local[2]")
    with workspace(params) as session:
        source = read_shop(session.engine, params, rejected_path=None)
        raw = measure(session.engine, source, params, shop=None, progress=SILENT)
        measures = to_customer_measures(raw)
        return sum(batch.num_rows for batch in profile_batches(session.engine, measures, params))


def main() -> None:
    """Print a table for each size."""
    for millions in map(float, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            customers = profiles_on_spark(millions, Path(folder))
            seconds = time.monotonic() - started
            [log] = [path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith(".")]
            with log.open() as lines:
                sums = moved(lines)
        events = millions * 1e6
        driver = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"\n{millions:g} M events, {customers:,} customers: {seconds:.0f} s, driver's Python {driver:.1f} GB\n")
        print("| table | shuffled, B an event | spilled | written | task CPU, s |\n|---|---|---|---|---|")
        for table, count in [*sums.shuffled.most_common(), ("all", sums.shuffled.total())]:
            spilled, written, cpu = (
                counts.total() if table == "all" else counts[table]
                for counts in (sums.spilled, sums.written, sums.cpu_seconds)
            )
            print(f"| {table} | {count / events:.1f} | {spilled / events:.1f} | {written / events:.1f} | {cpu:.1f} |")


if __name__ == "__main__":
    main()
