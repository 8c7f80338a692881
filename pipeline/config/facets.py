"""Facets of a segmentation: what each is called, what it is clustered by, and which customers it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models.segmentation import FacetIdentity

if TYPE_CHECKING:
    from features.profile import Column
    from pipeline.config.params import Params
    from pipeline.config.segment_params import FacetParams

NOISE_ID, BROAD_ID, UNKNOWN_ID = "noise", "broad", "unknown"
"""Ids of customers between the clusters, of those who turn to no category, and of those whose interests are unknown."""


@dataclass(frozen=True)
class Facet:
    """One way to segment.

    Attributes
    ----------
    name : str
        As in params.yaml.
    settings : FacetParams
    is_first : bool
        Segment columns of the first facet have plain names in the scores.
    """

    name: str
    settings: FacetParams
    is_first: bool

    @property
    def identity(self) -> FacetIdentity:
        """How its segments are marked: s01 in the first facet, i01 in one called interest."""
        prefix = "s" if self.is_first else self.name[0]
        return FacetIdentity(self.name, prefix, BROAD_ID if self.names_interests else NOISE_ID)

    @property
    def column_prefix(self) -> str:
        """What its segment columns begin with in the scores; see `models.scorer.facet_column`."""
        return "" if self.is_first else f"{self.name}_"

    @property
    def names_interests(self) -> bool:
        """Whether segments are named by what customers like, and not by what they do."""
        return self.settings.names == "interests"

    def with_settings(self, **changes: Any) -> Facet:
        """The same facet with other settings; of ``block_weights`` those that differ."""
        if "block_weights" in changes:
            changes["block_weights"] = {**self.settings.block_weights, **changes["block_weights"]}
        return replace(self, settings=self.settings.model_copy(update=changes))

    def columns(self, columns: list[Column]) -> list[Column]:
        """Those of a profile's columns that have a weight."""
        weights = {str(block): weight for block, weight in self.settings.block_weights.items()}
        return [one for one in columns if weights.get(one.block, 0.0) > 0.0]


def facets_of(params: Params) -> list[Facet]:
    """The facets of params.yaml, in order."""
    kept = {name: settings for name, settings in params.facets.items() if settings is not None}
    return [Facet(name, settings, is_first=place == 0) for place, (name, settings) in enumerate(kept.items())]


def with_facets(params: Params, facets: Mapping[str, Facet] | list[Facet]) -> Params:
    """``params`` with these facets, as they were chosen, and no others."""
    listed = facets.values() if isinstance(facets, Mapping) else facets
    return params.model_copy(update={"facets": {one.name: one.settings for one in listed}})
