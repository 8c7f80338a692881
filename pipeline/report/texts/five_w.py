"""The lines of a 5W card as texts, in the language of the report."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TEXTS = Path(__file__).parent / "five_w.yaml"
NUMBERS = ("price_level", "views_per_order")
"""Topics whose figure is a number; all others are shares."""

SEASONAL = ("month", "occasion")
"""Topics of which the figure is a share of the visits at that time and around it."""


@cache
def texts_of(language: str) -> dict[str, Any]:
    """The words in ``language``: en, uk, ru or sq."""
    return yaml.safe_load(TEXTS.read_text(encoding="utf-8"))[language]


def five_w_texts(
    five_w: Mapping[str, list[dict[str, Any]]], language: str, *, is_standing: bool = False
) -> dict[str, Any]:
    """The card as ``intro`` and ``questions``, each with its title and lines; questions without a line are left out.

    Parameters
    ----------
    is_standing : bool
        The segment is one by rule, whose figures are beside those of all such.
    """
    words = texts_of(language)
    beside = words["beside"]["by_rule" if is_standing else "clustered"]
    questions = [
        {"title": title, "lines": lines}
        for question, title in words["questions"].items()
        if (lines := [_line(one, words, language, beside) for one in five_w.get(question, ()) if _differs(one, words)])
    ]
    return {"intro": words["intro"], "questions": questions}


def _differs(line: Mapping[str, Any], words: Mapping[str, Any]) -> bool:
    """Whether a line reads otherwise than the shop's."""
    own, shop = (_figure(line[name], _form(line), words) for name in ("figure", "shop"))
    return own != shop


def _form(line: Mapping[str, Any]) -> str:
    return "number" if line["topic"] in NUMBERS and not line["is_attribute"] else "share"


def _line(line: Mapping[str, Any], words: Mapping[str, Any], language: str, beside: str) -> str:
    form = _form(line)
    return words["line"].format(
        label=_label(line, words, language),
        figure=_figure(line["figure"], form, words),
        beside=beside,
        shop=_figure(line["shop"], form, words),
        lift=_localised(f"{line['lift']:.1f}" if line["lift"] >= 0.95 else f"{line['lift']:.2f}", words),
        count=_localised(f"{line['customer_count']:,}", words),
    )


def _label(line: Mapping[str, Any], words: Mapping[str, Any], language: str) -> str:
    topic, value = line["topic"], line["value"]
    if line["is_attribute"]:
        return words["count_label"].format(name=topic.replace("_", " "), value=value)
    told = words[topic]
    if isinstance(told, dict):
        label = {str(key): text for key, text in told.items()}[value]
    else:
        label = told.format(value=line.get("names", {}).get(language, value))
    return words["season"].format(label=label) if topic in SEASONAL else label


def _figure(value: float, form: str, words: Mapping[str, Any]) -> str:
    if form == "number":
        return _localised(f"{value:,.1f}" if value >= 10 else f"{value:.2f}", words)
    return _localised(f"{value:.0%}" if value >= 0.0995 else f"{value:.1%}", words)


def _localised(text: str, words: Mapping[str, Any]) -> str:
    return text.translate(str.maketrans({",": words["grouping"], ".": words["decimal"]}))
