"""The lines of a 5W card as texts, in the language of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.report.parts.segment import Card, CardLine

TEXTS = Path(__file__).parent / "five_w.yaml"
NUMBERS = ("price_level", "views_per_order")
"""Topics whose figure is a number; all others are shares."""

SEASONAL = ("month", "occasion")
"""Topics whose figure is a share of the visits in that period and the weeks around it."""


@cache
def texts_of(language: str) -> dict[str, Any]:
    """The texts in ``language``: en, uk, ru or sq."""
    return yaml.safe_load(TEXTS.read_text(encoding="utf-8"))[language]


@dataclass(frozen=True)
class CardTexts:
    """A 5W card: an introduction, and questions with their lines."""

    intro: str
    questions: list[QuestionTexts]


@dataclass(frozen=True)
class QuestionTexts:
    """A question of the card; questions without lines are left out."""

    title: str
    lines: list[str]


def five_w_texts(card: Card, language: str, *, is_standing: bool = False) -> CardTexts:
    """The card in words.

    Parameters
    ----------
    is_standing : bool
        The segment is a rule-based group; its figures are compared with those of all rule-based groups.
    """
    words = texts_of(language)
    compared_with = words["compared_with"]["by_rule" if is_standing else "clustered"]
    questions = []
    for question, title in words["questions"].items():
        shown = [line for line in card.get(question, ()) if _differs(line, words)]
        if shown:
            questions.append(QuestionTexts(title, [_line(line, words, language, compared_with) for line in shown]))
    return CardTexts(words["intro"], questions)


def _differs(line: CardLine, words: Mapping[str, Any]) -> bool:
    """Whether the figure, as formatted, differs from the overall figure."""
    own, shop = (_figure(value, _form(line), words) for value in (line.figure, line.shop))
    return own != shop


def _form(line: CardLine) -> str:
    return "number" if line.topic in NUMBERS and not line.is_attribute else "share"


def _line(line: CardLine, words: Mapping[str, Any], language: str, compared_with: str) -> str:
    form = _form(line)
    return str(words["line"]).format(
        label=_label(line, words, language),
        figure=_figure(line.figure, form, words),
        compared_with=compared_with,
        shop=_figure(line.shop, form, words),
        lift=_localised(f"{line.lift:.1f}" if line.lift >= 0.95 else f"{line.lift:.2f}", words),
        count=_localised(f"{line.customer_count:,}", words),
    )


def _label(line: CardLine, words: Mapping[str, Any], language: str) -> str:
    if line.is_attribute:
        return str(words["count_label"]).format(name=line.topic.replace("_", " "), value=line.value)
    text = words[line.topic]
    if isinstance(text, dict):
        label = {str(key): label for key, label in text.items()}[line.value]
    else:
        label = text.format(value=line.names.get(language, line.value))
    return words["season"].format(label=label) if line.topic in SEASONAL else label


def _figure(value: float, form: str, words: Mapping[str, Any]) -> str:
    if form == "number":
        return _localised(f"{value:,.1f}" if value >= 10 else f"{value:.2f}", words)
    return _localised(f"{value:.0%}" if value >= 0.0995 else f"{value:.1%}", words)


def _localised(text: str, words: Mapping[str, Any]) -> str:
    return text.translate(str.maketrans({",": words["grouping"], ".": words["decimal"]}))
