"""The interest formula of `features.interests`: shares from evidence, and fitting its settings to later purchases.

Settings are fitted on the counts of `features.signals`, where evaluating one setting takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.disclosure import significant
from models.tree import Level, child_share, tree_levels

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats, Ints


TINY = 1e-12
BLOCK_CUSTOMERS = 2_000
ACTIVITY_OFFSET = 1e-3
"""Added to activity (in views) before the logarithm, so that it stays finite for inactive customers."""


@dataclass(frozen=True)
class Snapshot:
    """What was known about customers at a cutoff, and what they bought afterwards.

    Attributes
    ----------
    customer, column, kind : int arrays of shape (n_rows,)
        Index of the customer, of the category, and of the event type in ``kinds``.
    event_count, mean_age_days, min_age_days : float arrays of shape (n_rows,)
        A search counts with P(category | query).
    kinds : tuple of str
        Event types.
    paths : tuple of tuple of str, one per category
        From the root; the last is OTHER, in which purchases are not counted.
    level : int
        Depth of the tree down to the categories.
    mix : float array of shape (n_categories,)
        The shop's category mix.
    last_age_days : float array of shape (n_customers,)
        Age of each customer's last event that counts for interests (`features.interests.is_counted`); 0 without one.
    bought : bool array of shape (n_customers, n_categories - 1)
        Purchases within the horizon after the cutoff, without OTHER.
    """

    customer: Ints
    column: Ints
    kind: Ints
    event_count: Floats
    mean_age_days: Floats
    min_age_days: Floats
    kinds: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]
    level: int
    mix: Floats
    last_age_days: Floats
    bought: NDArray[np.bool_]

    def table(self, values: Floats) -> Floats:
        """Values of the rows summed by customer and category: shape (n_customers, n_categories)."""
        shape = (len(self.bought), len(self.mix))
        cell = self.customer * shape[1] + self.column
        summed = np.bincount(cell, weights=values, minlength=shape[0] * shape[1])
        return np.asarray(summed, dtype=np.float64).reshape(shape)


@dataclass(frozen=True)
class Decay:
    """Weight of an event: the weight of its type, halved for every half-life up to a later moment."""

    signal_weights: Mapping[str, float]
    half_life_days: float

    def of(self, snapshot: Snapshot) -> Floats:
        """Decayed to the cutoff: one value per row of ``snapshot``."""
        return self._decayed(snapshot, snapshot.mean_age_days)

    def own(self, snapshot: Snapshot) -> Floats:
        """Decayed to each customer's own last counted event: one value per row of ``snapshot``."""
        before = snapshot.mean_age_days - snapshot.last_age_days[snapshot.customer]
        return self._decayed(snapshot, np.maximum(before, 0.0))

    def _decayed(self, snapshot: Snapshot, days: Floats) -> Floats:
        weight = np.array([self.signal_weights.get(kind, 0.0) for kind in snapshot.kinds])[snapshot.kind]
        return np.asarray(weight * snapshot.event_count * np.exp2(-days / self.half_life_days))


@dataclass(frozen=True)
class Formula:
    """Settings of the interest formula.

    Attributes
    ----------
    interest : Decay
        Weights for the interest share of each category.
    kappa : float
        Amount of evidence at which a customer's own mix and the shop's mix count equally.
    activity : Decay
        Weights for the activity, which measures how likely a customer is to buy at all.
    """

    interest: Decay
    kappa: float
    activity: Decay


