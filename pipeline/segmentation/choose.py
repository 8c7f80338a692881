"""The choice of a facet's settings: candidates as children of one run, judged on samples and on earlier cutoffs."""

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
from pipeline.profiles.build import Profiles, Progress
from pipeline.report import plots
from pipeline.report.next_steps import command
from pipeline.segmentation.cluster import cluster, hdbscan_settings, segment_ids
from pipeline.segmentation.describe import describe_segments
from pipeline.segmentation.predictive_validity import UNJUDGED, Past
from pipeline.stores import mlflow_runs

RULES_CUSTOMERS = 300
WAYS_TO_HOLD_OUT = 3
AS_GIVEN = "blocks as given"
FIGURES = {
    "buys": "buys_auc",
    "spend": "spend_r2",
    "categories": "category_auc",
    "stability": "stable_share",
    "separation": "separation",
}
"""Question of ``chosen_by`` -> figure of `models.selection.Candidate`."""


@dataclass(frozen=True)
class Setting:
    """What a candidate is fitted with; None where it does not apply."""

    algorithm: str
    n_segments: int | None
    min_cluster_share: float | None
    balance: int
    block_weights: Mapping[str, float]
    """Those that differ from the facet's."""

    def of(self, facet: Facet) -> Facet:
        """The facet with this setting."""
        changes: dict[str, Any] = {"algorithm": self.algorithm, "block_weights": dict(self.block_weights)}
        if self.n_segments is not None:
            changes["n_segments"] = self.n_segments
        if self.min_cluster_share is not None:
            changes["min_cluster_share"] = self.min_cluster_share
        return facet.with_settings(**changes)

    def overrides(self, facet: Facet) -> dict[str, str]:
        """The keys of params.yaml that make it."""
        section = f"facets.{facet.name}"
        found = {f"{section}.algorithm": self.algorithm}
        if self.n_segments is not None:
            found[f"{section}.n_segments"] = str(self.n_segments)
        if self.min_cluster_share is not None:
            found[f"{section}.min_cluster_share"] = f"{self.min_cluster_share:g}"
        return found | {f"{section}.block_weights.{name}": f"{one:g}" for name, one in self.block_weights.items()}

    def command(self, params: Params, facet: Facet) -> str:
        """What trains it in full."""
        return command(params, "train", overrides=self.overrides(facet))

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

    def starts(self, profile: pd.DataFrame, facet: Facet) -> dict[str, Ints]:
        """For `models.clusterers.fit_kmeans`: the segment of each customer by the clusters of the sample."""
        if self.setting.algorithm != "kmeans":
            return {}
        inside = clustered(profile, facet)
        labels = np.full(len(profile), -1, dtype=np.int64)
        labels[inside] = assign(to_space(profile[inside], self.scaling), self.model)["cluster_id"]
        return {"": labels}  # of which no reader knows


@dataclass(frozen=True)
class Chosen:
    """The setting chosen for a facet, trained in full.

    Attributes
    ----------
    facet : Facet
        With the setting.
    fitted : FittedClusters
        Of all customers.
    tried : list of Tried
    choice : Choice or None
        None where no candidate was good enough, and fewer segments than any were made.
    """

    facet: Facet
    fitted: FittedClusters
    tried: list[Tried]
    choice: Choice | None


def is_to_choose(facet: Facet, *, sweep: bool) -> bool:
    """Whether settings of a facet are chosen before a training."""
    given = facet.settings
    return sweep or given.algorithm == "auto" or (given.algorithm == "kmeans" and given.n_segments == "auto")


def clustered(profile: pd.DataFrame, facet: Facet) -> NDArray[np.bool_]:
    """Customers with enough events and evidence to be clustered: shape (n,)."""
    return is_known(profile, facet.settings.model_dump(include={"min_events", "min_evidence"}))


