"""The MLflow model as code; it imports nothing else of Kindred, so two model versions can be loaded in one process.

It also holds the arithmetic used in training: profiles to points (`to_space`), points to clusters (`assign`), profiles
to what customers are expected to do (`expected_value`). A model has a folder for each facet, with JSON (`model.json`)
and arrays (`arrays.npz`), and `expected_value.json` if that is known. They are read without pickle.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray

CHUNK_ROWS = 4_000
POINTS_AT_ONCE = 50_000
SPARE_NEIGHBORS = 5
FALLBACK_STAGE = "browsing"
RATES = ("days_from_first_to_last_event", "visits_per_week", "orders_per_visit", "abandoned_carts_per_visit")
"""Profile columns computed from other columns; the clusterer may read any of them."""
RATE_INPUTS = (
    *("session_count", "order_count", "abandoned_cart_count"),
    *("days_since_first_event", "days_since_last_event"),
)
NOISE = -1
NO_SEGMENT = -1
"""Position that means: no segment."""
OK, LOW, UNGROUPED, UNUSUAL = 0, 1, 2, 3
"""Positions in a facet's ``evidence_words``: clustered; too little data; between clusters or without a category; far
beyond all others, and not clustered."""
UNUSUAL_STAGE = "unusual"
"""Lifecycle stage of these."""
IS_UNUSUAL = "is_unusual"
"""Profile column: whether a customer is far beyond all others. Only models with ``caps`` read it."""
FACETS_FILE, EXPECTED_VALUE_FILE = "facets.json", "expected_value.json"
EXPECTED_VALUE = ("buy_probability", "expected_spend", "alive_probability")
"""Columns of `expected_value`."""
VALUE_COLUMNS = (
    *("activity", "order_count", "net_spend", "session_count", "usual_interval_days", "days_from_first_to_last_event"),
    *("days_since_first_event", "days_since_last_event", "days_since_last_purchase", "days_since_cart_left"),
)
"""Profile columns that the expected value is predicted from."""
SMALL_ACTIVITY = 0.01
"""Added to activity before the logarithm: a view long ago. Without it inactive customers would be at minus infinity."""
PRIOR_ORDERS = 3.0
CART_HALF_LIFE_DAYS = 7.0
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def to_space(profile: pd.DataFrame, scaling: Mapping[str, Any], rows: Ints | slice = slice(None)) -> Floats:
    """Convert profiles to points.

    Parameters
    ----------
    profile : DataFrame, n rows
        Holds at least the columns of ``scaling``. Nulls and infinities count as missing.
    scaling : mapping
        names, transforms (none, log, root, rate), missing, centre, scale: one entry per column. A model with rates
        also has counts (the profile's columns of numerator and denominator; null for other columns), and alpha and
        beta of their priors.
    rows : array of int or slice
        Rows to convert; all of them by default.

    Returns
    -------
    array of float64, shape (number of rows, len(names))
        ``(transform(value) - centre) * scale``.
    """
    columns = [_inputs(profile, index, scaling) for index in range(len(scaling["names"]))]
    positions = np.arange(len(profile))[rows]
    space = np.empty((len(positions), len(columns)))
    # A few rows at a time stay in the processor's cache while their columns are filled in.
    for start in range(0, len(positions), CHUNK_ROWS):
        part = positions[start : start + CHUNK_ROWS]
        for index, inputs in enumerate(columns):
            space[start : start + CHUNK_ROWS, index] = _coordinate([values[part] for values in inputs], index, scaling)
    return space


def _counts(scaling: Mapping[str, Any]) -> Sequence[Sequence[str] | None]:
    """Numerator and denominator of each column that is a rate; models trained before rates existed have none."""
    counts: Sequence[Sequence[str] | None] = scaling.get("counts") or [None] * len(scaling["names"])
    return counts


def _inputs(profile: pd.DataFrame, index: int, scaling: Mapping[str, Any]) -> list[Floats]:
    """The inputs of a coordinate: one column of the profile or, for a rate, two."""
    return [_numbers(profile[name]) for name in _counts(scaling)[index] or [scaling["names"][index]]]


def _numbers(column: pd.Series) -> Floats:
    """The column as floats; nulls become NaN."""
    values: Floats = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def posterior_mean(events: Floats, trials: Floats, alpha: float, beta: float) -> Floats:
    """Rate of events per trial, shrunk towards the Beta(alpha, beta) prior: (x + alpha) / (n + alpha + beta).

    The conjugate posterior of a binomial rate (Gelman et al., Bayesian Data Analysis, 3rd ed., 2.4). Trials count as at
    least the number of events, because some logs miss the view before a cart. Missing and negative counts count as 0.

    Parameters
    ----------
    events, trials : arrays of shape (n,)
        Counts.
    alpha, beta : float, > 0

    Returns
    -------
    array of shape (n,)
        In 0..1.
    """
    x, n = (np.maximum(np.where(np.isfinite(counts), counts, 0.0), 0.0) for counts in (events, trials))
    return np.asarray((x + alpha) / (np.maximum(n, x) + alpha + beta))


def _coordinate(inputs: Sequence[Floats], index: int, scaling: Mapping[str, Any]) -> Floats:
    """One coordinate of the points, computed from its `_inputs`."""
    if len(inputs) == 2:
        values = posterior_mean(inputs[0], inputs[1], scaling["alpha"][index], scaling["beta"][index])
    else:
        values = inputs[0]
    known = np.where(np.isfinite(values), values, scaling["missing"][index])
    return (transformed(known, scaling["transforms"][index]) - scaling["centre"][index]) * scaling["scale"][index]


def transformed(values: Floats, transform: str) -> Floats:
    """none; log: log(1 + x); root: square root; rate: arcsine of the square root.

    Negative values count as 0 in log and root. The arcsine of the root makes the variance of a share almost independent
    of the share (Anscombe, 1948, Biometrika 35).
    """
    if transform == "log":
        return np.log1p(np.maximum(values, 0.0))
    if transform == "rate":
        return np.asarray(np.arcsin(np.sqrt(np.clip(values, 0.0, 1.0))))
    return np.sqrt(np.maximum(values, 0.0)) if transform == "root" else values


def assign(space: Floats, clusters: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The cluster of each point, the strength of the assignment, and the next nearest cluster.

    Parameters
    ----------
    space : array of shape (n, d)
    clusters : mapping
        One of three kinds:

        - ``centres`` (k, d): the nearest centre. Strength is the membership of fuzzy c-means with m = 2 (Bezdek, 1981),
          margin is ``1 - d1 / d2``.
        - ``nodes`` (d - 1,): a rule, see `leading_category`.
        - ``exemplars`` (m, d), ``labels`` (m,) and ``vote_neighbors``: a vote of the nearest labelled rows, each with
          weight 1 / (distance + distance of the farthest of them). Strength is the winner's share of the vote, margin
          its lead. Noise is labelled -1 and votes too. With ``noise`` = nearest, a noise point still gets a cluster.

        The result for a row does not depend on the other rows. With ``staying_clusters`` (k,), ``staying_margins``
        (b,) and ``staying_rates`` (k, b), strength is the rate observed for the margin: the share of customers who keep
        their cluster when other customers are clustered (`models.stability.staying`).

    Returns
    -------
    dict of arrays of shape (n,)
        cluster_id, next_cluster_id (the same if no other is near), strength and margin in 0..1, is_noise.
    """
    # The memory layout decides in which order numpy adds, so rows must be contiguous.
    space = np.ascontiguousarray(space, dtype=np.float64)
    memberships = _memberships(clusters)
    parts = [memberships(space[start : start + CHUNK_ROWS]) for start in range(0, len(space), CHUNK_ROWS)]
    empty = {
        "cluster_id": np.empty(0, int),
        "next_cluster_id": np.empty(0, int),
        "strength": np.empty(0),
        "margin": np.empty(0),
        "is_noise": np.empty(0, bool),
    }
    assigned = {name: np.concatenate([part[name] for part in parts]) if parts else empty[name] for name in empty}
    for position, cluster in enumerate(clusters.get("staying_clusters", ())):
        in_cluster = assigned["cluster_id"] == cluster
        rates = clusters["staying_rates"][position]
        assigned["strength"][in_cluster] = np.interp(assigned["margin"][in_cluster], clusters["staying_margins"], rates)
    return assigned


def _memberships(clusters: Mapping[str, Any]) -> Callable[[Floats], dict[str, NDArray[Any]]]:
    if "centres" in clusters:
        return functools.partial(_centre_memberships, clusters=clusters)
    return functools.partial(leading_category, rule=clusters) if "nodes" in clusters else _voter(clusters)


def leading_category(space: Floats, rule: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Each customer's most distinctive category compared with the shop; noise if none stands out.

    A share of the interest formula is the mean of a Beta distribution of S(u) + kappa observations, so its distance
    from the shop's share has a standard error. A category leads if its share is at least ``min_lift`` times the shop's
    and at least ``min_errors`` standard errors above it, and no other category is as many standard errors above.

    Parameters
    ----------
    space : array of shape (n, c + 1)
        Shares of the interest columns, and the evidence S(u).
    rule : mapping
        ``nodes`` (c,): the group of each column, -1 for columns that cannot lead; ``mix`` (k,): the shop's share for
        each group; ``kappa``, ``min_lift``, ``min_errors``.

    Returns
    -------
    dict of arrays of shape (n,)
        As in `assign`. Strength is the probability that the share is above the shop's; margin is the lead over the
        next category.
    """
    nodes, mix = np.asarray(rule["nodes"]), np.asarray(rule["mix"], dtype=np.float64)
    if not len(mix):
        mix = np.array([np.inf])  # without groups: one category that can never lead
    share = np.zeros((len(space), len(mix)))
    for column, node in enumerate(nodes):  # column by column: the order of additions in a matrix product is not fixed
        if node >= 0:
            share[:, node] += space[:, column]
    error = np.sqrt(share * (1.0 - share) / (space[:, -1:] + float(rule["kappa"]) + 1.0))
    distance = (share - mix) / np.maximum(error, 1e-9)
    distance[(share < float(rule["min_lift"]) * mix) | (distance < float(rule["min_errors"]))] = 0.0
    rows = np.arange(len(space))
    first = distance.argmax(axis=1)
    lead = distance[rows, first]
    others = distance.copy()
    others[rows, first] = 0.0
    next_lead = others.max(axis=1, initial=0.0)
    is_noise = lead <= 0.0
    return {
        "cluster_id": np.where(is_noise, NOISE, first),
        "next_cluster_id": np.where(is_noise, NOISE, np.where(next_lead > 0.0, others.argmax(axis=1), first)),
        "strength": np.where(is_noise, 0.0, _normal_cdf(lead)),
        "margin": np.where(is_noise, 0.0, 1.0 - next_lead / np.where(is_noise, 1.0, lead)),
        "is_noise": is_noise,
    }


def _normal_cdf(value: Floats) -> Floats:
    from scipy.special import ndtr

    probability: Floats = ndtr(value)
    return probability


def _centre_memberships(space: Floats, clusters: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    centres = np.asarray(clusters["centres"], dtype=np.float64)
    # One centre at a time, so the sum over columns does not depend on the other rows.
    squared = np.stack([((space - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
    rows = np.arange(len(space))
    first = squared.argmin(axis=1)
    if len(centres) == 1:
        full, is_noise = np.ones(len(space)), np.zeros(len(space), dtype=bool)
        return {"cluster_id": first, "next_cluster_id": first, "strength": full, "margin": full, "is_noise": is_noise}
    others = squared.copy()
    others[rows, first] = np.inf
    second = others.argmin(axis=1)
    nearest, next_nearest = squared[rows, first], squared[rows, second]
    floor = np.maximum(nearest, np.finfo(float).tiny)[:, None]
    strength = 1.0 / (floor / np.maximum(squared, floor)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        margin = np.where(next_nearest > 0, 1.0 - np.sqrt(nearest / np.where(next_nearest > 0, next_nearest, 1.0)), 0.0)
    is_noise = np.zeros(len(space), dtype=bool)
    return {
        "cluster_id": first,
        "next_cluster_id": second,
        "strength": strength,
        "margin": margin,
        "is_noise": is_noise,
    }


def _voter(clusters: Mapping[str, Any]) -> Callable[[Floats], dict[str, NDArray[Any]]]:
    exemplars = np.ascontiguousarray(clusters["exemplars"], dtype=np.float64)
    labels, n_voters = np.asarray(clusters["labels"]), int(clusters["vote_neighbors"])
    vote = _ballot(exemplars, labels, n_voters)
    clustered = labels != NOISE
    if clusters.get("noise") != "nearest" or clustered.all():
        return lambda space: _vote_outcome(*vote(space))
    vote_among_clusters = _ballot(exemplars[clustered], labels[clustered], n_voters)

    def memberships(space: Floats) -> dict[str, NDArray[Any]]:
        votes, known = vote(space)
        is_noise = known[votes.argmax(axis=1)] == NOISE
        cluster_votes = votes[:, known != NOISE]
        if is_noise.any():
            cluster_votes[is_noise] = vote_among_clusters(space[is_noise])[0]
        cluster_votes /= cluster_votes.sum(axis=1, keepdims=True)
        return {**_vote_outcome(cluster_votes, known[known != NOISE]), "is_noise": is_noise}

    return memberships


def _ballot(exemplars: Floats, labels: NDArray[Any], n_voters: int) -> Callable[[Floats], tuple[Floats, NDArray[Any]]]:
    """A function from points to each label's share of the votes, and the labels."""
    from sklearn.neighbors import NearestNeighbors

    known, known_index = np.unique(labels, return_inverse=True)
    count = min(n_voters, len(exemplars))
    finder = NearestNeighbors(
        n_neighbors=min(count + SPARE_NEIGHBORS, len(exemplars)),
        algorithm="brute" if exemplars.shape[1] > 15 else "kd_tree",
    ).fit(exemplars)

    def vote(space: Floats) -> tuple[Floats, NDArray[Any]]:
        # The finder's distances come from a matrix product, whose last digits depend on the other rows. They only
        # select candidates; the distances are then recomputed pair by pair.
        neighbour = np.sort(finder.kneighbors(space, return_distance=False), axis=1)
        distance = np.sqrt(((space[:, None, :] - exemplars[neighbour]) ** 2).sum(axis=2))
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :count]
        kept = np.take_along_axis(distance, nearest, axis=1)
        # At most twice the weight of the farthest: a customer from the training set must not outvote all others.
        weight = 1.0 / np.maximum(kept + kept[:, -1:], 1e-9)
        voted = known_index[np.take_along_axis(neighbour, nearest, axis=1)]
        votes = np.stack([(weight * (voted == index)).sum(axis=1) for index in range(len(known))], axis=1)
        return votes / votes.sum(axis=1, keepdims=True), known

    return vote


def _vote_outcome(votes: Floats, known: NDArray[Any]) -> dict[str, NDArray[Any]]:
    rows = np.arange(len(votes))
    first = votes.argmax(axis=1)
    others = votes.copy()
    others[rows, first] = 0.0
    second = np.where(others.max(axis=1) > 0, others.argmax(axis=1), first)
    return {
        "cluster_id": known[first],
        "next_cluster_id": known[second],
        "strength": votes[rows, first],
        "margin": np.clip(votes[rows, first] - others.max(axis=1), 0.0, 1.0),
        "is_noise": known[first] == NOISE,
    }


def score_columns(profile: pd.DataFrame, model: Mapping[str, Any]) -> pd.DataFrame:
    """The segment columns of all facets in one table, and the expected value if the model knows it.

    Those of the first facet have no prefix (`facet_column`).
    """
    columns: dict[str, pd.Series] = {}
    for facet in model["facets"]:
        for name, column in segment_columns(profile, facet).items():
            columns[facet_column(str(name), facet["prefix"])] = column
    if model.get("expected_value"):
        values = expected_value(profile, model["expected_value"])
        columns |= {name: values[name] for name in EXPECTED_VALUE}
    return pd.DataFrame(columns)


def facet_column(name: str, prefix: str) -> str:
    """The name of a facet's segment column in the scores.

    Examples
    --------
    >>> facet_column("segment", "interest_"), facet_column("next_segment", "interest_"), facet_column("margin", "")
    ('interest_segment', 'next_interest_segment', 'margin')
    """
    for start in ("next_", "is_"):
        if name.startswith(start):
            return f"{start}{prefix}{name.removeprefix(start)}"
    return prefix + name


def segment_columns(profile: pd.DataFrame, model: Mapping[str, Any]) -> pd.DataFrame:
    """The segment of every customer in one facet.

        profile (columns of the scaling, event_count, evidence, lifecycle_stage)
     -> scores (segment_id, segment, cluster_id, strength, next_segment_id, next_segment, margin, is_border,
                what_would_move (where the facet has ``moves``), is_stable, evidence)

    Customers with fewer than ``min_events`` events or less than ``min_evidence`` are not assigned to a cluster. They
    get a rule-based group by the column ``grouped_by`` (the lifecycle stage; a default group for a value unknown to the
    model; one group for all if it is None), and evidence ``low``. Customers between the dense regions of HDBSCAN, or in
    a segment without a category, have the third of ``evidence_words``. If the model has no segment for them (its
    ``segment_id`` of cluster -1 is null), they also get a rule-based group. A rule-based group is not clustered, so its
    strength, margin and is_stable are null. A model with ``caps`` reads a profile with these columns `capped`.
    """
    # Columns with few distinct values are kept as positions: texts for a million customers are slow.
    located = _locate(capped(profile, model.get("caps", {})), model)
    groups, segments = list(model["standing"].values()), _by_cluster(model)
    ids, names = ([item[key] for item in (*groups, *segments)] for key in ("segment_id", "name"))
    next_ids, next_names = ids[len(groups) :], names[len(groups) :]
    is_stable = np.array([*(True for _ in groups), *(item["is_stable"] for item in segments)], dtype=bool)
    is_by_rule = located["position"] < len(groups)
    columns = {
        "segment_id": _texts(ids, located["position"]),
        "segment": _texts(names, located["position"]),
        "cluster_id": pd.arrays.IntegerArray(located["cluster_id"], np.isin(located["evidence"], (LOW, UNUSUAL))),
        "strength": located["strength"],
        "next_segment_id": _texts(next_ids, located["next_position"]),
        "next_segment": _texts(next_names, located["next_position"]),
        "margin": located["margin"],
        "is_border": located["is_border"],
        "what_would_move": _texts(
            [f"{move['text']} -> {name}" for move in model.get("moves", ()) for name in next_names],
            located["would_move"],
        ),
        "is_stable": pd.arrays.BooleanArray(is_stable[located["position"]], is_by_rule),
        "evidence": _texts(model["evidence_words"], located["evidence"]),
    }
    return pd.DataFrame({name: columns[name] for name in columns if name != "what_would_move" or "moves" in model})


def _locate(profile: pd.DataFrame, model: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The segment of each customer, as a position: rule-based groups come first, then the segments of clusters.

    Returns
    -------
    dict of arrays of shape (n,)
        position; next_position, in `_by_cluster`; would_move, as in `_what_would_move`; evidence, in
        ``evidence_words``; cluster_id, strength, margin, is_border. For customers in no cluster, next_position and
        would_move are NO_SEGMENT, strength and margin null, the others 0.
    """
    rows = np.flatnonzero(is_known(profile, model)) if model["segments"] else np.empty(0, dtype=np.int64)
    count = len(profile)
    columns: dict[str, NDArray[Any]] = {
        "position": _rule_group_position(profile, model),
        "next_position": np.full(count, NO_SEGMENT),
        "would_move": np.full(count, NO_SEGMENT),
        "evidence": np.where(is_unusual(profile), UNUSUAL, LOW),
        "cluster_id": np.zeros(count, dtype=np.int64),
        **{name: np.full(count, np.nan) for name in ("strength", "margin")},
        "is_border": np.zeros(count, dtype=bool),
    }
    is_broad = np.array([item.get("is_broad", False) for item in _by_cluster(model)], dtype=bool)
    borders: list[tuple[Ints, Ints, Floats]] = []
    # Never all points at once: for a million customers they take half a gigabyte.
    for start in range(0, len(rows), POINTS_AT_ONCE):
        chunk = rows[start : start + POINTS_AT_ONCE]
        space = to_space(profile, model["scaling"], chunk)
        assigned = _assign_segments(space, model)
        has_segment, is_border = assigned["position"] != NO_SEGMENT, assigned["is_border"]
        is_ungrouped = assigned["is_noise"] | (is_broad[assigned["position"]] & has_segment)
        columns["evidence"][chunk] = np.where(is_ungrouped, UNGROUPED, OK)
        columns["cluster_id"][chunk] = assigned["cluster_id"]
        in_segment = chunk[has_segment]
        for name in ("next_position", "strength", "margin", "is_border"):
            columns[name][in_segment] = assigned[name][has_segment]
        columns["position"][in_segment] = len(model["standing"]) + assigned["position"][has_segment]
        borders.append((chunk[is_border], assigned["position"][is_border], space[is_border]))
    if borders and model.get("moves"):
        border, position, space = (np.concatenate(part) for part in zip(*borders, strict=True))
        columns["would_move"][border] = _what_would_move(profile, border, space, position, model)
    return columns


def is_known(profile: pd.DataFrame, model: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Whether each customer has enough to be clustered: ``min_events``, or ``min_orders`` if set; ``min_evidence``.

    Unusual customers who are a segment of their own are never clustered.
    """
    # Models of older versions have no min_orders.
    orders = model.get("min_orders")
    column, least = ("order_count", orders) if orders else ("event_count", model["min_events"])
    known: NDArray[np.bool_] = (_numbers(profile[column]) >= least) & ~is_unusual(profile)
    if model["min_evidence"] > 0.0:
        known &= _numbers(profile["evidence"]) >= model["min_evidence"]
    return known


def is_unusual(profile: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each customer is unusual and in a segment of their own."""
    return np.asarray(profile["lifecycle_stage"] == UNUSUAL_STAGE, dtype=bool)


def capped(profile: pd.DataFrame, caps: Mapping[str, float]) -> pd.DataFrame:
    """``profile`` with the columns of ``caps`` at most their caps for the customers for whom ``is_unusual`` holds."""
    if not caps or not (is_unusual := profile[IS_UNUSUAL].eq(True)).any():
        return profile
    known = {name: cap for name, cap in caps.items() if name in profile}
    return profile.assign(
        **{name: profile[name].where(~is_unusual, profile[name].clip(upper=cap)) for name, cap in known.items()}
    )


def _texts(choices: Sequence[str | None], position: Ints) -> Any:
    """The text of ``choices`` at each position; null for NO_SEGMENT."""
    return pd.array([*choices, None], dtype="str").take(position)


def _what_would_move(profile: pd.DataFrame, border: Ints, space: Floats, own: Ints, model: Mapping[str, Any]) -> Ints:
    """The first of the model's ``moves`` that takes each customer to another segment, and which one; else NO_SEGMENT.

    A move is one or more changes of columns, (factor, addend) each. All of its changes must lead to the same segment.
    Doing nothing (``is_inactivity``) only leads to a segment of a lower ``value_rank``: no one is worth more for
    staying away.

    Parameters
    ----------
    border : array of int, shape (n,)
        Rows of ``profile``.
    space : array of shape (n, d)
        Their points.
    own : array of int
        Position of each customer's segment in `_by_cluster`.

    Returns
    -------
    array of int
        Number of the move times the number of segments, plus the position of the segment.
    """
    segments, moves = _by_cluster(model), model.get("moves", ())
    outcome = np.full(len(space), NO_SEGMENT)
    read = {*RATES, *RATE_INPUTS, *(name for move in moves for change in move["changes"] for name in change)}
    read |= {name for pair in _counts(model["scaling"]) for name in pair or ()}
    profile = profile[[name for name in profile if name in read]].iloc[border]
    code, _ = pd.factorize(np.array([item["segment_id"] for item in segments], dtype=object))
    value_rank = np.array([item.get("value_rank", 0) for item in segments])
    for number, move in enumerate(moves):
        rows = np.flatnonzero(outcome == NO_SEGMENT)
        positions = [
            _assign_segments(_moved(profile.iloc[rows], space[rows], change, model["scaling"]), model)["position"]
            for change in move["changes"]
        ]
        first = positions[0]
        agree = np.all([code[position] == code[first] for position in positions], axis=0)
        moved = agree & (first != NO_SEGMENT) & (code[first] != code[own[rows]])
        if move.get("is_inactivity"):
            moved &= value_rank[first] < value_rank[own[rows]]
        outcome[rows[moved]] = number * len(segments) + first[moved]
    return outcome


def _moved(
    profile: pd.DataFrame, space: Floats, change: Mapping[str, tuple[float, float]], scaling: Mapping[str, Any]
) -> Floats:
    """The points of ``profile`` after a change; ``space`` holds the points before it and is overwritten."""
    changed = _changed(profile, change)
    for index, name in enumerate(scaling["names"]):
        counts = _counts(scaling)[index]
        if name in RATES or any(column in change for column in counts or [name]):
            space[:, index] = _coordinate(_inputs(changed, index, scaling), index, scaling)
    return space


def _changed(profile: pd.DataFrame, change: Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    present = {name: effect for name, effect in change.items() if name in profile}
    return with_rates(
        profile.assign(
            **{
                name: profile[name] * factor + addend if factor else addend
                for name, (factor, addend) in present.items()
            }
        )
    )


def with_rates(profile: pd.DataFrame) -> pd.DataFrame:
    """Recompute the rates from counts and days, with the formulas of `features.profile.profile_table`."""
    if not any(rate in profile for rate in RATES):
        return profile
    visits = profile["session_count"].clip(lower=1.0)
    days = (profile["days_since_first_event"] - profile["days_since_last_event"]).fillna(0.0)
    return profile.assign(
        days_from_first_to_last_event=days,
        visits_per_week=profile["session_count"] / (days / 7.0).clip(lower=1.0),
        orders_per_visit=profile["order_count"] / visits,
        abandoned_carts_per_visit=profile["abandoned_cart_count"] / visits,
    )


def _rule_group_position(profile: pd.DataFrame, model: Mapping[str, Any]) -> Ints:
    """Position of each customer's rule-based group; a default group for an unknown value, 0 if there is only one."""
    if model["grouped_by"] is None:
        return np.zeros(len(profile), dtype=np.int64)
    codes, stages = pd.factorize(profile[model["grouped_by"]], use_na_sentinel=False)
    names = list(model["standing"])
    fallback = names.index(FALLBACK_STAGE) if FALLBACK_STAGE in names else 0
    positions = [names.index(str(stage)) if str(stage) in names else fallback for stage in stages]
    return np.array(positions, dtype=np.int64)[codes]


def _by_cluster(model: Mapping[str, Any]) -> list[Any]:
    """The segments of clusters, ordered by cluster number."""
    return sorted(model["segments"], key=lambda item: item["cluster_id"])


def _assign_segments(space: Floats, model: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The result of `assign`, plus is_border and the positions of the segment and the next one in `_by_cluster`.

    A position is NO_SEGMENT if the cluster has no segment; next_position also if no other cluster is near. A customer
    without a segment is on no border.
    """
    assigned, segments = assign(space, model["clusters"]), _by_cluster(model)
    numbers = np.array([item["cluster_id"] for item in segments])
    has_segment = np.array([item["segment_id"] is not None for item in segments])
    first, second = (np.searchsorted(numbers, assigned[name]) for name in ("cluster_id", "next_cluster_id"))
    has_next = (first != second) & has_segment[first] & has_segment[second]
    return {
        **assigned,
        "position": np.where(has_segment[first], first, NO_SEGMENT),
        "next_position": np.where(has_next, second, NO_SEGMENT),
        "is_border": (assigned["margin"] < model["border_margin"]) & has_next,
    }


@dataclass(frozen=True)
class LinearPredictor:
    """intercept + the sum of weight * term, with one weight per term of `value_terms`."""

    intercept: float
    weights: tuple[float, ...]

    def of(self, terms: Floats) -> Floats:
        """The predictor for each row of ``terms``, an array of shape (n, number of weights)."""
        predicted = np.full(len(terms), self.intercept)
        for column, weight in enumerate(self.weights):  # term by term, so the sum does not depend on the other rows
            predicted += weight * terms[:, column]
        return predicted


@dataclass(frozen=True)
class ExpectedValueModel:
    """What `expected_value` computes with; fitted by `models.expected_value`.

    Attributes
    ----------
    mean_order_value : float
        Net spend per order of the shop's customers.
    low, high : tuple of float, one per feature
        Range of each feature among the customers it was fitted on; values outside count as its ends.
    knots : tuple of (float, float), one per feature
        Where the slope may change.
    buys, seen : LinearPredictor
        Log odds of a purchase, and of any event, within the horizon. ``seen`` is None if it is not known.
    spend : LinearPredictor, optional
        Log of the mean spend if the customer buys; None if the log has no prices.
    """

    mean_order_value: float
    low: tuple[float, ...]
    high: tuple[float, ...]
    knots: tuple[tuple[float, float], ...]
    buys: LinearPredictor
    seen: LinearPredictor | None
    spend: LinearPredictor | None

    def to_json(self) -> str:
        """The model as JSON text, to be read by `from_json`."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @staticmethod
    def from_json(text: str) -> ExpectedValueModel:
        """The model from the text of `to_json`."""
        raw = json.loads(text)
        seen, spend = (_predictor(raw[name]) if raw[name] else None for name in ("seen", "spend"))
        return ExpectedValueModel(
            mean_order_value=raw["mean_order_value"],
            low=tuple(raw["low"]),
            high=tuple(raw["high"]),
            knots=tuple((lower, upper) for lower, upper in raw["knots"]),
            buys=_predictor(raw["buys"]),
            seen=seen,
            spend=spend,
        )


def _predictor(raw: Mapping[str, Any]) -> LinearPredictor:
    return LinearPredictor(raw["intercept"], tuple(raw["weights"]))


def value_features(profile: pd.DataFrame, mean_order_value: float) -> Floats:
    """What the expected value is predicted from: mostly logarithms, so effects are multiplicative.

    Parameters
    ----------
    profile : DataFrame, n rows
        `VALUE_COLUMNS`.
    mean_order_value : float
        A customer's own order value is shrunk towards it with the weight of `PRIOR_ORDERS` orders.

    Returns
    -------
    array of shape (n, 14)
        Days since something that never happened are infinite. How overdue a customer is, is the time since the last
        order or visit in units of the usual interval; it is 0 where no interval is known.
    """
    column = {name: _numbers(profile[name]) for name in VALUE_COLUMNS}
    since_purchase, since_event, since_first, since_cart = (
        np.nan_to_num(column[f"days_since_{what}"], nan=np.inf)
        for what in ("last_purchase", "last_event", "first_event", "cart_left")
    )
    orders, visits = column["order_count"], column["session_count"]
    order_interval, has_one_visit = column["usual_interval_days"], visits < 2.0
    has_no_interval = np.isnan(order_interval)
    visit_interval = (np.nan_to_num(column["days_from_first_to_last_event"]) + 1.0) / np.maximum(visits, 1.0)
    net_spend = np.maximum(column["net_spend"], 0.0)
    features = [
        np.log(column["activity"] + SMALL_ACTIVITY),
        np.log1p(orders),
        np.isinf(since_purchase),
        np.log1p(since_purchase),
        np.log1p(since_event),
        np.log1p(since_first),
        has_no_interval,
        np.where(has_no_interval, 0.0, np.log1p(order_interval)),
        np.where(has_no_interval, 0.0, np.log((since_purchase + 1.0) / (order_interval + 1.0))),
        np.log1p((PRIOR_ORDERS * mean_order_value + net_spend) / (PRIOR_ORDERS + orders)),
        np.exp2(-since_cart / CART_HALF_LIFE_DAYS),
        np.log1p(visits),
        np.where(has_one_visit, 0.0, np.log(visit_interval)),
        np.where(has_one_visit, 0.0, np.log((since_event + 1.0) / (visit_interval + 1.0))),
    ]
    return np.column_stack(features).astype(np.float64)


def value_terms(profile: pd.DataFrame, model: ExpectedValueModel) -> Floats:
    """Terms of the linear predictors: each feature in its range, and by how much it is above each of its knots.

    Returns
    -------
    array of shape (n, 3 * number of features)
    """
    features = value_features(profile, model.mean_order_value)
    terms = []
    for values, low, high, knots in zip(features.T, model.low, model.high, model.knots, strict=True):
        inside = np.clip(values, low, high)
        terms += [inside, *(np.maximum(inside - knot, 0.0) for knot in knots)]
    return np.column_stack(terms)


def expected_value(profile: pd.DataFrame, model: ExpectedValueModel | None) -> pd.DataFrame:
    """What each customer is expected to do within the horizon of the fit; what is not known is null.

        profile (`VALUE_COLUMNS`)
     -> buy_probability, expected_spend, alive_probability

    ``buy_probability`` is of at least one purchase. ``expected_spend`` is in the shop's currency: the probability of a
    purchase times the mean spend of a buyer. ``alive_probability`` is of at least one event of any type, and at least
    the probability of a purchase. In a log of orders alone a customer is seen only by buying, or by a return. It is
    then almost the same as ``buy_probability``, and does not say whether a customer is lost for good.
    """
    columns = np.full((len(profile), len(EXPECTED_VALUE)), np.nan)
    if model is not None:
        for start in range(0, len(profile), POINTS_AT_ONCE):
            rows = slice(start, start + POINTS_AT_ONCE)
            columns[rows] = _expected_value(value_terms(profile.iloc[rows], model), model)
    return pd.DataFrame(columns, columns=EXPECTED_VALUE)


def _expected_value(terms: Floats, model: ExpectedValueModel) -> Floats:
    unknown = np.full(len(terms), np.nan)
    buys = _expit(model.buys.of(terms))
    spend = buys * np.exp(model.spend.of(terms)) if model.spend else unknown
    seen = np.maximum(_expit(model.seen.of(terms)), buys) if model.seen else unknown
    return np.column_stack([buys, spend, seen])


def _expit(log_odds: Floats) -> Floats:
    from scipy.special import expit

    probability: Floats = expit(log_odds)
    return probability


def read_model(folder: Path) -> dict[str, Any]:
    """Read a saved segmentation: the facets in order, each a JSON with its arrays put back, and the expected value."""
    names: list[str] = json.loads((folder / FACETS_FILE).read_text(encoding="utf-8"))
    value_file = folder / EXPECTED_VALUE_FILE
    value = ExpectedValueModel.from_json(value_file.read_text(encoding="utf-8")) if value_file.exists() else None
    return {"facets": [_read_facet(folder / name) for name in names], "expected_value": value}


def _read_facet(folder: Path) -> dict[str, Any]:
    model: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    with (folder / "arrays.npz").open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
        for name in arrays.files:
            section, _, key = name.partition(".")
            model[section][key] = arrays[name]
    return model


def with_optional_columns(profile: pd.DataFrame, model: Mapping[str, Any]) -> pd.DataFrame:
    """``profile`` with the columns that it lacks, all null: columns that may be null are optional in the signature."""
    read = {*RATE_INPUTS, *VALUE_COLUMNS}
    for facet in model["facets"]:
        scaling = facet["scaling"]
        read |= {IS_UNUSUAL} if facet.get("caps") else set()
        for name, counts in zip(scaling["names"], _counts(scaling), strict=True):
            read |= set(counts or [name])
    lacking = sorted(read - set(profile))
    return profile.assign(**dict.fromkeys(lacking, np.nan)) if lacking else profile


class Scorer(PythonModel):
    """Profile rows in, segment columns and expected value out."""

    def load_context(self, context: Any) -> None:
        """Read the arrays and JSON stored with the model."""
        self.model = read_model(Path(context.artifacts["segmentation"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """The columns of the scores that the model computes, one row per profile row."""
        return score_columns(with_optional_columns(model_input, self.model), self.model)


set_model(Scorer())
