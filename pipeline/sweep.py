"""`kindred train --sweep`: a grid of settings as children of one run, and the choice among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from joblib import Parallel, delayed

from models.selection import Candidate, choose
from pipeline import tracking
from pipeline.params import Params
from pipeline.profiles import Profiles
from pipeline.segments import cluster


@dataclass(frozen=True)
class Tried:
    """One setting, and what it gave.

    Attributes
    ----------
    asked : int or None
        Number of segments asked for; None for HDBSCAN, which finds its own. ``candidate`` has the number found.
    figures : dict of str to float
        Of its quality; an undefined figure is left out.
    """

    algorithm: str
    asked: int | None
    candidate: Candidate
    figures: dict[str, float]


def grid(params: Params) -> list[tuple[str, int | None]]:
    """(algorithm, number of segments) of every candidate; HDBSCAN finds its own number and stands once, with None."""
    algorithms = dict.fromkeys(params.sweep.algorithm)
    counts = dict.fromkeys(params.sweep.n_segments)
    return [(algorithm, count) for algorithm in algorithms for count in (counts if algorithm == "kmeans" else [None])]


def try_candidates(profiles: Profiles, params: Params) -> list[Tried]:
    """Fit and judge every candidate, several at once; only figures are kept, since each fit holds all customers."""
    work = [delayed(_try)(profiles, params, algorithm, asked) for algorithm, asked in grid(params)]
    return list(Parallel(n_jobs=params.sweep.n_jobs)(work))


def _try(profiles: Profiles, params: Params, algorithm: str, asked: int | None) -> Tried:
    changes = {"algorithm": algorithm} | ({"n_segments": asked} if asked else {})
    fitted = cluster(profiles, params, **changes)
    figures = {**fitted.quality, "stability_mean": fitted.mean_stability, "n_segments": float(fitted.n_segments)}
    known = {key: value for key, value in figures.items() if value is not None}
    return Tried(algorithm, asked, fitted.as_candidate(), known)


def log_candidates(mlflow: Any, tried: list[Tried]) -> None:
    """A child run for each candidate, and one table of all under the parent."""
    for one in tried:
        name = f"{one.algorithm} {one.asked}" if one.asked else one.algorithm
        with tracking.run(mlflow, name=name, tags={"candidate": "true"}, nested=True):
            asked = one.asked or "found"
            mlflow.log_params({"clustering.algorithm": one.algorithm, "clustering.n_segments": asked})
            mlflow.log_metrics(one.figures)
    rows = [{"n_segments_asked": one.asked, **vars(one.candidate)} for one in tried]
    mlflow.log_table({key: [row[key] for row in rows] for key in rows[0]}, "candidates.json")


def choose_candidate(tried: list[Tried], params: Params) -> tuple[Params, str]:
    """``params`` with the setting of the candidate chosen, and why."""
    candidates = [one.candidate for one in tried]
    chosen, reason = choose(
        candidates,
        min_segment_share=params.quality.min_segment_share,
        min_stability=params.quality.min_stability,
    )
    setting = tried[candidates.index(chosen)]
    changes = {"algorithm": setting.algorithm} | ({"n_segments": setting.asked} if setting.asked else {})
    return params.model_copy(update={"clustering": params.clustering.model_copy(update=changes)}), reason
