"""The summary of a training as types: what summary.json holds, and all that reports are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pipeline.config.errors import UserError
from pipeline.report.parts.quality import Quality, TrainingQuality
from pipeline.report.parts.reading import Reading
from pipeline.report.parts.segment import Part, Segment, Texts

HINT = "Train again, or use the version of Kindred that trained it."
Counts = list[list[int | None]]
Ratios = list[list[float | None]]
"""A list for each row of a table; None in a hidden cell."""


class Totals(Part):
    """Sums over all customers; ``spend`` is net of refunds."""

    buyers: int
    repeat_buyers: int
    orders: float
    paid: float
    spend: float


class Tier(Part):
    """A value tier; shares are of all buyers and of all revenue."""

    tier: str
    customer_count: int
    customer_share: float
    spend_share: float


class CurvePoint(Part):
    """The share of revenue that the top buyers bring in."""

    customer_share: float
    spend_share: float


class Revenue(Part):
    """Where revenue comes from."""

    tiers: list[Tier]
    curve: list[CurvePoint]


class HeatMap(Part):
    """Lifts of the interests: a row per segment, a column per category; None if there is no reliable difference."""

    segment_ids: list[str]
    categories: list[str]
    lifts: Ratios


class Change(Part):
    """What became of a segment in one training; ``was``, ``was_names``: its earlier name, if it has changed."""

    verdict: str
    is_here: bool
    related: list[str]
    jaccard: float | None
    was: str = ""
    was_names: Texts | None = None


class LineageRow(Part):
    """What became of a segment in each training; None where there was none."""

    segment_id: str
    name: str
    names: Texts
    cells: list[Change | None]


class Lineage(Part):
    """The latest related trainings, by their as_of; empty until there are two."""

    trainings: list[str]
    rows: list[LineageRow]


class Funnel(Part):
    """Customers by step, and the share of each segment's customers who reached each step."""

    steps: list[str]
    shop: list[int]
    segments: dict[str, list[float | None]]


class Crosstab(Part):
    """Segments by the groups of a rule-based segmentation; ratios are to chance, None if they do not stand out."""

    by: str
    rows: list[str]
    columns: list[str]
    counts: Counts
    ratios: Ratios


class InterestSettings(Part):
    """The interest formula: half-life in days, weights by event type, weight of the average customer."""

    half_life_days: float
    signal_weights: dict[str, float]
    kappa: float


class Method(Part):
    """The settings that explain the figures."""

    history_days: float
    log_days: float
    usual_history_days: float
    horizon_days: int = 0  # runs of older versions have none, and no actions either
    timezone: str
    tier_by: str
    min_events: int
    min_group: int
    min_known_share: float
    noise_policy: str | None
    interests: InterestSettings
    is_fitted: bool
    query_counts: dict[str, int]
    min_separation: float | None = None
    min_stable_share: float | None = None
    params_file: str | None = None


class ActionFigures(Part):
    """Something to do first: its name, the customers it is for, and the money at stake (`pipeline.audiences.monday`).

    ``money`` is a sum over these customers in the shop's currency, None where there is none or it is hidden;
    ``money_column`` is the column of the scores that it is of.
    """

    name: str
    customer_count: int
    money: float | None
    money_column: str | None


class Audience(Part):
    """Customers with a clear interest in a category; the share is of all clustered customers."""

    category: str
    customer_count: int
    customer_share: float
    label: str


class Attributes(Part):
    """Columns of the customers' table that were examined; ``is_shown``: whether a card shows one of them."""

    columns: list[str]
    customer_count: int
    is_shown: bool


class Migration(Part):
    """Customers by lifecycle stage at an earlier moment (rows) and now (columns); 0 where hidden."""

    since: str
    customer_count: int
    stayed_share: float
    groups: list[str]
    rows: list[list[int]]


class FacetSummary(Part):
    """A facet: its settings, the figures of its clustered customers, and its quality."""

    name: str
    names: str
    clustered_count: int
    min_events: int
    min_orders: int | None = None
    min_evidence: float
    noise_policy: str | None
    shop: dict[str, float]
    quality: Quality

    @property
    def is_by_interest(self) -> bool:
        """Whether its segments are named by interests."""
        return self.names == "interests"


class FacetCrosstab(Part):
    """`models.facet_crossing.cross_facets` of the first two facets: rows by columns."""

    facets: list[str]
    rows: list[str]
    columns: list[str]
    counts: Counts
    spend_shares: Ratios


class CategoryLifts(Part):
    """How strong the interest of each segment in a category is; only reliable lifts."""

    category: str
    label: str
    lifts: dict[str, float]


class Summary(Part):
    """Everything shown of a training; no customer ids. ``segments`` are those of all facets.

    ``quality``, ``shop``, ``heat_map``, ``crossings`` and ``clustered_count`` are those of the first facet.
    """

    run_id: str
    language: str
    currency: str | None
    as_of: str
    customer_count: int
    clustered_count: int
    segments: list[Segment]
    shop: dict[str, float]
    totals: Totals
    spend_is: str
    spend_step: float = 0.0  # `pipeline.report.summarise.spend_step`; runs of older versions have none
    revenue: Revenue | None
    has_spend: bool
    heat_map: HeatMap
    lineage: Lineage
    funnel: Funnel
    crossings: list[Crosstab]
    reading: Reading
    quality: TrainingQuality
    method: Method
    audiences: list[Audience]
    attributes: Attributes | None
    migration: Migration | None
    facets: list[FacetSummary]
    crossing: FacetCrosstab | None
    interests: list[CategoryLifts]
    actions: Sequence[ActionFigures] = ()

    def of_facet(self, name: str) -> list[Segment]:
        """The segments of a facet."""
        return [segment for segment in self.segments if segment.facet == name]

    def as_json(self) -> dict[str, Any]:
        """As plain values: the keys that were given, in their order."""
        return self.model_dump(mode="json", exclude_unset=True)


def read_summary(run_id: str, content: Mapping[str, Any]) -> Summary:
    """The summary.json of a run.

    Raises
    ------
    UserError
        Another version of Kindred wrote it.
    """
    try:
        return Summary.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        problem = _problem(first["type"], first["loc"])
        raise UserError(f"run {run_id}: expected a summary of this version of Kindred; {problem}. {HINT}") from None


def _problem(kind: str, place: Sequence[int | str]) -> str:
    key = ".".join(map(str, place))
    problems = {"missing": f"it has no {key!r}", "extra_forbidden": f"{key!r} is not one of its keys"}
    return problems.get(kind, f"{key!r} is not as expected")
