"""The MLflow model as code; it imports nothing of ours, so that two generations live side by side in one process.

It also holds the arithmetic that training uses: profiles to points (`to_space`), points to clusters (`assign`). A model
has a folder for each facet, with JSON (`model.json`) and arrays (`arrays.npz`), read without pickle.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
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
"""Columns that follow from others of a profile; the clusterer may read any of them."""
READ_BY_RATES = (
    *("session_count", "order_count", "abandoned_cart_count"),
    *("days_since_first_event", "days_since_last_event"),
)
NOISE = -1
NOBODY = -1
"""Place of a segment that is not there."""
OK, LOW, UNGROUPED = 0, 1, 2
"""Places in a facet's ``evidence_words``: clustered, too little known, between the clusters or without a category."""
FACETS_FILE = "facets.json"
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def to_space(profile: pd.DataFrame, scaling: Mapping[str, Any], rows: Ints | slice = slice(None)) -> Floats:
    """Profiles as points.

    Parameters
    ----------
    profile : DataFrame, n rows
        Holds at least the columns of ``scaling``. Nulls and infinities count as missing.
    scaling : mapping
        names, transforms (none, log, root, rate), missing, centre, scale: one entry a column. Where the model has
        rates also counts (the profile's columns of numerator and denominator; null of other columns), and alpha and
        beta of their priors.
    rows : array of int or slice
        Those to take; all of them by default.

    Returns
    -------
    array of float64, shape (number of rows, len(names))
        ``(transform(value) - centre) * scale``.
    """
    columns = [_measured(profile, index, scaling) for index in range(len(scaling["names"]))]
    places = np.arange(len(profile))[rows]
    space = np.empty((len(places), len(columns)))
    # A few rows at a time, which stay in the processor's cache while column after column is put between.
    for start in range(0, len(places), CHUNK_ROWS):
        part = places[start : start + CHUNK_ROWS]
        for index, column in enumerate(columns):
            space[start : start + CHUNK_ROWS, index] = _coordinate([one[part] for one in column], index, scaling)
    return space


def _counts(scaling: Mapping[str, Any]) -> Sequence[Sequence[str] | None]:
    """Numerator and denominator of each column that is a rate; models trained before there were rates have none."""
    counts: Sequence[Sequence[str] | None] = scaling.get("counts") or [None] * len(scaling["names"])
    return counts


def _measured(profile: pd.DataFrame, index: int, scaling: Mapping[str, Any]) -> list[Floats]:
    """What a coordinate is computed from: a column of the profile or, for a rate, two."""
    return [_numbers(profile[name]) for name in _counts(scaling)[index] or [scaling["names"][index]]]


def _numbers(column: pd.Series) -> Floats:
    """Nulls are NaN."""
    values: Floats = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def posterior_mean(events: Floats, trials: Floats, alpha: float, beta: float) -> Floats:
    """Rate of events per trial, shrunk towards the Beta(alpha, beta) prior: (x + alpha) / (n + alpha + beta).

    The conjugate posterior of a binomial rate (Gelman et al., Bayesian Data Analysis, 3rd ed., 2.4). There are at least
    as many trials as events: some logs miss the view before a cart. What is missing or negative counts as 0.

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
    x, n = (np.maximum(np.where(np.isfinite(one), one, 0.0), 0.0) for one in (events, trials))
    return np.asarray((x + alpha) / (np.maximum(n, x) + alpha + beta))


def _coordinate(measured: Sequence[Floats], index: int, scaling: Mapping[str, Any]) -> Floats:
    """A column of points, from what `_measured` takes of the profile."""
    if len(measured) == 2:
        values = posterior_mean(measured[0], measured[1], scaling["alpha"][index], scaling["beta"][index])
    else:
        values = measured[0]
    known = np.where(np.isfinite(values), values, scaling["missing"][index])
    return (transformed(known, scaling["transforms"][index]) - scaling["centre"][index]) * scaling["scale"][index]


def transformed(values: Floats, transform: str) -> Floats:
    """none; log: log(1 + x); root: square root, negative values count as 0 in both; rate: arcsine of the root.

    The arcsine of the root makes the variance of a share nearly the same whatever the share is (Anscombe, 1948,
    Biometrika 35).
    """
    if transform == "log":
        return np.log1p(np.maximum(values, 0.0))
    if transform == "rate":
        return np.asarray(np.arcsin(np.sqrt(np.clip(values, 0.0, 1.0))))
    return np.sqrt(np.maximum(values, 0.0)) if transform == "root" else values


def assign(space: Floats, clusters: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Which cluster each point is in, how surely, and which is next.

    Parameters
    ----------
    space : array of shape (n, d)
    clusters : mapping
        Either ``centres`` (k, d): the nearest centre; strength is the membership of fuzzy c-means with m = 2
        (Bezdek, 1981), margin ``1 - d1 / d2``. Or ``nodes`` (d - 1,): a rule, see `leading_category`. Or ``exemplars``
        (m, d), ``labels`` (m,) and ``vote_neighbors``: a
        vote of the nearest labelled rows, each with weight 1 / (distance + distance of the farthest of them); strength
        is the winner's share of it, margin its lead. Noise is labelled -1 and votes too; with ``noise`` = nearest the
        point is then given to a cluster all the same. A row's answer does not depend on the rows beside it. With
        ``staying_clusters`` (k,), ``staying_margins`` (b,) and ``staying_rates`` (k, b), strength is what was observed
        of the margin: the share of customers who stay when others are clustered (`models.stability.staying`).

    Returns
    -------
    dict of arrays of shape (n,)
        cluster_id, next_cluster_id (the same where no other is near), strength and margin in 0..1, is_noise.
    """
    # Rows must lie one after another in memory: the layout is the order in which numpy adds.
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
    found = {name: np.concatenate([part[name] for part in parts]) if parts else empty[name] for name in empty}
    for place, cluster in enumerate(clusters.get("staying_clusters", ())):
        own = found["cluster_id"] == cluster
        rates = clusters["staying_rates"][place]
        found["strength"][own] = np.interp(found["margin"][own], clusters["staying_margins"], rates)
    return found


