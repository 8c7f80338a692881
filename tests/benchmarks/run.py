"""`make bench`: whole steps beside what a user would pick instead, each in a process of its own, in turn, medians.

    python tests/benchmarks/run.py [--events 20] [--runs 3] [--growth 2,10,20]

All contenders start from the same Parquet files of a simulated shop and end with the same figures per customer: evidence
and share of each interest column, orders, spend, days since the last purchase, counts by type, days since the last event.
Sessions, searches and context are Kindred's own and are in the last two rows only.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"
AS_OF, HALF_LIFE_DAYS, KAPPA = "2025-11-01", 45.0, 8.0
WEIGHTS = {"view": 1.0, "favourite": 2.0, "cart": 2.0, "purchase": 3.0}
EVENTS_PER_CUSTOMER = 24


def shop(millions: float) -> Path:
    """A simulated shop of about that many events, made once."""
    folder = BENCH / f"shop-{millions:g}m"
    if not (folder / "shop.json").exists():
        from pipeline.simulate import simulate

        simulate(folder, customers=int(millions * 1e6 / EVENTS_PER_CUSTOMER), days=395, seed=1)
    return folder


def params(folder: Path):
    """The project's parameters, reading and writing under ``folder``."""
    from pipeline.params import load_params

    return load_params(
        ROOT / "params.yaml",
        [
            f"source.events.path={folder}/events",
            f"source.products.path={folder}/products.parquet",
            f"source.customers.path={folder}/customers.parquet",
            f"outputs.folder={folder}/outputs",
            f"outputs.scores={folder}/outputs/scores.parquet",
            f"tracking.uri=sqlite:///{folder}/mlflow.db",
            f"tracking.artifacts={folder}/artifacts",
            "clustering.n_segments=8",
            "engine.memory_limit=8GB",
        ],
    )


def with_pandas(folder: Path) -> None:
    """As one would write it in pandas: categoricals for keys, one group-by a figure."""
    import numpy as np
    import pandas as pd

    columns = [
        "customer_id",
        "occurred_at",
        "event_type",
        "product_id",
        "quantity",
        "unit_price",
        "discount",
        "order_id",
    ]
    events = pd.read_parquet(folder / "events", columns=columns)
    events = events[events.customer_id.notna() & (events.occurred_at < pd.Timestamp(AS_OF, tz="UTC"))]
    products = pd.read_parquet(folder / "products.parquet", columns=["product_id", "category_path"])
    products["category"] = products.category_path.str.rsplit(" > ", n=1).str[0].astype("category")
    for name in ("customer_id", "event_type"):
        events[name] = events[name].astype("category")
    events = events.merge(products[["product_id", "category"]], on="product_id", how="left")
    age = (pd.Timestamp(AS_OF, tz="UTC") - events.occurred_at).dt.total_seconds() / 86_400
    weight = events.event_type.map(WEIGHTS).astype("float64").fillna(0.0)
    events["evidence"] = weight * np.exp2(-age / HALF_LIFE_DAYS)
    long = events[events.category.notna()].groupby(["customer_id", "category"], observed=True).evidence.sum()
    wide = long.unstack(fill_value=0.0)
    mix = wide.sum() / wide.to_numpy().sum()
    shares = wide.add(KAPPA * mix, axis=1).div(wide.sum(axis=1) + KAPPA, axis=0)
    bought = events[events.event_type == "purchase"].copy()
    bought["paid"] = bought.quantity * bought.unit_price - bought.discount.fillna(0.0)
    value = bought.groupby("customer_id", observed=True).agg(
        order_count=("order_id", "nunique"), spend=("paid", "sum"), last_purchase=("occurred_at", "max")
    )
    counts = events.groupby(["customer_id", "event_type"], observed=True).size().unstack(fill_value=0)
    last = events.groupby("customer_id", observed=True).occurred_at.max().rename("last_event")
    shares.join([value, counts, last]).to_parquet(folder / "out-pandas.parquet")


