"""A segment in the summary of a training, and its parts."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, TypeAdapter

from models.segment_names import SegmentNames

Texts = dict[str, str]
"""Language -> text."""


class Part(BaseModel):
    """A part of a summary. Keys of another version are errors. None where nothing was measured, or it is hidden."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Interest(Part):
    """A distinctive interest of a segment; ``lift_low`` is the lower bound of its lift."""

    category: str
    label: str
    share: float
    lift: float
    lift_low: float
    customer_count: int


class Evidence(Part):
    """A figure behind the name of a segment, compared with the shop's.

    ``first_share``: customers whose leading category it is, for a segment named by interests. ``held_share`` and
    ``ahead_share``: customers who meet the condition, and who are ahead of the most similar segment's.
    """

    figure: str
    value: float
    shop: float
    customer_count: int | None = None
    first_share: float | None = None
    condition: dict[str, bool | int | float | str] = {}
    held_share: float | None = None
    nearest_peer: float | None = None
    ahead_share: float | None = None


class Condition(Part):
    """A bound on one column of a profile."""

    column: str
    is_above: bool
    bound: float
    is_share: bool
    label: str


class ConditionsRule(Part):
    """A rule that approximates a segment."""

    text: str = ""
    conditions: list[Condition]
    precision: float
    coverage: float


class StageRule(Part):
    """The rule of a lifecycle stage. ``with_noise``: customers between the segments belong to it too."""

    text: str = ""
    stage: str
    with_noise: bool
    min_events: int
    min_orders: int | None = None
    precision: float
    coverage: float


class UnknownInterestsRule(Part):
    """The rule of customers whose interests are not known."""

    text: str = ""
    min_evidence: float
    min_events: int
    precision: float
    coverage: float


class UnusualRule(Part):
    """The rule of customers far beyond all others, who are a segment of their own."""

    text: str = ""
    is_unusual: bool
    precision: float
    coverage: float


Rule = ConditionsRule | StageRule | UnknownInterestsRule | UnusualRule
RULE: TypeAdapter[Rule] = TypeAdapter(Rule)


class CardLine(Part):
    """A line of a 5W card."""

    topic: str
    is_attribute: bool
    value: str
    figure: float
    shop: float
    lift: float
    q_value: float
    customer_count: int
    names: Texts = {}


Card = dict[str, list[CardLine]]
"""Question, such as who or when -> lines."""


class Retention(Part):
    """The share of a segment's customers of ``days`` ago who are still in it, and the net flow as a share of them."""

    days: int
    is_sample: bool
    share: float | None
    net_share: float | None = None


class StageShare(Part):
    """The share of a segment's customers in a lifecycle stage."""

    stage: str
    share: float


class Segment(Part):
    """A segment, or a rule-based group (``is_standing``). A small one has no figures."""

    facet: str
    segment_id: str
    name: str
    names: Texts
    archetype: str | None
    is_standing: bool
    customer_count: int
    customer_share: float
    spend_share: float | None
    top_categories: list[Interest]
    evidence: list[Evidence]
    stability: float | None
    is_stable: bool
    stability_word: str | None
    playbook: Texts
    avoid: Texts
    is_small: bool
    figures: dict[str, float]
    names_by_figures: Texts
    rule: Rule | None
    five_w: Card
    proposed_names: Texts | None = None
    retention: Retention | None = None
    stages: list[StageShare]

    @property
    def all_names(self) -> SegmentNames:
        """Its names by figures, by hand and proposed."""
        return SegmentNames.from_dict(dict(self))

    @property
    def is_by_interest(self) -> bool:
        """Whether it is named by the interests of its customers."""
        return any(item.first_share is not None for item in self.evidence)
