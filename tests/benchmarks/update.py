"""`kindred score --update` beside `kindred score`: a year of events plus one day.

    python tests/benchmarks/update.py [--events 20] [--runs 2] [--folder bench/shop-20m]

Trains once and builds the state as of the day of training, where they are not there yet; then scores a day later by
update and in full, each in a process of its own, in turn. Prints medians of CPU seconds (user and system, of the whole
process, its start included) and of wall seconds, and stops when the two give other scores.
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

STEPS = {"train": 0, "build": 0, "update": 1, "full": 1}
"""Each step, and how many days after training it scores."""


def scores(folder: Path, step: str) -> Path:
    """Where a step writes."""
    return folder / f"scores-{step}.parquet"


def alone(step: str, folder: str) -> None:
    """Run one step."""
    place = Path(folder)
    given = run.params(place)
    given = given.model_copy(update={"as_of": given.as_of + datetime.timedelta(days=STEPS[step])})
    if step == "train":
        from pipeline.train import train

        train(given, sweep=False, progress=lambda told: None)
        return
    from pipeline.score import score

    score(
        given,
        model_uri="models:/kindred@champion",
        out=scores(place, step),
        progress=lambda told: None,
        update=step != "full",
    )


def seconds(step: str, folder: Path) -> tuple[float, float]:
    """CPU and wall seconds of one step in a process of its own."""
    paths = [str(run.ROOT), str(Path(__file__).parent)]
    code = f"import sys; sys.path[:0] = {paths!r}; import update; update.alone({step!r}, {str(folder)!r})"
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
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
    options = parser.parse_args()
    folder = (options.folder or run.shop(options.events)).resolve()
    state, kept = folder / "outputs" / "state", folder / "state-of-yesterday"
    for step in ("train", "build"):
        if not (folder / "mlflow.db" if step == "train" else kept).exists():
            shutil.rmtree(state, ignore_errors=True)
            print("{:<7}{:8.1f} s CPU {:8.1f} s wall".format(step, *seconds(step, folder)), flush=True)
    if state.exists() and not kept.exists():
        shutil.copytree(state, kept)
    taken: dict[str, list[tuple[float, float]]] = {"update": [], "full": []}
    for _ in range(options.runs):
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(kept, state)
        for step, found in taken.items():
            found.append(seconds(step, folder))
    update, full = ([statistics.median(row) for row in zip(*found, strict=True)] for found in taken.values())
    for step, (cpu, wall) in (("update", update), ("full", full)):
        print(f"{step:<7}{cpu:8.1f} s CPU {wall:8.1f} s wall")
    print(f"ratio  {full[0] / update[0]:8.1f}x     {full[1] / update[1]:8.1f}x")
    ours, theirs = (pd.read_parquet(scores(folder, step)) for step in taken)
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9, atol=1e-9)


if __name__ == "__main__":
    main()
