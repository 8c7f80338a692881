"""`kindred score --update` beside `kindred score`: a year of events plus one day.

    python tests/benchmarks/update.py [--events 20] [--runs 3]

Trains once, builds the state as of the day of training, and scores a day later by update and in full, each in a process
of its own, in turn; prints medians, and stops when the two give other scores.
"""

from __future__ import annotations

import argparse
import datetime
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
    """Run one step and print its seconds."""
    from pipeline.score import score
    from pipeline.train import train

    started, place = time.monotonic(), Path(folder)
    given = run.params(place)
    given = given.model_copy(update={"as_of": given.as_of + datetime.timedelta(days=STEPS[step])})
    if step == "train":
        train(given, sweep=False, progress=lambda told: None)
    else:
        score(
            given,
            model_uri="models:/kindred@champion",
            out=scores(place, step),
            progress=lambda told: None,
            update=step != "full",
        )
    print(time.monotonic() - started)


def seconds(step: str, folder: Path) -> float:
    """Seconds of one step in a process of its own."""
    paths = [str(run.ROOT), str(Path(__file__).parent)]
    code = f"import sys; sys.path[:0] = {paths!r}; import update; update.alone({step!r}, {str(folder)!r})"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{step} failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print the seconds of each step."""
    import pandas as pd

    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=float, default=20.0, help="millions")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    folder = run.shop(options.events)
    if not (folder / "mlflow.db").exists():
        seconds("train", folder)
    state, kept = folder / "outputs" / "state", folder / "state-of-yesterday"
    shutil.rmtree(state, ignore_errors=True)
    print(f"build   {seconds('build', folder):8.1f} s")
    shutil.copytree(state, kept, dirs_exist_ok=True)
    taken: dict[str, list[float]] = {"update": [], "full": []}
    for _ in range(options.runs):
        shutil.rmtree(state)
        shutil.copytree(kept, state)
        for step, found in taken.items():
            found.append(seconds(step, folder))
    shutil.rmtree(kept)
    update, full = (statistics.median(found) for found in taken.values())
    print(f"update  {update:8.1f} s\nfull    {full:8.1f} s, {full / update:.1f}x")
    ours, theirs = (pd.read_parquet(scores(folder, step)) for step in taken)
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9, atol=1e-9)


if __name__ == "__main__":
    main()
