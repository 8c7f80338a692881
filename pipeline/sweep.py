"""`kindred train --sweep`: a grid of settings as children of one run, and the choice among them."""

from __future__ import annotations

from typing import Any

from joblib import Parallel, delayed

from models.segmentation import FittedClusters
from models.selection import Candidate, choose
from pipeline import tracking
from pipeline.params import Params
from pipeline.profiles import Profiles


def grid(params: Params) -> list[tuple[str, int]]:
    """(algorithm, number of segments) of every candidate; HDBSCAN finds its own number and stands once, with 0."""
    algorithms = dict.fromkeys(params.sweep.algorithm)
    counts = dict.fromkeys(params.sweep.n_segments)
    return [(algorithm, count) for algorithm in algorithms for count in (counts if algorithm == "kmeans" else [0])]


def fit_candidates(profiles: Profiles, params: Params) -> list[tuple[tuple[str, int], FittedClusters]]:
    """Fit and judge every candidate, several at once."""
    from pipeline.train import cluster

    settings = grid(params)
    fitted = Parallel(n_jobs=params.sweep.n_jobs)(
        delayed(cluster)(profiles, params, algorithm=algorithm, n_segments=count or 2) for algorithm, count in settings
    )
    return list(zip(settings, fitted, strict=True))


def log_candidates(mlflow: Any, fitted: list[tuple[tuple[str, int], FittedClusters]]) -> list[Candidate]:
    """A child run for each candidate, and one table of all under the parent."""
    candidates = []
    for (algorithm, count), one in fitted:
        name = f"{algorithm} {count}" if count else algorithm
        candidate = one.as_candidate(count or None)
        with tracking.run(mlflow, name=name, tags={"candidate": "true"}, nested=True):
            mlflow.log_params({"clustering.algorithm": algorithm, "clustering.n_segments": count or "found"})
            figures = {**one.quality, "stability_mean": one.mean_stability, "n_segments": float(one.n_segments)}
            mlflow.log_metrics({key: value for key, value in figures.items() if value is not None})
        candidates.append(candidate)
    mlflow.log_table({key: [vars(one)[key] for one in candidates] for key in vars(candidates[0])}, "candidates.json")
    return candidates


def chosen_params(candidates: list[Candidate], params: Params) -> tuple[Params, str]:
    """``params`` with the settings of the candidate chosen, and why."""
    chosen, reason = choose(
        candidates,
        min_segment_share=params.quality.min_segment_share,
        min_stability=params.quality.min_stability,
    )
    clustering = params.clustering.model_copy(update={"algorithm": chosen.algorithm, "n_segments": chosen.n_segments})
    return params.model_copy(update={"clustering": clustering}), reason
