"""`kindred score --update` beside `kindred score`: a year of events plus one day.

    python tests/benchmarks/update.py [--events 20] [--runs 2] [--folder bench/shop-20m] [--unordered]

Trains once; then scores a day later in three ways, each in a process of its own, in turn: by update from the state of
the day before, by making the state anew, and in full without a state. Prints medians of CPU seconds (user and system,
of the whole process, its start included) and of wall seconds, and stops when they give other scores.

A shop writes its log as things happen; the simulated one does so customer by customer, and is put in the order of time
first, unless it is to stay ``--unordered``.
"""

from __future__ import annotations

import argparse
import datetime
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import run

STEPS = {
    "train": ("train", 0),
    "yesterday": ("score --update", 0),
    "update": ("score --update", 1),
    "rebuild": ("score --update", 1),
    "full": ("score", 1),
}
"""Each step: its command, and how many days after training it is run."""


def scores(folder: Path, step: str) -> Path:
    """Where a step writes."""
    return folder / f"scores-{step}.parquet"


def by_time(folder: Path) -> Path:
    """The events of a shop in the order of time, in files of about a hundred megabytes; written once."""
    import duckdb

    ordered, aside = folder / "events-by-time", folder / "events-being-ordered"
    if not ordered.exists():
        shutil.rmtree(aside, ignore_errors=True)
        duckdb.execute(
            f"copy (from read_parquet('{folder}/events/*.parquet') order by occurred_at) to '{aside}' "
            "(format parquet, file_size_bytes '100MB')"
        )
        aside.rename(ordered)
    return ordered


def seconds(step: str, folder: Path, events: Path) -> tuple[float, float]:
    """CPU and wall seconds of one command, from its start to its end."""
    words, days = STEPS[step]
    as_of = run.params(folder).as_of + datetime.timedelta(days=days)
    given = [*run.settings(folder), f"source.events.path={events}", f"as_of={as_of:%Y-%m-%dT%H:%M:%SZ}"]
    command = [sys.executable, "-c", "from pipeline.cli import main; raise SystemExit(main())", *words.split()]
    command += ["--params", str(run.ROOT / "params.yaml"), *(word for one in given for word in ("--set", one))]
    command += ["--out", str(scores(folder, step))] if "score" in words else []
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=run.ROOT)
    if done.returncode:
        raise SystemExit(f"{step} failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - started


def main() -> None:
    """Print the seconds of each step."""
    import pandas as pd

    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=float, default=20.0, help="millions")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="a shop made before; with its model, if it was trained on")
    parser.add_argument("--unordered", action="store_true")
    options = parser.parse_args()
    folder = (options.folder or run.shop(options.events)).resolve()
    events = folder / "events" if options.unordered else by_time(folder)
    state, kept = folder / "outputs" / "state", folder / "state-of-yesterday"
    for step in ("train", "yesterday"):
        if not (folder / "mlflow.db" if step == "train" else kept).exists():
            shutil.rmtree(state, ignore_errors=True)
            told(step, seconds(step, folder, events))
    if state.exists() and not kept.exists():
        shutil.copytree(state, kept)
    taken: dict[str, list[tuple[float, float]]] = {"update": [], "rebuild": [], "full": []}
    for _ in range(options.runs):
        for step, found in taken.items():
            shutil.rmtree(state, ignore_errors=True)
            if step == "update":
                shutil.copytree(kept, state)
            found.append(seconds(step, folder, events))
    medians = {step: [statistics.median(row) for row in zip(*found, strict=True)] for step, found in taken.items()}
    for step, (cpu, wall) in medians.items():
        told(step, (cpu, wall))
        print(f"       {cpu / medians['update'][0]:8.1f}x     {wall / medians['update'][1]:8.1f}x")
    ours, *theirs = (pd.read_parquet(scores(folder, step)) for step in taken)
    for one in theirs:
        pd.testing.assert_frame_equal(ours, one, rtol=1e-9, atol=1e-9)


def told(step: str, taken: tuple[float, float]) -> None:
    """Print CPU and wall seconds of a step."""
    print("{:<10}{:8.1f} s CPU {:8.1f} s wall".format(step, *taken), flush=True)


if __name__ == "__main__":
    main()
