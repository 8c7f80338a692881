"""Whether neighbour votes assign customers like HDBSCAN itself does, and the cost for a million customers.

python tests/benchmarks/density.py [LOG or SHOP ...]

For each real log or simulated shop, the model is fitted on half of the clustered customers, at most
`clustering.hdbscan.fit_customers`. The other half is assigned by our neighbour votes and by HDBSCAN's own
`approximate_predict`, after a UMAP transform. Then the clustering of all customers is timed, as in training but without
quality metrics.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hdbscan
import numpy as np
import umap

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))
import predictive_validity
import run

from models import clusterers
from models.preprocessing import fit_scaling
from models.scorer import NOISE, assign, to_space
from pipeline.config.facets import facets_of
from pipeline.ingest.source import read_source
from pipeline.profiles.build import build_profiles
from pipeline.segmentation.cluster import clustered, hdbscan_settings
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB


def main() -> None:
    """Print a row per log."""
    warnings.filterwarnings("ignore")
    print(
        "| log | clusters, noise | same among customers clustered by both | same among all | all: customers, CPU s, wall s |"
    )
    print("|---|---|---|---|---|")
    for log in sys.argv[1:] or predictive_validity.LOGS:
        params = (
            predictive_validity.params_of(log) if log in predictive_validity.LOGS else run.params(Path(log).resolve())
        )
        with tempfile.TemporaryDirectory() as folder, connect(params.engine, folder=Path(folder)) as con:
            profiles = build_profiles(DuckDB(con), read_source(con, params, rejected_path=None), params)
        columns = profiles.shop.spec.columns()
        (behaviour, *_) = facets_of(params)
        table = profiles.table[clustered(profiles.table, behaviour)]
        space = to_space(
            table, fit_scaling(table, behaviour.columns(columns), block_weights=behaviour.settings.block_weights)
        )
        settings = hdbscan_settings(params, behaviour) | {"noise": "keep"}
        clusters, both, all_ = agreement(space, settings, params.seed)
        cpu, wall = time.process_time(), time.monotonic()
        assign(space, clusterers.fit_hdbscan(space, params.seed, **settings).model)
        timing = f"{len(space):,}, {time.process_time() - cpu:.0f}, {time.monotonic() - wall:.0f}"
        print(f"| {Path(log).name} | {clusters} | {both:.3f} | {all_:.3f} | {timing} |", flush=True)


def agreement(space: np.ndarray, settings: dict[str, Any], seed: int) -> tuple[str, float, float]:
    """Clusters and noise share; share of held-out customers assigned equally, among those clustered and among all."""
    order = np.random.default_rng(seed).permutation(len(space))
    count = min(len(space) // 2, int(settings["fit_customers"]))
    fitted, held_out = space[np.sort(order[:count])], space[order[count : 2 * count]]
    captured: dict[str, Any] = {}

    def capture(factory: type, **extra: object) -> Callable[..., object]:
        def make(**settings: object) -> object:
            captured[factory.__name__] = factory(**settings, **extra)
            return captured[factory.__name__]

        return make

    density, reducer = hdbscan.HDBSCAN, umap.UMAP
    hdbscan.HDBSCAN, umap.UMAP = capture(density, prediction_data=True), capture(reducer)
    try:
        ours = clusterers.fit_hdbscan(fitted, seed, **settings)
    finally:
        hdbscan.HDBSCAN, umap.UMAP = density, reducer
    reduced = captured["UMAP"].transform(held_out).astype(np.float64) if ours.is_reduced else held_out
    theirs, _ = hdbscan.approximate_predict(captured["HDBSCAN"], np.array(reduced, order="C", copy=True))
    numbers = {NOISE: NOISE} | dict(zip(captured["HDBSCAN"].labels_.tolist(), ours.fitted_labels.tolist(), strict=True))
    expected = np.array([numbers[label] for label in theirs.tolist()])
    assigned = assign(held_out, ours.model)["cluster_id"]
    is_clustered = (expected != NOISE) & (assigned != NOISE)
    labels = ours.fitted_labels
    clusters = f"{len(set(labels.tolist()) - {NOISE})}, {(labels == NOISE).mean():.0%}"
    return clusters, float((assigned == expected)[is_clustered].mean()), float((assigned == expected).mean())


if __name__ == "__main__":
    main()
