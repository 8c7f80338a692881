"""The MLflow model as code; it imports nothing of ours, so that two generations live side by side in one process.

It also holds the arithmetic that training uses: profiles to points (`to_space`), points to clusters (`assign`). A model
is JSON (`model.json`) and arrays (`arrays.npz`), read without pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray

CHUNK_ROWS = 50_000
NOISE = -1
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def to_space(profile: pd.DataFrame, scaling: Mapping[str, Any]) -> Floats:
    """Profiles as points.

    Parameters
    ----------
    profile : DataFrame, n rows
        Holds at least the columns of ``scaling``; may hold nulls.
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
        values[np.isnan(values)] = scaling["missing"][index]
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
        vote of the nearest labelled rows, each with weight 1 / distance; strength is the winner's
        share of it, margin its lead.

    Returns
    -------
    dict of arrays of shape (n,)
        cluster_id, next_cluster_id (the same where there is one cluster only), strength and margin in 0..1.
    """
    memberships = _centre_memberships if "centres" in clusters else _vote_memberships
    parts = [memberships(space[start : start + CHUNK_ROWS], clusters) for start in range(0, len(space), CHUNK_ROWS)]
    empty = {
        "cluster_id": np.empty(0, int),
        "next_cluster_id": np.empty(0, int),
        "strength": np.empty(0),
        "margin": np.empty(0),
    }
    return {name: np.concatenate([part[name] for part in parts]) if parts else empty[name] for name in empty}


def _centre_memberships(space: Floats, clusters: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    centres = np.asarray(clusters["centres"], dtype=np.float64)
    # One centre at a time: the sum over columns is then the same whatever rows stand beside.
    squared = np.stack([((space - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
    rows = np.arange(len(space))
    first = squared.argmin(axis=1)
    if len(centres) == 1:
        one = np.ones(len(space))
        return {"cluster_id": first, "next_cluster_id": first, "strength": one, "margin": one}
    others = squared.copy()
    others[rows, first] = np.inf
    second = others.argmin(axis=1)
    nearest, next_nearest = squared[rows, first], squared[rows, second]
    floor = np.maximum(nearest, np.finfo(float).tiny)[:, None]
    strength = 1.0 / (floor / np.maximum(squared, floor)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        margin = np.where(next_nearest > 0, 1.0 - np.sqrt(nearest / np.where(next_nearest > 0, next_nearest, 1.0)), 0.0)
    return {"cluster_id": first, "next_cluster_id": second, "strength": strength, "margin": margin}


def _vote_memberships(space: Floats, clusters: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    from sklearn.neighbors import NearestNeighbors

    exemplars, labels = np.asarray(clusters["exemplars"], dtype=np.float64), np.asarray(clusters["labels"])
    known, voter_class = np.unique(labels, return_inverse=True)
    count = min(int(clusters["vote_neighbors"]), len(exemplars))
    finder = NearestNeighbors(n_neighbors=count, algorithm="brute" if exemplars.shape[1] > 15 else "kd_tree")
    distance, neighbour = finder.fit(exemplars).kneighbors(space)
    weight = 1.0 / np.maximum(distance, 1e-9)
    votes = np.stack([(weight * (voter_class[neighbour] == index)).sum(axis=1) for index in range(len(known))], axis=1)
    votes /= votes.sum(axis=1, keepdims=True)
    rows = np.arange(len(space))
    first = votes.argmax(axis=1)
    others = votes.copy()
    others[rows, first] = -1.0
    second = others.argmax(axis=1) if len(known) > 1 else first
    lead = votes[rows, first] - (votes[rows, second] if len(known) > 1 else 0.0)
    return {
        "cluster_id": known[first],
        "next_cluster_id": known[second],
        "strength": votes[rows, first],
        "margin": np.clip(lead, 0.0, 1.0),
    }


def segment_columns(profile: pd.DataFrame, model: Mapping[str, Any]) -> pd.DataFrame:
    """The segment of every customer.

        profile (columns of the scaling, event_count, lifecycle_stage)
     -> scores (segment_id, segment, cluster_id, strength, next_segment_id, next_segment, margin, is_border, evidence)

    Customers with fewer than ``min_events`` events are not assigned to a cluster: they get the segment of their
    lifecycle stage, with evidence ``low``.
    """
    is_low = profile["event_count"].to_numpy(dtype=np.float64) < model["min_events"]
    standing = [model["standing"][str(stage)] for stage in profile["lifecycle_stage"]]
    scores = pd.DataFrame(
        {
            "segment_id": [item["segment_id"] for item in standing],
            "segment": [item["name"] for item in standing],
            "cluster_id": pd.array([pd.NA] * len(profile), dtype="Int64"),
            "strength": 0.0,
            "next_segment_id": pd.array([None] * len(profile), dtype="str"),
            "next_segment": pd.array([None] * len(profile), dtype="str"),
            "margin": 0.0,
            "is_border": False,
            "evidence": np.where(is_low, "low", "ok"),
        }
    )
    if is_low.all() or not model["segments"]:
        return scores.assign(evidence="low")
    found = assign(to_space(profile[~is_low], model["scaling"]), model["clusters"])
    by_cluster = {item["cluster_id"]: item for item in model["segments"]}
    segment = [by_cluster[cluster] for cluster in found["cluster_id"]]
    following = [by_cluster[cluster] for cluster in found["next_cluster_id"]]
    has_next = found["cluster_id"] != found["next_cluster_id"]
    scores.loc[~is_low, "segment_id"] = [item["segment_id"] for item in segment]
    scores.loc[~is_low, "segment"] = [item["name"] for item in segment]
    scores.loc[~is_low, "cluster_id"] = found["cluster_id"]
    scores.loc[~is_low, "strength"] = found["strength"]
    scores.loc[~is_low, "margin"] = found["margin"]
    scores.loc[~is_low, "is_border"] = (found["margin"] < model["border_margin"]) & has_next
    for column, key in (("next_segment_id", "segment_id"), ("next_segment", "name")):
        scores.loc[~is_low, column] = [
            item[key] if is_there else None for item, is_there in zip(following, has_next, strict=True)
        ]
    return scores


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
