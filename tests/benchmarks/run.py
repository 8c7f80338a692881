"""`make bench`: whole steps compared with alternatives, each in its own process, alternating, medians.

    python tests/benchmarks/run.py [--events 20] [--runs 3] [--growth 2,10,20,50]

All contenders read the same Parquet files of a simulated shop, skip the same invalid rows, and compute the same figures
per customer: interests (including those from searches), visits, orders, counts, times, channels and prices. Before the
timing, their figures are compared on a small shop. Only Kindred reports which rows were rejected and why, counts
duplicates, and adds RFM scores, lifecycle stages and tiers.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from pipeline.config.progress import SILENT
from pipeline.stores.engines.duckdb import DuckDB

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"
EVENTS_PER_CUSTOMER = 24
OTHERS = ("in_pandas", "in_polars", "in_duckdb")


def shop(millions: float) -> Path:
    """A simulated shop with about this many events, built once."""
    folder = BENCH / f"shop-{millions:g}m"
    if not (folder / "shop.json").exists():
        from pipeline.simulate import simulate

        simulate(folder, customers=int(millions * 1e6 / EVENTS_PER_CUSTOMER), days=395, seed=1)
    return folder


def settings(folder: Path) -> list[str]:
    """Overrides for `--set`, to read and write under ``folder``."""
    return [
        f"source.events.path={folder}/events",
        f"source.products.path={folder}/products.parquet",
        f"source.customers.path={folder}/customers.parquet",
        f"outputs.folder={folder}/outputs",
        f"outputs.scores={folder}/outputs/scores.parquet",
        f"tracking.uri=sqlite:///{folder}/mlflow.db",
        f"tracking.artifacts={folder}/artifacts",
        "facets.behaviour.n_segments=8",
        "engine.memory_limit=8GB",
    ]


def params(folder: Path, *more: str):
    """The project's parameters with these settings."""
    from pipeline.config.load import load_params

    return load_params(ROOT / "params.yaml", [*settings(folder), *more])


def with_kindred(folder: Path) -> None:
    """Kindred: reading, checking, and the whole profile."""
    from pipeline.ingest.source import read_source
    from pipeline.profiles.build import build_profiles
    from pipeline.stores.database import connect

    # The other contenders weigh all search outcomes equally and use only learned queries.
    simple = [f"searches.outcome_weights.{kind}=1" for kind in ("view", "favourite", "cart", "purchase")]
    # The others compare with 0.02 in floats; exact sums in steps of 2^-30 can be 1e-9 below it.
    simple.append("searches.min_probability=0.019999999")
    settings_used = params(folder, *simple, "searches.half_life_minutes=1e12", "searches.min_confidence=1")
    with connect(settings_used.engine, folder=folder) as con:
        source = read_source(con, settings_used, rejected_path=None)
        build_profiles(DuckDB(con), source, settings_used).table.to_parquet(output(folder, "kindred"))


def with_profiles_alone(folder: Path) -> None:
    """The same without rule-based segmentations and the computations that only they need."""
    from pipeline.profiles import build, measures

    def skip(*tables, **settings):
        return None

    join = measures.profile_table
    measures.profile_table = lambda customers, blocks: join(customers, [block for block in blocks if block is not None])
    measures.product_interest.product_points = measures.rhythm.order_rhythm = measures.calendar.occasion_shares = skip
    build._rule_based_groups = lambda table, spec, params: table
    with_kindred(folder)


def with_sklearn(folder: Path) -> None:
    """scikit-learn's KMeans alone on the matrix of Kindred's profiles; run after `kindred`."""
    import pandas as pd
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    table = pd.read_parquet(output(folder, "kindred")).select_dtypes("number").fillna(0.0)
    KMeans(8, n_init=4, random_state=0).fit(StandardScaler().fit_transform(table))


def with_train(folder: Path, *more: str) -> None:
    """The whole of `kindred train`, including the backtest and the fitting of interests."""
    from pipeline.commands.train import train

    train(params(folder, *more), sweep=False, progress=SILENT)


def with_train_unfitted(folder: Path) -> None:
    """The same with the weights of params.yaml."""
    with_train(folder, "interests.fit=off")


