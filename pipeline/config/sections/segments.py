"""Sections of params.yaml for clustering, choosing and naming segments: types and bounds."""

from __future__ import annotations

import difflib
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from features.journey import STAGES
from features.profile import JOURNEY
from models.segment_metrics import FIGURES
from pipeline.config.types import Count, NonNegative, Positive, Section, Share, Text, Timezone

Block = Literal["interest", "value", "journey", "context", "benefits", "rates"]
ClusterShare = Annotated[float, Field(gt=0, le=0.5)]


class KMeansParams(Section):
    """KMeans settings."""

    n_init: Count
    max_iter: Count
    fit_customers: Count
    # Older models have no such key in their params.
    start_tolerance: Share = 0.0


class HDBSCANParams(Section):
    """HDBSCAN settings."""

    fit_customers: Count
    min_samples: Count
    n_components: Count
    n_neighbors: Annotated[int, Field(ge=2)]
    selection: Literal["leaf", "eom"]
    reduce: Literal["auto", "always", "never"]
    vote_neighbors: Count


Algorithm = Literal["kmeans", "hdbscan"]
Question = Literal["buys", "spend", "categories", "stability", "separation"]
"""What candidates are compared by: predicting buyers, spend and categories; stability; separation."""
SegmentCount = Annotated[int, Field(ge=1, le=100)]


def _journey_column(name: str) -> str:
    if name not in JOURNEY:
        near = difflib.get_close_matches(name, sorted(JOURNEY), n=1)
        raise ValueError("expected a column of the journey" + (f"; nearest: {near[0]}" if near else ""))
    return name


class FacetParams(Section):
    """One way to segment: columns, algorithm, customers, and how candidates are compared."""

    block_weights: Annotated[dict[Block, NonNegative], Field(min_length=1)]
    algorithm: Literal["kmeans", "hdbscan", "auto", "rule"]
    n_segments: SegmentCount | Literal["auto"]
    min_cluster_share: ClusterShare
    min_events: Count
    min_orders: Count | None = None
    min_evidence: NonNegative
    chosen_by: Annotated[list[Question], Field(min_length=1)]
    names: Literal["archetypes", "interests"]
    noise: Literal["nearest", "keep", "standing"]
    try_n_segments: Annotated[list[SegmentCount], Field(min_length=1)]
    try_min_cluster_share: Annotated[list[ClusterShare], Field(min_length=1)]
    try_block_weights: list[dict[Block, NonNegative]]

    @field_validator("block_weights")
    @classmethod
    def _some_weight(cls, value: dict[Block, float]) -> dict[Block, float]:
        if not any(value.values()):
            raise ValueError("expected a weight above 0 for at least one block")
        return value


class LeadingCategoryParams(Section):
    """When a category counts as a customer's leading one."""

    min_lift: Annotated[float, Field(ge=1)]
    min_errors: NonNegative


class ClusteringParams(Section):
    """Settings of the algorithms, for all facets."""

    min_orders: Count | None = None
    journey_columns: list[Annotated[str, AfterValidator(_journey_column)]]
    kmeans: KMeansParams
    hdbscan: HDBSCANParams
    leading_category: LeadingCategoryParams
    border_margin: Share


class MinimumParams(Section):
    """What a log needs before it can be segmented."""

    customers: Annotated[int, Field(ge=0)]
    history_days: NonNegative
    orders: Annotated[int, Field(ge=0)]
    usual_history_days: NonNegative
    usual_silence_days: NonNegative = 7.0


class QualityParams(Section):
    """How segments are judged."""

    sample_customers: Count
    stability_resamples: Count
    hdbscan_resamples: Count
    stability_customers: Count
    hdbscan_resample_customers: Count
    min_stability: Share
    good_stability: Share
    high_stability: Share
    min_segment_share: Share
    # Older models have no such keys in their params.
    min_segment_customers: Count | None = None
    validity: bool = True
    ceiling_customers: Count = 6_000


class IdentityParams(Section):
    """When a segment is the same as one of an earlier training."""

    min_jaccard: Share
    min_part: Share


class PromoteParams(Section):
    """When a challenger may become the champion."""

    tolerance: Share
    # Older models have no such key in their params.
    validity_tolerance: Share = 0.02


class SweepParams(Section):
    """The candidates to choose from, and how."""

    algorithm: Annotated[list[Algorithm], Field(min_length=1)]
    tolerance: Share
    min_stable_share: Share
    min_separation: Annotated[float, Field(ge=-1, le=1)]
    sample_customers: Count
    resamples: Count
    n_jobs: Count


