"""Facets of a segmentation: their names, settings and prefixes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models.cluster_settings import FacetIdentity

if TYPE_CHECKING:
    from features.profile import Column
    from pipeline.config.params import Params
    from pipeline.config.sections.segments import FacetParams

NOISE_ID, BROAD_ID, UNKNOWN_ID = "noise", "broad", "unknown"
"""Ids of customers between the clusters, without a distinctive category, and with unknown interests."""


@dataclass(frozen=True)
class Facet:
    """One way to segment.

    Attributes
    ----------
    name : str
        Key in ``facets`` of params.yaml.
    settings : FacetParams
    is_first : bool
        Segment columns of the first facet have plain names in the scores.
    """

    name: str
    settings: FacetParams
    is_first: bool

    @property
    def identity(self) -> FacetIdentity:
        """Ids of its segments: s01 in the first facet, i01 in one called interest."""
        prefix = "s" if self.is_first else self.name[0]
        return FacetIdentity(self.name, prefix, BROAD_ID if self.is_named_by_interests else NOISE_ID)

    @property
    def column_prefix(self) -> str:
        """Prefix of its segment columns in the scores; see `models.scorer.facet_column`."""
        return "" if self.is_first else f"{self.name}_"

    @property
    def is_named_by_interests(self) -> bool:
        """Whether segments are named by what customers like instead of what they do."""
        return self.settings.names == "interests"

    def with_settings(self, **changes: Any) -> Facet:
        """The same facet with other settings; ``block_weights`` are merged with its own."""
        if "block_weights" in changes:
            changes["block_weights"] = {**self.settings.block_weights, **changes["block_weights"]}
        return replace(self, settings=self.settings.model_copy(update=changes))

    def columns(self, columns: list[Column]) -> list[Column]:
        """The profile columns whose block has a weight."""
        weights = {str(block): weight for block, weight in self.settings.block_weights.items()}
        return [column for column in columns if weights.get(column.block, 0.0) > 0.0]


def facets_of(params: Params) -> list[Facet]:
    """The facets of params.yaml, in order."""
    used = {name: settings for name, settings in params.facets.items() if settings is not None}
    return [Facet(name, settings, is_first=index == 0) for index, (name, settings) in enumerate(used.items())]


def with_minimum(params: Params, *, has_orders_alone: bool) -> Params:
    """``params`` with facets that need orders in place of events, if the log has orders alone.

    What customers like shows in what they order, so a facet named by interests still needs events.
    """
    least = params.clustering.min_orders
    if not has_orders_alone or least is None:
        return params
    facets = [
        facet if facet.is_named_by_interests else facet.with_settings(min_orders=facet.settings.min_orders or least)
        for facet in facets_of(params)
    ]
    return with_facets(params, facets)


def with_facets(params: Params, facets: Mapping[str, Facet] | list[Facet]) -> Params:
    """``params`` with only these facets, with the settings that were chosen."""
    listed = facets.values() if isinstance(facets, Mapping) else facets
    return params.model_copy(update={"facets": {facet.name: facet.settings for facet in listed}})
