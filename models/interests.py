"""The interest formula on counts in memory, and its settings fitted to what people bought next.

`features.interests` is the formula on a whole log; this is the same on the counts of `features.signals`, where trying a
setting takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.tree import divided, tree_levels

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats, Ints


TINY = 1e-12
LITTLE_ACTIVITY = 1e-3
"""Added before the logarithm, in views: whoever did nothing lately is far from buying, but not infinitely."""


@dataclass(frozen=True)
class Snapshot:
    """What was known of some customers at a cutoff, and what they bought after it.

    Attributes
    ----------
    customer, column, kind : int arrays of shape (n_rows,)
        Places among the customers, the categories, and ``kinds``.
    event_count, mean_age_days, min_age_days : float arrays of shape (n_rows,)
        A search counts by P(category | query).
    kinds : tuple of str
        Event types.
    paths : tuple of tuple of str, one per category
        From the root; the last is OTHER, which is no category to be bought in.
    level : int
        Depth of the tree down to the categories.
    mix : float array of shape (n_categories,)
        The shop's.
    last_age_days : float array of shape (n_customers,)
        Age of each customer's last event that counts for interests (`features.interests.is_counted`); 0 without any.
    bought : bool array of shape (n_customers, n_categories - 1)
        In the horizon after the cutoff; without OTHER.
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
    """What an event counts: the weight of its type, halved with every half-life between it and a later moment."""

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
        What a customer turns to: the share of each category.
    kappa : float
        Evidence at which a customer's own counts as much as the shop's mix.
    activity : Decay
        How likely a customer is to buy at all.
    """

    interest: Decay
    kappa: float
    activity: Decay


def interest_shares(snapshot: Snapshot, interest: Decay, kappa: float) -> Floats:
    """share(u,c) of features/interests.py: shape (n_customers, n_categories)."""
    own = snapshot.table(interest.own(snapshot))
    above, share = own.sum(axis=1, keepdims=True), np.ones((len(own), 1))
    node = np.zeros(len(snapshot.mix), dtype=np.int64)
    for level in tree_levels(snapshot.paths, snapshot.level, snapshot.mix):
        evidence = level.sums(own)
        share = divided(share[:, level.parent], evidence, above[:, level.parent], level.spread, kappa)
        above, node = evidence, level.node
    return share[:, node]


def activity(snapshot: Snapshot, decay: Decay) -> Floats:
    """The decayed sum over all categories: shape (n_customers,)."""
    summed = np.bincount(snapshot.customer, weights=decay.of(snapshot), minlength=len(snapshot.bought))
    return np.asarray(summed, dtype=np.float64)


def purchase_scores(snapshot: Snapshot, formula: Formula) -> Floats:
    """activity(u) * share(u,c): who buys, times what.

    Within a customer it ranks categories as the share does. A share alone forgets how active a customer is, and S(u,c)
    with the shop's part alone puts whom nothing is known of above the active customers of other categories.

    Returns
    -------
    array of shape (n_customers, n_categories)
    """
    return activity(snapshot, formula.activity)[:, None] * interest_shares(snapshot, formula.interest, formula.kappa)


@dataclass(frozen=True)
class Fitted:
    """What fitting gave.

    Attributes
    ----------
    formula : Formula
    is_fitted : bool
        False: the defaults stayed.
    reason : str
        Why, in words.
    seen : tuple of str
        Event types that there was something of, the commonest first.
    """

    formula: Formula
    is_fitted: bool
    reason: str
    seen: tuple[str, ...]


def fit_formula(snapshots: Sequence[Snapshot], start: Formula, *, min_purchases: int, prior_strength: float) -> Fitted:
    """The formula under which later purchases are likeliest, drawn toward ``start``.

    Interest is fitted to *what* buyers bought: the chance of each category among those of a customer is proportional to
    a power of its share (a conditional logit; McFadden, 1974). Activity is fitted to *who* bought at all: a logistic in
    its logarithm. Weights that ``start`` gives above 0, half-lives and kappa move on a logarithmic scale; the commonest
    signal keeps its weight, since only ratios matter. For each, ``prior_strength`` times its squared logarithmic
    change is taken from the log-likelihood.

    Parameters
    ----------
    snapshots : sequence of Snapshot
        Cutoffs before the one that is reported.
    min_purchases : int
        Customer-category purchases below which the defaults stay.
    """
    seen = seen_kinds(snapshots)
    purchases = int(sum(snapshot.bought.sum() for snapshot in snapshots))
    if purchases < min_purchases:
        reason = f"given weights stay: {purchases:,} purchases to learn from, fewer than {min_purchases:,}"
        return Fitted(start, False, reason, seen)
    buyers = [only_buyers(snapshot) for snapshot in snapshots]

    def choice(interest: Decay, more: Floats) -> float:
        log_kappa, slope = more
        kappa, total = start.kappa * float(np.exp(log_kappa)), -prior_strength * float(log_kappa**2)
        for one in buyers:
            value = slope * np.log(np.maximum(interest_shares(one, interest, kappa)[:, :-1], TINY))
            chance = value - np.logaddexp.reduce(value, axis=1, keepdims=True)
            total += float(chance[one.bought].sum())
        return total

    def propensity(decay: Decay, more: Floats) -> float:
        intercept, slope = more
        total = 0.0
        for one in snapshots:
            value = intercept + slope * np.log(activity(one, decay) + LITTLE_ACTIVITY)
            total += float(value[one.bought.any(axis=1)].sum() - np.logaddexp(0.0, value).sum())
        return total

    interest, (log_kappa, _) = _likeliest(choice, start.interest, snapshots, prior_strength, more=(0.0, 1.0))
    decay, _ = _likeliest(propensity, start.activity, snapshots, prior_strength, more=(-3.0, 1.0))
    formula = Formula(interest, _three_digits(start.kappa * float(np.exp(log_kappa))), decay)
    return Fitted(formula, True, f"fitted to {purchases:,} purchases after earlier cutoffs", seen)


def seen_kinds(snapshots: Sequence[Snapshot]) -> tuple[str, ...]:
    """Event types with any events, the commonest first."""
    counts: dict[str, float] = {}
    for one in snapshots:
        found = np.bincount(one.kind, weights=one.event_count, minlength=len(one.kinds))
        for kind, count in zip(one.kinds, found.tolist(), strict=True):
            counts[kind] = counts.get(kind, 0.0) + count
    return tuple(sorted((kind for kind in counts if counts[kind] > 0), key=lambda kind: (-counts[kind], kind)))


def only_buyers(snapshot: Snapshot) -> Snapshot:
    """The same, of those customers alone who bought after it."""
    buys = np.asarray(snapshot.bought.any(axis=1))
    place = np.cumsum(buys) - 1
    rows = buys[snapshot.customer]
    return replace(
        snapshot,
        customer=place[snapshot.customer[rows]],
        column=snapshot.column[rows],
        kind=snapshot.kind[rows],
        event_count=snapshot.event_count[rows],
        mean_age_days=snapshot.mean_age_days[rows],
        min_age_days=snapshot.min_age_days[rows],
        last_age_days=snapshot.last_age_days[buys],
        bought=snapshot.bought[buys],
    )


def _likeliest(
    likelihood: Callable[[Decay, Floats], float],
    start: Decay,
    snapshots: Sequence[Snapshot],
    prior_strength: float,
    *,
    more: tuple[float, float],
) -> tuple[Decay, Floats]:
    """The decay, and two more numbers, that make ``likelihood`` less the prior's pull largest."""
    free = [kind for kind in seen_kinds(snapshots) if start.signal_weights.get(kind)][1:]

    def decay_at(point: Floats) -> Decay:
        moved = {kind: start.signal_weights[kind] * float(np.exp(by)) for kind, by in zip(free, point, strict=False)}
        return Decay({**start.signal_weights, **moved}, start.half_life_days * float(np.exp(point[len(free)])))

    def loss(point: Floats) -> float:
        return prior_strength * float((point[:-2] ** 2).sum()) - likelihood(decay_at(point), point[-2:])

    bounds = [(-4.0, 4.0)] * (len(free) + 1) + [(-30.0, 30.0), (0.0, 10.0)]
    found = minimize(loss, [0.0] * (len(free) + 1) + [*more], method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-6})
    decay = decay_at(found.x)
    weights = {kind: _three_digits(weight) for kind, weight in decay.signal_weights.items()}
    return Decay(weights, _three_digits(decay.half_life_days)), found.x[-2:]


def _three_digits(value: float) -> float:
    """What is printed is what is used."""
    return float(f"{value:.3g}")
