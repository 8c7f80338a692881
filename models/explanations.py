"""How a segment reads as a rule on columns of the profile, in their own units."""

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

NOT_TOLD = (SHARE_PREFIX + OTHER, "activity")
"""Columns that nobody has a feeling for."""
LAST_ORDER, ORDERS, SPEND = "days_since_last_purchase", "order_count", "spend"
Ends = tuple[float, float]
"""Of a column: what nearly all have at least who have any, and at most."""
NEARLY_ALL = 0.99
"""Of the customers of whom a column is known: a bound that they keep says nothing."""


@dataclass(frozen=True)
class Condition:
    """A bound on one column: ``value > bound`` where ``is_above``, else ``value <= bound``."""

    column: str
    is_above: bool
    bound: float


@dataclass(frozen=True)
class Rule:
    """Conditions that all hold, and how well they tell one segment.

    Attributes
    ----------
    precision : float
        Share of the customers for whom the rule holds who are in the segment; NaN where it holds for nobody.
    coverage : float
        Share of the segment's customers for whom the rule holds.
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
    """One rule a segment, and the share of customers whom all rules together put where they are.

    A shallow tree parts each segment from all others; of its nodes the one with the best F1 is the rule. Trees are
    grown on one half of a sample; precision, coverage and fidelity are of the other half. Where rules overlap, the
    more precise one counts; a customer for whom none holds counts as put wrong.

    Parameters
    ----------
    profile : DataFrame, n rows, sorted by customer
    segment_ids : array of str, shape (n,)
    columns : sequence of Column
        Rates are left out: they are no columns of the profile. Nulls stand for what they stand for in clustering
        (`Column.missing`, else the mean).
    max_conditions : int
        Depth of the trees.
    min_customers : int
        Customers of the half that a rule must hold for.
    sensitive : sequence of str
        Patterns such as ``*gender*``; a column that matches one is in no rule.

    Returns
    -------
    (dict of str to Rule, float)
        By segment_id; fidelity in 0..1. Segments without a customer in either half have no rule.
    """
    values, ends = _values(profile, [one for one in columns if one.counts is None and _is_told(one.name, sensitive)])
    rows = np.random.default_rng(seed).permutation(sampled_rows(len(values), sample_customers, seed))
    grown, held = np.sort(rows[::2]), np.sort(rows[1::2])
    if values.empty or not len(held):
        return {}, float("nan")
    rules: dict[str, Rule] = {}
    holds: dict[str, NDArray[np.bool_]] = {}
    for segment_id in sorted(set(segment_ids[grown]) & set(segment_ids[held])):
        inside = segment_ids == segment_id
        conditions = _best_node(values.iloc[grown], inside[grown], ends, max_conditions, min_customers, seed)
        matched = _hold(values.iloc[held], conditions)
        both = (matched & inside[held]).sum()
        precision = float(both / matched.sum()) if matched.any() else float("nan")
        rules[segment_id] = Rule(conditions, precision, float(both / inside[held].sum()))
        holds[segment_id] = matched
    return rules, _fidelity(rules, holds, segment_ids[held])


def _is_told(name: str, sensitive: Sequence[str]) -> bool:
    return name not in NOT_TOLD and not any(fnmatchcase(name.lower(), pattern.lower()) for pattern in sensitive)


def _values(profile: pd.DataFrame, columns: Sequence[Column]) -> tuple[pd.DataFrame, dict[str, Ends]]:
    """The columns as numbers without nulls, those that say the same of everybody left out; and their `Ends`."""
    known = profile[[one.name for one in columns]].astype(np.float64).replace([np.inf, -np.inf], np.nan)
    stand_ins = {
        one.name: one.missing if one.missing is not None else np.nan_to_num(known[one.name].mean()) for one in columns
    }
    filled = known.fillna(stand_ins)
    least, most = known.where(known > 0).quantile(1.0 - NEARLY_ALL), known.quantile(NEARLY_ALL)
    ends = {str(name): (float(low), float(high)) for name, low, high in zip(known, least, most, strict=True)}
    return filled.loc[:, filled.nunique() > 1], ends


def _best_node(
    values: pd.DataFrame,
    inside: NDArray[np.bool_],
    ends: Mapping[str, Ends],
    depth: int,
    min_customers: int,
    seed: int,
) -> tuple[Condition, ...]:
    """The conditions on the way to the node that parts ``inside`` from the others best, with round bounds."""
    tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=min_customers, random_state=seed)
    paths = _paths(tree.fit(values.to_numpy(), inside).tree_, list(values.columns), ends)
    matches = [_hold(values, path) for path in paths]
    f1 = [2 * (matched & inside).sum() / (matched.sum() + inside.sum()) for matched in matches]
    best = int(np.argmax(f1))
    kept = paths[best]
    for one in paths[best]:
        # A round bound may leave nothing to say.
        without = tuple(other for other in kept if other != one)
        kept = without if (_hold(values, without) == matches[best]).all() else kept
    return kept


def _paths(tree: Any, names: Sequence[str], ends: Mapping[str, Ends]) -> list[tuple[Condition, ...]]:
    """The conditions that lead to each node, the root first; of two bounds on one side of a column, the tighter."""
    paths: list[tuple[Condition, ...]] = [()] * tree.node_count
    for node in range(tree.node_count):
        for child, is_above in ((tree.children_left[node], False), (tree.children_right[node], True)):
            if child >= 0:
                found = _condition(names[tree.feature[node]], is_above, float(tree.threshold[node]), names, ends)
                own = [one for one in paths[node] if (one.column, one.is_above) == (found.column, found.is_above)]
                tighter = (max if found.is_above else min)([*own, found], key=lambda one: one.bound)
                paths[child] = (*(one for one in paths[node] if one not in own), tighter)
    return paths


def _condition(name: str, is_above: bool, bound: float, names: Sequence[str], ends: Mapping[str, Ends]) -> Condition:
    """A bound as a round one; on a last order longer ago than nearly all's, or less spend, one on having ordered."""
    if name == LAST_ORDER and ORDERS in names and bound >= ends[name][1]:
        return Condition(ORDERS, not is_above, 0.0)
    if name == SPEND and ORDERS in names and bound < ends[name][0]:
        return Condition(ORDERS, is_above, 0.0)
    return Condition(name, is_above, _round(name, bound, ends[name][1]))


