"""Two facets compared with one: `kindred train` and `kindred score`, in pairs.

    python tests/benchmarks/facets.py [--events 20] [--runs 3]

Each command is a process of its own, one facet and two in turn. Prints medians and ranges of CPU seconds (user and
system, the start included) and of wall seconds, and the median of the ratios pair by pair.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import run

WAYS = {"one facet": ["facets.interest=null"], "two facets": []}


def command(name: str, folder: Path, way: str) -> list[str]:
    """A command of Kindred on a shop, with a store of its own for each way."""
    own = folder / way.replace(" ", "-")
    places = [
        f"outputs.folder={own}/outputs",
        f"outputs.scores={own}/scores.parquet",
        f"tracking.uri=sqlite:///{own}/mlflow.db",
        f"tracking.artifacts={own}/artifacts",
    ]
    settings = [*run.settings(folder), *places, *WAYS[way]]
    return [sys.executable, "-m", "pipeline.cli", name, *(word for one in settings for word in ("--set", one))]


def seconds(name: str, folder: Path, way: str) -> tuple[float, float]:
    """CPU and wall seconds of one command."""
    if name == "train":
        shutil.rmtree(folder / way.replace(" ", "-"), ignore_errors=True)
        (folder / way.replace(" ", "-")).mkdir()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(run.ROOT)}
    done = subprocess.run(
        command(name, folder, way), cwd=run.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{name}, {way} failed:\n{done.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=float, default=20.0, help="millions")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    folder = run.shop(options.events)
    print("| | CPU s | wall s | CPU, two facets : one |\n|---|---|---|---|", flush=True)
    for name in ("train", "score"):
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(options.runs):
            for way in WAYS:
                found[way].append(seconds(name, folder, way))
        one, two = found.values()
        ratio = statistics.median(second[0] / first[0] for first, second in zip(one, two, strict=True))
        for way, figures in found.items():
            cpu, wall = ([figure[place] for figure in figures] for place in (0, 1))
            text = " | ".join(
                f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})" for values in (cpu, wall)
            )
            print(f"| {name}, {way} | {text} | {f'{ratio:.2f}x' if way == 'two facets' else ''} |", flush=True)


if __name__ == "__main__":
    main()
