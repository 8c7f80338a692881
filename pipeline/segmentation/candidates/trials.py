"""Runs candidates: each is fitted on a sample of today's customers, and on the profiles at earlier cutoffs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from models.clusterers import sampled_rows
from models.scorer import Ints, assign, to_space
from models.selection import Candidate, scores
from models.validity import CHANCE, predictive_validity
from pipeline.config.facets import Facet
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.profiles.build import Profiles
from pipeline.segmentation.candidates.search_space import Setting, deciding_metrics, search_space
from pipeline.segmentation.cluster import cluster, clustered, hdbscan_settings, segment_ids
from pipeline.segmentation.describe import name_clusters
from pipeline.segmentation.predictive_validity import NO_QUALITY_METRICS, CutoffData

HOLDOUT_SPLITS = 3


@dataclass(frozen=True)
class Trial:
    """A setting and its results on the sample.

    Attributes
    ----------
    setting : Setting
    candidate : Candidate
    scaling, model : dict
        Scaling and model of the sample's clusters, as `models.scorer` reads them.
    """

    setting: Setting
    candidate: Candidate
    scaling: Mapping[str, Any]
    model: Mapping[str, Any]

    def starts(self, profile: pd.DataFrame, facet: Facet) -> dict[str, Ints]:
        """Start for `models.clusterers.fit_kmeans`: each customer's cluster among the clusters of the sample."""
        if self.setting.algorithm != "kmeans":
            return {}
        inside = clustered(profile, facet)
        labels = np.full(len(profile), -1, dtype=np.int64)
        labels[inside] = assign(to_space(profile[inside], self.scaling), self.model)["cluster_id"]
        return {"": labels}  # this start is internal, so it is not named in the notes


def run_settings(
    settings: Sequence[Setting],
    sample: Sample,
    earlier: Sequence[CutoffData],
    params: Params,
    facet: Facet,
    progress: Progress,
) -> list[Trial]:
    """Fit and judge settings in parallel, on a sample of today's customers and on the earlier cutoffs."""
    # UMAP's compiled code is not thread-safe. For the others, starting processes would take longer than the work.
    with_umap = [setting for setting in settings if setting.algorithm == "hdbscan"]
    others = [setting for setting in settings if setting.algorithm != "hdbscan"]

    def run(some: Sequence[Setting], prefer: str) -> Iterator[Trial]:
        work = [delayed(_run_trial)(setting, sample, earlier, params, facet) for setting in some]
        n_jobs = max(min(params.sweep.n_jobs, len(work)), 1)  # a single one needs no other process
        yield from Parallel(n_jobs=n_jobs, prefer=prefer, return_as="generator")(work)

    with threadpool_limits(limits=1):
        trials = chain(run(others, "threads"), run(with_umap, "processes"))
        by_setting = list(progress.each(f"trying candidates for {facet.name}", trials, len(settings)))
    return sorted(by_setting, key=lambda trial: settings.index(trial.setting))


def run_trials(
    profiles: Profiles,
    earlier: Sequence[CutoffData],
    params: Params,
    facet: Facet,
    *,
    sweep: bool,
    progress: Progress,
) -> list[Trial]:
    """Fit and judge every candidate. If separation decides, numbers of segments near the best are also tried."""
    sample = _sample(profiles, params, facet)
    trials = run_settings(search_space(params, facet, sweep=sweep), sample, earlier, params, facet, progress)
    if "separation" in facet.settings.chosen_by and (sweep or facet.settings.n_segments == "auto"):
        while counts := counts_between(trials, facet):
            more = [Setting("kmeans", count, None, 0, {}) for count in counts]
            trials += run_settings(more, sample, earlier, params, facet, progress)
    return trials


