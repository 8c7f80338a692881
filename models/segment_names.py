"""The names of a segment, and the evidence for them, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

Texts = Mapping[str, str]
"""Language -> text."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Conditions on one figure; None where there is none. Ratios are to the shop's; from ``enough`` on, it holds."""

    min: float | None = None
    max: float | None = None
    min_ratio: float | None = None
    max_ratio: float | None = None
    enough: float | None = None

    def limits(self) -> dict[str, float]:
        """Bound -> limit, without bounds that are None."""
        return without_none(self)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A figure that supports a name.

    Attributes
    ----------
    value, shop : float
        The figure of the segment and of the shop.
    customer_count : int, optional
        Customers who show an interest.
    first_share : float, optional
        Share of the segment's customers whose largest interest at its level of the tree this is.
    condition : Bounds
        The condition that the figure meets.
    held_share : float, optional
        Share of the segment's customers who meet the condition individually.
    nearest_peer : float, optional
        The nearest figure among segments of the same name.
    ahead_share : float, optional
        Share of the segment's customers beyond the median customer of each of these segments.
    """

    figure: str
    value: float
    shop: float
    customer_count: int | None = None
    first_share: float | None = None
    condition: Bounds = Bounds()
    held_share: float | None = None
    nearest_peer: float | None = None
    ahead_share: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The evidence, ready for JSON; what is None is left out."""
        return without_none(self) | {"condition": self.condition.limits()}

    @staticmethod
    def from_dict(item: Mapping[str, Any]) -> Evidence:
        """Read what `as_dict` made."""
        known = {entry.name: item[entry.name] for entry in fields(Evidence) if entry.name in item}
        return Evidence(**{**known, "condition": Bounds(**item.get("condition", {}))})


@dataclass(frozen=True, slots=True)
class SegmentNames:
    """The names of a segment; the only way from a segment to the name that is shown.

    Attributes
    ----------
    by_figures : mapping
        Language -> the name by figures or interests. It is kept, so it can be restored.
    given : str, optional
        The name given by hand, in all languages.
    proposed : mapping, optional
        Language -> the name proposed by `naming.proposer`. None if the program was not used; empty if it proposed no
        valid name.
    is_numbered : bool
        Whether only a number distinguishes the name by figures from that of another segment.
    """

    by_figures: Texts
    given: str | None = None
    proposed: Texts | None = None
    is_numbered: bool = False

    def shown(self, language: str) -> str:
        """The name given by hand, else the name by figures in ``language``."""
        return self.given or self.by_figures[language]

    def in_languages(self) -> dict[str, str]:
        """Language -> `shown`."""
        return {language: self.shown(language) for language in self.by_figures}

    @property
    def is_by_figures(self) -> bool:
        """Whether the names shown are those by figures."""
        return self.in_languages() == self.by_figures

    def proposal(self, language: str) -> str | None:
        """The proposed name; None if there is none, it is shown already, or a person named the segment."""
        name = (self.proposed or {}).get(language)
        return None if self.given or name == self.shown(language) else name

    def with_given(self, name: str | None) -> SegmentNames:
        """The names after a person named the segment; None or an empty name restores the name by figures."""
        return replace(self, given=name or None)

    def with_addition(self, separator: str, texts: Texts) -> SegmentNames:
        """The name by figures, followed by ``texts``."""
        extended = {language: f"{name}{separator}{texts[language]}" for language, name in self.by_figures.items()}
        return replace(self, by_figures=extended)

    def with_number(self, number: int) -> SegmentNames:
        """The name by figures, followed by a number."""
        numbered = self.with_addition(" ", dict.fromkeys(self.by_figures, str(number)))
        return replace(numbered, is_numbered=True)

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> SegmentNames:
        """The names in a row of `Segment.as_dict`; rows of older runs have no ``names_by_figures``."""
        names = row["names"]
        by_figures = row.get("names_by_figures", names)
        given = None if names == by_figures else next(iter(names.values()))
        return SegmentNames(by_figures, given, row.get("proposed_names"))


@dataclass(frozen=True, slots=True)
class Naming:
    """The name of a segment, what supports it, and what to do.

    Attributes
    ----------
    archetype : str, optional
        The id of the archetype; None if the segment is named otherwise.
    playbook, avoid : mapping
        Language -> what to do, and what to avoid; empty without an archetype.
    is_broad : bool
        Whether the segment is called broad, because no interest stands out.
    """

    names: SegmentNames
    archetype: str | None = None
    playbook: Texts = field(default_factory=dict)
    avoid: Texts = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    is_broad: bool = False

    @property
    def kind(self) -> tuple[str | None, str | None, tuple[str, ...]]:
        """What the name means before any addition that makes it unique: the archetype, else its figure and bounds."""
        if self.archetype or not self.evidence:
            return self.archetype, None, ()
        return None, self.evidence[0].figure, tuple(self.evidence[0].condition.limits())

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> Naming:
        """The naming in a row of `Segment.as_dict`."""
        evidence = tuple(Evidence.from_dict(item) for item in row["evidence"])
        texts = {key: row.get(key, {}) for key in ("playbook", "avoid")}
        return Naming(SegmentNames.from_dict(row), row["archetype"], evidence=evidence, **texts)


def without_none(item: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not None, in their order; nested values are not converted."""
    values = ((entry.name, getattr(item, entry.name)) for entry in fields(item))
    return {name: value for name, value in values if value is not None}