def search_space(params: Params, facet: Facet, *, sweep: bool) -> list[Setting]:
    """Settings to try: those of the facet's algorithm, or with ``sweep`` of all algorithms in `sweep.algorithm`.

    A facet that is named by interests has its rule among them, wherever more than one algorithm is tried.
    """
    given = facet.settings
    is_open = sweep or given.algorithm == "auto"
    # A balance that says what is given already is the one given.
    balances: list[dict[str, float]] = [
        {str(key): one for key, one in balance.items() if given.block_weights.get(key, 0.0) != one}
        for balance in given.try_block_weights
    ]
    counts = sorted(set(given.try_n_segments)) if sweep or given.n_segments == "auto" else [given.n_segments]
    found = []
    for algorithm in dict.fromkeys(params.sweep.algorithm if is_open else [given.algorithm]):
        for place, balance in enumerate([{}, *(one for one in balances if one)]):
            if algorithm == "kmeans":
                found += [Setting(algorithm, count, None, place, balance) for count in counts]
            else:
                shares = sorted(set(given.try_min_cluster_share))
                found += [Setting(algorithm, None, share, place, balance) for share in shares]
    if is_open and facet.names_interests:
        found.append(Setting("rule", None, None, 0, {}))
    return found


def try_settings(
    settings: Sequence[Setting], sample: Sample, earlier: Sequence[Past], params: Params, facet: Facet
) -> list[Tried]:
    """Fit and judge settings on a sample, several at once, and on the earlier cutoffs."""
    # UMAP's compiled code bears no second thread; the others' workers would be slower to start than to do the work.
    by_threads = all(one.algorithm != "hdbscan" for one in settings)
    work = [delayed(_try)(one, sample, earlier, params, facet) for one in settings]
    with threadpool_limits(limits=1):
        found = Parallel(n_jobs=params.sweep.n_jobs, prefer="threads" if by_threads else "processes")(work)
    return list(found)


def try_candidates(
    profiles: Profiles, earlier: Sequence[Past], params: Params, facet: Facet, *, sweep: bool
) -> list[Tried]:
    """Fit and judge every candidate; where groups are to part clearly, numbers near the best one are tried, too."""
    sample = _sample(profiles, params, facet)
    tried = try_settings(search_space(params, facet, sweep=sweep), sample, earlier, params, facet)
    if "separation" in facet.settings.chosen_by and (sweep or facet.settings.n_segments == "auto"):
        while more := numbers_between(tried, facet):
            tried += try_settings([Setting("kmeans", one, None, 0, {}) for one in more], sample, earlier, params, facet)
    return tried


def numbers_between(tried: Sequence[Tried], facet: Facet) -> list[int]:
    """Numbers of segments halfway between the best KMeans candidate and its neighbours; none where these are next."""
    own = [one for one in tried if one.setting.algorithm == "kmeans" and one.setting.balance == 0]
    if len(own) < 2:
        return []
    order = dict(
        zip(
            (one.setting.n_segments or 0 for one in own),
            scores([one.candidate for one in own], figures(facet)),
            strict=True,
        )
    )
    counts = sorted(order)
    place = counts.index(max(counts, key=lambda count: (order[count], -count)))
    near = counts[max(place - 1, 0) : place + 2]
    return [(low + high) // 2 for low, high in pairwise(near) if high - low > 1]


def figures(facet: Facet) -> list[str]:
    """Figures of candidates that decide in a facet."""
    return [FIGURES[question] for question in facet.settings.chosen_by]


@dataclass(frozen=True)
class Sample:
    """Some of today's customers who did enough to be clustered, and how many there are."""

    profiles: Profiles
    clustered_count: int


def _sample(profiles: Profiles, params: Params, facet: Facet) -> Sample:
    inside = np.flatnonzero(clustered(profiles.table, facet))
    rows = inside[sampled_rows(len(inside), params.sweep.sample_customers, params.seed)]
    table = profiles.table.iloc[rows].reset_index(drop=True)
    return Sample(replace(profiles, table=table, said=None), len(inside))


def _try(setting: Setting, sample: Sample, earlier: Sequence[Past], params: Params, facet: Facet) -> Tried:
    facet, tried = setting.of(facet), params.sweep
    # Rules do not bear on names, and take longer than all else that is described.
    params = params.model_copy(update={"rules": params.rules.model_copy(update={"sample_customers": RULES_CUSTOMERS})})
    quality = {
        **params.quality.model_dump(),
        "sample_customers": tried.sample_customers,
        **dict.fromkeys(("stability_customers", "hdbscan_resample_customers"), tried.sample_customers),
        **dict.fromkeys(("stability_resamples", "hdbscan_resamples"), tried.resamples),
    }
    fitted = cluster(sample.profiles, params, facet, quality=quality)
    names = [one["name"] for one in describe_segments(sample.profiles, fitted, params, facet, leaning=None).table]
    numbered = [found for one in names if (found := re.fullmatch(r"(.+) \d+", one)) and found[1] in names]
    predicted: dict[str, list[float]] = {name: [] for name in CHANCE}
    for past in earlier:
        for name, figure in _predicted(past, params, facet).items():
            predicted[name].append(figure)
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
        **{name: float(np.mean(figures)) if figures else None for name, figures in predicted.items()},
    )
    return Tried(setting, candidate, fitted.scaling, fitted.clusters.model)


