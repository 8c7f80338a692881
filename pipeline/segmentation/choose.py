"""Chooses the settings of a facet: candidates are judged on samples and earlier cutoffs, each logged as a child run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from models.clusterers import sampled_rows
from models.scorer import NOISE, Ints, assign, is_known, to_space
from models.segmentation import FittedClusters
from models.selection import Candidate, Choice, choose, scores
from models.validity import CHANCE, predictive_validity
from pipeline.config.facets import Facet
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.profiles.build import Profiles
from pipeline.report import plots
from pipeline.report.next_steps import command
from pipeline.report.terminal import align_columns, counted
from pipeline.segmentation.cluster import cluster, hdbscan_settings, segment_ids
from pipeline.segmentation.describe import describe_segments
from pipeline.segmentation.predictive_validity import NO_QUALITY_METRICS, CutoffData
from pipeline.stores.run_log import OpenRun, start_run
from pipeline.stores.run_metrics import FIGURES

RULE_SAMPLE_CUSTOMERS = 300
HOLDOUT_SPLITS = 3
DEFAULT_BALANCE = "blocks as given"
METRIC_OF_QUESTION = {
    "buys": "buys_auc",
    "spend": "spend_r2",
    "categories": "category_auc",
    "stability": "stable_share",
    "separation": "separation",
}
"""Question of ``chosen_by`` -> attribute of `models.selection.Candidate`."""


CANDIDATE_METRICS = (
    *("n_segments", "silhouette", "density_validity", "stable_share"),
    *("smallest_count", "smallest_share", "noise_share"),
)
"""Attributes of `models.selection.Candidate` that are metrics under the same name."""


@dataclass(frozen=True)
class Setting:
    """The settings of a candidate; None where a setting does not apply."""

    algorithm: str
    n_segments: int | None
    min_cluster_share: float | None
    balance: int
    block_weights: Mapping[str, float]
    """Only the weights that differ from the facet's."""

    def apply_to(self, facet: Facet) -> Facet:
        """The facet with this setting."""
        changes: dict[str, Any] = {"algorithm": self.algorithm, "block_weights": dict(self.block_weights)}
        if self.n_segments is not None:
            changes["n_segments"] = self.n_segments
        if self.min_cluster_share is not None:
            changes["min_cluster_share"] = self.min_cluster_share
        return facet.with_settings(**changes)

    def overrides(self, facet: Facet) -> dict[str, str]:
        """The setting as keys and values of params.yaml."""
        section = f"facets.{facet.name}"
        overrides = {f"{section}.algorithm": self.algorithm}
        if self.n_segments is not None:
            overrides[f"{section}.n_segments"] = str(self.n_segments)
        if self.min_cluster_share is not None:
            overrides[f"{section}.min_cluster_share"] = f"{self.min_cluster_share:g}"
        weights = {f"{section}.block_weights.{name}": f"{weight:g}" for name, weight in self.block_weights.items()}
        return overrides | weights

    def command(self, params: Params, facet: Facet) -> str:
        """The command that trains the setting in full."""
        return command(params, "train", overrides=self.overrides(facet))

    def balance_name(self) -> str:
        """The balance of blocks in words."""
        return ", ".join(f"{name} {weight:g}" for name, weight in self.block_weights.items()) or DEFAULT_BALANCE


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


@dataclass(frozen=True)
class ChosenClusters:
    """The setting chosen for a facet, trained in full.

    Attributes
    ----------
    facet : Facet
        The facet with the chosen setting.
    fitted : FittedClusters
        The clusters of all customers.
    trials : list of Trial
    choice : Choice or None
        None if no candidate was good enough and a fallback was used.
    """

    facet: Facet
    fitted: FittedClusters
    trials: list[Trial]
    choice: Choice | None


def needs_choice(facet: Facet, *, sweep: bool) -> bool:
    """Whether the facet's settings must be chosen before it is trained."""
    settings = facet.settings
    return sweep or settings.algorithm == "auto" or (settings.algorithm == "kmeans" and settings.n_segments == "auto")


