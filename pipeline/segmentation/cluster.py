"""Profiles -> clusters of a facet, and the segment of each customer trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.identity import RULE_GROUP_PREFIX
from models.leading_category import LeadingRule
from models.scorer import NOISE, UNUSUAL_STAGE, is_known, is_unusual
from models.segmentation import FittedClusters, fit_segmentation
from pipeline.config.errors import UserError
from pipeline.config.facets import UNKNOWN_ID, Facet
from pipeline.config.params import Params
from pipeline.profiles.build import Profiles


def cluster(profiles: Profiles, params: Params, facet: Facet, **changes: Any) -> FittedClusters:
    """Cluster the profiles by one facet; ``changes`` override the settings of ``params``.

    Raises
    ------
    UserError
        There are no customers, none has enough events, or the algorithm or number of segments is not set.
    """
    if profiles.table.empty:
        raise UserError(f"expected customers before as_of {params.as_of:%Y-%m-%d %H:%M}, found none. Check as_of.")
    settings, shared = facet.settings, params.clustering
    if settings.algorithm == "auto" or (settings.algorithm == "kmeans" and settings.n_segments == "auto"):
        raise UserError(f"facets.{facet.name}: expected an algorithm and a number of segments; auto is for training.")
    arguments = {
        "facet": facet.identity,
        "algorithm": settings.algorithm,
        "n_segments": settings.n_segments,
        "min_events": settings.min_events,
        "min_orders": settings.min_orders,
        "min_evidence": settings.min_evidence,
        "block_weights": settings.block_weights,
        "kmeans": shared.kmeans.model_dump(),
        "hdbscan": hdbscan_settings(params, facet),
        "leading_rule": _leading_rule(profiles, params, facet) if facet.is_named_by_interests else None,
        "quality": params.quality.model_dump(),
        "seed": params.seed,
    }
    try:
        return fit_segmentation(profiles.table, profiles.shop.spec.columns(), **{**arguments, **changes})
    except ValueError as error:
        raise UserError(str(error)) from None


def clustered(profile: pd.DataFrame, facet: Facet) -> NDArray[np.bool_]:
    """Customers with enough events and evidence to be clustered: shape (n,)."""
    return is_known(profile, facet.settings.model_dump(include={"min_events", "min_orders", "min_evidence"}))


def hdbscan_settings(params: Params, facet: Facet) -> dict[str, Any]:
    """Arguments for `models.clusterers.fit_hdbscan` in a facet."""
    facet_settings = facet.settings.model_dump(include={"noise", "min_cluster_share"})
    return {**params.clustering.hdbscan.model_dump(), **facet_settings}


def _leading_rule(profiles: Profiles, params: Params, facet: Facet) -> LeadingRule:
    settings = params.clustering.leading_category
    min_customers = params.quality.min_segment_customers or params.naming.min_group
    customer_count = int(clustered(profiles.table, facet).sum())
    return LeadingRule(
        cut=profiles.shop.spec.cut,
        kappa=params.interests.kappa,
        min_lift=settings.min_lift,
        min_errors=settings.min_errors,
        min_share=max(params.quality.min_segment_share, min_customers / max(customer_count, 1)),
    )


def segment_ids(profile: pd.DataFrame, fitted: FittedClusters, facet: Facet) -> np.ndarray:
    """segment_id of each training customer: that of the cluster, or that of the rule-based group."""
    ids = rule_based_groups(profile, facet)
    in_cluster = np.ones(len(fitted.labels), dtype=bool)
    if noise_policy(fitted) == "standing":
        in_cluster = fitted.labels != NOISE
    rows = np.flatnonzero(fitted.is_clustered)[in_cluster]
    clusters, index = np.unique(fitted.labels[in_cluster], return_inverse=True)
    ids[rows] = np.array([fitted.segment_id(number) for number in clusters.tolist()], dtype=object)[index]
    return ids


@dataclass(frozen=True)
class FacetClusters:
    """The clusters of a facet, and the customers in them.

    Attributes
    ----------
    profiles : Profiles
        n rows.
    """

    profiles: Profiles
    fitted: FittedClusters
    params: Params
    facet: Facet

    @cached_property
    def ids(self) -> np.ndarray:
        """segment_id of each customer, shape (n,)."""
        return segment_ids(self.profiles.table, self.fitted, self.facet)

    @cached_property
    def is_clustered(self) -> NDArray[np.bool_]:
        """Customers who are not in a rule-based group, shape (n,)."""
        return np.array([not segment_id.startswith(RULE_GROUP_PREFIX) for segment_id in self.ids], dtype=bool)

    @cached_property
    def clustered(self) -> pd.DataFrame:
        """Profiles of these customers."""
        return self.profiles.table[self.is_clustered]

    @cached_property
    def clustered_ids(self) -> np.ndarray:
        """segment_id of each of these customers."""
        return self.ids[self.is_clustered]


def rule_based_groups(profile: pd.DataFrame, facet: Facet) -> np.ndarray:
    """segment_id of customers who are not clustered: one group per lifecycle stage, or one for unknown interests.

    Unusual customers who are a segment of their own are one group in every facet.
    """
    if facet.is_named_by_interests:
        groups = np.where(is_unusual(profile), UNUSUAL_STAGE, UNKNOWN_ID).astype(object)
        return np.asarray(RULE_GROUP_PREFIX + groups, dtype=object)
    return (RULE_GROUP_PREFIX + profile["lifecycle_stage"].astype(str)).to_numpy(dtype=object, copy=True)


def noise_policy(fitted: FittedClusters) -> str | None:
    """keep, nearest or standing; None if the algorithm has no noise."""
    policy: str | None = fitted.clusters.model.get("noise")
    return policy