def _round(column: str, bound: float, longest: float) -> float:
    """As people say it: whole days and counts (the bound stays under the next one), percents, else two digits.

    Days stay below the ``longest`` that nearly all have, or the bound would be met by all.
    """
    if column.endswith("_count"):
        return float(np.floor(bound))
    if column.startswith("days_"):
        return float(round(bound) if round(bound) < longest else np.floor(bound))
    if is_share(column):
        return round(bound, 2)
    return float(round(bound)) if abs(bound) >= 100 else float(f"{bound:.2g}")


def is_share(column: str) -> bool:
    """Whether a column is a share of something, told in percent."""
    return column.startswith((SHARE_PREFIX, CHANNEL_PREFIX)) or column.endswith(("_share", "_rate", "_loyalty"))


def _hold(values: pd.DataFrame, conditions: Sequence[Condition]) -> NDArray[np.bool_]:
    matched = np.ones(len(values), dtype=bool)
    for one in conditions:
        column = values[one.column].to_numpy()
        matched &= (column > one.bound) if one.is_above else (column <= one.bound)
    return matched


def _fidelity(
    rules: Mapping[str, Rule], holds: Mapping[str, NDArray[np.bool_]], segment_ids: NDArray[np.object_]
) -> float:
    told = np.full(len(segment_ids), None, dtype=object)
    for segment_id in sorted(rules, key=lambda one: (np.nan_to_num(rules[one].precision), one)):
        told[holds[segment_id]] = segment_id
    return float((told == segment_ids).mean())
