"""The choice of settings: candidates as children of one run, judged on samples and on earlier cutoffs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from models.clusterers import sampled_rows
from models.scorer import NOISE, Ints, assign, to_space
from models.segmentation import FittedClusters
from models.selection import Candidate, Choice, choose, scores
from models.validity import CHANCE, predictive_validity
from pipeline import tracking
from pipeline.clusters import cluster, segment_ids
from pipeline.commands import command
from pipeline.params import Params
from pipeline.profiles import Profiles, Progress
from pipeline.report import plots
from pipeline.segments import describe_segments
from pipeline.validity import UNJUDGED, Past

RULES_CUSTOMERS = 300
WAYS_TO_HOLD_OUT = 3
AS_GIVEN = "blocks as given"


@dataclass(frozen=True)
class Setting:
    """What a candidate is fitted with; None where it does not apply."""

    algorithm: str
    n_segments: int | None
    min_cluster_share: float | None
    balance: int
    block_weights: Mapping[str, float]
    """Those that differ from clustering.block_weights."""

    def of(self, params: Params) -> Params:
        """``params`` with this setting."""
        given = params.clustering
        blocks = given.block_weights.model_copy(update=dict(self.block_weights))
        changes: dict[str, Any] = {"algorithm": self.algorithm, "block_weights": blocks}
        if self.n_segments is not None:
            changes["n_segments"] = self.n_segments
        if self.min_cluster_share is not None:
            changes["hdbscan"] = given.hdbscan.model_copy(update={"min_cluster_share": self.min_cluster_share})
        return params.model_copy(update={"clustering": given.model_copy(update=changes)})

    def overrides(self) -> dict[str, str]:
        """The keys of params.yaml that make it."""
        found = {"clustering.algorithm": self.algorithm}
        if self.n_segments is not None:
            found["clustering.n_segments"] = str(self.n_segments)
        if self.min_cluster_share is not None:
            found["clustering.hdbscan.min_cluster_share"] = f"{self.min_cluster_share:g}"
        return found | {f"clustering.block_weights.{name}": f"{one:g}" for name, one in self.block_weights.items()}

    def command(self, params: Params) -> str:
        """What trains it in full."""
        return command(params, "train", overrides=self.overrides())

    def balance_name(self) -> str:
        """The balance of blocks in words."""
        return ", ".join(f"{name} {one:g}" for name, one in self.block_weights.items()) or AS_GIVEN


@dataclass(frozen=True)
class Tried:
    """A setting, and what it gave.

    Attributes
    ----------
    setting : Setting
    candidate : Candidate
    scaling, model : dict
        Of the clusters of the sample, as `models.scorer` reads them.
    """

    setting: Setting
    candidate: Candidate
    scaling: Mapping[str, Any]
    model: Mapping[str, Any]

    def starts(self, profile: pd.DataFrame, params: Params) -> dict[str, Ints]:
        """For `models.clusterers.fit_kmeans`: the segment of each customer by the clusters of the sample."""
        if params.clustering.algorithm != "kmeans":
            return {}
        inside = (profile["event_count"] >= params.clustering.min_events).to_numpy()
        labels = np.full(len(profile), -1, dtype=np.int64)
        labels[inside] = assign(to_space(profile[inside], self.scaling), self.model)["cluster_id"]
        return {"": labels}  # of which no reader knows


@dataclass(frozen=True)
class Chosen:
    """The setting chosen, trained in full.

    Attributes
    ----------
    params : Params
        With the setting.
    fitted : FittedClusters
        Of all customers.
    tried : list of Tried
    choice : Choice or None
        None where no candidate was good enough, and fewer segments than any were made.
    """

    params: Params
    fitted: FittedClusters
    tried: list[Tried]
    choice: Choice | None


def is_to_choose(params: Params, *, sweep: bool) -> bool:
    """Whether settings are chosen before a training."""
    return sweep or (params.clustering.algorithm == "kmeans" and params.clustering.n_segments == "auto")


def grid(params: Params, *, sweep: bool) -> list[Setting]:
    """Settings to try: those of `clustering.algorithm`, or with ``sweep`` of all algorithms in `sweep.algorithm`."""
    tried = params.sweep
    given = params.clustering.block_weights.model_dump()
    # A balance that says what is given already is the one given.
    balances: list[dict[str, float]] = [
        {str(key): one for key, one in balance.items() if given[key] != one} for balance in tried.block_weights
    ]
    found = []
    for algorithm in dict.fromkeys(tried.algorithm if sweep else [params.clustering.algorithm]):
        for place, balance in enumerate([{}, *(one for one in balances if one)]):
            if algorithm == "kmeans":
                found += [Setting(algorithm, count, None, place, balance) for count in sorted(set(tried.n_segments))]
            else:
                shares = sorted(set(tried.min_cluster_share))
                found += [Setting(algorithm, None, share, place, balance) for share in shares]
    return found


def try_candidates(profiles: Profiles, earlier: Sequence[Past], params: Params, *, sweep: bool) -> list[Tried]:
    """Fit and judge every candidate on samples, several at once, and on the earlier cutoffs."""
    sample = _sample(profiles, params)
    settings = grid(params, sweep=sweep)
    # UMAP's compiled code bears no second thread; the others' workers would be slower to start than to do the work.
    by_threads = all(one.algorithm == "kmeans" for one in settings)
    work = [delayed(_try)(one, sample, earlier, params) for one in settings]
    with threadpool_limits(limits=1):
        found = Parallel(n_jobs=params.sweep.n_jobs, prefer="threads" if by_threads else "processes")(work)
    return list(found)


@dataclass(frozen=True)
class Sample:
    """Some of today's customers who did enough to be clustered, and how many there are."""

    profiles: Profiles
    clustered_count: int