def clustered(profile: pd.DataFrame, facet: Facet) -> NDArray[np.bool_]:
    """Customers with enough events and evidence to be clustered: shape (n,)."""
    return is_known(profile, facet.settings.model_dump(include={"min_events", "min_evidence"}))


def search_space(params: Params, facet: Facet, *, sweep: bool) -> list[Setting]:
    """Settings to try: for the facet's algorithm or, with ``sweep``, for all algorithms in `sweep.algorithm`.

    If more than one algorithm is tried, a facet named by interests also tries its rule.
    """
    settings = facet.settings
    tries_algorithms = sweep or settings.algorithm == "auto"
    # A balance equal to the configured weights is not tried twice.
    balances: list[dict[str, float]] = [
        {str(block): weight for block, weight in balance.items() if settings.block_weights.get(block, 0.0) != weight}
        for balance in settings.try_block_weights
    ]
    counts = sorted(set(settings.try_n_segments)) if sweep or settings.n_segments == "auto" else [settings.n_segments]
    space = []
    for algorithm in dict.fromkeys(params.sweep.algorithm if tries_algorithms else [settings.algorithm]):
        for index, balance in enumerate([{}, *(balance for balance in balances if balance)]):
            if algorithm == "kmeans":
                space += [Setting(algorithm, count, None, index, balance) for count in counts]
            else:
                shares = sorted(set(settings.try_min_cluster_share))
                space += [Setting(algorithm, None, share, index, balance) for share in shares]
    if tries_algorithms and facet.is_named_by_interests:
        space.append(Setting("rule", None, None, 0, {}))
    return space


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
    use_threads = all(setting.algorithm != "hdbscan" for setting in settings)
    work = [delayed(_run_trial)(setting, sample, earlier, params, facet) for setting in settings]
    with threadpool_limits(limits=1):
        trials = Parallel(
            n_jobs=params.sweep.n_jobs, prefer="threads" if use_threads else "processes", return_as="generator"
        )(work)
        return list(progress.each(f"trying candidates for {facet.name}", trials, len(settings)))


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


def deciding_metrics(facet: Facet) -> list[str]:
    """Attributes of `Candidate` that decide between the facet's candidates."""
    return [METRIC_OF_QUESTION[question] for question in facet.settings.chosen_by]


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
    # Rules do not affect names, and take longer than the rest of the description.
    params = params.model_copy(
        update={"rules": params.rules.model_copy(update={"sample_customers": RULE_SAMPLE_CUSTOMERS})}
    )
    quality = {
        **params.quality.model_dump(),
        "sample_customers": sweep.sample_customers,
        **dict.fromkeys(("stability_customers", "hdbscan_resample_customers"), sweep.sample_customers),
        **dict.fromkeys(("stability_resamples", "hdbscan_resamples"), sweep.resamples),
    }
    fitted = cluster(sample.profiles, params, facet, quality=quality)
    segments = describe_segments(sample.profiles, fitted, params, facet, seasonal_lift=None)
    names = [segment["name"] for segment in segments.table]
    numbered = [match for name in names if (match := re.fullmatch(r"(.+) \d+", name)) and match[1] in names]
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


