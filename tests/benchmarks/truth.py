"""Adjusted Rand index of segments with the planted kinds of a simulated shop, for KMeans, HDBSCAN and two baselines.

python tests/benchmarks/truth.py SHOP
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

sys.path.insert(0, str(Path(__file__).parent))
from run import params

from pipeline.engines import connect
from pipeline.profiles import build_profiles
from pipeline.segments import cluster
from pipeline.sources import read_source


def main() -> None:
    """Print a row per method: customers clustered, and what it agrees with."""
    folder = Path(sys.argv[1]).resolve()
    given = params(folder)
    with connect(given.engine, folder=folder) as con:
        profiles = build_profiles(con, read_source(con, given, rejected_path=None), given)
    table = profiles.table
    truth = pd.read_parquet(folder / "truth_customers.parquet").set_index("customer_id").kind
    for algorithm, count in (("kmeans", 8), ("kmeans", 12), ("hdbscan", 2)):
        fitted = cluster(profiles, given, algorithm=algorithm, n_segments=count)
        kind = truth.reindex(table[fitted.is_clustered].customer_id).to_numpy()
        agreement = adjusted_rand_score(kind, fitted.labels)
        print(f"| {algorithm}, {fitted.n_segments} segments | {agreement:.3f} |", flush=True)
    measures = table.loc[fitted.is_clustered, ["days_since_last_purchase", "order_count", "spend"]]
    points = np.log1p(measures.fillna(given.history_days).to_numpy())
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    for count in (8, 12):
        labels = KMeans(count, n_init=10, random_state=0).fit_predict(points)
        print(f"| k-means on log RFM, {count} | {adjusted_rand_score(kind, labels):.3f} |")


if __name__ == "__main__":
    main()