def interest_shares(evidence: Floats, levels: Sequence[Level], *, kappa: float) -> Floats:
    """share(u,c) of the interest formula, from the root of the category tree down.

    Parameters
    ----------
    evidence : float array of shape (n_categories, n_customers)
        S(u,c), one row per category. A customer without evidence gets the shop's mix.
    levels : sequence of Level
        `models.tree.cut_levels`.
    kappa : float, > 0
        Evidence, in views, at which the customer's own mix counts as much as the shop's. It applies at each category
        of the tree.

    Returns
    -------
    float array of the same shape; the shares of a customer sum to 1
    """
    count = evidence.shape[1]
    shares = np.empty(evidence.shape)
    root = Level(np.zeros(len(evidence), dtype=np.int64), np.zeros(1, dtype=np.int64), np.ones(1))
    for start in range(0, count, BLOCK_CUSTOMERS):  # blocks stay in the processor's cache
        part = evidence[:, start : start + BLOCK_CUSTOMERS]
        share, above = np.ones((1, 1)), root.sums(part)
        for level in levels:
            below = level.sums(part)
            share = child_share(share[level.parent], below, above[level.parent], level.spread[:, None], kappa)
            above = below
        shares[:, start : start + BLOCK_CUSTOMERS] = share[levels[-1].node]
    return shares


def snapshot_shares(snapshot: Snapshot, interest: Decay, kappa: float) -> Floats:
    """`interest_shares` of the customers of ``snapshot``: shape (n_customers, n_categories)."""
    levels = tree_levels(snapshot.paths, snapshot.level, snapshot.mix)
    return interest_shares(snapshot.table(interest.own(snapshot)).T, levels, kappa=kappa).T


def activity(snapshot: Snapshot, decay: Decay) -> Floats:
    """Decayed sum of events over all categories: shape (n_customers,)."""
    summed = np.bincount(snapshot.customer, weights=decay.of(snapshot), minlength=len(snapshot.bought))
    return np.asarray(summed, dtype=np.float64)


def purchase_scores(snapshot: Snapshot, formula: Formula) -> Floats:
    """activity(u) * share(u,c): how likely the customer buys, times what.

    Within a customer, categories rank by share. The share alone ignores how active a customer is. Shrunk evidence
    alone would rank unknown customers above active customers of other categories.

    Returns
    -------
    array of shape (n_customers, n_categories)
    """
    return activity(snapshot, formula.activity)[:, None] * snapshot_shares(snapshot, formula.interest, formula.kappa)


@dataclass(frozen=True)
class FittedFormula:
    """The result of fitting the formula.

    Attributes
    ----------
    formula : Formula
    is_fitted : bool
        False if the configured formula was kept.
    reason : str
        The reason, in words.
    event_types : tuple of str
        Event types with any events, most common first.
    """

    formula: Formula
    is_fitted: bool
    reason: str
    event_types: tuple[str, ...]


def fit_formula(
    snapshots: Sequence[Snapshot], start: Formula, *, min_purchases: int, prior_strength: float
) -> FittedFormula:
    """The formula that maximises the likelihood of later purchases, regularised towards ``start``.

    Interest is fitted to *what* buyers bought: the probability of each category for a customer is proportional to a
    power of its share (a conditional logit; McFadden, 1974). Activity is fitted to *who* bought at all, by a logistic
    regression on log activity. Weights above 0 in ``start``, half-lives and kappa are fitted on a log scale. The most
    common event type keeps its weight, because only ratios matter. The penalty of each parameter is
    ``prior_strength`` times its squared logarithmic change.

    Parameters
    ----------
    snapshots : sequence of Snapshot
        Cutoffs before the reported one.
    min_purchases : int
        Minimum number of customer-category purchases; with fewer, ``start`` is kept.
    """
    event_types = observed_event_types(snapshots)
    purchases = int(sum(snapshot.bought.sum() for snapshot in snapshots))
    if purchases < min_purchases:
        reason = f"the configured weights are kept: there are fewer than the {min_purchases:,} purchases to fit to"
        return FittedFormula(start, False, reason, event_types)
    buyers = [only_buyers(snapshot) for snapshot in snapshots]

    def choice_likelihood(interest: Decay, extra: Floats) -> float:
        log_kappa, slope = extra
        kappa, total = start.kappa * float(np.exp(log_kappa)), -prior_strength * float(log_kappa**2)
        for snapshot in buyers:
            value = slope * np.log(np.maximum(snapshot_shares(snapshot, interest, kappa)[:, :-1], TINY))
            chance = value - np.logaddexp.reduce(value, axis=1, keepdims=True)
            total += float(chance[snapshot.bought].sum())
        return total

    def purchase_likelihood(decay: Decay, extra: Floats) -> float:
        intercept, slope = extra
        total = 0.0
        for snapshot in snapshots:
            value = intercept + slope * np.log(activity(snapshot, decay) + ACTIVITY_OFFSET)
            total += float(value[snapshot.bought.any(axis=1)].sum() - np.logaddexp(0.0, value).sum())
        return total

    interest, (log_kappa, _) = _maximise(choice_likelihood, start.interest, snapshots, prior_strength, extra=(0.0, 1.0))
    decay, _ = _maximise(purchase_likelihood, start.activity, snapshots, prior_strength, extra=(-3.0, 1.0))
    formula = Formula(interest, _three_digits(start.kappa * float(np.exp(log_kappa))), decay)
    reason = f"fitted to about {significant(purchases):,.0f} purchases after earlier cutoffs"
    return FittedFormula(formula, True, reason, event_types)


