"""Candidate settings, and the choice among them: the simplest that predicts about as well as the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.disclosure import rounded_count, rounded_share, shown_measure
from models.validity import CHANCE

MAX_NOISE_SHARE = 0.5
MEASURES = ("silhouette", "density_validity", "stable_share")
"""Measures of a `Candidate` that are means over its clustered customers; those of its predictions are in `CHANCE`."""


@dataclass(frozen=True)
class Candidate:
    """One setting and its results.

    Attributes
    ----------
    asked : int or None
        Number of segments requested; None for HDBSCAN, which determines the number itself.
    density : float or None
        HDBSCAN's minimum cluster size, as a share of customers; None for KMeans.
    balance : int
        Index among the block balances that were tried; 0 is the configured one.
    n_segments : int
        Number of segments found, without noise.
    silhouette, density_validity : float or None
        -1..1; None where undefined.
    stability : float or None
        Mean of the segments' Jaccard similarities over resamples, 0..1; None if it may not be published.
    stable_share : float or None
        Customers in stable segments, as a share of customers in any segment, 0..1; None if it may not be published.
    smallest_count, smallest_share : float
        Size of the smallest segment among all clustered customers, estimated from the sample.
    noise_share : float
        Share of noise among the clustered customers, 0..1.
    named_apart : int
        Segments whose name is distinct without a number.
    buyer_count : int
        Buyers after the earlier cutoff with the fewest; 0 if nobody bought after any.
    buys_auc, spend_r2, category_auc : float or None
        Predictive figures of the segments, mean over the earlier cutoffs; None if not measurable.
    """

    algorithm: str
    asked: int | None
    density: float | None
    balance: int
    balance_name: str
    n_segments: int
    silhouette: float | None
    density_validity: float | None
    stability: float | None
    stable_share: float | None
    smallest_count: float
    smallest_share: float
    noise_share: float
    named_apart: int
    buyer_count: int
    buys_auc: float | None = None
    spend_r2: float | None = None
    category_auc: float | None = None

    @property
    def name(self) -> str:
        """The setting in words."""
        if self.algorithm == "rule":
            return "rule, by leading category"
        settings = f"{self.asked} segments" if self.asked else f"clusters from {self.density:.1%} of customers"
        return f"{self.algorithm}, {settings}, {self.balance_name}"

    def published(self, min_group: int) -> Candidate:
        """The candidate with rounded figures; predictions by the number of buyers, who are the fewer.

        Without segments, there are no sizes to round.
        """
        shown: dict[str, Any] = {
            name: shown_measure(getattr(self, name), self.buyer_count, min_group) for name in CHANCE
        }
        if not self.smallest_share:
            return replace(self, **shown)
        whole = self.smallest_count / self.smallest_share
        shown |= {name: shown_measure(getattr(self, name), whole, min_group) for name in MEASURES}
        return replace(
            self,
            **shown,
            # One customer changes the stability of one segment, the smallest the most.
            stability=shown_measure(self.stability, self.smallest_count * self.n_segments, min_group),
            smallest_count=rounded_count(self.smallest_count, min_group),
            smallest_share=rounded_share(self.smallest_count, whole, min_group),
            noise_share=rounded_share(self.noise_share * whole, whole, min_group),
        )

    def as_dict(self) -> dict[str, Any]:
        """The fields, without the number of buyers, which only rounding needs."""
        return {name: value for name, value in vars(self).items() if name != "buyer_count"}

    @property
    def separation(self) -> float | None:
        """Silhouette over all clustered customers; noise belongs to no group and counts as 0."""
        return None if self.silhouette is None else self.silhouette * (1.0 - self.noise_share)

    @property
    def simplicity(self) -> tuple[int, int]:
        """Sort key, lower is simpler: KMeans before HDBSCAN, fewer segments before more."""
        return ("kmeans", "hdbscan", "rule").index(self.algorithm), self.n_segments


@dataclass(frozen=True)
class Choice:
    """The chosen candidate.

    Attributes
    ----------
    chosen, best : Candidate
        The chosen candidate; the candidate with the highest score (`scores`) among those that qualify.
    reason : str
        Why it was chosen, in a sentence or two.
    notes : tuple of str
        What the user should know about the search space.
    """

    chosen: Candidate
    best: Candidate
    reason: str
    notes: tuple[str, ...]


def scores(candidates: Sequence[Candidate], chosen_by: Sequence[str]) -> list[float]:
    """Score of each candidate, 0..1: its figures of ``chosen_by`` as shares of the highest, averaged over figures.

    For an AUROC, the gain over chance is used. If no candidate has any of the figures, the scores are the silhouettes.
    """
    gains = [
        [max((getattr(candidate, name) or chance) - chance, 0.0) for candidate in candidates]
        for name, chance in ((name, CHANCE.get(name, 0.0)) for name in chosen_by)
    ]
    shares = [[gain / max(row) for gain in row] for row in gains if max(row, default=0.0) > 0.0]
    if not shares:
        return [-1.0 if candidate.silhouette is None else candidate.silhouette for candidate in candidates]
    return [sum(row) / len(row) for row in zip(*shares, strict=True)]


def choose(
    candidates: Sequence[Candidate],
    *,
    chosen_by: Sequence[str],
    tolerance: float,
    min_customers: float,
    min_segment_share: float,
    min_stable_share: float,
    min_group: int,
    min_separation: float | None = None,
) -> Choice | None:
    """The simplest candidate within ``tolerance`` of the best score, and the reason; None if no candidate qualifies.

    A candidate qualifies with at least two segments, no segment below ``min_customers`` or ``min_segment_share``, at
    most half of the customers noise, and ``min_stable_share`` of the customers in stable segments. If no candidate
    qualifies, the stability requirement is lowered to the highest value reached, then the minimum share is dropped;
    the reason says so. ``min_customers`` is never relaxed. With ``min_separation``, candidates must also reach this
    separation and nothing is relaxed, so the result may be None. The choice is made from exact figures, and the reason
    has the published ones.
    """
    qualified, fair, stable_share = _qualified(
        candidates, min_customers, min_segment_share, min_stable_share, min_separation
    )
    if not qualified:
        return None

    def pair_by(figures: Sequence[Candidate]) -> tuple[Candidate, Candidate]:
        score_of = dict(zip(candidates, scores(figures, chosen_by), strict=True))
        return _simplest_and_best(qualified, score_of, tolerance=tolerance, is_number_found=min_separation is not None)

    chosen, best = pair_by(candidates)
    published = [candidate.published(min_group) for candidate in candidates]
    reason = _reason(
        chosen.published(min_group),
        best.published(min_group),
        f"{len(qualified)} of {len(candidates)}",
        f"within {tolerance:.0%} of {_score_title(chosen, chosen_by)}",
        min_customers,
        min_segment_share if fair else None,
        min_stable_share,
        is_relaxed=stable_share < min_stable_share,
    )
    if pair_by(published) != (chosen, best):
        reason += " Figures are rounded after the choice, which the rounded ones alone do not explain."
    fewest = min((candidate.asked for candidate in candidates if candidate.asked), default=None)
    notes = _edge_notes(best, candidates)
    if chosen != best and len(candidates) > 1 and chosen.asked is not None and chosen.asked == fewest:
        notes += (f"The chosen candidate has the lowest of try_n_segments ({fewest}); fewer may do as well.",)
    return Choice(chosen, best, reason, notes)


def _qualified(
    candidates: Sequence[Candidate],
    min_customers: float,
    min_segment_share: float,
    min_stable_share: float,
    min_separation: float | None,
) -> tuple[list[Candidate], list[Candidate], float]:
    """Candidates that qualify, those with only large segments, and the share of stable customers that was asked for."""
    large = [
        candidate for candidate in candidates if candidate.n_segments >= 2 and candidate.smallest_count >= min_customers
    ]
    fair = [
        candidate
        for candidate in large
        if candidate.smallest_share >= min_segment_share and candidate.noise_share <= MAX_NOISE_SHARE
    ]
    if min_separation is None:
        stable_share = min(min_stable_share, max((candidate.stable_share or 0.0 for candidate in fair), default=0.0))
        qualified = [candidate for candidate in fair if (candidate.stable_share or 0.0) >= stable_share] or large
    else:
        stable_share = min_stable_share
        qualified = [
            candidate
            for candidate in fair
            if (candidate.stable_share or 0.0) >= stable_share and (candidate.separation or -1.0) >= min_separation
        ]
    return qualified, fair, stable_share


def _reason(
    chosen: Candidate,
    best: Candidate,
    qualified: str,
    near_best: str,
    min_customers: float,
    min_segment_share: float | None,
    min_stable_share: float,
    *,
    is_relaxed: bool,
) -> str:
    """Why a candidate was chosen, from published candidates.

    ``min_segment_share`` is None if no candidate had only segments that large. If the stability requirement
    ``is_relaxed``, it is what the chosen candidate reaches.
    """
    conditions = f"no segment under {min_customers:g} customers"
    if min_segment_share is not None:
        conditions += f" or {min_segment_share:.0%} of customers"
        stable_share = chosen.stable_share if is_relaxed else min_stable_share
        conditions += "" if stable_share is None else f", at least {stable_share:.0%} of customers in stable segments"
    reason = f"{qualified} candidates qualify ({conditions}). "
    reason += f"The simplest {near_best} is {chosen.name}"
    reason += ("" if chosen == best else f"; the best is {best.name}") + f" ({_comparison(chosen, best)})."
    if min_segment_share is None:
        return f"{reason} No candidate had only large segments."
    if is_relaxed:
        reason += f" No candidate had {min_stable_share:.0%} in stable segments (sweep.min_stable_share)."
    return reason


def _simplest_and_best(
    qualified: Sequence[Candidate], score_of: Mapping[Candidate, float], *, tolerance: float, is_number_found: bool
) -> tuple[Candidate, Candidate]:
    """The simplest candidate within ``tolerance`` of the best score, and the best, both of the selected balance.

    The configured balance is kept unless the best candidate of another balance is better by more than ``tolerance``.
    If the data determine the number of groups (``is_number_found``), the best candidate of an algorithm wins over
    simpler ones of the same algorithm.
    """

    def best_of(options: Sequence[Candidate]) -> Candidate:
        return min(options, key=lambda option: (-score_of[option], option.simplicity, option.balance))

    def within(options: Sequence[Candidate], best: Candidate) -> list[Candidate]:
        least = score_of[best] - tolerance * abs(score_of[best])
        return [option for option in options if score_of[option] >= least]

    best = best_of(qualified)
    configured = [candidate for candidate in qualified if candidate.balance == 0]
    if within(configured, best):
        qualified, best = configured, best_of(configured)

    def order(candidate: Candidate) -> tuple[float, ...]:
        algorithm, number = candidate.simplicity
        return algorithm, 0 if is_number_found else number, -score_of[candidate], number, candidate.balance

    return min(within(qualified, best), key=order), best


TITLES = {
    "buys_auc": "who buys",
    "spend_r2": "spend",
    "category_auc": "categories",
    "stable_share": "stability",
    "separation": "separation",
    "silhouette": "silhouette",
}


def _score_title(chosen: Candidate, chosen_by: Sequence[str]) -> str:
    is_predicted = any(getattr(chosen, name) is not None for name in chosen_by)
    return f"the best score in {_titles(chosen_by)}" if is_predicted else "the best silhouette"


def _titles(chosen_by: Sequence[str]) -> str:
    *others, last = [TITLES[name] for name in chosen_by]
    return f"{', '.join(others)} and {last}" if others else last


def _comparison(chosen: Candidate, best: Candidate) -> str:
    compared = []
    for name, title in TITLES.items():
        own, other = getattr(chosen, name), getattr(best, name)
        if own is not None and other is not None and name not in ("stable_share", "separation"):
            compared.append(f"{title} {own:.3f}" + ("" if chosen == best else f" compared with {other:.3f}"))
    return ", ".join(compared)


def _edge_notes(best: Candidate, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """A note if the best candidate is at an end of the search space, so that values beyond it may be better."""
    comparable = [candidate for candidate in candidates if candidate.algorithm == best.algorithm]
    key, own, tried = (
        ("try_n_segments", best.asked, {candidate.asked for candidate in comparable if candidate.asked})
        if best.asked
        else (
            "try_min_cluster_share",
            best.density,
            {candidate.density for candidate in comparable if candidate.density},
        )
    )
    if own is None or len(tried) < 2 or min(tried) < own < max(tried):
        return ()
    end, beyond = ("highest", "higher") if own == max(tried) else ("lowest", "lower")
    return (
        f"The best candidate ({best.name}) is at the {end} value of {key}; "
        f"{beyond} values were not tried and may be better.",
    )