def with_score(folder: Path) -> None:
    """The whole of `kindred score`; run after `train`."""
    from pipeline.commands.score import score

    settings_used = params(folder)
    score(
        settings_used,
        model_uri="models:/kindred@champion",
        out=settings_used.path(settings_used.outputs.scores),
        progress=SILENT,
    )


def with_other(name: str, folder: Path) -> None:
    """Profiles by another contender."""
    table = importlib.import_module(name).profiles(folder)
    write = table.write_parquet if hasattr(table, "write_parquet") else table.to_parquet
    write(str(output(folder, name)))


CONTENDERS = {
    "kindred": with_kindred,
    **{name: functools.partial(with_other, name) for name in OTHERS},
    "sklearn": with_sklearn,
    "profiles_alone": with_profiles_alone,
    "train": with_train,
    "train_unfitted": with_train_unfitted,
    "score": with_score,
}


def output(folder: Path, name: str) -> Path:
    """Where a contender writes its profiles."""
    return folder / f"out-{name}.parquet"


def compare_figures(folder: Path) -> None:
    """Exit if the figures of a contender differ from Kindred's."""
    import pandas as pd

    tables = {}
    for name in ("kindred", *OTHERS):
        measure(name, folder)
        tables[name] = pd.read_parquet(output(folder, name)).set_index("customer_id").sort_index()
    ours = tables["kindred"]
    for name in OTHERS:
        theirs = tables[name]
        shared = [column for column in theirs if column in ours]
        # Without evidence, Kindred has 0 or the shop's mix; the others may have null.
        difference = (theirs[shared].astype("float64") - ours[shared].astype("float64")).abs().max()
        wrong = difference[difference > 1e-5]
        if len(shared) < 50 or not ours.index.equals(theirs.index) or len(wrong):
            raise SystemExit(f"{name}: expected the same figures as Kindred. Got other values for {dict(wrong)}")


def measure(name: str, folder: Path) -> tuple[float, float]:
    """Seconds and peak GB of one contender, in a process of its own."""
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]; import run; run.run_contender({name!r}, {str(folder)!r})"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), float(peak)


def run_contender(name: str, folder: str) -> None:
    """Run one contender and print its seconds and peak memory in GB."""
    started = time.monotonic()
    CONTENDERS[name](Path(folder))
    print(time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=float, default=20.0, help="millions")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--growth", default="2,10,20,50", help="millions of events, or nothing")
    options = parser.parse_args()
    compare_figures(shop(2))
    folder = shop(options.events)
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    for number in range(options.runs):
        for name in CONTENDERS:
            runs[name].append(measure(name, folder))
            print(f"run {number + 1}: {name} {runs[name][-1][0]:.1f} s", file=sys.stderr, flush=True)
    seconds = {name: statistics.median(time for time, _ in results) for name, results in runs.items()}
    peak = {name: statistics.median(memory for _, memory in results) for name, results in runs.items()}
    print(
        f"\n{options.events:g} M events, median of {options.runs}\n\n| | seconds | peak GB | compared with |\n|---|---|---|---|"
    )
    comparison = {name: f"{seconds[name] / seconds['kindred']:.2f}x Kindred's profiles" for name in (*OTHERS, "score")}
    comparison["kindred"] = f"{seconds['kindred'] / seconds['profiles_alone']:.2f}x profiles alone"
    for name in ("train", "train_unfitted"):
        comparison[name] = f"{seconds[name] / (seconds['kindred'] + seconds['sklearn']):.2f}x (profiles + scikit-learn)"
    for name in CONTENDERS:
        print(f"| {name} | {seconds[name]:.1f} | {peak[name]:.1f} | {comparison.get(name, '')} |")
    if options.growth:
        print("\n| events | profiles, s | peak GB | train, s | peak GB |\n|---|---|---|---|---|")
        for millions in map(float, options.growth.split(",")):
            measured = [measure(name, shop(millions)) for name in ("kindred", "train")]
            print(f"| {millions:g} M | " + " | ".join(f"{s:.1f} | {gb:.1f}" for s, gb in measured) + " |", flush=True)


if __name__ == "__main__":
    main()