def observed_event_types(snapshots: Sequence[Snapshot]) -> tuple[str, ...]:
    """Event types with any events, most common first."""
    counts: dict[str, float] = {}
    for snapshot in snapshots:
        sums = np.bincount(snapshot.kind, weights=snapshot.event_count, minlength=len(snapshot.kinds))
        for kind, count in zip(snapshot.kinds, sums.tolist(), strict=True):
            counts[kind] = counts.get(kind, 0.0) + count
    return tuple(sorted((kind for kind in counts if counts[kind] > 0), key=lambda kind: (-counts[kind], kind)))


def only_buyers(snapshot: Snapshot) -> Snapshot:
    """The snapshot restricted to customers who bought after the cutoff."""
    buys = np.asarray(snapshot.bought.any(axis=1))
    index = np.cumsum(buys) - 1
    rows = buys[snapshot.customer]
    return replace(
        snapshot,
        customer=index[snapshot.customer[rows]],
        column=snapshot.column[rows],
        kind=snapshot.kind[rows],
        event_count=snapshot.event_count[rows],
        mean_age_days=snapshot.mean_age_days[rows],
        min_age_days=snapshot.min_age_days[rows],
        last_age_days=snapshot.last_age_days[buys],
        bought=snapshot.bought[buys],
    )


def _maximise(
    likelihood: Callable[[Decay, Floats], float],
    start: Decay,
    snapshots: Sequence[Snapshot],
    prior_strength: float,
    *,
    extra: tuple[float, float],
) -> tuple[Decay, Floats]:
    """The decay and two extra parameters that maximise ``likelihood`` minus the penalty."""
    free = [kind for kind in observed_event_types(snapshots) if start.signal_weights.get(kind)][1:]

    def decay_at(point: Floats) -> Decay:
        moved = {kind: start.signal_weights[kind] * float(np.exp(by)) for kind, by in zip(free, point, strict=False)}
        return Decay({**start.signal_weights, **moved}, start.half_life_days * float(np.exp(point[len(free)])))

    def loss(point: Floats) -> float:
        return prior_strength * float((point[:-2] ** 2).sum()) - likelihood(decay_at(point), point[-2:])

    bounds = [(-4.0, 4.0)] * (len(free) + 1) + [(-30.0, 30.0), (0.0, 10.0)]
    result = minimize(
        loss, [0.0] * (len(free) + 1) + [*extra], method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-6}
    )
    decay = decay_at(result.x)
    weights = {kind: _three_digits(weight) for kind, weight in decay.signal_weights.items()}
    return Decay(weights, _three_digits(decay.half_life_days)), result.x[-2:]


def _three_digits(value: float) -> float:
    """Round to three significant digits, so that the printed values are those in use."""
    return float(f"{value:.3g}")
