"""How well segments recover the planted truth of a simulated shop, compared with log RFM and with supervised trees.

python tests/benchmarks/truth.py SHOP

Adjusted Rand index among clustered customers, with the planted personas and with the planted first interests (first
level). The ceiling is the out-of-fold prediction of boosted trees trained on the truth, from the same columns.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

sys.path.insert(0, str(Path(__file__).parent))
from run import params

from features.categories import SEPARATOR
from pipeline.config.facets import facets_of
from pipeline.ingest.source import read_source
from pipeline.profiles.build import build_profiles
from pipeline.segmentation.cluster import cluster, clustered, segment_ids
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB

STARTS = range(3)


def main() -> None:
    """Print a row per method: its index with the personas and with the interests, means over starts."""
    folder = Path(sys.argv[1]).resolve()
    settings = params(folder)
    with connect(settings.engine, folder=folder) as con:
        profiles = build_profiles(DuckDB(con), read_source(con, settings, rejected_path=None), settings)
    truth = pd.read_parquet(folder / "truth_customers.parquet").set_index("customer_id")
    behaviour, interest = facets_of(settings)
    table = profiles.table[clustered(profiles.table, behaviour)]
    planted = truth.reindex(table.customer_id)
    kinds = planted.kind.to_numpy(dtype=str)
    interests = np.array([paths[0].split(SEPARATOR)[0] if len(paths) else "" for paths in planted.interests])

    def print_row(method: str, groups: list[np.ndarray]) -> None:
        indices = [[adjusted_rand_score(labels, group) for group in groups] for labels in (kinds, interests)]
        print(f"| {method} | " + " | ".join(f"{np.mean(values):.3f}" for values in indices) + " |", flush=True)

    print("| method | personas | interests |\n|---|---|---|")
    for count in (8, 10, 12):
        kmeans = behaviour.with_settings(algorithm="kmeans", n_segments=count)
        fits = [cluster(profiles, settings, kmeans, seed=seed) for seed in STARTS]
        print_row(f"KMeans by behaviour, {count} segments", [fit.labels for fit in fits])
    densities = cluster(profiles, settings, behaviour.with_settings(algorithm="hdbscan"))
    print_row(f"HDBSCAN by behaviour, {densities.n_segments} segments", [densities.labels])
    inside = clustered(profiles.table, behaviour)
    fits_by_name = {"leading category": [cluster(profiles, settings, interest.with_settings(algorithm="rule"))]}
    for count in (8, 16, 22):
        kmeans = interest.with_settings(algorithm="kmeans", n_segments=count)
        fits_by_name[f"KMeans, {count} segments"] = [cluster(profiles, settings, kmeans, seed=seed) for seed in STARTS]
    for name, fits in fits_by_name.items():
        # Customers without known interests form one group.
        print_row(f"{name} by interest", [segment_ids(profiles.table, fit, interest)[inside] for fit in fits])
    measures = table[["days_since_last_purchase", "order_count", "spend"]].fillna(
        {"days_since_last_purchase": settings.history_days}
    )
    points = np.log1p(measures.to_numpy(dtype=np.float64))
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    for count in (8, 10, 12):
        groups = [KMeans(count, n_init=10, random_state=seed).fit_predict(points) for seed in STARTS]
        print_row(f"k-means on log RFM, {count}", groups)
    used = dict.fromkeys(name for column in profiles.shop.spec.columns() for name in column.reads)
    columns = table[list(used)].to_numpy(dtype=np.float64, na_value=np.nan)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    ceiling = [
        adjusted_rand_score(
            planted,
            cross_val_predict(
                HistGradientBoostingClassifier(max_iter=150, learning_rate=0.06, random_state=0),
                columns,
                planted,
                cv=folds,
            ),
        )
        for planted in (kinds, interests)
    ]
    print("| boosted trees trained on the truth | " + " | ".join(f"{value:.3f}" for value in ceiling) + " |")


if __name__ == "__main__":
    main()
