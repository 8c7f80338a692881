"""Two facets compared with one: `kindred train` and `kindred score`, in pairs.

    python tests/benchmarks/facets.py [--events 20] [--runs 3]

Each command runs in its own process; runs with one and two facets alternate. The table shows medians and ranges of CPU
seconds (user and system, including start-up) and wall seconds, and the median ratio over the pairs.
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

VARIANTS = {"one facet": ["facets.interest=null"], "two facets": []}


def command(name: str, folder: Path, variant: str) -> list[str]:
    """A Kindred command on a shop, with a separate store for each variant."""
    own = folder / variant.replace(" ", "-")
    places = [
        f"outputs.folder={own}/outputs",
        f"outputs.scores={own}/scores.parquet",
        f"tracking.uri=sqlite:///{own}/mlflow.db",
        f"tracking.artifacts={own}/artifacts",
    ]
    settings = [*run.settings(folder), *places, *VARIANTS[variant]]
    return [sys.executable, "-m", "pipeline.cli", name, *(word for setting in settings for word in ("--set", setting))]


def seconds(name: str, folder: Path, variant: str) -> tuple[float, float]:
    """CPU and wall seconds of one command."""
    if name == "train":
        shutil.rmtree(folder / variant.replace(" ", "-"), ignore_errors=True)
        (folder / variant.replace(" ", "-")).mkdir()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(run.ROOT)}
    done = subprocess.run(
        command(name, folder, variant), cwd=run.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{name}, {variant} failed:\n{done.stderr[-2000:]}")
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
        timings: dict[str, list[tuple[float, float]]] = {variant: [] for variant in VARIANTS}
        for _ in range(options.runs):
            for variant in VARIANTS:
                timings[variant].append(seconds(name, folder, variant))
        one, two = timings.values()
        ratio = statistics.median(second[0] / first[0] for first, second in zip(one, two, strict=True))
        for variant, figures in timings.items():
            cpu, wall = ([figure[column] for figure in figures] for column in (0, 1))
            text = " | ".join(
                f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})" for values in (cpu, wall)
            )
            print(f"| {name}, {variant} | {text} | {f'{ratio:.2f}x' if variant == 'two facets' else ''} |", flush=True)


if __name__ == "__main__":
    main()
