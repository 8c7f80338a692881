"""A segment as an immutable value: its name, its rule, its card and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from models.identity import RULE_GROUP_PREFIX
from models.lifts import Interest
from models.segment_names import Evidence, Naming, SegmentNames, Texts, without_none


@dataclass(frozen=True, slots=True)
class RuleCondition:
    """A condition of a rule: ``value > bound`` where ``is_above``, else ``value <= bound``; ``label`` of the column."""

    column: str
    is_above: bool
    bound: float
    is_share: bool
    label: str


@dataclass(frozen=True, slots=True)
class SegmentRule:
    """A segment as a readable rule.

    Attributes
    ----------
    text : str
        The rule in words.
    conditions : tuple of RuleCondition, optional
        None for a rule-based group, which has the fields from ``stage`` to ``min_orders`` instead.
    stage : str, optional
        Lifecycle stage.
    with_noise : bool, optional
        Whether the group includes customers between the clusters.
    min_evidence, min_events, min_orders : float, int, int, optional
        Customers with less are in the group.
    is_unusual : bool, optional
        Whether the group holds the customers far beyond all others.
    precision : float
        Share of the customers matched by the rule who are in the segment.
    coverage : float
        Share of the segment's customers matched by the rule.
    """

    text: str
    conditions: tuple[RuleCondition, ...] | None = None
    stage: str | None = None
    with_noise: bool | None = None
    min_evidence: float | None = None
    min_events: int | None = None
    is_unusual: bool | None = None
    min_orders: int | None = None
    precision: float = 1.0
    coverage: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """The rule, ready for JSON; what is None is left out."""
        plain = without_none(self)
        if self.conditions is not None:
            plain["conditions"] = [asdict(condition) for condition in self.conditions]
        return plain


@dataclass(frozen=True, slots=True)
class CardLine:
    """A reliable difference from the shop.

    Attributes
    ----------
    topic, value : str
        What differs, such as channel, and the value that is more or less common; empty for means.
    is_attribute : bool
        Whether the topic is a column of the customers' table.
    figure, shop, lift : float
        The segment's figure, that of all compared segments, and their ratio.
    q_value : float
        Significance after correction for multiple tests.
    names : mapping, optional
        Language -> name of the value, for occasions and categories.
    """

    topic: str
    is_attribute: bool
    value: str
    figure: float
    shop: float
    lift: float
    q_value: float
    customer_count: int
    names: Texts | None = None

    def as_dict(self) -> dict[str, Any]:
        """The line, ready for JSON; without names if there are none."""
        return without_none(self)


@dataclass(frozen=True, slots=True)
class Card:
    """The 5W card of a segment: its lines by question, the most distinctive first."""

    who: tuple[CardLine, ...] = ()
    what: tuple[CardLine, ...] = ()
    why: tuple[CardLine, ...] = ()
    when: tuple[CardLine, ...] = ()
    where: tuple[CardLine, ...] = ()

    @property
    def lines(self) -> tuple[CardLine, ...]:
        """The lines of all questions."""
        return (*self.who, *self.what, *self.why, *self.when, *self.where)

    def as_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Question -> lines, ready for JSON."""
        return {question: [line.as_dict() for line in getattr(self, question)] for question in QUESTIONS}


QUESTIONS = tuple(question.name for question in fields(Card))


@dataclass(frozen=True, slots=True)
class Retention:
    """Customers of a segment some ``days`` ago and now; ``is_sample``: of a sample.

    Attributes
    ----------
    share : float, optional, 0..1
        Those who are still in it (`models.migration_tables.stayed_shares`).
    net_share : float, optional
        Those who came from other segments less those who went to others (`models.migration_tables.net_flows`).
    """

    days: int
    is_sample: bool
    share: float | None
    net_share: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """Everything known of one segment.

    Attributes
    ----------
    customer_share, spend_share : float, 0..1
        Of all customers, and of all spend; the latter is None if it would reveal a small segment.
    stability : float, optional
        Mean Jaccard similarity over resamples; None for a rule-based group and for noise.
    is_small : bool
        Whether the segment is so small that only its size is shown.
    figures : mapping
        The figures of `models.segment_metrics` that may be shown.
    rule : SegmentRule, optional
        None for a small segment, or if no rule describes it.
    card, retention : Card, Retention, optional
        None before they are built; ``retention`` also if it could not be measured.
    """

    facet: str
    segment_id: str
    naming: Naming
    customer_count: int
    customer_share: float
    spend_share: float | None
    top_categories: tuple[Interest, ...]
    stability: float | None
    is_stable: bool
    stability_word: str | None
    is_small: bool
    figures: Mapping[str, float]
    rule: SegmentRule | None = None
    card: Card | None = None
    retention: Retention | None = None

    @property
    def names(self) -> SegmentNames:
        """The names of the segment."""
        return self.naming.names

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The figures that support the name; for a rule-based group, those that show how inactive it is."""
        return self.naming.evidence

    @property
    def is_rule_based(self) -> bool:
        """Whether the segment is a rule-based group, not a cluster."""
        return self.segment_id.startswith(RULE_GROUP_PREFIX)

    @property
    def is_shown_in_detail(self) -> bool:
        """Whether charts and tables of interests include the segment."""
        return not self.is_rule_based and not self.is_small

    def with_names(self, names: SegmentNames) -> Segment:
        """The segment with other names."""
        return replace(self, naming=replace(self.naming, names=names))

    def with_evidence(self, evidence: tuple[Evidence, ...]) -> Segment:
        """The segment with other evidence."""
        return replace(self, naming=replace(self.naming, evidence=evidence))

    def as_dict(self, language: str) -> dict[str, Any]:
        """A row of segments.json; ``name`` is in ``language``."""
        names, naming = self.names, self.naming
        return {
            "facet": self.facet,
            "segment_id": self.segment_id,
            "name": names.shown(language),
            "names": names.in_languages(),
            "archetype": naming.archetype,
            "is_standing": self.is_rule_based,
            "customer_count": self.customer_count,
            "customer_share": self.customer_share,
            "spend_share": self.spend_share,
            "top_categories": [asdict(interest) for interest in self.top_categories],
            "evidence": [item.as_dict() for item in self.evidence],
            "stability": self.stability,
            "is_stable": self.is_stable,
            "stability_word": self.stability_word,
            "playbook": dict(naming.playbook),
            "avoid": dict(naming.avoid),
            "is_small": self.is_small,
            "figures": dict(self.figures),
            "names_by_figures": dict(names.by_figures),
            "rule": self.rule and self.rule.as_dict(),
            **({} if self.card is None else {"five_w": self.card.as_dict()}),
            **({} if names.proposed is None else {"proposed_names": names.proposed or None}),
            "retention": self.retention and asdict(self.retention),
        }