def _sample(profiles: Profiles, params: Params) -> Sample:
    inside = np.flatnonzero(profiles.table["event_count"].to_numpy() >= params.clustering.min_events)
    rows = inside[sampled_rows(len(inside), params.sweep.sample_customers, params.seed)]
    table = profiles.table.iloc[rows].reset_index(drop=True)
    return Sample(replace(profiles, table=table, said=None), len(inside))


def _try(setting: Setting, sample: Sample, earlier: Sequence[Past], params: Params) -> Tried:
    given, tried = setting.of(params), params.sweep
    # Rules do not bear on names, and take longer than all else that is described.
    given = given.model_copy(update={"rules": given.rules.model_copy(update={"sample_customers": RULES_CUSTOMERS})})
    quality = {
        **given.quality.model_dump(),
        "sample_customers": tried.sample_customers,
        **dict.fromkeys(("stability_customers", "hdbscan_resample_customers"), tried.sample_customers),
        **dict.fromkeys(("stability_resamples", "hdbscan_resamples"), tried.resamples),
    }
    fitted = cluster(sample.profiles, given, quality=quality)
    names = [one["name"] for one in describe_segments(sample.profiles, fitted, given, leaning=None).table]
    numbered = [found for one in names if (found := re.fullmatch(r"(.+) \d+", one)) and found[1] in names]
    told: dict[str, list[float]] = {name: [] for name in CHANCE}
    for past in earlier:
        for name, figure in _foretold(past, given).items():
            told[name].append(figure)
    smallest = fitted.quality["smallest_share"] or 0.0
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
        noise_share=fitted.quality["noise_share"] or 0.0,
        named_apart=fitted.n_segments - len(numbered),
        **{name: float(np.mean(figures)) if figures else None for name, figures in told.items()},
    )
    return Tried(setting, candidate, fitted.scaling, fitted.clusters.model)


