"""The lines of a 5W card as texts, in the language of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TEXTS = Path(__file__).parent / "five_w.yaml"
NUMBERS = ("price_level", "views_per_order")
"""Topics whose figure is a number; all others are shares."""

SEASONAL = ("month", "occasion")
"""Topics whose figure is a share of the visits in that period and the weeks around it."""


@cache
def texts_of(language: str) -> dict[str, Any]:
    """The texts in ``language``: en, uk, ru or sq."""
    return yaml.safe_load(TEXTS.read_text(encoding="utf-8"))[language]


def five_w_texts(
    five_w: Mapping[str, list[dict[str, Any]]], language: str, *, is_standing: bool = False
) -> dict[str, Any]:
    """The card as ``intro`` and ``questions``, each with a title and lines; questions without lines are left out.

    Parameters
    ----------
    is_standing : bool
        The segment is a rule-based group; its figures are compared with those of all rule-based groups.
    """
    words = texts_of(language)
    compared_with = words["compared_with"]["by_rule" if is_standing else "clustered"]
    questions = [
        {"title": title, "lines": lines}
        for question, title in words["questions"].items()
        if (lines := _lines(five_w.get(question, ()), words, language, compared_with))
    ]
    return {"intro": words["intro"], "questions": questions}


def _lines(
    lines: Iterable[Mapping[str, Any]], words: Mapping[str, Any], language: str, compared_with: str
) -> list[str]:
    return [_line(line, words, language, compared_with) for line in lines if _differs(line, words)]


def _differs(line: Mapping[str, Any], words: Mapping[str, Any]) -> bool:
    """Whether the figure, as formatted, differs from the overall figure."""
    own, shop = (_figure(line[name], _form(line), words) for name in ("figure", "shop"))
    return own != shop


def _form(line: Mapping[str, Any]) -> str:
    return "number" if line["topic"] in NUMBERS and not line["is_attribute"] else "share"


def _line(line: Mapping[str, Any], words: Mapping[str, Any], language: str, compared_with: str) -> str:
    form = _form(line)
    return words["line"].format(
        label=_label(line, words, language),
        figure=_figure(line["figure"], form, words),
        compared_with=compared_with,
        shop=_figure(line["shop"], form, words),
        lift=_localised(f"{line['lift']:.1f}" if line["lift"] >= 0.95 else f"{line['lift']:.2f}", words),
        count=_localised(f"{line['customer_count']:,}", words),
    )


def _label(line: Mapping[str, Any], words: Mapping[str, Any], language: str) -> str:
    topic, value = line["topic"], line["value"]
    if line["is_attribute"]:
        return words["count_label"].format(name=topic.replace("_", " "), value=value)
    text = words[topic]
    if isinstance(text, dict):
        label = {str(key): label for key, label in text.items()}[value]
    else:
        label = text.format(value=line.get("names", {}).get(language, value))
    return words["season"].format(label=label) if topic in SEASONAL else label


def _figure(value: float, form: str, words: Mapping[str, Any]) -> str:
    if form == "number":
        return _localised(f"{value:,.1f}" if value >= 10 else f"{value:.2f}", words)
    return _localised(f"{value:.0%}" if value >= 0.0995 else f"{value:.1%}", words)


def _localised(text: str, words: Mapping[str, Any]) -> str:
    return text.translate(str.maketrans({",": words["grouping"], ".": words["decimal"]}))