def choose_and_fit(
    run: OpenRun,
    profiles: Profiles,
    earlier: Sequence[CutoffData],
    params: Params,
    facet: Facet,
    starts: Mapping[str, Ints],
    *,
    sweep: bool,
    progress: Progress,
) -> ChosenClusters:
    """Try the candidates, log each as a child of ``run``, and train the chosen one in full.

    Candidates are judged on a sample. A candidate that has too small a segment among all customers is skipped. If none
    is left, a facet named by interests falls back on its rule. Any other facet falls back on fewer segments than any
    candidate has, if necessary on one. A cutoff is not used if fewer than ``minimum.customers`` had enough events to be
    clustered.

    Parameters
    ----------
    starts : mapping
        `lineage.Champion.starts`. The full training tries them as well as the candidate's own clusters.
    """
    min_clustered = max(params.minimum.customers, 1)
    earlier = [data for data in earlier if _clustered_count(data.profiles, facet) >= min_clustered]
    trials = run_trials(profiles, earlier, params, facet, sweep=sweep, progress=progress)
    min_customers = params.quality.min_segment_customers or params.naming.min_group
    remaining = {trial.candidate: trial for trial in trials if trial.setting.algorithm != "rule"}
    while choice := choose(
        list(remaining),
        chosen_by=deciding_metrics(facet),
        tolerance=params.sweep.tolerance,
        min_customers=min_customers,
        min_segment_share=params.quality.min_segment_share,
        min_stable_share=params.sweep.min_stable_share,
        min_separation=params.sweep.min_separation if "separation" in facet.settings.chosen_by else None,
    ):
        chosen = remaining[choice.chosen].setting.apply_to(facet)
        progress(f"clustering {facet.name}: {choice.chosen.name}")
        own_starts = remaining[choice.chosen].starts(profiles.table, chosen)
        fitted = cluster(profiles, params, chosen, starts={**starts, **own_starts})
        if starts and _smallest(fitted) < min_customers:  # without the champion's start, all may be large enough
            fitted = cluster(profiles, params, chosen, starts=own_starts)
        if _smallest(fitted) >= min_customers:
            log_candidates(run, trials, choice.chosen, params, facet)
            samples = _describe_samples(profiles, earlier, params, facet)
            fitted = replace(
                fitted,
                candidates=[trial.candidate for trial in trials],
                choice_reason=f"{choice.reason} {samples}",
                notes=(*fitted.notes, *choice.notes),
            )
            return ChosenClusters(chosen, fitted, trials, choice)
        del remaining[choice.chosen]
    return _by_leading_category(run, profiles, params, facet, trials) or _fallback_k(
        run, profiles, params, facet, starts, trials, min_customers
    )


def _by_leading_category(
    run: OpenRun, profiles: Profiles, params: Params, facet: Facet, trials: list[Trial]
) -> ChosenClusters | None:
    """Group customers by the rule of a facet named by interests; None if the facet has no such rule."""
    rule = next((trial for trial in trials if trial.setting.algorithm == "rule"), None)
    if rule is None:
        return None
    log_candidates(run, trials, rule.candidate, params, facet)
    chosen = rule.setting.apply_to(facet)
    reason = (
        f"Customers form a continuum of interests: none of {len(trials) - 1} clusterings was both clearly separated "
        f"(sweep.min_separation, {params.sweep.min_separation:g}) and stable on resamples "
        f"(sweep.min_stable_share, {params.sweep.min_stable_share:g}). They are grouped by their leading category."
    )
    fitted = cluster(profiles, params, chosen)
    fitted = replace(fitted, candidates=[trial.candidate for trial in trials], choice_reason=reason)
    return ChosenClusters(chosen, fitted, trials, None)


def _fallback_k(
    run: OpenRun,
    profiles: Profiles,
    params: Params,
    facet: Facet,
    starts: Mapping[str, Ints],
    trials: list[Trial],
    min_customers: int,
) -> ChosenClusters:
    """KMeans with the most segments below the search space that are all large enough; at worst one segment."""
    log_candidates(run, trials, None, params, facet)
    fewest = min(facet.settings.try_n_segments)
    for count in range(max(fewest - 1, 1), 0, -1):
        chosen = Setting("kmeans", count, None, 0, {}).apply_to(facet)
        fitted = cluster(profiles, params, chosen, starts=starts)
        if _smallest(fitted) >= min_customers:
            break
    reason = (
        f"None of {len(trials)} candidates had {min_customers} customers in every segment "
        f"(quality.min_segment_customers), so {counted(count, 'segment')} {'are' if count > 1 else 'is'} used."
    )
    fitted = replace(fitted, candidates=[trial.candidate for trial in trials], choice_reason=reason)
    return ChosenClusters(chosen, fitted, trials, None)