def counts_between(trials: Sequence[Trial], facet: Facet) -> list[int]:
    """Numbers of segments halfway between the best KMeans candidate and its neighbours; empty if there are none."""
    kmeans = [trial for trial in trials if trial.setting.algorithm == "kmeans" and trial.setting.balance == 0]
    if len(kmeans) < 2:
        return []
    score_of = dict(
        zip(
            (trial.setting.n_segments or 0 for trial in kmeans),
            scores([trial.candidate for trial in kmeans], deciding_metrics(facet)),
            strict=True,
        )
    )
    counts = sorted(score_of)
    best = counts.index(max(counts, key=lambda count: (score_of[count], -count)))
    neighbours = counts[max(best - 1, 0) : best + 2]
    return [(low + high) // 2 for low, high in pairwise(neighbours) if high - low > 1]


@dataclass(frozen=True)
class Sample:
    """A sample of today's customers with enough events to be clustered, and the number of all such customers."""

    profiles: Profiles
    clustered_count: int


def _sample(profiles: Profiles, params: Params, facet: Facet) -> Sample:
    inside = np.flatnonzero(clustered(profiles.table, facet))
    rows = inside[sampled_rows(len(inside), params.sweep.sample_customers, params.seed)]
    table = profiles.table.iloc[rows].reset_index(drop=True)
    return Sample(replace(profiles, table=table, event_evidence=None), len(inside))


def _run_trial(setting: Setting, sample: Sample, earlier: Sequence[CutoffData], params: Params, facet: Facet) -> Trial:
    facet, sweep = setting.apply_to(facet), params.sweep
    quality = {
        **params.quality.model_dump(),
        "sample_customers": sweep.sample_customers,
        **dict.fromkeys(("stability_customers", "hdbscan_resample_customers"), sweep.sample_customers),
        **dict.fromkeys(("stability_resamples", "hdbscan_resamples"), sweep.resamples),
    }
    fitted = cluster(sample.profiles, params, facet, quality=quality)
    named = name_clusters(sample.profiles, fitted, params, facet)
    numbered = [naming for naming in named.values() if naming.names.is_numbered]
    predictive: dict[str, list[float]] = {metric: [] for metric in CHANCE}
    for data in earlier:
        for metric, value in _predictive_metrics(data, params, facet).items():
            predictive[metric].append(value)
    smallest, noise_share = fitted.quality["smallest_share"] or 0.0, fitted.quality["noise_share"] or 0.0
    candidate = Candidate(
        algorithm=setting.algorithm,
        asked=setting.n_segments,
        density=setting.min_cluster_share,
        balance=setting.balance,
        balance_name=setting.balance_name(),
        n_segments=fitted.n_segments,
        silhouette=fitted.quality["silhouette"],
        density_validity=fitted.quality["density_validity"],
        stability=fitted.mean_stability,
        stable_share=fitted.stable_share(params.quality.min_stability),
        smallest_count=round(smallest * sample.clustered_count, 1),
        smallest_share=smallest,
        noise_share=noise_share,
        named_apart=fitted.n_segments - len(numbered),
        buyer_count=min((int(data.outcomes.bought.sum()) for data in earlier if data.outcomes.bought.any()), default=0),
        **{metric: float(np.mean(values)) if values else None for metric, values in predictive.items()},
    )
    return Trial(setting, candidate, fitted.scaling, fitted.clusters.model)


def _predictive_metrics(data: CutoffData, params: Params, facet: Facet) -> dict[str, float]:
    """How well the facet's segments, fitted on a sample at a cutoff, predict the outcomes after it."""
    limit = {"fit_customers": params.sweep.sample_customers}
    fitted = cluster(
        data.profiles,
        params,
        facet,
        quality={**params.quality.model_dump(), **NO_QUALITY_METRICS},
        kmeans={**params.clustering.kmeans.model_dump(), **limit},
        hdbscan={**hdbscan_settings(params, facet), **limit},
    )
    ids = segment_ids(data.profiles.table, fitted, facet)
    # The mean over several random splits varies less than a single one.
    splits = [predictive_validity(ids, data.outcomes, seed=params.seed + split) for split in range(HOLDOUT_SPLITS)]
    return {metric: float(np.mean([split[metric] for split in splits])) for metric in splits[0]}
