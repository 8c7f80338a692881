"""Profiles -> clusters, and the segment of each customer trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from models.identity import STANDING
from models.scorer import NOISE
from models.segmentation import FittedClusters, fit_segmentation
from pipeline.errors import UserError
from pipeline.params import Params
from pipeline.profiles import Profiles


def cluster(profiles: Profiles, params: Params, **changes: Any) -> FittedClusters:
    """Cluster the profiles with the settings of ``params``; ``changes`` go before them.

    Raises
    ------
    UserError
        There are no customers, or none with enough events.
    """
    if profiles.table.empty:
        raise UserError(f"expected customers before as_of {params.as_of:%Y-%m-%d %H:%M}, found none. Check as_of.")
    settings = params.clustering
    given = {
        "algorithm": settings.algorithm,
        "n_segments": settings.n_segments,
        "min_events": settings.min_events,
        "block_weights": settings.block_weights.model_dump(),
        "kmeans": settings.kmeans.model_dump(),
        "hdbscan": settings.hdbscan.model_dump(),
        "quality": params.quality.model_dump(),
        "seed": params.seed,
    }
    if {**given, **changes}["algorithm"] == "kmeans" and {**given, **changes}["n_segments"] == "auto":
        raise UserError("clustering.n_segments: expected a number, got auto, which `kindred train` alone chooses for.")
    try:
        return fit_segmentation(profiles.table, profiles.shop.spec.columns(), **{**given, **changes})
    except ValueError as error:
        raise UserError(str(error)) from None


def segment_ids(profile: pd.DataFrame, fitted: FittedClusters) -> np.ndarray:
    """The segment of each customer trained on: the cluster's, or that of the lifecycle stage."""
    ids = (STANDING + profile["lifecycle_stage"].astype(str)).to_numpy(dtype=object, copy=True)
    given = fitted.labels != NOISE if noise_policy(fitted) == "standing" else np.ones(len(fitted.labels), dtype=bool)
    rows = np.flatnonzero(fitted.is_clustered)[given]
    known, place = np.unique(fitted.labels[given], return_inverse=True)
    ids[rows] = np.array([fitted.segment_id(number) for number in known.tolist()], dtype=object)[place]
    return ids


def noise_policy(fitted: FittedClusters) -> str | None:
    """keep, nearest or standing; None of an algorithm that knows no noise."""
    policy: str | None = fitted.clusters.model.get("noise")
    return policy