def _predicted(past: Past, params: Params, facet: Facet) -> dict[str, float]:
    """What segments of the setting, fitted on a sample of the past, predicted of its outcomes."""
    most = {"fit_customers": params.sweep.sample_customers}
    fitted = cluster(
        past.profiles,
        params,
        facet,
        quality={**params.quality.model_dump(), **UNJUDGED},
        kmeans={**params.clustering.kmeans.model_dump(), **most},
        hdbscan={**hdbscan_settings(params, facet), **most},
    )
    ids = segment_ids(past.profiles.table, fitted, facet)
    # Which customers are held out together is luck; a mean over several ways has less of it.
    found = [predictive_validity(ids, past.outcomes, seed=params.seed + place) for place in range(WAYS_TO_HOLD_OUT)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def choose_and_fit(
    mlflow: Any,
    profiles: Profiles,
    earlier: Sequence[Past],
    params: Params,
    facet: Facet,
    starts: Mapping[str, Ints],
    *,
    sweep: bool,
    progress: Progress,
) -> Chosen:
    """Try the candidates, log each as a child of the active run, and train the one chosen in full.

    A candidate is judged on a sample; one that turns out to have too small a segment among all customers is passed
    over. Where none is left, the facet falls back: on its rule where it is named by interests, else on fewer segments
    than any candidate's, and on one where nothing else will do. A cutoff at which fewer than ``minimum.customers`` had
    done enough to be clustered does not judge.

    Parameters
    ----------
    starts : mapping
        `identity.Champion.starts`; for the training in full, which else goes on from the candidate that was judged.
    """
    progress(f"trying candidates for {facet.name}")
    earlier = [past for past in earlier if _clustered_count(past.profiles, facet) >= max(params.minimum.customers, 1)]
    tried = try_candidates(profiles, earlier, params, facet, sweep=sweep)
    least = params.quality.min_segment_customers or params.naming.min_group
    left = {one.candidate: one for one in tried if one.setting.algorithm != "rule"}
    while choice := choose(
        list(left),
        chosen_by=figures(facet),
        tolerance=params.sweep.tolerance,
        min_customers=least,
        min_segment_share=params.quality.min_segment_share,
        min_stable_share=params.sweep.min_stable_share,
        min_separation=params.sweep.min_separation if "separation" in facet.settings.chosen_by else None,
    ):
        given = left[choice.chosen].setting.of(facet)
        progress(f"clustering {facet.name}: {choice.chosen.name}")
        own = left[choice.chosen].starts(profiles.table, given)
        fitted = cluster(profiles, params, given, starts={**starts, **own})
        if starts and _smallest(fitted) < least:  # of the champion's segments; others may all be large enough
            fitted = cluster(profiles, params, given, starts=own)
        if _smallest(fitted) >= least:
            log_candidates(mlflow, tried, choice.chosen, params, facet)
            samples = _samples(profiles, earlier, params, facet)
            fitted = replace(
                fitted,
                candidates=[one.candidate for one in tried],
                choice_reason=f"{choice.reason} {samples}",
                notes=(*fitted.notes, *choice.notes),
            )
            return Chosen(given, fitted, tried, choice)
        del left[choice.chosen]
    return _by_leading_category(mlflow, profiles, params, facet, tried) or _fewer(
        mlflow, profiles, params, facet, starts, tried, least
    )


def _by_leading_category(
    mlflow: Any, profiles: Profiles, params: Params, facet: Facet, tried: list[Tried]
) -> Chosen | None:
    """The rule of a facet that is named by interests, where no clustering was good enough; else None."""
    rule = next((one for one in tried if one.setting.algorithm == "rule"), None)
    if rule is None:
        return None
    log_candidates(mlflow, tried, rule.candidate, params, facet)
    given = rule.setting.of(facet)
    reason = (
        f"Customers form a continuum of interests: none of {len(tried) - 1} clusterings parted clearly "
        f"(sweep.min_separation, {params.sweep.min_separation:g}) and came back on resamples "
        f"(sweep.min_stable_share, {params.sweep.min_stable_share:g}). They are grouped by their leading category."
    )
    fitted = cluster(profiles, params, given)
    fitted = replace(fitted, candidates=[one.candidate for one in tried], choice_reason=reason)
    return Chosen(given, fitted, tried, None)


def _fewer(
    mlflow: Any,
    profiles: Profiles,
    params: Params,
    facet: Facet,
    starts: Mapping[str, Ints],
    tried: list[Tried],
    least: int,
) -> Chosen:
    """KMeans with the most segments below the grid of which none is too small; one segment always is."""
    log_candidates(mlflow, tried, None, params, facet)
    fewest = min(facet.settings.try_n_segments)
    for count in range(max(fewest - 1, 1), 0, -1):
        given = Setting("kmeans", count, None, 0, {}).of(facet)
        fitted = cluster(profiles, params, given, starts=starts)
        if _smallest(fitted) >= least:
            break
    reason = (
        f"None of {len(tried)} candidates had {least} customers in every segment "
        f"(quality.min_segment_customers); {count} segment{'s' * (count > 1)} can have."
    )
    fitted = replace(fitted, candidates=[one.candidate for one in tried], choice_reason=reason)
    return Chosen(given, fitted, tried, None)


def _smallest(fitted: FittedClusters) -> int:
    """Customers in the smallest cluster; noise is none."""
    labels = fitted.labels[fitted.labels != NOISE]
    return int(np.unique(labels, return_counts=True)[1].min()) if len(labels) else 0


def _clustered_count(profiles: Profiles, facet: Facet) -> int:
    return int(clustered(profiles.table, facet).sum())


def _samples(profiles: Profiles, earlier: Sequence[Past], params: Params, facet: Facet) -> str:
    """On which customers the candidates were judged, in words."""
    count = _clustered_count(profiles, facet)
    used = min(count, params.sweep.sample_customers)
    text = f"Candidates were fitted on {used:,} of {count:,} customers and {params.sweep.resamples} resamples of them"
    past = " and ".join(f"{len(one.profiles.table):,} customers on {one.cutoff:%Y-%m-%d}" for one in earlier)
    return f"{text}; what they predicted was measured on {past}." if past else f"{text}."


def log_candidates(mlflow: Any, tried: list[Tried], chosen: Candidate | None, params: Params, facet: Facet) -> None:
    """A child run for each candidate, with the command that trains it; one table and a figure of all of them."""
    of_each = scores([one.candidate for one in tried], figures(facet))
    rows = []
    for one, score in zip(tried, of_each, strict=True):
        row = {**vars(one.candidate), "score": score, "command": one.setting.command(params, facet)}
        row["is_chosen"] = one.candidate == chosen
        rows.append(row)
        tags = {
            "candidate": "true",
            "facet": facet.name,
            "command": row["command"],
            "is_chosen": str(row["is_chosen"]).lower(),
        }
        with mlflow_runs.run(mlflow, name=f"{facet.name}: {one.candidate.name}", tags=tags, nested=True):
            mlflow.log_params(one.setting.overrides(facet))
            numbers = {key: value for key, value in row.items() if isinstance(value, float | int)}
            mlflow.log_metrics({key: float(value) for key, value in numbers.items() if key not in ("asked", "balance")})
    mlflow.log_table({key: [row[key] for row in rows] for key in rows[0]}, f"{facet.name}/candidates.json")
    mlflow_runs.log_figures(mlflow, {f"{facet.name}/choice": plots.choice_figure(rows)})


def candidates_text(tried: Sequence[Tried], params: Params, facet: Facet) -> str:
    """A line per candidate, the highest score first, and the command that trains it in full."""
    of_each = scores([one.candidate for one in tried], figures(facet))
    lines = [f"{'Score':>5}  {'Stable':>6}  {'Smallest':>8}  {'Apart':>5}  Train {facet.name} in full"]
    for score, one in sorted(
        zip(of_each, tried, strict=True), key=lambda pair: (-pair[0], pair[1].candidate.simplicity)
    ):
        found = one.candidate
        lines.append(
            f"{score:5.2f}  {found.stable_share:6.0%}  {found.smallest_count:8,.0f}  "
            f"{found.named_apart:>2}/{found.n_segments:<2}  "
            f"{one.setting.command(params, facet)}"
        )
    return "\n".join(lines)
