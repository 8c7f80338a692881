"""Candidates, and the choice among them: the simplest of those that foretell about as much as the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.validity import CHANCE

MAX_NOISE_SHARE = 0.5


@dataclass(frozen=True)
class Candidate:
    """One setting, and what it gave.

    Attributes
    ----------
    asked : int or None
        Number of segments asked for; None for HDBSCAN, which finds its own.
    density : float or None
        HDBSCAN's smallest share of a cluster; None for KMeans.
    balance : int
        Place among the balances of blocks that were tried; 0 is the one given.
    n_segments : int
        Found; noise is none.
    silhouette, density_validity : float or None
        -1..1; None where undefined.
    stability : float
        Mean of the segments' Jaccards, 0..1.
    stable_share : float
        Customers in segments that are stable, as a share of those in any, 0..1.
    smallest_count, smallest_share : float
        Of the customers clustered, reckoned from the sample.
    noise_share : float
        0..1, of the customers clustered.
    named_apart : int
        Segments whose name is told apart by more than a number.
    buys_auc, spend_r2, category_auc : float or None
        What the segments foretold, mean over the earlier cutoffs; None where it could not be measured.
    """

    algorithm: str
    asked: int | None
    density: float | None
    balance: int
    balance_name: str
    n_segments: int
    silhouette: float | None
    density_validity: float | None
    stability: float
    stable_share: float
    smallest_count: float
    smallest_share: float
    noise_share: float
    named_apart: int
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

    @property
    def separation(self) -> float | None:
        """The silhouette of all customers clustered, noise counting as 0: as it is in no group, nothing parts it."""
        return None if self.silhouette is None else self.silhouette * (1.0 - self.noise_share)

    @property
    def simplicity(self) -> tuple[int, int]:
        """Lower is simpler: KMeans before HDBSCAN, few segments before many."""
        return ("kmeans", "hdbscan", "rule").index(self.algorithm), self.n_segments


@dataclass(frozen=True)
class Choice:
    """The candidate taken.

    Attributes
    ----------
    chosen, best : Candidate
        The one taken; the one of the highest score (`scores`) among those that were good enough.
    reason : str
        Why, in a sentence or two.
    notes : tuple of str
        What the user should know of the grid.
    """

    chosen: Candidate
    best: Candidate
    reason: str
    notes: tuple[str, ...]


def scores(candidates: Sequence[Candidate], chosen_by: Sequence[str]) -> list[float]:
    """What each candidate reaches in the figures of ``chosen_by``, 0..1: as a share of the highest, mean over figures.

    Of an AUROC the gain over chance counts. Where none of the figures is known of any, the silhouettes.
    """
    gains = [
        [max((getattr(one, name) or chance) - chance, 0.0) for one in candidates]
        for name, chance in ((name, CHANCE.get(name, 0.0)) for name in chosen_by)
    ]
    shares = [[gain / max(row) for gain in row] for row in gains if max(row, default=0.0) > 0.0]
    if not shares:
        return [-1.0 if one.silhouette is None else one.silhouette for one in candidates]
    return [sum(row) / len(row) for row in zip(*shares, strict=True)]


def choose(
    candidates: Sequence[Candidate],
    *,
    chosen_by: Sequence[str],
    tolerance: float,
    min_customers: float,
    min_segment_share: float,
    min_stable_share: float,
    min_separation: float | None = None,
) -> Choice | None:
    """The simplest candidate within ``tolerance`` of the best score, and why; None where none will do.

    Good enough is: at least two segments, none smaller than ``min_customers`` and ``min_segment_share``, noise not the
    greater part, and ``min_stable_share`` of the customers in stable segments. Where none is good enough, stability is
    asked for as far as any comes, then the share is let go, and it is said; the number of customers never is. With
    ``min_separation``, groups must part so clearly and be stable, or there are none.
    """
    large = [one for one in candidates if one.n_segments >= 2 and one.smallest_count >= min_customers]
    fair = [one for one in large if one.smallest_share >= min_segment_share and one.noise_share <= MAX_NOISE_SHARE]
    if min_separation is None:
        stable_share = min(min_stable_share, max((one.stable_share for one in fair), default=0.0))
        good = [one for one in fair if one.stable_share >= stable_share] or large
    else:
        stable_share = min_stable_share
        good = [one for one in fair if one.stable_share >= stable_share and (one.separation or -1.0) >= min_separation]
    if not good:
        return None
    of_each = dict(zip(candidates, scores(candidates, chosen_by), strict=True))
    chosen, best = _taken(good, of_each, tolerance=tolerance, is_number_found=min_separation is not None)
    asked = f"no segment under {min_customers:g} customers"
    asked += f" or {min_segment_share:.0%} of them" if fair else ""
    asked += f", and {stable_share:.0%} of their customers in segments that come back on resamples" if fair else ""
    is_predicted = any(getattr(chosen, name) is not None for name in chosen_by)
    what = f"the best of them in {_titles(chosen_by)}" if is_predicted else "the best silhouette among them"
    reason = f"Of {len(candidates)} candidates, {len(good)} had {asked}. The simplest within {tolerance:.0%} of {what} "
    reason += (
        f"is {chosen.name}" + ("" if chosen == best else f"; the best is {best.name}") + f" ({_beside(chosen, best)})."
    )
    if not fair:
        reason += " None had all segments large."
    elif stable_share < min_stable_share:
        reason += f" None had {min_stable_share:.0%} of them there (sweep.min_stable_share)."
    fewest = min((one.asked for one in candidates if one.asked), default=None)
    notes = _edges(best, candidates)
    if chosen != best and len(candidates) > 1 and chosen.asked is not None and chosen.asked == fewest:
        notes += (f"The candidate taken has the fewest of try_n_segments ({fewest}): fewer may do as well.",)
    return Choice(chosen, best, reason, notes)


def _taken(
    good: Sequence[Candidate], of_each: Mapping[Candidate, float], *, tolerance: float, is_number_found: bool
) -> tuple[Candidate, Candidate]:
    """The simplest within ``tolerance`` of the best score, and the best, of the balance that is taken.

    The balance given stays, unless the best candidate of others is better by more than ``tolerance``. Where the number
    of groups shows in the data (``is_number_found``), simplicity does not decide it: of one algorithm the best wins.
    """

    def best_of(some: Sequence[Candidate]) -> Candidate:
        return min(some, key=lambda one: (-of_each[one], one.simplicity, one.balance))

    def within(some: Sequence[Candidate], best: Candidate) -> list[Candidate]:
        return [one for one in some if of_each[one] >= of_each[best] - tolerance * abs(of_each[best])]

    best = best_of(good)
    as_given = [one for one in good if one.balance == 0]
    if within(as_given, best):
        good, best = as_given, best_of(as_given)

    def order(one: Candidate) -> tuple[float, ...]:
        algorithm, number = one.simplicity
        return algorithm, 0 if is_number_found else number, -of_each[one], number, one.balance

    return min(within(good, best), key=order), best


TITLES = {
    "buys_auc": "who buys",
    "spend_r2": "spend",
    "category_auc": "categories",
    "stable_share": "stability",
    "separation": "separation",
    "silhouette": "silhouette",
}


def _titles(chosen_by: Sequence[str]) -> str:
    *others, last = [TITLES[name] for name in chosen_by]
    return f"{', '.join(others)} and {last}" if others else last


def _beside(chosen: Candidate, best: Candidate) -> str:
    compared = []
    for name, title in TITLES.items():
        own, other = getattr(chosen, name), getattr(best, name)
        if own is not None and other is not None and name not in ("stable_share", "separation"):
            compared.append(f"{title} {own:.3f}" + ("" if chosen == best else f" compared with {other:.3f}"))
    return ", ".join(compared)


def _edges(best: Candidate, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Where the best lies at an end of what was tried, so that more may lie beyond."""
    alike = [one for one in candidates if one.algorithm == best.algorithm]
    key, own, tried = (
        ("try_n_segments", best.asked, {one.asked for one in alike if one.asked})
        if best.asked
        else ("try_min_cluster_share", best.density, {one.density for one in alike if one.density})
    )
    if own is None or len(tried) < 2 or min(tried) < own < max(tried):
        return ()
    end, beyond = ("highest", "higher") if own == max(tried) else ("lowest", "lower")
    return (
        f"The best candidate ({best.name}) is at the {end} of {key}: {beyond} ones may be better, and were not tried.",
    )