def _smallest(fitted: FittedClusters) -> int:
    """Customers in the smallest cluster, not counting noise."""
    labels = fitted.labels[fitted.labels != NOISE]
    return int(np.unique(labels, return_counts=True)[1].min()) if len(labels) else 0


def _clustered_count(profiles: Profiles, facet: Facet) -> int:
    return int(clustered(profiles.table, facet).sum())


def _describe_samples(profiles: Profiles, earlier: Sequence[CutoffData], params: Params, facet: Facet) -> str:
    """The customers on whom the candidates were judged, in words."""
    count = _clustered_count(profiles, facet)
    used = min(count, params.sweep.sample_customers)
    text = f"Candidates were fitted on {used:,} of {count:,} customers and {params.sweep.resamples} resamples of them."
    cutoffs = " and ".join(f"{len(data.profiles.table):,} customers on {data.cutoff:%Y-%m-%d}" for data in earlier)
    return f"{text} Their predictions were measured for {cutoffs}." if cutoffs else text


def log_candidates(run: OpenRun, trials: list[Trial], chosen: Candidate | None, params: Params, facet: Facet) -> None:
    """Log a child run per candidate, with the command that trains it, and a table and a figure of all of them."""
    candidate_scores = scores([trial.candidate for trial in trials], deciding_metrics(facet))
    rows = []
    for trial, score in zip(trials, candidate_scores, strict=True):
        row = {**vars(trial.candidate), "score": score, "command": trial.setting.command(params, facet)}
        row["is_chosen"] = trial.candidate == chosen
        rows.append(row)
        tags = {
            "candidate": "true",
            "facet": facet.name,
            "command": row["command"],
            "is_chosen": str(row["is_chosen"]).lower(),
        }
        with start_run(run.store, name=f"{facet.name}: {trial.candidate.name}", tags=tags, parent=run) as child:
            how = "the settings that were chosen" if row["is_chosen"] else "settings that were tried and not chosen"
            child.describe(f"A candidate for {facet.name}, on a sample: {how}. In full: `{row['command']}`")
            child.log_params(trial.setting.overrides(facet))
            child.log_metrics(candidate_metrics(trial.candidate, score, facet))
    run.log_table(pd.DataFrame(rows), f"{facet.name}/candidates.json")
    run.log_figures({f"{facet.name}/choice": plots.choice_figure(rows)})


def candidate_metrics(candidate: Candidate, score: float, facet: Facet) -> dict[str, float]:
    """Metrics of a candidate, named as those of a training."""
    values = {
        **{name: getattr(candidate, name) for name in CANDIDATE_METRICS},
        **{f"validity_{name}": getattr(candidate, name) for name in FIGURES},
        "stability_mean": candidate.stability,
        "segments_named_apart": candidate.named_apart,
        "selection_score": score,
    }
    return {f"{facet.name}/{name}": float(value) for name, value in values.items() if value is not None}


def candidates_text(trials: Sequence[Trial], params: Params, facet: Facet) -> str:
    """A line per candidate, highest score first, with the command that trains it in full."""
    candidate_scores = scores([trial.candidate for trial in trials], deciding_metrics(facet))
    rows = [["Score", "Stable", "Smallest", "Named", f"Train {facet.name} in full"]]
    for score, trial in sorted(
        zip(candidate_scores, trials, strict=True), key=lambda pair: (-pair[0], pair[1].candidate.simplicity)
    ):
        candidate = trial.candidate
        figures = [f"{score:.2f}", f"{candidate.stable_share:.0%}", f"{candidate.smallest_count:,.0f}"]
        named = f"{candidate.named_apart}/{candidate.n_segments}"
        rows.append([*figures, named, trial.setting.command(params, facet)])
    return "\n".join(align_columns(rows, right={0, 1, 2, 3}, whole={4}))
