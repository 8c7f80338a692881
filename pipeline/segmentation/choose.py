"""Chooses the settings of a facet: candidates are judged on samples and earlier cutoffs, each logged as a child run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from models.disclosure import rounded_count
from models.scorer import NOISE, Ints
from models.segmentation import FittedClusters
from models.selection import Candidate, Choice, choose, scores
from pipeline.config.facets import Facet
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.profiles.build import Profiles
from pipeline.report import plots
from pipeline.report.terminal import align_columns, counted
from pipeline.segmentation.candidates.search_space import Setting, deciding_metrics
from pipeline.segmentation.candidates.trials import Trial, run_trials
from pipeline.segmentation.cluster import cluster, clustered
from pipeline.segmentation.predictive_validity import CutoffData
from pipeline.stores.run_log import OpenRun, start_run
from pipeline.stores.run_metrics import FIGURES

CANDIDATE_METRICS = (
    *("n_segments", "silhouette", "density_validity", "stable_share"),
    *("smallest_count", "smallest_share", "noise_share"),
)
"""Attributes of `models.selection.Candidate` that are metrics under the same name."""


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
    while choice := _best(list(remaining), params, facet, min_customers):
        trial = remaining.pop(choice.chosen)
        chosen = trial.setting.apply_to(facet)
        progress(f"clustering {facet.name}: {choice.chosen.name}")
        fitted = _fit_in_full(profiles, params, chosen, trial, starts, min_customers)
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


def _best(candidates: list[Candidate], params: Params, facet: Facet, min_customers: int) -> Choice | None:
    """`models.selection.choose` with the configured parameters."""
    return choose(
        candidates,
        chosen_by=deciding_metrics(facet),
        tolerance=params.sweep.tolerance,
        min_customers=min_customers,
        min_segment_share=params.quality.min_segment_share,
        min_stable_share=params.sweep.min_stable_share,
        min_group=params.naming.min_group,
        min_separation=params.sweep.min_separation if "separation" in facet.settings.chosen_by else None,
    )


def _fit_in_full(
    profiles: Profiles, params: Params, facet: Facet, trial: Trial, starts: Mapping[str, Ints], min_customers: int
) -> FittedClusters:
    """The clusters of all customers, also from the champion's start if all segments are large enough with it."""
    own_starts = trial.starts(profiles.table, facet)
    fitted = cluster(profiles, params, facet, starts={**starts, **own_starts})
    if starts and _smallest(fitted) < min_customers:
        return cluster(profiles, params, facet, starts=own_starts)
    return fitted


def _by_leading_category(
    run: OpenRun, profiles: Profiles, params: Params, facet: Facet, trials: list[Trial]
) -> ChosenClusters | None:
    """Group customers by the rule of a facet named by interests; None if the facet has no such rule."""
    rule = next((trial for trial in trials if trial.setting.algorithm == "rule"), None)
    if rule is None:
        return None
    log_candidates(run, trials, rule.candidate, params, facet)
    chosen = rule.setting.apply_to(facet)
    failed = _failed_conditions([trial.candidate for trial in trials if trial is not rule], params)
    reason = (
        f"Customers form a continuum of interests: none of {len(trials) - 1} clusterings was {failed}. They are "
        "grouped by their leading category."
    )
    fitted = cluster(profiles, params, chosen)
    fitted = replace(fitted, candidates=[trial.candidate for trial in trials], choice_reason=reason)
    return ChosenClusters(chosen, fitted, trials, None)


def _failed_conditions(clusterings: list[Candidate], params: Params) -> str:
    """The condition that no clustering met; both, if each was met by some clustering."""
    sweep = params.sweep
    is_separated = any((candidate.separation or -1.0) >= sweep.min_separation for candidate in clusterings)
    is_stable = any((candidate.stable_share or 0.0) >= sweep.min_stable_share for candidate in clusterings)
    separated = f"clearly separated (sweep.min_separation, {sweep.min_separation:g})"
    stable = f"stable on resamples (sweep.min_stable_share, {sweep.min_stable_share:g})"
    if is_separated == is_stable:
        return f"both {separated} and {stable}"
    return stable if is_separated else separated


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
    min_group = params.naming.min_group
    count = rounded_count(_clustered_count(profiles, facet), min_group)
    used = min(count, params.sweep.sample_customers)
    text = f"Candidates were fitted on {used:,} of {count:,} customers and {params.sweep.resamples} resamples of them."
    cutoffs = " and ".join(
        f"{rounded_count(len(data.profiles.table), min_group):,} customers on {data.cutoff:%Y-%m-%d}"
        for data in earlier
    )
    return f"{text} Their predictions were measured for {cutoffs}." if cutoffs else text


def log_candidates(run: OpenRun, trials: list[Trial], chosen: Candidate | None, params: Params, facet: Facet) -> None:
    """Log a child run per candidate, with the command that trains it, and a table and a figure of all of them."""
    rows = []
    for trial, published, score in published_candidates(trials, params, facet):
        row = {**published.as_dict(), "score": score, "command": trial.setting.command(params, facet)}
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
            child.log_metrics(candidate_metrics(published, score, facet))
    run.log_table(pd.DataFrame(rows), f"{facet.name}/candidates.json")
    run.log_figures({f"{facet.name}/choice": plots.choice_figure(rows)})


def published_candidates(trials: Sequence[Trial], params: Params, facet: Facet) -> list[tuple[Trial, Candidate, float]]:
    """Each trial with its candidate as it may be published and the score, which is of the published candidates."""
    published = [trial.candidate.published(params.naming.min_group) for trial in trials]
    return list(zip(trials, published, scores(published, deciding_metrics(facet)), strict=True))


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
    rows = [["Score", "Stable", "Smallest", "Named", f"Train {facet.name} in full"]]
    for trial, candidate, score in sorted(
        published_candidates(trials, params, facet), key=lambda row: (-row[2], row[1].simplicity)
    ):
        stable = "–" if candidate.stable_share is None else f"{candidate.stable_share:.0%}"
        figures = [f"{score:.2f}", stable, f"{candidate.smallest_count:,.0f}"]
        named = f"{candidate.named_apart}/{candidate.n_segments}"
        rows.append([*figures, named, trial.setting.command(params, facet)])
    return "\n".join(align_columns(rows, right={0, 1, 2, 3}, whole={4}))
