"""How well interest scores predict purchases: who buys a category, and what a customer buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from models.disclosure import rounded_measure
from models.interests import Formula, Snapshot, purchase_scores

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats, Ints

Bools = NDArray[np.bool_]
WINDOW_DAYS = (1.0, 7.0, 30.0)
TOP = 5


@dataclass(frozen=True)
class Figure:
    """A mean with its bootstrap interval (2.5% and 97.5%)."""

    mean: float
    low: float
    high: float

    def published(self, count: int, min_group: int) -> Figure:
        """The figure, which is of ``count`` customers, as it may be published; NaN if it is hidden."""
        return Figure(*(rounded_measure(value, count, min_group) for value in (self.mean, self.low, self.high)))


@dataclass(frozen=True)
class Figures:
    """How well scores predict purchases.

    Attributes
    ----------
    who_auc : Figure
        Who buys category c: AUROC over customers, mean over categories with enough buyers.
    what_auc : Figure
        What this customer buys: AUROC over categories, mean over customers who bought.
    what_ndcg : Figure
        The same question, measured by NDCG@5.
    """

    who_auc: Figure
    what_auc: Figure
    what_ndcg: Figure

    def published(self, count: int, min_group: int) -> Figures:
        """The figures, which are of ``count`` customers, as they may be published."""
        return Figures(
            *(figure.published(count, min_group) for figure in (self.who_auc, self.what_auc, self.what_ndcg))
        )


@dataclass(frozen=True)
class Row:
    """One method of scoring interests and its results.

    Attributes
    ----------
    figures : Figures
    lead : Figures
        How far the last method in the comparison is ahead of this one. The intervals are of the paired differences
        within each resample.
    """

    name: str
    figures: Figures
    lead: Figures


def compare_scores(
    scores: Mapping[str, Floats], bought: Bools, *, min_buyers: int, resamples: int, seed: int
) -> list[Row]:
    """One row per score, all on the same customers and the same resamples; leads are those of the last score.

    Parameters
    ----------
    scores : dict of str to array of shape (n_customers, n_categories or more)
        Columns beyond those of ``bought`` (OTHER) are ignored.
    bought : bool array of shape (n_customers, n_categories)
    min_buyers : int
        Buyers that a category needs to count in ``who_auc``.
    resamples : int
        Number of bootstrap resamples of the customers.
    """
    weights = customer_weights(len(bought), resamples, seed)
    counted = np.flatnonzero(often_bought(bought, min_buyers))
    buyers = np.flatnonzero(bought.any(axis=1) & ~bought.all(axis=1))

    def resampled(all_scores: Floats) -> Floats:
        """who_auc, what_auc and what_ndcg under each row of weights: shape (3, 1 + resamples)."""
        score = all_scores[:, : bought.shape[1]]
        who = [weighted_auc(score[:, column], bought[:, column], weights) for column in counted]
        within = np.column_stack([auc_within(score[buyers], bought[buyers]), ndcg(score[buyers], bought[buyers])])
        share = weights[:, buyers] / np.maximum(weights[:, buyers].sum(axis=1, keepdims=True), 1.0)
        what = share @ within if len(buyers) else np.full((len(weights), 2), np.nan)
        mean_who = np.nanmean(who, axis=0) if who else np.full(len(weights), np.nan)
        return np.vstack([mean_who, what.T])

    results = {name: resampled(all_scores) for name, all_scores in scores.items()}
    last = list(results.values())[-1]
    return [
        Row(name, Figures(*map(figure_of, own)), Figures(*map(figure_of, last - own))) for name, own in results.items()
    ]


def customer_weights(count: int, resamples: int, seed: int) -> Floats:
    """How often each customer counts, shape (1 + resamples, count): once each, then as drawn by each bootstrap."""
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.asfortranarray(np.vstack([np.ones(count), drawn]))


def often_bought(categories: Bools, min_buyers: int) -> Bools:
    """Which categories (m,) enter a mean: at least ``min_buyers`` customers bought them, and not every customer."""
    return np.asarray((categories.sum(axis=0) >= min_buyers) & ~categories.all(axis=0))


def figure_of(values: Floats) -> Figure:
    """The first of ``values`` as the mean; the others are its resamples and give the interval."""
    resampled = values[1:] if len(values) > 1 else values
    if np.isnan(resampled).all():
        return Figure(float(values[0]), float("nan"), float("nan"))
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Figure(float(values[0]), float(low), float(high))


def weighted_auc(score: Floats, bought: Bools, weights: Floats) -> Floats:
    """AUROC under each row of weights; ties count half. Customers with equal scores are summed into one cell.

    Parameters
    ----------
    score, bought : arrays of shape (n,)
    weights : array of shape (m, n)

    Returns
    -------
    array of shape (m,)
    """
    by_customer = np.ascontiguousarray(weights.T)
    return auc_of_cells(score, np.arange(len(score)), by_customer, bought, by_customer)


def auc_of_cells(score: Floats, cell: Ints, total: Floats, bought: Bools, by_customer: Floats) -> Floats:
    """`weighted_auc` of customers in cells with equal scores, summed once for many outcomes.

    Parameters
    ----------
    score : array of shape (k,)
        Of each cell.
    cell, bought : arrays of shape (n,)
    total : array of shape (k, m)
        ``by_customer`` summed by cell.
    by_customer : array of shape (n, m)
        The weights, transposed.

    Returns
    -------
    array of shape (m,)
    """
    values, place = np.unique(score, return_inverse=True)
    buyers = np.flatnonzero(bought)
    bought_in, row = np.unique(place[cell[buyers]], return_inverse=True)  # the other values do not enter the sum
    positive = indicator(row, len(bought_in)) @ by_customer[buyers]
    summed = indicator(place, len(values)) @ total
    up_to = np.cumsum(summed, axis=0)
    negative = summed[bought_in] - positive
    below = up_to[bought_in] - np.cumsum(positive, axis=0) - negative
    ranked_right = (positive * (below + 0.5 * negative)).sum(axis=0)
    all_positive = positive.sum(axis=0)
    pairs = all_positive * (total.sum(axis=0) - all_positive)
    return np.divide(ranked_right, pairs, out=np.full(by_customer.shape[1], np.nan), where=pairs > 0)


def indicator(cell: Ints, count: int) -> csc_array:
    """Sparse (count, n) matrix with a 1 where a row belongs to a cell; multiplying by it sums rows by cell."""
    return csc_array((np.ones(len(cell)), cell, np.arange(len(cell) + 1)), shape=(count, len(cell)))


def auc_within(score: Floats, bought: Bools) -> Floats:
    """AUROC over categories for each customer, who bought some and not all; ties count half. Shape (n,)."""
    rank = rankdata(score, axis=1)
    positives = bought.sum(axis=1)
    above = (rank * bought).sum(axis=1) - positives * (positives + 1) / 2
    return np.asarray(above / (positives * (bought.shape[1] - positives)))


def ndcg(score: Floats, bought: Bools) -> Floats:
    """NDCG@5 for each customer; tied categories share the gain of their ranks. Shape (n,)."""
    discount = np.zeros(score.shape[1])
    discount[:TOP] = 1.0 / np.log2(np.arange(2, min(TOP, score.shape[1]) + 2))
    summed = np.concatenate([[0.0], np.cumsum(discount)])
    best = rankdata(-score, method="min", axis=1).astype(np.int64)
    worst = rankdata(-score, method="max", axis=1).astype(np.int64)
    gain = (summed[worst] - summed[best - 1]) / (worst - best + 1)
    return np.asarray((gain * bought).sum(axis=1) / summed[bought.sum(axis=1)])


def baseline_scores(earlier: Sequence[Snapshot], last: Snapshot, adobe: Floats) -> dict[str, Floats]:
    """Scores of common alternatives at the last cutoff; "purchases only" is left out if snapshots count no purchases.

    Parameters
    ----------
    earlier : sequence of Snapshot
        Cutoffs on which the only trained baseline is fitted.
    adobe : array of shape (n_customers, n_categories)
        `features.baselines.adobe_affinity`.
    """
    counts = last.table(last.event_count)
    latest = np.full(counts.shape, np.inf)
    np.minimum.at(latest, (last.customer, last.column), last.min_age_days)
    purchases = last.event_count * (np.array(last.kinds) == "purchase")[last.kind]
    return {
        "popularity": np.tile(last.mix, (len(counts), 1)),
        "raw counts": counts,
        **({"purchases only": last.table(purchases)} if "purchase" in last.kinds else {}),
        "last category seen": -latest,
        "Adobe Target's rule": adobe,
        "counts in 1, 7, 30 days, logistic": windows_model(earlier, last),
    }


def windows_model(earlier: Sequence[Snapshot], last: Snapshot) -> Floats:
    """Purchase scores by logistic regression on windowed counts and ratios, as feature stores build them."""
    features = [window_features(snapshot) for snapshot in earlier]
    outcomes = [snapshot.bought.ravel() for snapshot in earlier]
    target = np.concatenate(outcomes) if outcomes else np.zeros(0, dtype=bool)
    if not target.any() or target.all():
        return np.zeros(last.bought.shape)
    model = LogisticRegression(C=1.0, max_iter=300).fit(np.concatenate(features), target)
    return np.asarray(model.decision_function(window_features(last))).reshape(last.bought.shape)


def window_features(snapshot: Snapshot) -> Floats:
    """Logs of the counts of views, purchases and other signals per window and overall, and category shares.

    Returns
    -------
    array of shape (n_customers * (n_categories - 1), 16)
    """
    groups = {"view": ("view",), "purchase": ("purchase",)}
    named = [np.isin(np.array(snapshot.kinds), names)[snapshot.kind] for names in groups.values()]
    masks = [*named, ~np.logical_or.reduce(named)]
    columns = [
        snapshot.table(snapshot.event_count * mask * (snapshot.mean_age_days < days))
        for mask in masks
        for days in (*WINDOW_DAYS, np.inf)
    ]
    all_counts = [np.sum(columns[place :: len(WINDOW_DAYS) + 1], axis=0) for place in range(len(WINDOW_DAYS) + 1)]
    ratios = [table / np.maximum(table.sum(axis=1, keepdims=True), 1.0) for table in all_counts]
    features = [*[np.log1p(table) for table in columns], *ratios]
    return np.column_stack([table[:, :-1].ravel() for table in features])


def formula_scores(formulas: Mapping[str, Formula], snapshot: Snapshot) -> dict[str, Floats]:
    """Purchase scores of each formula, by name."""
    return {name: purchase_scores(snapshot, formula) for name, formula in formulas.items()}
