"""The texts of the report in one language: texts from ``texts/``, and numbers, dates and plurals in its format."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from babel import Locale
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal, format_percent

from features.context import CHANNEL_PREFIX
from features.events import EventType
from features.interests import SHARE_PREFIX
from features.journey import PASSING_STAGES
from models.disclosure import SUBGROUP_SHARE
from models.identity import RULE_GROUP_PREFIX
from models.naming import category_in_languages
from pipeline.report.texts.languages import Text, read_texts

MONEY = {"average_order_value", "spend_per_customer", "paid_per_customer"}
"""Figures shown as money. Names that end in one of `SHARES` are shares; all others are plain numbers."""
SHARES = ("_share", "return_rate")
BOUNDS = {
    "days_since_last_purchase": "bought",
    "days_since_last_event": "seen",
    "days_from_first_to_last_event": "span",
    "spend": "spend",
}
"""Column of a rule -> the key of its phrase, without ``_above`` or ``_below``."""
DAY_CHARS = 10
"""Length of a date without a time, such as 2025-11-01."""
DATE_LOCALES = {"en": "en_GB"}
"""Language -> the locale of its dates, where it differs: English is British, as in 1 November 2025."""
ALL_RETAINED = 0.995
"""At this share or above, the card does not say that customers pass through the stage: it would contradict itself."""
PREDICTED = ("buys_auc", "spend_r2", "category_auc")


def number(value: float | None, form: str = "number", language: str = "en", currency: str | None = None) -> str:
    """A figure formatted for readers, money with its currency if known; a dash for a missing value."""
    if value is None or np.isnan(value):
        return "–"
    if form == "share":
        if 0 < value < 0.0005:
            return "<" + format_percent(0.001, "0.0%", locale=language)
        return format_percent(value, "0%" if value == 0 or value >= 0.0995 else "0.0%", locale=language)
    if form == "money":
        digits = "#,##0" if abs(value) >= 100 or value == 0 else "#,##0.00"
        if currency is None:
            return format_decimal(value, digits, locale=language)
        pattern = Locale.parse(language).currency_formats["standard"].pattern.replace("#,##0.00", digits)
        return format_currency(value, currency, pattern, locale=language, currency_digits=False)
    return format_decimal(value, "#,##0" if abs(value) >= 20 or value == 0 else "#,##0.0", locale=language)


def form_of(figure: str) -> str:
    """The format of a figure: share, money or number."""
    return "share" if figure.endswith(SHARES) else "money" if figure in MONEY else "number"


def shown_name(segment: Mapping[str, Any], language: str | None = None) -> str:
    """The name of a segment, marked if the segment is unstable."""
    name = segment["names"][language] if language else segment["name"]
    return str(name) if segment["is_stable"] else wording(language or "en")("unstable", name=name)


def proposed_name(segment: Mapping[str, Any], language: str) -> str | None:
    """The name that `naming.proposer` proposes; None if there is none, it is in use, or the name was set by hand."""
    proposed = (segment.get("proposed_names") or {}).get(language)
    is_by_hand = proposed is not None and segment["names"] != segment["names_by_figures"]
    return None if is_by_hand or proposed == segment["names"][language] else proposed


def is_by_interest(segment: Mapping[str, Any]) -> bool:
    """Whether a segment is named by the interests of its customers."""
    return any("first_share" in item for item in segment["evidence"])


@functools.cache
def wording(language: str, currency: str | None = None, timezone: str = "UTC") -> Wording:
    """The wording of a language, with amounts in a currency (ISO 4217) and dates in a time zone; read once."""
    return Wording(language, read_texts(language), currency, timezone)


class Wording:
    """Texts by key, such as ``words("days", count=3)``, and phrases composed of several texts."""

    def __init__(
        self, language: str, texts: Mapping[str, Text], currency: str | None = None, timezone: str = "UTC"
    ) -> None:
        self.language = language
        self.currency = currency
        self.timezone = timezone
        self.texts = texts
        self.date_locale = DATE_LOCALES.get(language, language)
        self.plural = Locale.parse(language).plural_form

    def __call__(self, key: str, **values: Any) -> str:
        """The text of ``key``; ``count`` selects the plural form and is formatted as a whole number."""
        text = self.texts[key]
        if isinstance(text, dict):
            text = text[self.plural(values["count"])]
        if isinstance(values.get("count"), int | float):
            values["count"] = self.whole(values["count"])
        return text.format(**values).replace("..", ".")  # a date may end with a full stop

    def whole(self, value: float) -> str:
        """A count."""
        return format_decimal(value, "#,##0.#", locale=self.language)

    def number(self, value: float | None, form: str = "number") -> str:
        """A figure in one of the forms number, share, money."""
        return number(value, form, self.language, self.currency)

    def times(self, value: float | None) -> str:
        """A multiple, with one decimal."""
        return "" if value is None else format_decimal(value, "0.0" if value else "0", locale=self.language)

    def fixed(self, value: float) -> str:
        """A figure with two decimals."""
        return format_decimal(value, "0.00", locale=self.language)

    def places(self, value: float) -> str:
        """A figure with up to two decimals."""
        return format_decimal(value, "0.##", locale=self.language)

    def date(self, moment: str, form: str = "long") -> str:
        """The date of an ISO time (UTC) in the shop's time zone, or a plain date; form: long, medium or short."""
        return format_date(self._local_time(moment), form, locale=self.date_locale)

    def moment(self, moment: str, form: str = "long") -> str:
        """As `date`, with the time of day unless it is midnight in the shop's time zone."""
        local = self._local_time(moment)
        day = format_date(local, form, locale=self.date_locale)
        return day if local.time() == time() else f"{day}, {local:%H:%M}"

    def _local_time(self, moment: str) -> datetime:
        at = datetime.fromisoformat(moment.removesuffix(" UTC"))
        is_day = len(moment) <= DAY_CHARS
        return at if is_day else at.replace(tzinfo=at.tzinfo or UTC).astimezone(ZoneInfo(self.timezone))

    def name(self, segment: Mapping[str, Any]) -> str:
        """The name of a segment, marked if it is unstable."""
        return shown_name(segment, self.language)

    def category(self, label: str) -> str:
        """The label of a category in this language."""
        return category_in_languages(label)[self.language]

    def categories(self, segment: Mapping[str, Any]) -> str:
        """The distinctive interests of a segment, as a list in one text."""
        return "; ".join(self.category(interest["label"]) for interest in segment["top_categories"])

    def group(self, value: str) -> str:
        """The label of a rule-based group; its own value where there is no text for it."""
        code = value.lower().replace(" ", "_")
        for key in (f"group.{code}", f"stage.{code}"):
            if key in self.texts:
                return self(key)
        return value

    def figure(self, name: str) -> str:
        """The label of a figure of `models.naming`; its name where there is no label."""
        if name.startswith("stage_"):
            return self("figure.stage_share", name=self(f"stage.{name.removeprefix('stage_').removesuffix('_share')}"))
        key = f"figure.{name}"
        return self(key) if key in self.texts else name.replace("_", " ")

    def event_list(self, event_types: Iterable[str]) -> str:
        """The types of events in a log, without those of unknown type."""
        return ", ".join(self(f"event.{kind}") for kind in event_types if kind != EventType.OTHER)

    def differing_figures(
        self, names: Iterable[str], own: Mapping[str, float], shop: Mapping[str, float], *, min_share: float
    ) -> list[tuple[str, str, str]]:
        """Name, value and overall value of the figures in which a segment differs, as texts.

        Figures whose texts are equal are left out. So are figures about a subgroup, such as customers with a cart, if
        fewer than ``min_share`` of the segment belong to it.
        """
        kept = [name for name in names if shop[name] and own.get(SUBGROUP_SHARE.get(name, ""), 1.0) >= min_share]
        rows = [(name, *(self.number(figures[name], form_of(name)) for figures in (own, shop))) for name in kept]
        return [(name, value, overall) for name, value, overall in rows if value != overall]

    def evidence(self, evidence: Sequence[Mapping[str, Any]], *, is_outside: bool = False) -> list[str]:
        """The figures behind the name of a segment, without those that look the same as the overall figure.

        ``is_outside``: the segment is not part of the customers it is compared with, those clustered by behaviour.
        """
        if evidence and "first_share" in evidence[0]:
            return [self._interest_evidence(item) for item in evidence]
        others = self("all_by_behaviour" if is_outside else "all_segmented")
        items = [
            item for item in map(self._evidence_texts, evidence) if item["value"] != item["shop"] or "similar" in item
        ]
        lines = []
        for item in items:
            line = self("cards.evidence_similar" if "similar" in item else "cards.evidence", others=others, **item)
            if "condition_share" in item:
                line = self("cards.evidence_condition", evidence=line, share=item["condition_share"])
            lines.append(line)
        return lines

    def _evidence_texts(self, evidence: Mapping[str, Any]) -> dict[str, str]:
        """A figure and those it is compared with, as texts."""
        figure = str(evidence["figure"])
        label, form = self.figure(figure), form_of(figure)
        if figure.startswith(SHARE_PREFIX):
            category = self.category(figure.removeprefix(SHARE_PREFIX))
            label, form = self("cards.evidence_interest", name=category), "share"
        names = {"value": "value", "shop": "shop", "similar": "nearest_peer"}
        texts = {key: self.number(evidence[name], form) for key, name in names.items() if name in evidence}
        if "held_share" in evidence:
            texts["condition_share"] = self.number(evidence["held_share"], "share")
        return {"label": label, **texts}

    def _interest_evidence(self, evidence: Mapping[str, Any]) -> str:
        """A category that an interest segment is named by."""
        shares = {name: self.number(evidence[name], "share") for name in ("value", "shop", "first_share")}
        name = self.category(str(evidence["figure"]).removeprefix(SHARE_PREFIX))
        return self(
            "facets.evidence", name=name, share=shares["value"], shop=shares["shop"], first=shares["first_share"]
        )

    def interest(self, interest: Mapping[str, Any]) -> str:
        """A distinctive interest."""
        return self(
            "cards.interest",
            label=self.category(interest["label"]),
            share=self.number(interest["share"], "share"),
            lift=self.times(interest["lift"]),
            low=self.times(interest["lift_low"]),
            customers=self("customers", count=interest["customer_count"]),
        )

    def stability(self, segment: Mapping[str, Any]) -> str:
        """How reliably re-clustering recovers a segment; empty if not measured."""
        if segment["stability"] is None:
            return ""
        word = self(f"stability.{segment['stability_word']}")
        text = self("cards.stability", word=word, share=self.number(segment["stability"], "share"))
        return text if segment["is_stable"] else f"{text} {self('cards.no_campaign')}"

    def retention(self, segment: Mapping[str, Any]) -> str:
        """The share of earlier members who are still in the segment; empty if unknown, or if nobody left a stage."""
        retention = segment.get("retention")  # absent in runs of earlier versions
        if retention is None:
            return ""
        days, share = self("days", count=retention["days"]), self.number(retention["share"], "share")
        is_passing = segment["segment_id"].removeprefix(RULE_GROUP_PREFIX) in PASSING_STAGES
        if is_passing and retention["share"] >= ALL_RETAINED:
            return ""
        text = self("cards.retention_passing" if is_passing else "cards.retention", days=days, share=share)
        return f"{text} {self('cards.retention_sample')}" if retention.get("is_sample") else text

    def rule(self, rule: Mapping[str, Any] | None) -> str:
        """A segment's rule as sentences, with its coverage and precision."""
        if rule is None:
            return self("rule.none")
        conditions = self.conditions(rule)
        conditions = conditions[0].upper() + conditions[1:]
        if rule["precision"] == rule["coverage"] == 1:
            return self("rule.exact", rule=conditions)
        shares = {name: self.number(rule[name], "share") for name in ("precision", "coverage")}
        return self("rule.holds", rule=conditions, **shares)

    def conditions(self, rule: Mapping[str, Any]) -> str:
        """The conditions of a rule, in one phrase."""
        if "min_evidence" in rule:
            return self("rule.unknown", events=self("count.event", count=rule["min_events"]))
        if "stage" in rule:
            key = "rule.rule_based_noise" if rule["with_noise"] else "rule.rule_based"
            events = self("count.event", count=rule["min_events"])
            return self(key, events=events, stage=self(f"stage.{rule['stage']}"))
        return self("rule.and").join(map(self._condition, rule["conditions"]))

    def _condition(self, condition: Mapping[str, Any]) -> str:
        column, bound, is_above = condition["column"], condition["bound"], condition["is_above"]
        side = "above" if is_above else "below"
        if column in BOUNDS:
            return self(f"rule.{BOUNDS[column]}_{side}", **{"bound": self.number(bound, "money"), "count": bound})
        if column.endswith("_count"):
            return self._count(column.removesuffix("_count"), bound + is_above, is_above=is_above)
        form = "share" if condition["is_share"] else "number"
        if column.startswith(SHARE_PREFIX):
            what = self("rule.interest", name=self.category(condition["label"]))
        elif column.startswith(CHANNEL_PREFIX):
            what = self("rule.channel", name=column.removeprefix(CHANNEL_PREFIX))
        elif f"rule.{column}" in self.texts:
            what = self(f"rule.{column}")
        else:
            what = self(f"rule.other_{form}", name=column.replace("_", " "))
        bound_text = self.number(bound, "share") if form == "share" else self.places(bound)
        return self(f"rule.{form}_{side}", bound=bound_text, what=what)

    def _count(self, kind: str, count: float, *, is_above: bool) -> str:
        if not count and f"without.{kind}" in self.texts:
            return self(f"without.{kind}")
        known = f"count.{kind}" in self.texts
        what = self(f"count.{kind}", count=count) if known else self("count.other", count=count, name=kind)
        return self("rule.at_least" if is_above else "rule.at_most", what=what)

    def change(self, cell: Mapping[str, Any] | None) -> str:
        """What became of a segment in one training."""
        if cell is None:
            return ""
        names, is_here = ", ".join(cell["akin"]), cell["is_here"]
        if cell["verdict"] == "survived":
            same = self("changes.same", value=format_decimal(cell["jaccard"], "0.00", locale=self.language))
            in_languages = cell.get("was_names")
            was = cell.get("was") if in_languages is None else in_languages.get(self.language)
            return self("changes.renamed", same=same, name=was) if was else same
        keys = {"split": ("split", "part_of"), "merged": ("merged", "includes"), "new": ("new", "new")}
        key = keys.get(cell["verdict"], ("gone", "gone"))[is_here]
        return self(f"changes.{key}", names=names)

    def predictions(self, validity: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """How well segments predict: a text, and a table with intervals; None if nothing was measured."""
        if validity is None or not validity["rows"]["segments"]:
            return None
        shown = [name for name in PREDICTED if name in validity["rows"]["segments"]]

        def figure(interval: Mapping[str, float] | None) -> str:
            if not interval:
                return "–"
            mean, low, high = (
                format_decimal(interval[name], "0.000", locale=self.language) for name in ("mean", "low", "high")
            )
            return f"{mean} ({low}–{high})"

        # With a single facet, its row would repeat the row of all segments.
        single = validity["facets"] if len(validity["facets"]) == 1 else ()
        rows = [
            (self._predictor(name, validity), [figure(row.get(outcome)) for outcome in shown])
            for name, row in validity["rows"].items()
            if name not in single
        ]
        kept = [self.number(validity["kept"].get(outcome), "share") for outcome in shown]
        rows.append((self("predicted.kept"), kept))
        text = self(
            "predicted.intro",
            date=self.moment(validity["cutoff"]),
            days=self("days", count=validity["horizon_days"]),
            customers=self.whole(validity["customer_count"]),
            bought=self.whole(validity["buyer_count"]),
            groups=self.whole(validity["group_count"]),
        )
        return {"text": text, "head": [self(f"predicted.{name}") for name in shown], "rows": rows}

    def _predictor(self, name: str, validity: Mapping[str, Any]) -> str:
        """The label of what the prediction is based on; its own name where there is no text for it."""
        key = "predicted.together" if name == "segments" and len(validity["facets"]) > 1 else f"predicted.{name}"
        return self(key) if key in self.texts else name

    def listed(self, names: Sequence[str]) -> str:
        """Names as a list in one text."""
        return "; ".join(names) or self("none")
