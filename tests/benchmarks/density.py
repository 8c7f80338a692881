"""Whether neighbours put customers where HDBSCAN itself would, and what a million customers cost.

python tests/benchmarks/density.py [LOG or SHOP ...]

Of each real log, or each folder of a simulated shop: half of the customers who are clustered, at most
`clustering.hdbscan.fit_customers`, are fitted on, the other half are put among them by our vote of neighbours and by
HDBSCAN's own `approximate_predict`, for which UMAP transforms them. Then everybody is clustered as in a training, but
for its judgement, and timed.
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
import foretold
import run

from models import clusterers
from models.preprocessing import fit_scaling
from models.scorer import NOISE, assign, to_space
from pipeline.config.facets import facets_of
from pipeline.ingest.source import read_source
from pipeline.profiles.build import build_profiles
from pipeline.segmentation.choose import clustered
from pipeline.segmentation.cluster import hdbscan_settings
from pipeline.stores.database import connect


def main() -> None:
    """Print a row per log."""
    warnings.filterwarnings("ignore")
    print(
        "| log | clusters, noise | same, of those both cluster | of all | everybody: customers, CPU s, by the clock |"
    )
    print("|---|---|---|---|---|")
    for log in sys.argv[1:] or foretold.LOGS:
        params = foretold.given(log) if log in foretold.LOGS else run.params(Path(log).resolve())
        with tempfile.TemporaryDirectory() as folder, connect(params.engine, folder=Path(folder)) as con:
            profiles = build_profiles(con, read_source(con, params, rejected_path=None), params)
        columns = profiles.shop.spec.columns()
        (behaviour, *_) = facets_of(params)
        table = profiles.table[clustered(profiles.table, behaviour)]
        space = to_space(
            table, fit_scaling(table, behaviour.columns(columns), block_weights=behaviour.settings.block_weights)
        )
        settings = hdbscan_settings(params, behaviour) | {"noise": "keep"}
        found, both, all_ = agreement(space, settings, params.seed)
        cpu, wall = time.process_time(), time.monotonic()
        assign(space, clusterers.fit_hdbscan(space, params.seed, **settings).model)
        taken = f"{len(space):,}, {time.process_time() - cpu:.0f}, {time.monotonic() - wall:.0f}"
        print(f"| {Path(log).name} | {found} | {both:.3f} | {all_:.3f} | {taken} |", flush=True)


def agreement(space: np.ndarray, settings: dict[str, Any], seed: int) -> tuple[str, float, float]:
    """Clusters and share of noise; share of the customers held out who are put alike, of those clustered and of all."""
    order = np.random.default_rng(seed).permutation(len(space))
    most = min(len(space) // 2, int(settings["fit_customers"]))
    fitted, held_out = space[np.sort(order[:most])], space[order[most : 2 * most]]
    kept: dict[str, Any] = {}

    def keeping(made: type, **more: object) -> Callable[..., object]:
        def make(**given: object) -> object:
            kept[made.__name__] = made(**given, **more)
            return kept[made.__name__]

        return make

    density, reducer = hdbscan.HDBSCAN, umap.UMAP
    hdbscan.HDBSCAN, umap.UMAP = keeping(density, prediction_data=True), keeping(reducer)
    try:
        ours = clusterers.fit_hdbscan(fitted, seed, **settings)
    finally:
        hdbscan.HDBSCAN, umap.UMAP = density, reducer
    reduced = kept["UMAP"].transform(held_out).astype(np.float64) if ours.is_reduced else held_out
    theirs, _ = hdbscan.approximate_predict(kept["HDBSCAN"], np.array(reduced, order="C", copy=True))
    numbers = {NOISE: NOISE} | dict(zip(kept["HDBSCAN"].labels_.tolist(), ours.fitted_labels.tolist(), strict=True))
    expected = np.array([numbers[one] for one in theirs.tolist()])
    given = assign(held_out, ours.model)["cluster_id"]
    is_clustered = (expected != NOISE) & (given != NOISE)
    labels = ours.fitted_labels
    found = f"{len(set(labels.tolist()) - {NOISE})}, {(labels == NOISE).mean():.0%}"
    return found, float((given == expected)[is_clustered].mean()), float((given == expected).mean())


if __name__ == "__main__":
    main()
