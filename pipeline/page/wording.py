"""The texts of the page: those of the report, its own, and the names of segments in each language."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from babel.numbers import format_percent

from pipeline.config.params import Params
from pipeline.report.parts.segment import RULE, Rule
from pipeline.report.texts.languages import Text, read_texts
from pipeline.report.texts.rules import rule_text
from pipeline.report.texts.wording import Wording

TEXTS = Path(__file__).parent / "texts"
LANGUAGES = {"en": "English", "uk": "Українська", "ru": "Русский", "sq": "Shqip"}
AUDIENCE = "audience:"
SEGMENT_COLUMNS = ("segment", "interest_segment", "next_segment", "next_interest_segment")
MONEY = ("spend", "expected_spend", "returned_spend", "next_tier_needs")
SHARES = (
    *("strength", "margin", "interest_strength", "interest_margin"),
    *("buy_probability", "alive_probability", "click_rate"),
)
MINUS = "\N{MINUS SIGN}"
WHOLE = ("order_count", "recency_score", "frequency_score", "monetary_score")


@dataclass(frozen=True)
class SegmentTexts:
    """Names, suggested actions and rules of segments.

    Attributes
    ----------
    names, playbooks : mapping
        Name in any language -> texts by language.
    rules : mapping
        Name in any language -> rule; lacks segments without one.
    """

    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    playbooks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    rules: Mapping[str, Rule] = field(default_factory=dict)


def segment_texts(path: Path) -> SegmentTexts:
    """Texts of the segments of a training (segments.json); none if there is no such file, or one of another version."""
    return _segment_texts(path, path.stat().st_mtime_ns) if path.is_file() else SegmentTexts()


@functools.lru_cache(maxsize=1)
def _segment_texts(path: Path, changed_at: int) -> SegmentTexts:
    try:
        rows = [(name, row) for row in json.loads(path.read_text(encoding="utf-8")) for name in row["names"].values()]
        rules = {name: RULE.validate_python(row["rule"]) for name, row in rows if row["rule"]}
        return SegmentTexts(
            {name: row["names"] for name, row in rows}, {name: row["playbook"] for name, row in rows}, rules
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return SegmentTexts()


@functools.cache
def page_texts(language: str) -> Mapping[str, Text]:
    """Texts of the report and of the page, by key."""
    return read_texts(language) | read_texts(language, TEXTS)


class PageWording(Wording):
    """The wording of a language, with the values of columns of the scores."""

    def __init__(self, language: str, params: Params, segments: SegmentTexts) -> None:
        super().__init__(language, page_texts(language), params.currency, params.local_timezone)
        self.segments = segments

    def column(self, name: str) -> str:
        """The label of a column of the scores, or of an audience in the changes (``audience:NAME``)."""
        if name.startswith(AUDIENCE):
            return f"{self('page.campaigns.name')}: {name.removeprefix(AUDIENCE)}"
        return self(f"page.column.{name}") if f"page.column.{name}" in self.texts else name.replace("_", " ")

    def value(self, column: str, value: Any) -> str:
        """A value of a column of the scores, as text."""
        if isinstance(value, bool):
            return self("page.yes") if value else self("page.no")
        if isinstance(value, datetime):
            return self.moment(value.isoformat(), "medium")
        if isinstance(value, int | float) and column in WHOLE:
            return self.whole(value)
        if isinstance(value, int | float):
            return self.number(float(value), "money" if column in MONEY else "share" if column in SHARES else "number")
        if isinstance(value, str):
            return self._text(column, value)
        return "; ".join(self._text(column, str(part)) for part in value)

    def _text(self, column: str, value: str) -> str:
        if column in SEGMENT_COLUMNS:
            return self.segments.names.get(value, {}).get(self.language, value)
        key = f"page.value.{value}"
        return self(key) if key in self.texts else self.group(value)

    def money(self, value: float) -> str:
        """An amount in the shop's currency."""
        return self.number(value, "money")

    def more_money(self, value: float) -> str:
        """A difference of amounts, with its sign."""
        return _signed(value, self.money(abs(value)))

    def precise_share(self, value: float) -> str:
        """A share with one decimal, as its difference from another has."""
        return format_percent(value, "0.0%", locale=self.language)

    def points(self, value: float) -> str:
        """A difference of shares in percentage points, with its sign."""
        return self("page.campaigns.points", points=self.plain_points(value))

    def plain_points(self, value: float) -> str:
        """As `points`, without the unit."""
        return _signed(value, self.fixed(100.0 * abs(value), "0.0"))

    def playbook(self, name: str) -> str:
        """What to do for a segment; empty if not known."""
        return self.segments.playbooks.get(name, {}).get(self.language, "")

    def rule(self, name: str) -> str:
        """The rule of thumb of a segment; empty if not known."""
        return rule_text(self.segments.rules[name], self) if name in self.segments.rules else ""


def _signed(value: float, text: str) -> str:
    """The text of an absolute value with its sign, unless it is rounded to 0."""
    return text if not any(digit in text for digit in "123456789") else f"{'+' if value > 0 else MINUS}{text}"