def _memberships(clusters: Mapping[str, Any]) -> Callable[[Floats], dict[str, NDArray[Any]]]:
    if "centres" in clusters:
        return functools.partial(_centre_memberships, clusters=clusters)
    return functools.partial(leading_category, rule=clusters) if "nodes" in clusters else _voter(clusters)


def leading_category(space: Floats, rule: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The category that each customer turns to most, compared with the shop; noise where none stands out.

    A share of the interest formula is the mean of a Beta distribution of S(u) + kappa observations, so its distance
    from the shop's share has a standard error. A category leads when its share is ``min_lift`` times the shop's, the
    distance is ``min_errors`` standard errors, and no other category is as many errors away.

    Parameters
    ----------
    space : array of shape (n, c + 1)
        Shares of the columns of interest, and the evidence S(u).
    rule : mapping
        ``nodes`` (c,): the group of each column, -1 for columns that cannot lead; ``mix`` (k,): the shop's share of
        each group; ``kappa``, ``min_lift``, ``min_errors``.

    Returns
    -------
    dict of arrays of shape (n,)
        As `assign`. Strength is the chance that the share is above the shop's, margin the lead over the next category.
    """
    nodes, mix = np.asarray(rule["nodes"]), np.asarray(rule["mix"], dtype=np.float64)
    if not len(mix):
        mix = np.array([np.inf])  # of a category that leads nobody, where none leads anybody
    share = np.zeros((len(space), len(mix)))
    for column, node in enumerate(nodes):  # column by column: a matrix product adds in an order of its own
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

    chance: Floats = ndtr(value)
    return chance


def _centre_memberships(space: Floats, clusters: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    centres = np.asarray(clusters["centres"], dtype=np.float64)
    # One centre at a time: the sum over columns is then the same whatever rows stand beside.
    squared = np.stack([((space - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
    rows = np.arange(len(space))
    first = squared.argmin(axis=1)
    if len(centres) == 1:
        one, none = np.ones(len(space)), np.zeros(len(space), dtype=bool)
        return {"cluster_id": first, "next_cluster_id": first, "strength": one, "margin": one, "is_noise": none}
    others = squared.copy()
    others[rows, first] = np.inf
    second = others.argmin(axis=1)
    nearest, next_nearest = squared[rows, first], squared[rows, second]
    floor = np.maximum(nearest, np.finfo(float).tiny)[:, None]
    strength = 1.0 / (floor / np.maximum(squared, floor)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        margin = np.where(next_nearest > 0, 1.0 - np.sqrt(nearest / np.where(next_nearest > 0, next_nearest, 1.0)), 0.0)
    none = np.zeros(len(space), dtype=bool)
    return {"cluster_id": first, "next_cluster_id": second, "strength": strength, "margin": margin, "is_noise": none}


def _voter(clusters: Mapping[str, Any]) -> Callable[[Floats], dict[str, NDArray[Any]]]:
    exemplars = np.ascontiguousarray(clusters["exemplars"], dtype=np.float64)
    labels, most = np.asarray(clusters["labels"]), int(clusters["vote_neighbors"])
    vote = _ballot(exemplars, labels, most)
    clustered = labels != NOISE
    if clusters.get("noise") != "nearest" or clustered.all():
        return lambda space: _vote_outcome(*vote(space))
    vote_among_clusters = _ballot(exemplars[clustered], labels[clustered], most)

    def memberships(space: Floats) -> dict[str, NDArray[Any]]:
        votes, known = vote(space)
        is_noise = known[votes.argmax(axis=1)] == NOISE
        given = votes[:, known != NOISE]
        if is_noise.any():
            given[is_noise] = vote_among_clusters(space[is_noise])[0]
        given /= given.sum(axis=1, keepdims=True)
        return {**_vote_outcome(given, known[known != NOISE]), "is_noise": is_noise}

    return memberships


def _ballot(exemplars: Floats, labels: NDArray[Any], most: int) -> Callable[[Floats], tuple[Floats, NDArray[Any]]]:
    """Points -> share of the votes of each label, and the labels."""
    from sklearn.neighbors import NearestNeighbors

    known, known_index = np.unique(labels, return_inverse=True)
    count = min(most, len(exemplars))
    finder = NearestNeighbors(
        n_neighbors=min(count + SPARE_NEIGHBORS, len(exemplars)),
        algorithm="brute" if exemplars.shape[1] > 15 else "kd_tree",
    ).fit(exemplars)

    def vote(space: Floats) -> tuple[Floats, NDArray[Any]]:
        # The finder's own distances come from a matrix product, whose last digits depend on the rows beside: they only
        # propose, and distances are taken anew, pair by pair.
        neighbour = np.sort(finder.kneighbors(space, return_distance=False), axis=1)
        distance = np.sqrt(((space[:, None, :] - exemplars[neighbour]) ** 2).sum(axis=2))
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :count]
        kept = np.take_along_axis(distance, nearest, axis=1)
        # At most twice the farthest one's weight: a customer fitted on must not outvote all others.
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
    """The segment columns of all facets, side by side; those of the first have no prefix (`facet_column`)."""
    columns: dict[str, pd.Series] = {}
    for facet in model["facets"]:
        for name, column in segment_columns(profile, facet).items():
            columns[facet_column(str(name), facet["prefix"])] = column
    return pd.DataFrame(columns)


def facet_column(name: str, prefix: str) -> str:
    """What a segment column of a facet is called in the scores.

    Examples
    --------
    >>> facet_column("segment", "interest_"), facet_column("next_segment", "interest_"), facet_column("margin", "")
    ('interest_segment', 'next_interest_segment', 'margin')
    """
    for beginning in ("next_", "is_"):
        if name.startswith(beginning):
            return f"{beginning}{prefix}{name.removeprefix(beginning)}"
    return prefix + name


def segment_columns(profile: pd.DataFrame, model: Mapping[str, Any]) -> pd.DataFrame:
    """The segment of every customer in one facet.

        profile (columns of the scaling, event_count, evidence, lifecycle_stage)
     -> scores (segment_id, segment, cluster_id, strength, next_segment_id, next_segment, margin, is_border,
                what_would_move (where the facet has ``moves``), is_stable, evidence)

    Customers without ``min_events`` events and ``min_evidence`` are not assigned to a cluster: they get the group of
    the column ``grouped_by`` (lifecycle stage; the first group for a value that the model does not know; all the same
    group where it is None), with evidence ``low``. Customers between the dense regions of HDBSCAN, or in a segment of
    no category, have the third of ``evidence_words``; where the model has no segment for them (its ``segment_id`` of
    cluster -1 is null), they get that group too.
    """
    # What has few different values is kept as places among them: texts of a million customers are slow to handle.
    found = _located(profile, model)
    standing, segments = list(model["standing"].values()), _by_cluster(model)
    ids, names = ([item[key] for item in (*standing, *segments)] for key in ("segment_id", "name"))
    next_ids, next_names = ids[len(standing) :], names[len(standing) :]
    is_stable = np.array([*(True for _ in standing), *(item["is_stable"] for item in segments)])
    columns = {
        "segment_id": _texts(ids, found["place"]),
        "segment": _texts(names, found["place"]),
        "cluster_id": pd.arrays.IntegerArray(found["cluster_id"], found["evidence"] == LOW),
        "strength": found["strength"],
        "next_segment_id": _texts(next_ids, found["next_place"]),
        "next_segment": _texts(next_names, found["next_place"]),
        "margin": found["margin"],
        "is_border": found["is_border"],
        "what_would_move": _texts(
            [f"{move['text']} -> {name}" for move in model.get("moves", ()) for name in next_names], found["would_move"]
        ),
        "is_stable": is_stable[found["place"]],
        "evidence": _texts(model["evidence_words"], found["evidence"]),
    }
    return pd.DataFrame({name: columns[name] for name in columns if name != "what_would_move" or "moves" in model})


def _located(profile: pd.DataFrame, model: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Where customers are: the place of the segment among the groups by rule and, after them, those of clusters.

    Returns
    -------
    dict of arrays of shape (n,)
        place; next_place, in `_by_cluster`; would_move, as in `_what_would_move`; evidence, in ``evidence_words``;
        cluster_id, strength, margin, is_border. Of customers in no cluster: next_place and would_move are NOBODY, the
        others 0.
    """
    rows = np.flatnonzero(is_known(profile, model)) if model["segments"] else np.empty(0, dtype=np.int64)
    count = len(profile)
    columns: dict[str, NDArray[Any]] = {
        "place": _group_place(profile, model),
        "next_place": np.full(count, NOBODY),
        "would_move": np.full(count, NOBODY),
        "evidence": np.full(count, LOW),
        "cluster_id": np.zeros(count, dtype=np.int64),
        **{name: np.zeros(count) for name in ("strength", "margin")},
        "is_border": np.zeros(count, dtype=bool),
    }
    is_broad = np.array([item.get("is_broad", False) for item in _by_cluster(model)], dtype=bool)
    borders: list[tuple[Ints, Ints, Floats]] = []
    # Never all points at once: of a million customers they take half a gigabyte.
    for start in range(0, len(rows), POINTS_AT_ONCE):
        own = rows[start : start + POINTS_AT_ONCE]
        space = to_space(profile, model["scaling"], own)
        found = _placed(space, model)
        has_segment, is_border = found["place"] != NOBODY, found["is_border"]
        is_ungrouped = found["is_noise"] | (is_broad[found["place"]] & has_segment)
        columns["evidence"][own] = np.where(is_ungrouped, UNGROUPED, OK)
        columns["cluster_id"][own] = found["cluster_id"]
        kept = own[has_segment]
        for name in ("next_place", "strength", "margin", "is_border"):
            columns[name][kept] = found[name][has_segment]
        columns["place"][kept] = len(model["standing"]) + found["place"][has_segment]
        borders.append((own[is_border], found["place"][is_border], space[is_border]))
    if borders and model.get("moves"):
        border, place, space = (np.concatenate(part) for part in zip(*borders, strict=True))
        columns["would_move"][border] = _what_would_move(profile, border, space, place, model)
    return columns


def is_known(profile: pd.DataFrame, model: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Customers with enough events and evidence to be clustered, by ``min_events`` and ``min_evidence``: shape (n,)."""
    known: NDArray[np.bool_] = _numbers(profile["event_count"]) >= model["min_events"]
    if model["min_evidence"] > 0.0:
        known &= _numbers(profile["evidence"]) >= model["min_evidence"]
    return known


def _texts(choices: Sequence[str | None], place: Ints) -> Any:
    """The text at each place of ``choices``; null for NOBODY."""
    return pd.array([*choices, None], dtype="str").take(place)


def _what_would_move(profile: pd.DataFrame, border: Ints, space: Floats, own: Ints, model: Mapping[str, Any]) -> Ints:
    """The first of the model's ``moves`` that leads each customer into another segment, and which; else NOBODY.

    A move stands as one or more changes of columns, (factor, addend) each; all of them must lead to one segment.

    Parameters
    ----------
    border : array of int, shape (n,)
        Rows of ``profile``.
    space : array of shape (n, d)
        Their points.
    own : array of int
        Place of each customer's segment in `_by_cluster`.

    Returns
    -------
    array of int
        Number of the move times the number of segments, plus the place of the segment.
    """
    segments, moves = _by_cluster(model), model.get("moves", ())
    told = np.full(len(space), NOBODY)
    read = {*RATES, *READ_BY_RATES, *(name for move in moves for change in move["changes"] for name in change)}
    read |= {name for pair in _counts(model["scaling"]) for name in pair or ()}
    profile = profile[[name for name in profile if name in read]].iloc[border]
    same, _ = pd.factorize(np.array([item["segment_id"] for item in segments], dtype=object))
    for number, move in enumerate(moves):
        rows = np.flatnonzero(told == NOBODY)
        places = [
            _placed(_moved(profile.iloc[rows], space[rows], change, model["scaling"]), model)["place"]
            for change in move["changes"]
        ]
        first = places[0]
        agree = np.all([same[one] == same[first] for one in places], axis=0)
        moved = agree & (first != NOBODY) & (same[first] != same[own[rows]])
        told[rows[moved]] = number * len(segments) + first[moved]
    return told


def _moved(
    profile: pd.DataFrame, space: Floats, change: Mapping[str, tuple[float, float]], scaling: Mapping[str, Any]
) -> Floats:
    """The points of ``profile`` after a change; ``space`` is where they were, which is written over."""
    changed = _changed(profile, change)
    for index, name in enumerate(scaling["names"]):
        counts = _counts(scaling)[index]
        if name in RATES or any(one in change for one in counts or [name]):
            space[:, index] = _coordinate(_measured(changed, index, scaling), index, scaling)
    return space


def _changed(profile: pd.DataFrame, change: Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    known = {name: both for name, both in change.items() if name in profile}
    return with_rates(
        profile.assign(
            **{name: profile[name] * factor + addend if factor else addend for name, (factor, addend) in known.items()}
        )
    )


def with_rates(profile: pd.DataFrame) -> pd.DataFrame:
    """The rates that follow from counts and days, anew; the same as in `features.profile.profile_table`."""
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


def _group_place(profile: pd.DataFrame, model: Mapping[str, Any]) -> Ints:
    """The place of each customer's group by rule; the first where it is unknown, or where there is but one."""
    if model["grouped_by"] is None:
        return np.zeros(len(profile), dtype=np.int64)
    own, known = pd.factorize(profile[model["grouped_by"]], use_na_sentinel=False)
    names = list(model["standing"])
    fallback = names.index(FALLBACK_STAGE) if FALLBACK_STAGE in names else 0
    places = [names.index(str(stage)) if str(stage) in names else fallback for stage in known]
    return np.array(places, dtype=np.int64)[own]


def _by_cluster(model: Mapping[str, Any]) -> list[Any]:
    """The segments of clusters, in the order of these."""
    return sorted(model["segments"], key=lambda item: item["cluster_id"])


def _placed(space: Floats, model: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Points as `assign` has them, with the place of the segment, and of the next, in `_by_cluster`, and is_border.

    The place is NOBODY where the cluster has no segment, the next also where no other cluster is near. Who has no
    segment is on no border.
    """
    found, segments = assign(space, model["clusters"]), _by_cluster(model)
    numbers = np.array([item["cluster_id"] for item in segments])
    has_segment = np.array([item["segment_id"] is not None for item in segments])
    first, second = (np.searchsorted(numbers, found[name]) for name in ("cluster_id", "next_cluster_id"))
    has_next = (first != second) & has_segment[first] & has_segment[second]
    return {
        **found,
        "place": np.where(has_segment[first], first, NOBODY),
        "next_place": np.where(has_next, second, NOBODY),
        "is_border": (found["margin"] < model["border_margin"]) & has_next,
    }


def read_model(folder: Path) -> dict[str, Any]:
    """A saved segmentation: the facets in order, each JSON with the arrays put in their places."""
    names: list[str] = json.loads((folder / FACETS_FILE).read_text(encoding="utf-8"))
    return {"facets": [_read_facet(folder / name) for name in names]}


def _read_facet(folder: Path) -> dict[str, Any]:
    model: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
        for name in arrays.files:
            section, _, key = name.partition(".")
            model[section][key] = arrays[name]
    return model


class Scorer(PythonModel):
    """Profile rows in, segment columns out."""

    def load_context(self, context: Any) -> None:
        """Read the arrays and JSON that came with the model."""
        self.model = read_model(Path(context.artifacts["segmentation"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """The segment columns of scores, one row per profile row."""
        return score_columns(model_input, self.model)


set_model(Scorer())
