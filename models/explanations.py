"""Describe each segment by a rule of thumb: conditions on profile columns, in the units of the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from features.categories import OTHER
from features.context import CHANNEL_PREFIX
from features.interests import SHARE_PREFIX
from features.profile import Column
from models.clusterers import sampled_rows

EXCLUDED_COLUMNS = (SHARE_PREFIX + OTHER, "activity")
"""Columns without an intuitive meaning."""
LAST_ORDER, ORDERS, SPEND = "days_since_last_purchase", "order_count", "spend"
Range = tuple[float, float]
"""Typical range of a column: a lower limit of nearly all positive values, and an upper limit of nearly all values."""
NEARLY_ALL = 0.99
"""A bound that this share of the customers with a known value meets says nothing."""


@dataclass(frozen=True)
class Condition:
    """A bound on one column: ``value > bound`` where ``is_above``, else ``value <= bound``."""

    column: str
    is_above: bool
    bound: float


@dataclass(frozen=True)
class Rule:
    """Conditions that must all hold, and how well they identify one segment.

    Attributes
    ----------
    precision : float
        Share of the customers matched by the rule who are in the segment; NaN if it matches no customer.
    coverage : float
        Share of the segment's customers matched by the rule.
    """

    conditions: tuple[Condition, ...]
    precision: float
    coverage: float


def segment_rules(
    profile: pd.DataFrame,
    segment_ids: NDArray[np.object_],
    columns: Sequence[Column],
    *,
    max_conditions: int,
    min_customers: int,
    sample_customers: int,
    sensitive: Sequence[str],
    seed: int,
) -> tuple[dict[str, Rule], float]:
    """One rule per segment, and the share of customers whose segment the rules predict correctly.

    A shallow tree separates each segment from all others; its node with the best F1 becomes the rule. Trees are grown
    on one half of a sample; precision, coverage and fidelity are measured on the other half. If several rules match,
    the most precise one counts. A customer matched by no rule counts as an error.

    Parameters
    ----------
    profile : DataFrame, n rows, sorted by customer
    segment_ids : array of str, shape (n,)
    columns : sequence of Column
        Rates are left out, because they are not columns of the profile. Nulls are replaced as in clustering
        (`Column.missing`, else the mean).
    max_conditions : int
        Depth of the trees.
    min_customers : int
        A rule must match at least this many customers of the training half.
    sensitive : sequence of str
        Patterns such as ``*gender*``. A column that matches one is never used in a rule.

    Returns
    -------
    (dict of str to Rule, float)
        By segment_id; fidelity in 0..1. A segment must have customers in both halves to get a rule.
    """
    allowed = [column for column in columns if column.counts is None and _is_allowed(column.name, sensitive)]
    values, ranges = _values(profile, allowed)
    rows = np.random.default_rng(seed).permutation(sampled_rows(len(values), sample_customers, seed))
    train, test = np.sort(rows[::2]), np.sort(rows[1::2])
    if values.empty or not len(test):
        return {}, float("nan")
    rules: dict[str, Rule] = {}
    matches: dict[str, NDArray[np.bool_]] = {}
    for segment_id in sorted(set(segment_ids[train]) & set(segment_ids[test])):
        inside = segment_ids == segment_id
        conditions = _best_node(values.iloc[train], inside[train], ranges, max_conditions, min_customers, seed)
        matches[segment_id] = _matched(values.iloc[test], conditions)
        rules[segment_id] = _measured(conditions, matches[segment_id], inside[test])
    return rules, _fidelity(rules, matches, segment_ids[test])


def _measured(conditions: tuple[Condition, ...], matched: NDArray[np.bool_], inside: NDArray[np.bool_]) -> Rule:
    both = (matched & inside).sum()
    precision = float(both / matched.sum()) if matched.any() else float("nan")
    return Rule(conditions, precision, float(both / inside.sum()))


def _is_allowed(name: str, sensitive: Sequence[str]) -> bool:
    return name not in EXCLUDED_COLUMNS and not any(fnmatchcase(name.lower(), pattern.lower()) for pattern in sensitive)


def _values(profile: pd.DataFrame, columns: Sequence[Column]) -> tuple[pd.DataFrame, dict[str, Range]]:
    """The columns as numbers without nulls, without constant columns; and the `Range` of each column."""
    known = profile[[column.name for column in columns]].astype(np.float64).replace([np.inf, -np.inf], np.nan)
    replacements = {
        column.name: column.missing if column.missing is not None else np.nan_to_num(known[column.name].mean())
        for column in columns
    }
    filled = known.fillna(replacements)
    least, most = known.where(known > 0).quantile(1.0 - NEARLY_ALL), known.quantile(NEARLY_ALL)
    ranges = {str(name): (float(low), float(high)) for name, low, high in zip(known, least, most, strict=True)}
    # Of a log of hours, all days are alike: a bound would separate minutes.
    is_minutes = filled.columns.str.startswith("days_") & (filled.max() - filled.min() < 1.0)
    return filled.loc[:, (filled.nunique() > 1) & ~is_minutes], ranges


def _best_node(
    values: pd.DataFrame,
    inside: NDArray[np.bool_],
    ranges: Mapping[str, Range],
    depth: int,
    min_customers: int,
    seed: int,
) -> tuple[Condition, ...]:
    """The conditions of the node that best separates ``inside`` from the others, with rounded bounds."""
    tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=min_customers, random_state=seed)
    paths = _paths(tree.fit(values.to_numpy(), inside).tree_, list(values.columns), ranges)
    matches = [_matched(values, path) for path in paths]
    f1 = [2 * (matched & inside).sum() / (matched.sum() + inside.sum()) for matched in matches]
    best = int(np.argmax(f1))
    kept = paths[best]
    for condition in paths[best]:
        # After rounding, a condition may exclude no customer.
        without = tuple(other for other in kept if other != condition)
        kept = without if (_matched(values, without) == matches[best]).all() else kept
    return kept


def _paths(tree: Any, names: Sequence[str], ranges: Mapping[str, Range]) -> list[tuple[Condition, ...]]:
    """The conditions that lead to each node, root first; of two bounds on one side of a column, only the tighter."""
    paths: list[tuple[Condition, ...]] = [()] * tree.node_count
    for node in range(tree.node_count):
        for child, is_above in ((tree.children_left[node], False), (tree.children_right[node], True)):
            if child >= 0:
                added = _condition(names[tree.feature[node]], is_above, float(tree.threshold[node]), names, ranges)
                same_side = [
                    condition
                    for condition in paths[node]
                    if (condition.column, condition.is_above) == (added.column, added.is_above)
                ]
                tighter = (max if added.is_above else min)([*same_side, added], key=lambda condition: condition.bound)
                paths[child] = (*(condition for condition in paths[node] if condition not in same_side), tighter)
    return paths


def _condition(name: str, is_above: bool, bound: float, names: Sequence[str], ranges: Mapping[str, Range]) -> Condition:
    """A condition with a rounded bound.

    A bound on the last order or the spend that is outside the typical range separates customers with and without
    orders. It is replaced by a bound on the number of orders.
    """
    if name == LAST_ORDER and ORDERS in names and bound >= ranges[name][1]:
        return Condition(ORDERS, not is_above, 0.0)
    if name == SPEND and ORDERS in names and bound < ranges[name][0]:
        return Condition(ORDERS, is_above, 0.0)
    return Condition(name, is_above, _round(name, bound, ranges[name][1]))


def _round(column: str, bound: float, longest: float) -> float:
    """A readable bound: whole counts (rounded down), whole days, whole percents, otherwise two digits.

    Days are rounded down if they would reach ``longest``, the upper limit of nearly all values: all customers would
    meet that bound.
    """
    if column.endswith("_count"):
        return float(np.floor(bound))
    if column.startswith("days_"):
        return float(round(bound) if round(bound) < longest else np.floor(bound))
    if is_share(column):
        return round(bound, 2)
    return float(round(bound)) if abs(bound) >= 100 else float(f"{bound:.2g}")


def is_share(column: str) -> bool:
    """Whether a column is a share, shown in percent."""
    return column.startswith((SHARE_PREFIX, CHANNEL_PREFIX)) or column.endswith(("_share", "_rate", "_loyalty"))


def _matched(values: pd.DataFrame, conditions: Sequence[Condition]) -> NDArray[np.bool_]:
    matched = np.ones(len(values), dtype=bool)
    for condition in conditions:
        column = values[condition.column].to_numpy()
        matched &= (column > condition.bound) if condition.is_above else (column <= condition.bound)
    return matched


def _fidelity(
    rules: Mapping[str, Rule], matches: Mapping[str, NDArray[np.bool_]], segment_ids: NDArray[np.object_]
) -> float:
    predicted = np.full(len(segment_ids), None, dtype=object)
    by_precision = sorted(rules, key=lambda segment_id: (np.nan_to_num(rules[segment_id].precision), segment_id))
    for segment_id in by_precision:
        predicted[matches[segment_id]] = segment_id
    return float((predicted == segment_ids).mean())