def with_polars(folder: Path) -> None:
    """As one would write it in Polars: lazily, with its streaming engine."""
    import polars as pl

    as_of = pl.lit(AS_OF).str.to_datetime("%Y-%m-%d", time_zone="UTC")
    products = pl.scan_parquet(folder / "products.parquet").select(
        "product_id", category=pl.col("category_path").str.replace(r" > [^>]+$", "")
    )
    events = pl.scan_parquet(str(folder / "events" / "*.parquet")).filter(
        pl.col("customer_id").is_not_null(), pl.col("occurred_at") < as_of
    )
    weight = pl.col("event_type").replace_strict(WEIGHTS, default=0.0, return_dtype=pl.Float64)
    age = (as_of - pl.col("occurred_at")).dt.total_microseconds() / 86_400e6
    long = (
        events.join(products, on="product_id")
        .group_by("customer_id", "category")
        .agg(evidence=(weight * (2.0 ** (-age / HALF_LIFE_DAYS))).sum())
        .collect(engine="streaming")
    )
    wide = long.pivot("category", index="customer_id", values="evidence").fill_null(0.0)
    names = wide.columns[1:]
    mix = wide.select(names).sum().row(0)
    total = pl.sum_horizontal(names)
    all_of_it = sum(mix)
    shares = wide.select(
        "customer_id", *[(pl.col(n) + KAPPA * m / all_of_it) / (total + KAPPA) for n, m in zip(names, mix, strict=True)]
    )
    figures = (
        events.group_by("customer_id")
        .agg(
            *[
                (pl.col("event_type") == kind).sum().alias(kind)
                for kind in ("view", "search", "favourite", "cart", "purchase", "return")
            ],
            last_event=pl.col("occurred_at").max(),
            order_count=pl.col("order_id").filter(pl.col("event_type") == "purchase").n_unique(),
            spend=(pl.col("quantity") * pl.col("unit_price") - pl.col("discount").fill_null(0.0))
            .filter(pl.col("event_type") == "purchase")
            .sum(),
            last_purchase=pl.col("occurred_at").filter(pl.col("event_type") == "purchase").max(),
        )
        .collect(engine="streaming")
    )
    figures.join(shares, on="customer_id", how="left").write_parquet(folder / "out-polars.parquet")


def with_sql(folder: Path) -> None:
    """As one would write it by hand for DuckDB: the whole of Kindred's profile (see sql_profiles.sql)."""
    import duckdb

    con = duckdb.connect(str(folder / "hand.duckdb"))
    con.execute(
        f"set memory_limit='8GB'; set temp_directory='{folder}/spill'; set preserve_insertion_order=false; set TimeZone='UTC'"
    )
    con.execute((ROOT / "tests/benchmarks/profiles.sql").read_text().replace("{folder}", str(folder)))
    con.close()
    (folder / "hand.duckdb").unlink()


def with_kindred(folder: Path) -> None:
    """Kindred: reading, checking, and the whole profile."""
    from pipeline.engines import connect
    from pipeline.profiles import build_profiles
    from pipeline.sources import read_source

    given = params(folder)
    with connect(given.engine, folder=folder) as con:
        source = read_source(con, given, rejected_path=None)
        build_profiles(con, source, given).table.to_parquet(folder / "out-kindred.parquet")


def with_sklearn(folder: Path) -> None:
    """scikit-learn's KMeans alone on the matrix that Kindred's profiles give; run after `kindred`."""
    import pandas as pd
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    table = pd.read_parquet(folder / "out-kindred.parquet").select_dtypes("number").fillna(0.0)
    KMeans(8, n_init=4, random_state=0).fit(StandardScaler().fit_transform(table))


def with_train(folder: Path) -> None:
    """`kindred train` as a whole."""
    from pipeline.train import train

    train(params(folder), sweep=False, progress=lambda step: None)


def with_score(folder: Path) -> None:
    """`kindred score` as a whole; run after `train`."""
    from pipeline.score import score

    given = params(folder)
    score(given, model_uri="models:/kindred@champion", out=given.path(given.outputs.scores), progress=lambda step: None)


CONTENDERS = {
    "kindred": with_kindred,
    "pandas": with_pandas,
    "polars": with_polars,
    "sql": with_sql,
    "sklearn": with_sklearn,
    "train": with_train,
    "score": with_score,
}


def measure(name: str, folder: Path) -> tuple[float, float]:
    """Seconds and peak GB of one contender, in a process of its own."""
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]; import run; run.alone({name!r}, {str(folder)!r})"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), float(peak)


def alone(name: str, folder: str) -> None:
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
    folder = shop(options.events)
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    for number in range(options.runs):
        for name in CONTENDERS:
            runs[name].append(measure(name, folder))
            print(f"run {number + 1}: {name} {runs[name][-1][0]:.1f} s", file=sys.stderr, flush=True)
    seconds = {name: statistics.median(one for one, _ in found) for name, found in runs.items()}
    peak = {name: statistics.median(one for _, one in found) for name, found in runs.items()}
    print(
        f"\n{options.events:g} M events, median of {options.runs}\n\n| | seconds | peak GB | beside |\n|---|---|---|---|"
    )
    beside = {
        name: f"{seconds[name] / seconds['kindred']:.2f}x Kindred's profiles"
        for name in ("pandas", "polars", "sql", "score")
    }
    beside["train"] = f"{seconds['train'] / (seconds['kindred'] + seconds['sklearn']):.2f}x (profiles + scikit-learn)"
    for name in CONTENDERS:
        print(f"| {name} | {seconds[name]:.1f} | {peak[name]:.1f} | {beside.get(name, '')} |")
    if options.growth:
        print("\n| events | profiles, s | peak GB | train, s | peak GB |\n|---|---|---|---|---|")
        for millions in map(float, options.growth.split(",")):
            measured = [measure(name, shop(millions)) for name in ("kindred", "train")]
            print(f"| {millions:g} M | " + " | ".join(f"{s:.1f} | {gb:.1f}" for s, gb in measured) + " |", flush=True)


if __name__ == "__main__":
    main()