def _foretold(past: Past, params: Params) -> dict[str, float]:
    """What segments of the setting, fitted on a sample of the past, told of its outcomes."""
    settings = params.clustering
    most = {"fit_customers": params.sweep.sample_customers}
    fitted = cluster(
        past.profiles,
        params,
        quality={**params.quality.model_dump(), **UNJUDGED},
        kmeans={**settings.kmeans.model_dump(), **most},
        hdbscan={**settings.hdbscan.model_dump(), **most},
    )
    ids = segment_ids(past.profiles.table, fitted)
    # Which customers are held out together is luck; a mean over several ways has less of it.
    found = [predictive_validity(ids, past.outcomes, seed=params.seed + place) for place in range(WAYS_TO_HOLD_OUT)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def choose_and_fit(
    mlflow: Any,
    profiles: Profiles,
    earlier: Sequence[Past],
    params: Params,
    starts: Mapping[str, Ints],
    *,
    sweep: bool,
    progress: Progress,
) -> Chosen:
    """Try the candidates, log each as a child of the active run, and train the one chosen in full.

    A candidate is judged on a sample; one that turns out to have too small a segment among all customers is passed
    over. Where none is left, fewer segments than any candidate's are made, and one where nothing else will do. A cutoff
    at which fewer than ``minimum.customers`` had done enough to be clustered does not judge.

    Parameters
    ----------
    starts : mapping
        `identity.Champion.starts`; for the training in full, which else goes on from the candidate that was judged.
    """
    progress("trying candidates")
    earlier = [past for past in earlier if _clustered_count(past.profiles, params) >= max(params.minimum.customers, 1)]
    tried = try_candidates(profiles, earlier, params, sweep=sweep)
    least = params.quality.min_segment_customers or params.naming.min_group
    left = {one.candidate: one for one in tried}
    while choice := choose(
        list(left),
        tolerance=params.sweep.tolerance,
        min_customers=least,
        min_segment_share=params.quality.min_segment_share,
        min_stable_share=params.sweep.min_stable_share,
    ):
        given = left[choice.chosen].setting.of(params)
        progress(f"clustering: {choice.chosen.name}")
        own = left[choice.chosen].starts(profiles.table, given)
        fitted = cluster(profiles, given, starts={**starts, **own})
        if starts and _smallest(fitted) < least:  # of the champion's segments; others may all be large enough
            fitted = cluster(profiles, given, starts=own)
        if _smallest(fitted) >= least:
            log_candidates(mlflow, tried, choice, params)
            samples = _samples(profiles, earlier, params)
            chosen = replace(
                fitted,
                candidates=[one.candidate for one in tried],
                choice_reason=f"{choice.reason} {samples}",
                notes=(*fitted.notes, *choice.notes),
            )
            return Chosen(given, chosen, tried, choice)
        del left[choice.chosen]
    log_candidates(mlflow, tried, None, params)
    return _fewer(profiles, params, starts, tried, least)


def _fewer(profiles: Profiles, params: Params, starts: Mapping[str, Ints], tried: list[Tried], least: int) -> Chosen:
    """KMeans with the most segments below the grid of which none is too small; one segment always is."""
    fewest = min(params.sweep.n_segments)
    for count in range(max(fewest - 1, 1), 0, -1):
        given = Setting("kmeans", count, None, 0, {}).of(params)
        fitted = cluster(profiles, given, starts=starts)
        if _smallest(fitted) >= least:
            break
    reason = (
        f"None of {len(tried)} candidates had {least} customers in every segment "
        f"(quality.min_segment_customers); {count} segment{'s' * (count > 1)} can have."
    )
    return Chosen(
        given, replace(fitted, candidates=[one.candidate for one in tried], choice_reason=reason), tried, None
    )


def _smallest(fitted: FittedClusters) -> int:
    """Customers in the smallest cluster; noise is none."""
    labels = fitted.labels[fitted.labels != NOISE]
    return int(np.unique(labels, return_counts=True)[1].min()) if len(labels) else 0


def _clustered_count(profiles: Profiles, params: Params) -> int:
    return int((profiles.table["event_count"] >= params.clustering.min_events).sum())


def _samples(profiles: Profiles, earlier: Sequence[Past], params: Params) -> str:
    """On whom the candidates were judged, in words."""
    clustered = _clustered_count(profiles, params)
    used = min(clustered, params.sweep.sample_customers)
    told = (
        f"Candidates were fitted on {used:,} of {clustered:,} customers and {params.sweep.resamples} resamples of them"
    )
    past = " and ".join(f"{len(one.profiles.table):,} customers on {one.cutoff:%Y-%m-%d}" for one in earlier)
    return f"{told}; what they foretell was measured on {past}." if past else f"{told}."


def log_candidates(mlflow: Any, tried: list[Tried], choice: Choice | None, params: Params) -> None:
    """A child run for each candidate, with the command that trains it; one table and a figure of all of them."""
    told = scores([one.candidate for one in tried])
    rows = []
    for one, score in zip(tried, told, strict=True):
        row = {**vars(one.candidate), "score": score, "command": one.setting.command(params)}
        row["is_chosen"] = choice is not None and one.candidate == choice.chosen
        rows.append(row)
        tags = {"candidate": "true", "command": row["command"], "is_chosen": str(row["is_chosen"]).lower()}
        with tracking.run(mlflow, name=one.candidate.name, tags=tags, nested=True):
            mlflow.log_params(one.setting.overrides())
            figures = {key: value for key, value in row.items() if isinstance(value, float | int)}
            mlflow.log_metrics({key: float(value) for key, value in figures.items() if key not in ("asked", "balance")})
    mlflow.log_table({key: [row[key] for row in rows] for key in rows[0]}, "candidates.json")
    tracking.log_figures(mlflow, {"choice": plots.choice_figure(rows)})


def candidates_text(tried: Sequence[Tried], params: Params) -> str:
    """A line per candidate, the highest score first, and the command that trains it in full."""
    told = scores([one.candidate for one in tried])
    lines = [f"{'Score':>5}  {'Stable':>6}  {'Smallest':>8}  {'Apart':>5}  Train it in full"]
    for score, one in sorted(zip(told, tried, strict=True), key=lambda pair: (-pair[0], pair[1].candidate.simplicity)):
        found = one.candidate
        lines.append(
            f"{score:5.2f}  {found.stable_share:6.0%}  {found.smallest_count:8,.0f}  "
            f"{found.named_apart:>2}/{found.n_segments:<2}  "
            f"{one.setting.command(params)}"
        )
    return "\n".join(lines)
