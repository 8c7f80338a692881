"""`kindred score --update` compared with `kindred score`: a year of events plus one day.

    python tests/benchmarks/update.py [--events 20] [--runs 2] [--folder bench/shop-20m] [--unordered]

Trains once, then scores one day later in three ways, alternating, each in its own process: an update from the previous
day's state, a rebuild of the state, and a full scoring without a state. Prints medians of CPU seconds (user and system,
whole process including start-up) and wall seconds. Fails if the scores differ.

Real logs are in time order, but the simulated log is written customer by customer. It is therefore sorted by time
first, unless ``--unordered`` is given.
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
"""Step -> its command and its as_of in days after training."""


def scores(folder: Path, step: str) -> Path:
    """The scores file of a step."""
    return folder / f"scores-{step}.parquet"


def by_time(folder: Path) -> Path:
    """The events of a shop sorted by time, in files of about 100 MB; written once."""
    import duckdb

    ordered, partial = folder / "events-by-time", folder / "events-being-ordered"
    if not ordered.exists():
        shutil.rmtree(partial, ignore_errors=True)
        duckdb.execute(
            f"copy (from read_parquet('{folder}/events/*.parquet') order by occurred_at) to '{partial}' "
            "(format parquet, file_size_bytes '100MB')"
        )
        partial.rename(ordered)
    return ordered


def seconds(step: str, folder: Path, events: Path) -> tuple[float, float]:
    """CPU and wall seconds of one command, from its start to its end."""
    words, days = STEPS[step]
    as_of = run.params(folder).as_of + datetime.timedelta(days=days)
    overrides = [*run.settings(folder), f"source.events.path={events}", f"as_of={as_of:%Y-%m-%dT%H:%M:%SZ}"]
    command = [sys.executable, "-c", "from pipeline.cli import main; raise SystemExit(main())", *words.split()]
    command += [
        "--params",
        str(run.ROOT / "params.yaml"),
        *(word for override in overrides for word in ("--set", override)),
    ]
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
    parser.add_argument("--folder", type=Path, help="an existing shop; its model is used if there is one")
    parser.add_argument("--unordered", action="store_true")
    options = parser.parse_args()
    folder = (options.folder or run.shop(options.events)).resolve()
    events = folder / "events" if options.unordered else by_time(folder)
    state, saved = folder / "outputs" / "state", folder / "state-of-yesterday"
    for step in ("train", "yesterday"):
        if not (folder / "mlflow.db" if step == "train" else saved).exists():
            shutil.rmtree(state, ignore_errors=True)
            print_step(step, seconds(step, folder, events))
    if state.exists() and not saved.exists():
        shutil.copytree(state, saved)
    timings: dict[str, list[tuple[float, float]]] = {"update": [], "rebuild": [], "full": []}
    for _ in range(options.runs):
        for step, runs in timings.items():
            shutil.rmtree(state, ignore_errors=True)
            if step == "update":
                shutil.copytree(saved, state)
            runs.append(seconds(step, folder, events))
    medians = {step: [statistics.median(row) for row in zip(*runs, strict=True)] for step, runs in timings.items()}
    for step, (cpu, wall) in medians.items():
        print_step(step, (cpu, wall))
        print(f"       {cpu / medians['update'][0]:8.1f}x     {wall / medians['update'][1]:8.1f}x")
    ours, *theirs = (pd.read_parquet(scores(folder, step)) for step in timings)
    for other in theirs:
        pd.testing.assert_frame_equal(ours, other, rtol=1e-9, atol=1e-9)


def print_step(step: str, timing: tuple[float, float]) -> None:
    """Print CPU and wall seconds of a step."""
    print("{:<10}{:8.1f} s CPU {:8.1f} s wall".format(step, *timing), flush=True)


if __name__ == "__main__":
    main()
