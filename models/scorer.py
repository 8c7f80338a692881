"""The MLflow model as code; it imports nothing of ours, so that two generations live side by side in one process.

It also holds the arithmetic that training uses: profiles to points (`to_space`), points to clusters (`assign`). A model
is JSON (`model.json`) and arrays (`arrays.npz`), read without pickle.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray

CHUNK_ROWS = 4_000
SPARE_NEIGHBORS = 5
FALLBACK_STAGE = "browsing"
RATES = ("days_from_first_to_last_event", "visits_per_week", "orders_per_visit", "abandoned_carts_per_visit")
"""Columns that follow from others of a profile; the clusterer may read any of them."""
NOISE = -1
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def to_space(profile: pd.DataFrame, scaling: Mapping[str, Any]) -> Floats:
    """Profiles as points.

    Parameters
    ----------
    profile : DataFrame, n rows
        Holds at least the columns of ``scaling``. Nulls and infinities count as missing.
    scaling : mapping
        names, transforms (none, log, root), missing, centre, scale: one entry a column.

    Returns
    -------
    array of float64, shape (n, len(names))
        ``(transform(value) - centre) * scale``.
    """
    space = np.empty((len(profile), len(scaling["names"])), dtype=np.float64)
    for index, (name, transform) in enumerate(zip(scaling["names"], scaling["transforms"], strict=True)):
        values = profile[name].to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
        values[~np.isfinite(values)] = scaling["missing"][index]
        space[:, index] = (transformed(values, transform) - scaling["centre"][index]) * scaling["scale"][index]
    return space


def transformed(values: Floats, transform: str) -> Floats:
    """none; log: log(1 + x); root: square root. Negative values count as 0 in the last two."""
    if transform == "log":
        return np.log1p(np.maximum(values, 0.0))
    return np.sqrt(np.maximum(values, 0.0)) if transform == "root" else values


def assign(space: Floats, clusters: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Which cluster each point is in, how surely, and which is next.

    Parameters
    ----------
    space : array of shape (n, d)
    clusters : mapping
        Either ``centres`` (k, d): the nearest centre; strength is the membership of fuzzy c-means with m = 2
        (Bezdek, 1981), margin ``1 - d1 / d2``. Or ``exemplars`` (m, d), ``labels`` (m,) and ``vote_neighbors``: a
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
    is_centres = "centres" in clusters
    memberships = functools.partial(_centre_memberships, clusters=clusters) if is_centres else _voter(clusters)
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


def segment_columns(profile: pd.DataFrame, model: Mapping[str, Any]) -> pd.DataFrame:
    """The segment of every customer.

        profile (columns of the scaling, event_count, lifecycle_stage)
     -> scores (segment_id, segment, cluster_id, strength, next_segment_id, next_segment, margin, is_border,
                what_would_move, is_stable, evidence)

    Customers without ``min_events`` events are not assigned to a cluster: they get the segment of their lifecycle
    stage (of ``browsing``, where the model knows no such stage), with evidence ``low``. Those who lie between the dense
    regions of HDBSCAN have evidence ``noise``, whatever segment they get; where the model has none for them (its
    ``segment_id`` of cluster -1 is null), they get that of their stage too.
    """
    is_ok = profile["event_count"].to_numpy(dtype=np.float64, na_value=np.nan) >= model["min_events"]
    if not model["segments"]:
        is_ok = np.zeros(len(profile), dtype=bool)
    standing = _standing_of(profile["lifecycle_stage"], model["standing"])
    columns: dict[str, NDArray[Any]] = {
        "segment_id": standing["segment_id"].copy(),
        "segment": standing["name"].copy(),
        "cluster_id": np.full(len(profile), None, dtype=object),
        "strength": np.zeros(len(profile)),
        "next_segment_id": np.full(len(profile), None, dtype=object),
        "next_segment": np.full(len(profile), None, dtype=object),
        "margin": np.zeros(len(profile)),
        "is_border": np.zeros(len(profile), dtype=bool),
        "what_would_move": np.full(len(profile), None, dtype=object),
        "is_stable": np.ones(len(profile), dtype=bool),
        "evidence": np.where(is_ok, "ok", "low").astype(object),
    }
    if is_ok.any():
        found = assign(to_space(profile[is_ok], model["scaling"]), model["clusters"])
        columns["evidence"][np.flatnonzero(is_ok)[found["is_noise"]]] = "noise"
        for name, values in _segments_of(found, model).items():
            columns[name][is_ok] = values
        by_rule = pd.isna(columns["segment_id"])
        columns["segment_id"][by_rule] = standing["segment_id"][by_rule]
        columns["segment"][by_rule] = standing["name"][by_rule]
        columns["strength"][by_rule] = columns["margin"][by_rule] = 0.0
        columns["next_segment_id"][by_rule] = columns["next_segment"][by_rule] = None
        columns["is_border"][by_rule] = False
        border = np.flatnonzero(columns["is_border"])
        own = columns["segment_id"][border]
        columns["what_would_move"][border] = _what_would_move(profile.iloc[border], own, model)
    texts = ("segment_id", "segment", "next_segment_id", "next_segment", "what_would_move", "evidence")
    return pd.DataFrame(columns).astype({"cluster_id": "Int64", **dict.fromkeys(texts, "str")})


def _what_would_move(profile: pd.DataFrame, own: NDArray[Any], model: Mapping[str, Any]) -> NDArray[Any]:
    """For each customer the first of the model's ``moves`` that leads into another segment, and which; else None.

    A move stands as one or more changes of columns, (factor, addend) each; all of them must lead to one segment.
    """
    told = np.full(len(profile), None, dtype=object)
    for move in model.get("moves", ()):
        rows = np.flatnonzero(pd.isna(told))
        reached = [
            _segments_of(
                assign(to_space(_changed(profile.iloc[rows], change), model["scaling"]), model["clusters"]), model
            )
            for change in move["changes"]
        ]
        first = reached[0]
        agree = np.all([one["segment_id"] == first["segment_id"] for one in reached], axis=0)
        moved = agree & pd.notna(first["segment_id"]) & (first["segment_id"] != own[rows])
        told[rows[moved]] = [f"{move['text']} -> {name}" for name in first["segment"][moved]]
    return told


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


def _standing_of(stages: pd.Series, standing: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Id and name of the standing segment, one a row."""
    place, known = pd.factorize(stages, use_na_sentinel=False)
    fallback = standing.get(FALLBACK_STAGE) or next(iter(standing.values()))
    items = [standing.get(str(stage), fallback) for stage in known]
    return {key: np.array([item[key] for item in items], dtype=object)[place] for key in ("segment_id", "name")}


def _segments_of(found: Mapping[str, NDArray[Any]], model: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Clusters as segments: the columns of scores of customers who were assigned to one."""
    segments = sorted(model["segments"], key=lambda item: item["cluster_id"])
    ids, names = (np.array([item[key] for item in segments], dtype=object) for key in ("segment_id", "name"))
    numbers = np.array([item["cluster_id"] for item in segments])
    first, second = (np.searchsorted(numbers, found[name]) for name in ("cluster_id", "next_cluster_id"))
    has_next = (first != second) & pd.notna(ids[second])
    next_ids, next_names = (np.where(has_next, values[second], np.array(None)) for values in (ids, names))
    return {
        "segment_id": ids[first],
        "segment": names[first],
        "cluster_id": found["cluster_id"],
        "strength": found["strength"],
        "next_segment_id": next_ids,
        "next_segment": next_names,
        "margin": found["margin"],
        "is_border": (found["margin"] < model["border_margin"]) & has_next,
        "is_stable": np.array([item["is_stable"] for item in segments])[first],
    }


def read_model(folder: Path) -> dict[str, Any]:
    """A saved segmentation: JSON with the arrays put in their places."""
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
        return segment_columns(model_input, self.model)


set_model(Scorer())
