"""How well behaviour segments recover the planted personas of simulated shops, by block balance and journey columns.

python tests/benchmarks/rates.py SHOP [SHOP ...]

Adjusted Rand index with the personas among clustered customers; means over shops and three KMeans starts.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent))
from run import params

from models.preprocessing import fit_scaling
from models.scorer import to_space
from pipeline.config.facets import facets_of
from pipeline.ingest.source import read_source
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.segmentation.cluster import clustered
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB

COUNTS, STARTS = (8, 9, 10, 12), range(3)
EARLIER_WEIGHTS = {"interest": 0.0, "value": 1.5, "journey": 1.0, "context": 0.25, "benefits": 0.25, "rates": 0.0}
DAYS = ("visits_per_week", "days_since_last_event", "days_from_first_to_last_event")
JOURNEYS = {
    "with abandoned carts": ("event_count", "abandoned_carts_per_visit", *DAYS),
    "events": ("event_count", *DAYS),
    "activity": ("activity", *DAYS),
}
BALANCES: tuple[dict[str, float], ...] = (
    {},
    {"value": 1.0},
    *({"value": 1.0, "rates": rates} for rates in (0.8, 1.0, 1.2, 1.4)),
    {"value": 0.75, "rates": 1.2},
    {"value": 1.5, "rates": 1.2},
)


def read(folder: Path) -> tuple[Profiles, pd.DataFrame, np.ndarray]:
    """Profiles, the table of clustered customers, and their personas."""
    settings = params(folder)
    with connect(settings.engine, folder=folder) as con:
        profiles = build_profiles(DuckDB(con), read_source(con, settings, rejected_path=None), settings)
    truth = pd.read_parquet(folder / "truth_customers.parquet").set_index("customer_id")
    table = profiles.table[clustered(profiles.table, facets_of(settings)[0])]
    return profiles, table, truth.reindex(table.customer_id).kind.to_numpy(dtype=str)


def agreement(shop: tuple[Profiles, pd.DataFrame, np.ndarray], journey: tuple[str, ...], weights: Any) -> list[float]:
    """Adjusted Rand index for each of `COUNTS`, mean over starts."""
    profiles, table, kinds = shop
    columns = replace(profiles.shop.spec, journey_columns=journey).columns()
    space = to_space(table, fit_scaling(table, columns, block_weights=weights))
    return [
        float(
            np.mean(
                [
                    adjusted_rand_score(kinds, KMeans(k, n_init=10, random_state=start).fit_predict(space))
                    for start in STARTS
                ]
            )
        )
        for k in COUNTS
    ]


def main() -> None:
    """Print a row per journey and balance."""
    shops = [read(Path(folder).resolve()) for folder in sys.argv[1:]]
    print("| journey | balance | " + " | ".join(map(str, COUNTS)) + " | mean |\n" + "|---" * (len(COUNTS) + 3) + "|")
    with threadpool_limits(limits=1):
        for name, journey in JOURNEYS.items():
            for balance in BALANCES:
                scores = np.mean([agreement(shop, journey, {**EARLIER_WEIGHTS, **balance}) for shop in shops], axis=0)
                balance_name = (
                    ", ".join(f"{block} {weight:g}" for block, weight in balance.items()) or "earlier weights"
                )
                print(
                    f"| {name} | {balance_name} | "
                    + " | ".join(f"{value:.3f}" for value in [*scores, scores.mean()])
                    + " |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