class Bounds(Section):
    """Conditions on one figure of a segment. Ratios are to the shop's; from ``enough`` on, it always holds."""

    min: float | None = None
    max: float | None = None
    min_ratio: float | None = None
    max_ratio: float | None = None
    enough: float | None = None


def _known(figure: str) -> str:
    if figure not in FIGURES:
        near = difflib.get_close_matches(figure, sorted(FIGURES), n=1)
        raise ValueError("expected a figure of segments that Kindred knows" + (f"; nearest: {near[0]}" if near else ""))
    return figure


Figure = Annotated[str, AfterValidator(_known)]


class Archetype(Section):
    """A kind of customer, defined by conditions on a segment's figures."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    priority: int
    name: Text
    when: Annotated[dict[Figure, Bounds], Field(min_length=1)]
    playbook: Text
    avoid: Text


class Trait(Section):
    """A figure that distinguishes segments of one archetype: words for the highest, lowest and middle one."""

    figure: Figure
    above: Text
    below: Text
    between: Text | None = None


class Standing(Section):
    """Name and playbook of a rule-based group: customers with too few events to cluster, by lifecycle stage."""

    name: Text
    playbook: Text
    avoid: Text


Word = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]


class NamingParams(Section):
    """How segments are named."""

    min_lift: Positive
    lift_errors: Positive
    season_days: Annotated[int, Field(ge=1)]
    min_interest_share: Share
    min_interest_customers: Share
    top_categories: Count
    min_group: Count
    # Older models have no such keys in their params.
    max_one_customer_share: Share = 0.5
    min_held_share: Share = 0.75
    min_contrast: Annotated[float, Field(ge=1)]
    min_gap: NonNegative
    min_share_gap: Share
    # Older models have no such keys in their params.
    proposer: Annotated[list[Word], Field(min_length=1)] | None = None
    proposer_seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    interest_playbook: Text
    archetypes: list[Archetype]
    traits: list[Trait]
    standing: dict[str, Standing]

    @model_validator(mode="after")
    def _complete(self, info: ValidationInfo) -> NamingParams:
        missing = sorted(set(STAGES) - set(self.standing))
        # Older models lack the stages that were added later.
        if missing and not (info.context or {}).get("is_saved"):
            raise ValueError(f"expected a name in `standing` for every lifecycle stage; missing: {', '.join(missing)}")
        kinds: list[Archetype | Standing] = [*self.archetypes, *self.standing.values()]
        for language in Text.model_fields:
            names = [getattr(kind.name, language) for kind in kinds]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(
                    f"expected a different name for each archetype and lifecycle stage; twice: {', '.join(twice)}"
                )
        return self


class Move(Section):
    """A possible next action of a customer."""

    text: Text
    days: Positive
    visits: NonNegative
    views: NonNegative
    carts: NonNegative
    orders: NonNegative


class RulesParams(Section):
    """Readable rules that approximate segments."""

    max_conditions: Annotated[int, Field(ge=1, le=6)]
    sample_customers: Annotated[int, Field(ge=2)]
    sensitive: list[str]


def _month_day(value: str) -> tuple[int, int]:
    try:
        at = datetime.strptime(f"2024-{value}", "%Y-%m-%d")
    except ValueError:
        raise ValueError(f"expected a month and a day, such as 12-24; got {value!r}") from None
    return at.month, at.day


class Occasion(Section):
    """Days of every year with a reason to shop."""

    name: Text
    first: str
    last: str

    @field_validator("first", "last")
    @classmethod
    def _is_day(cls, value: str) -> str:
        _month_day(value)
        return value

    @property
    def days(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """First and last (month, day)."""
        return _month_day(self.first), _month_day(self.last)


class CardsParams(Section):
    """The 5W card: how a segment differs from the shop."""

    false_discovery_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    min_lift: Annotated[float, Field(gt=1)] = 1.2
    most_lines: Count = 3
    min_known_share: Share = 0.1
    attribute_bands: Annotated[int, Field(ge=2, le=10)] = 4
    place_columns: list[str] = Field(default_factory=list)
    left_out: list[str] = Field(default_factory=list)
    timezone: Timezone | None = None
    season_margin_days: Positive = 30
    certainty: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    occasions: dict[str, Occasion] = Field(default_factory=dict)
